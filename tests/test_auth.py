"""Who may call the API."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from decider.errors import StoreUnavailable
from decider.store import Role, Store
from decider.tokens import hash_secret
from decider.web.api.operation import Operation, operations
from decider.web.throttle import FAILURES
from tests.api_harness import ADMIN_SECRET, START, Api, api, open_api

__all__ = ["api"]

OPEN = {"/api/v1/openapi.json", "/api/v1/docs"}

#: method, path → the least role (DESIGN, section 11); None: no token.
ROLES = {
    ("GET", "/rules"): Role.READER,
    ("POST", "/rules"): Role.EDITOR,
    ("GET", "/rules/<rule_id>"): Role.READER,
    ("PATCH", "/rules/<rule_id>"): Role.EDITOR,
    ("DELETE", "/rules/<rule_id>"): Role.EDITOR,
    ("GET", "/rulesets"): Role.READER,
    ("GET", "/rulesets/<name>"): Role.READER,
    ("PUT", "/rulesets/<name>"): Role.EDITOR,
    ("DELETE", "/rulesets/<name>"): Role.EDITOR,
    ("GET", "/explain"): Role.READER,
    ("POST", "/explain"): Role.READER,
    ("GET", "/reviews"): Role.READER,
    ("GET", "/reviews/<review_id>"): Role.READER,
    ("POST", "/reviews/<review_id>"): Role.EDITOR,
    ("GET", "/audit"): Role.READER,
    ("GET", "/usage"): Role.READER,
    ("GET", "/usage/counts"): Role.READER,
    ("GET", "/rules/<rule_id>/exposure"): Role.READER,
    ("POST", "/indexes/<index>/refresh"): Role.EDITOR,
    ("GET", "/ownership/conflicts"): Role.READER,
    ("GET", "/tokens"): Role.ADMIN,
    ("POST", "/tokens"): Role.ADMIN,
    ("GET", "/tokens/<token>"): Role.ADMIN,
    ("DELETE", "/tokens/<token>"): Role.ADMIN,
    ("GET", "/openapi.json"): None,
    ("GET", "/docs"): None,
}


def test_every_route_declares_its_role(api: Api) -> None:
    """No route below /api/v1 is without a declared role, and none but the descriptions is open."""
    declared = operations()
    routes = [rule for rule in api.app.url_map.iter_rules() if rule.rule.startswith("/api/")]
    assert {rule.endpoint.removeprefix("api.") for rule in routes} == set(declared)
    for rule in routes:
        operation = declared[rule.endpoint.removeprefix("api.")]
        assert rule.methods is not None
        assert rule.methods - {"HEAD", "OPTIONS"} == {operation.method}
        assert (operation.role is None) == (rule.rule in OPEN)


def test_roles() -> None:
    """The roles are those of the contract, and dry runs of changes need the reader's."""
    assert {(one.method, one.path): one.role for one in operations().values()} == ROLES
    dry = {(one.method, one.path): one.dry_run_role for one in operations().values() if one.dry_run_role}
    assert dry == {("POST", "/rules"): Role.READER, ("PUT", "/rulesets/<name>"): Role.READER}


GUARDED = [one for one in operations().values() if one.role is not None]


@pytest.mark.parametrize("operation", GUARDED, ids=lambda one: f"{one.method} {one.path}")
def test_no_token(api: Api, operation: Operation) -> None:
    """Without a token every guarded route answers 401 and says how to log in, whatever else is wrong."""
    path = operation.path.replace("<", "").replace(">", "")
    response = api.call(operation.method, f"{path}?bogus=1", role=None)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="decider"'


@pytest.mark.parametrize("operation", GUARDED, ids=lambda one: f"{one.method} {one.path}")
def test_role_too_low(api: Api, operation: Operation) -> None:
    """A token whose role is too low gets 403 before the body is looked at; one that suffices does not."""
    path = operation.path.replace("<", "").replace(">", "")
    for role in Role:
        response = api.call(operation.method, path, role=role, data=b"{")
        assert operation.role is not None
        assert (response.status_code == 403) == (not role.includes(operation.role))
        if response.status_code == 403:
            assert response.get_json()["detail"] == f"this call needs the role `{operation.role}`"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic YTpi",
        "bearer\tx",
        f"Token {ADMIN_SECRET}",
        "Bearer \u00e9",
        "Bearer " + "x" * 9000,
    ],
)
def test_bad_header(api: Api, header: str) -> None:
    """A header that holds no valid token is refused."""
    response = api.get("/rules", role=None, headers={"Authorization": header})
    assert response.status_code == 401
    assert "x" * 100 not in response.get_data(as_text=True)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_admin_token(api: Api, scheme: str) -> None:
    """The token of the environment is an admin's, and changes made with it are audited as `token:admin`."""
    headers = {"Authorization": f"{scheme} {ADMIN_SECRET}"}
    body = {"action": "block", "project": "demo", "reason": "because"}
    response = api.post("/rules", role=None, headers=headers, json=body)
    assert response.get_json()["created_by"] == "token:admin"
    assert api.get("/tokens", role=None, headers=headers).status_code == 200


def test_empty_admin_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty DECIDER_ADMIN_TOKEN lets nobody in."""
    monkeypatch.setenv("DECIDER_ADMIN_TOKEN", "  ")
    with open_api(tmp_path) as own:
        for header in ("Bearer", "Bearer ", "Bearer   "):
            assert own.get("/rules", role=None, headers={"Authorization": header}).status_code == 401


def test_expiry(api: Api) -> None:
    """A token is refused from its expiry on."""
    api.store.add_token(
        "brief",
        Role.READER,
        hash_secret("brief"),
        actor="test",
        at=START,
        expires_at=START + timedelta(hours=1),
    )
    headers = {"Authorization": "Bearer brief"}
    assert api.get("/rules", role=None, headers=headers).status_code == 200
    api.clock.pass_(hours=1)
    assert api.get("/rules", role=None, headers=headers).status_code == 401


def test_revoked(api: Api) -> None:
    """A revoked token is refused from the next request on."""
    assert api.get("/rules", role=Role.READER).status_code == 200
    assert api.delete("/tokens/a-reader").status_code == 204
    assert api.get("/rules", role=Role.READER).status_code == 401


def test_failed_logins(api: Api) -> None:
    """After ten failed logins in a minute wrong tokens of that address are told when to come back; right ones are not."""
    at = {"X-Decider-Client": "2001:db8::1"}
    near = {"X-Decider-Client": "2001:db8::ffff:1"}
    for _ in range(FAILURES):
        assert api.get("/rules", role=None, headers={**at, "Authorization": "Bearer no"}).status_code == 401
    for client in (at, near):
        response = api.get("/rules", role=None, headers={**client, "Authorization": "Bearer no"})
        assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
        assert api.get("/rules", headers=client).status_code == 200
        admin = {**client, "Authorization": f"Bearer {ADMIN_SECRET}"}
        assert api.get("/rules", role=None, headers=admin).status_code == 200
        assert api.get("/rules", role=None, headers=client).status_code == 401
    elsewhere = {"X-Decider-Client": "2001:db8:0:1::1", "Authorization": "Bearer no"}
    assert api.get("/rules", role=None, headers=elsewhere).status_code == 401
    api.clock.pass_(seconds=60)
    assert api.get("/rules", role=None, headers={**at, "Authorization": "Bearer no"}).status_code == 401


@pytest.mark.parametrize("query", ["", "?dry_run=true", "?dry_run=false", "?dry_run=maybe", "?x=1"])
def test_before_a_ruleset_is_read(api: Api, query: str) -> None:
    """What nginx is told before it reads a ruleset is what the API would say, status, headers and body; else: read it."""
    for role in (None, *Role):
        headers = {} if role is None else {"Authorization": f"Bearer {api.secrets[role]}"}
        told = api.client.get(f"/-/decision/ruleset{query}", headers=headers)
        said = api.put(f"/rulesets/feed{query}", role=role, json={"rules": []})
        if said.status_code in {200, 422}:
            assert told.status_code == 200
            continue
        assert (told.status_code, told.headers["Told"]) == (403, str(said.status_code))
        assert json.loads(told.headers["Failed"]) == said.get_json()
        assert told.headers["WWW-Authenticate"] == said.headers["WWW-Authenticate"]


def test_failed_logins_before_a_ruleset_is_read(degraded: Api) -> None:
    """Wrong tokens are counted there as everywhere, and a store that is away is 503."""
    for number in range(FAILURES + 1):
        told = degraded.client.get("/-/decision/ruleset", headers={"Authorization": "Bearer no"})
        assert told.headers["Told"] == ("401" if number < FAILURES else "429")
    assert told.headers["Retry-After"] == "60"
    assert degraded.get("/rules", role=None, headers={"Authorization": "Bearer no"}).status_code == 429
    assert isinstance(degraded.store, ReadOnly)
    degraded.store.is_away = True
    away = degraded.client.get("/-/decision/ruleset", headers={"Authorization": "Bearer x"})
    assert (away.headers["Told"], away.headers["Retry-After"]) == ("503", "5")


def test_no_token_is_no_failed_login(api: Api) -> None:
    """Requests without any token are refused, and not counted as logins."""
    for _ in range(FAILURES + 1):
        assert api.get("/rules", role=None).status_code == 401


def test_failed_logins_are_counted_without_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the table of failed logins cannot be made each process counts on its own, and the log says so."""
    (tmp_path / "run").write_text("in the way")
    with open_api(tmp_path) as own:
        assert "logins.not_shared" in caplog.text
        for _ in range(FAILURES):
            own.get("/rules", role=None, headers={"Authorization": "Bearer no"})
        assert own.get("/rules", role=None, headers={"Authorization": "Bearer no"}).status_code == 429


def test_log_has_no_secret(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A failed login is logged with its address and without what was sent."""
    api.get("/rules", role=None, headers={"Authorization": "Bearer s3cret", "X-Decider-Client": "192.0.2.1"})
    (record,) = [one for one in caplog.records if one.message == "login.failed"]
    assert record.__dict__["client"] == "192.0.2.1"
    assert "s3cret" not in str(record.__dict__)


def last_used(api: Api, name: str = "a-reader") -> datetime | None:
    return next(token.last_used_at for token in api.store.list_tokens() if token.name == name)


def test_last_used(api: Api) -> None:
    """A token's last use is noted once a minute, after the answer."""
    for seconds, expected in [(0, 0), (59, 0), (1, 60), (59, 60), (2, 121)]:
        api.clock.pass_(seconds=seconds)
        with api.get("/rules", role=Role.READER) as response:
            before = last_used(api)
            response.get_data()
        assert last_used(api) == START + timedelta(seconds=expected)
        if seconds == 0:
            assert before is None


class ReadOnly:
    """A store whose writes are away, and its reads too while `is_away`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        if self.is_away or name == "touch_token":
            raise StoreUnavailable("secret://")
        return getattr(self._store, name)


def read_only(store: Any) -> Any:
    """As ReadOnly; what its tests switch is `api.store`."""
    return ReadOnly(store)


@pytest.fixture
def degraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("DECIDER_ADMIN_TOKEN", ADMIN_SECRET)
    with open_api(tmp_path, read_only) as own:
        yield own
        assert isinstance(own.store, ReadOnly)
        own.store.is_away = False


def test_touch_fails(degraded: Api) -> None:
    """A last use that cannot be noted fails no request."""
    with degraded.get("/rules", role=Role.READER) as response:
        assert response.status_code == 200


def test_store_away(degraded: Api) -> None:
    """While the store is away tokens cannot be known: 503, not 401, and nothing counts as a failed login."""
    assert isinstance(degraded.store, ReadOnly)
    degraded.store.is_away = True
    for _ in range(FAILURES + 1):
        response = degraded.get("/rules", role=Role.READER)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert "secret" not in response.get_data(as_text=True)


def test_options(api: Api) -> None:
    """OPTIONS tells nothing without a token but the methods."""
    response = api.client.options("/api/v1/rules")
    assert (response.status_code, response.get_data()) == (200, b"")
