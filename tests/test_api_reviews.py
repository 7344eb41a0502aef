"""Reviews over HTTP."""

from typing import Any

import pytest

from decider.store import Role
from tests.api_harness import START, Api, api, faults

__all__ = ["api"]

ONE, TWO = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"


@pytest.fixture
def held(api: Api) -> dict[str, Any]:
    """The review of `demo` 2.0, which a hold keeps back; 1.0 is held too."""
    api.public.publish("demo", ONE, TWO)
    hold = api.add_rule("hold")["id"]
    review = request(api, TWO, hold)
    return {"review": review, "hold": hold}


def request(api: Api, filename: str, hold: str, project: str = "demo") -> str:
    version = filename.split("-")[1]
    return api.store.request_review(
        project=project,
        version=version,
        filename=filename,
        repository="default",
        rule=hold,
        client="192.0.2.7",
        at=START,
    ).id


def test_get(api: Api, held: dict[str, Any]) -> None:
    """A review says which file was asked for, by whom, how often, and which rule holds it."""
    assert api.get(f"/reviews/{held['review']}", role=Role.READER).get_json() == {
        "id": held["review"],
        "state": "open",
        "project": "demo",
        "version": "2.0",
        "filename": TWO,
        "repository": "default",
        "rule": held["hold"],
        "requests": 1,
        "requested_by": ["192.0.2.7"],
        "first_at": "2026-11-22T12:00:00Z",
        "last_at": "2026-11-22T12:00:00Z",
        "decided_by": None,
        "decided_at": None,
        "reason": None,
    }
    assert api.get("/reviews/none").status_code == 404


def test_list(api: Api, held: dict[str, Any]) -> None:
    """Reviews are listed in pages, by state and project."""
    other = request(api, "other-1.0.tar.gz", held["hold"], "other")
    api.post(f"/reviews/{other}", json={"decision": "deny", "reason": "no"})

    def listed(query: str) -> list[str]:
        return [one["id"] for one in api.get(f"/reviews{query}").get_json()["items"]]

    assert listed("") == [held["review"], other]
    assert listed("?state=open") == [held["review"]]
    assert listed("?state=denied") == [other]
    assert listed("?project=OTHER") == [other]
    first = api.get("/reviews?limit=1").get_json()
    assert listed(f"?cursor={first['next']}") == [other]
    assert list(faults(api.get("/reviews?state=closed&project=-x"))) == ["state"]


def test_approve(api: Api, held: dict[str, Any]) -> None:
    """Approving writes an `allow` that lifts the hold for all versions of the project."""
    response = api.post(
        f"/reviews/{held['review']}", role=Role.EDITOR, json={"decision": "approve", "reason": "read it"}
    )
    answer = response.get_json()
    written = answer["written"]
    assert response.status_code == 200
    assert response.headers["Location"] == f"/api/v1/rules/{written['id']}"
    assert (answer["state"], answer["decided_by"], answer["reason"]) == (
        "approved",
        "token:a-editor",
        "read it",
    )
    assert answer["decided_at"] == "2026-11-22T12:00:00Z"
    assert written["action"] == "allow"
    assert (written["lifts"], written["project"], written["versions"]) == ([held["hold"]], "demo", None)
    assert api.verdicts() == {ONE: "allow", TWO: "allow"}


def test_approve_versions(api: Api, held: dict[str, Any]) -> None:
    """An approval may be for some versions, and until a date."""
    body = {
        "decision": "approve",
        "reason": "x",
        "versions": "==2.0",
        "expires_at": "2026-11-23T00:00:00+00:00",
    }
    written = api.post(f"/reviews/{held['review']}", json=body).get_json()["written"]
    assert (written["versions"], written["expires_at"]) == ("==2.0", "2026-11-23T00:00:00Z")
    assert api.verdicts() == {ONE: "hold", TWO: "allow"}
    api.clock.pass_(days=1)
    assert api.verdicts() == {ONE: "hold", TWO: "hold"}


def test_deny(api: Api, held: dict[str, Any]) -> None:
    """Denying writes a `block`."""
    body = {"decision": "deny", "reason": "obfuscated", "versions": ">=2"}
    answer = api.post(f"/reviews/{held['review']}", json=body).get_json()
    assert (answer["state"], answer["written"]["action"], answer["written"]["lifts"]) == (
        "denied",
        "block",
        None,
    )
    assert api.verdicts() == {ONE: "hold", TWO: "block"}


def test_scope(api: Api) -> None:
    """The rule that a decision writes holds where the hold does."""
    hold = api.add_rule("hold", repositories=["default"])["id"]
    review = request(api, ONE, hold)
    written = api.post(f"/reviews/{review}", json={"decision": "deny", "reason": "x"}).get_json()["written"]
    assert written["repositories"] == ["default"]


def test_decided_already(api: Api, held: dict[str, Any]) -> None:
    """A review is decided once: then 409, and no second rule."""
    body = {"decision": "approve", "reason": "x"}
    assert api.post(f"/reviews/{held['review']}", json=body).status_code == 200
    assert api.post(f"/reviews/{held['review']}", json=body).status_code == 409
    assert len(api.get("/rules").get_json()["items"]) == 2


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"decision", "reason"}),
        ({"decision": "maybe", "reason": "x"}, {"decision"}),
        ({"decision": "deny", "reason": " "}, {"reason"}),
        ({"decision": "deny", "reason": "x", "versions": "soon"}, {"versions"}),
        ({"decision": "deny", "reason": "x", "expires_at": "2026-01-01T00:00:00Z"}, {"expires_at"}),
        ({"decision": "deny", "reason": "x", "rule": "r1"}, {"rule"}),
    ],
)
def test_faulty(api: Api, held: dict[str, Any], body: Any, fields: set[str]) -> None:
    """A decision that makes no valid rule is refused by field, and the review stays open."""
    assert set(faults(api.post(f"/reviews/{held['review']}", json=body))) == fields
    assert api.get(f"/reviews/{held['review']}").get_json()["state"] == "open"
    assert api.post("/reviews/none", json={"decision": "deny", "reason": "x"}).status_code == 404
