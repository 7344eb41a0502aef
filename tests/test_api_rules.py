"""Rules over HTTP."""

from typing import Any

import pytest

from decider.errors import IndexTimeout
from decider.store import Role
from tests.api_harness import Api, api, faults, ids

__all__ = ["api"]

BLOCK = {"action": "block", "project": "demo", "reason": "because"}
ONE, TWO = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"


def test_add(api: Api) -> None:
    """A new rule is answered whole with 201, its URL and its ETag, and is in force."""
    api.public.publish("demo", ONE, TWO)
    body = {**BLOCK, "project": "De.Mo", "versions": ">=2", "expires_at": "2026-12-01T00:00:00+01:00"}
    response = api.post("/rules", role=Role.EDITOR, json={**body, "project": "DEMO"})
    rule = response.get_json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"/api/v1/rules/{rule['id']}"
    assert response.headers["ETag"] == f'"{rule["revision"]}"'
    assert rule == {
        **dict.fromkeys(
            ["filename", "sha256", "file_type", "index", "younger_than", "uploaded_after", "attested"]
        ),
        **dict.fromkeys(["repositories", "extends", "lifts", "reference", "key"]),
        "action": "block",
        "project": "demo",
        "reason": "because",
        "versions": ">=2",
        "final": False,
        "expires_at": "2026-11-30T23:00:00Z",
        "id": rule["id"],
        "ruleset": "manual",
        "created_by": "token:a-editor",
        "created_at": "2026-11-22T12:00:00Z",
        "updated_by": "token:a-editor",
        "updated_at": "2026-11-22T12:00:00Z",
        "revision": 1,
    }
    got = api.client.get(response.headers["Location"], headers={"Authorization": "Bearer secret-of-reader"})
    assert (got.get_json(), got.headers["ETag"]) == (rule, '"1"')
    assert api.verdicts() == {ONE: "allow", TWO: "block"}


def test_add_faulty(api: Api) -> None:
    """Every field that is wrong is named, and nothing is stored."""
    body = {
        "action": "refuse",
        "project": "-x",
        "versions": "soon",
        "index": "nowhere",
        "repositories": ["default", "nowhere"],
        "attested": True,
        "expires_at": "2026-01-01T00:00:00Z",
        "colour": "red",
    }
    response = api.post("/rules", json=body)
    assert response.content_type == "application/problem+json"
    assert set(faults(response)) == {*body, "reason"}
    assert api.get("/rules").get_json() == {"items": [], "next": None}


@pytest.mark.parametrize("body", [[], [BLOCK], "x", 1, True])
def test_add_no_object(api: Api, body: Any) -> None:
    """A body that is no JSON object is refused."""
    assert faults(api.post("/rules", json=body)) == {"": "the body is no JSON object"}


def test_add_conflict(api: Api) -> None:
    """A second owner of one pattern is refused, dry or not."""
    own = {"action": "own", "project": "acme-*", "reason": "ours"}
    assert api.post("/rules", json={**own, "index": "internal"}).status_code == 201
    for path in ("/rules", "/rules?dry_run=true"):
        response = api.post(path, json={**own, "project": "Acme_*", "index": "public"})
        assert response.status_code == 409
        assert response.get_json()["detail"] == "`acme-*` is owned by index `internal` (rule `r0000001`)"


def test_get_absent(api: Api) -> None:
    """A rule that there is not is a 404."""
    assert api.get("/rules/r9").get_json()["detail"] == "no rule `r9`"
    assert api.get("/rules/%3Cscript%3E").status_code == 404


def test_list(api: Api) -> None:
    """Rules are listed by id, in pages that a cursor joins, and filtered."""
    blocks = [api.add_rule("block", f"demo-{number}")["id"] for number in range(3)]
    hold = api.add_rule("hold", "demo-1", expires_at="2026-11-22T13:00:00Z")["id"]
    api.clock.pass_(hours=1)

    def listed(**query: Any) -> list[str]:
        return ids(api.get("/rules", query_string=query).get_json()["items"])

    assert listed() == [*blocks, hold]
    assert listed(project="Demo_1") == [blocks[1], hold]
    assert listed(action="hold") == [hold]
    assert listed(ruleset="feed") == []
    assert listed(active="true") == blocks
    assert listed(active="false") == [hold]
    first = api.get("/rules?limit=3").get_json()
    assert ids(first["items"]) == blocks
    second = api.get("/rules", query_string={"limit": 3, "cursor": first["next"]}).get_json()
    assert (ids(second["items"]), second["next"]) == ([hold], None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=forged", "cursor"),
        ("action=deny", "action"),
        ("active=perhaps", "active"),
        ("active=null", "active"),
        ("action=null", "action"),
        ("project=-x", "project"),
        ("project=", "project"),
        ("colour=red", "colour"),
        ("dry_run=true", "dry_run"),
    ],
)
def test_list_faulty(api: Api, query: str, field: str) -> None:
    """A query parameter that is unknown, repeated or unreadable is refused by name."""
    assert list(faults(api.get(f"/rules?{query}"))) == [field]


def test_list_faults_together(api: Api) -> None:
    """All faults of a query are named at once."""
    assert set(faults(api.get("/rules?limit=x&a=1&b=2"))) == {"limit", "a", "b"}


def test_change(api: Api) -> None:
    """PATCH changes the fields it names, null removes one, and the ETag moves."""
    rule = api.add_rule("block", versions="<2", reference="CVE-1")
    response = api.patch(
        f"/rules/{rule['id']}",
        headers={"If-Match": f'"{rule["revision"]}"'},
        json={"reason": "better", "reference": None, "project": "Other"},
    )
    changed = response.get_json()
    assert response.status_code == 200
    assert changed == {
        **rule,
        "reason": "better",
        "reference": None,
        "project": "other",
        "revision": 2,
        "updated_by": "token:a-admin",
    }
    assert response.headers["ETag"] == '"2"'
    assert api.get(f"/rules/{rule['id']}").get_json() == changed


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', "*", "1", '"7", "1"'])
def test_if_match_holds(api: Api, tag: str) -> None:
    """If-Match takes the rule's ETag, also weakened by a proxy or among others, and `*`."""
    rule = api.add_rule("block")
    assert (
        api.patch(f"/rules/{rule['id']}", headers={"If-Match": tag}, json={"reason": "x"}).status_code == 200
    )


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("tag", ['"2"', "2", '"x"', "", '"11'])
def test_if_match_fails(api: Api, method: str, tag: str) -> None:
    """If-Match with anything else changes nothing: 412."""
    rule = api.add_rule("block")
    body = {"reason": "x"} if method == "PATCH" else None
    response = api.call(method, f"/rules/{rule['id']}", headers={"If-Match": tag}, json=body)
    assert response.status_code == 412
    assert api.get(f"/rules/{rule['id']}").get_json() == rule


def test_change_needs_if_match(api: Api) -> None:
    """PATCH without If-Match is refused: 428."""
    rule = api.add_rule("block")
    assert api.patch(f"/rules/{rule['id']}", json={"reason": "x"}).status_code == 428


def test_change_faulty(api: Api) -> None:
    """A change that makes no valid rule is refused by field; what the store keeps cannot be changed."""
    rule = api.add_rule("block")
    headers = {"If-Match": "*"}
    for body, field in [({"action": None}, "action"), ({"id": "r9"}, "id"), ({"versions": "x"}, "versions")]:
        assert list(faults(api.patch(f"/rules/{rule['id']}", headers=headers, json=body))) == [field]
    assert api.patch("/rules/r9", headers=headers, json={}).status_code == 404


def test_change_merge_patch(api: Api) -> None:
    """PATCH also takes the media type of merge patches (RFC 7396)."""
    rule = api.add_rule("block")
    response = api.patch(
        f"/rules/{rule['id']}",
        headers={"If-Match": "*"},
        data=b'{"reason": "x"}',
        content_type="application/merge-patch+json",
    )
    assert response.get_json()["reason"] == "x"


def test_change_expired(api: Api) -> None:
    """An expired rule can be corrected and stays expired; a new end must lie ahead."""
    rule = api.add_rule("block", expires_at="2026-11-22T13:00:00Z")
    api.clock.pass_(hours=2)
    url, headers = f"/rules/{rule['id']}", {"If-Match": "*"}
    assert (
        api.patch(url, headers=headers, json={"reason": "x"}).get_json()["expires_at"] == rule["expires_at"]
    )
    again = faults(api.patch(url, headers=headers, json={"expires_at": rule["expires_at"]}))
    assert again == {"expires_at": "lies in the past"}
    later = api.patch(url, headers=headers, json={"expires_at": None})
    assert later.get_json()["expires_at"] is None


def test_remove(api: Api) -> None:
    """DELETE removes a rule, for a reason that the audit log keeps; If-Match is honoured."""
    rule = api.add_rule("block")
    response = api.delete(f"/rules/{rule['id']}?reason=mistaken", headers={"If-Match": '"1"'})
    assert (response.status_code, response.get_data()) == (204, b"")
    assert "Content-Type" not in response.headers
    assert api.get(f"/rules/{rule['id']}").status_code == 404
    assert api.delete(f"/rules/{rule['id']}").status_code == 404
    assert api.get("/audit").get_json()["items"][-1]["reason"] == "mistaken"


def test_dry_run(api: Api) -> None:
    """A dry run, which a reader may make, tells what would be stored and do, and stores nothing."""
    api.public.publish("demo", ONE, TWO)
    api.add_rule("hold", versions=">=2")
    response = api.post("/rules?dry_run=true", role=Role.READER, json={**BLOCK, "versions": ">=2"})
    answer = response.get_json()
    assert response.status_code == 200
    assert "Location" not in response.headers
    assert (answer["id"], answer["action"], answer["ruleset"]) == (None, "block", "manual")
    effect = {
        "project": "demo",
        "filename": TWO,
        "version": "2.0",
        "before": "hold",
        "after": "block",
        "rules": ["dry-run"],
        "reason": "because",
    }
    # Repository `inside` has no index that has the project.
    assert answer["effects"] == {
        "files": [{**effect, "repository": "default"}],
        "usage": [],
        "usage_total": {"since": "2026-10-23T12:00:00Z", "downloads": 0, "clients": 0},
        "truncated": False,
        "unanswered": [],
    }
    assert len(api.get("/rules").get_json()["items"]) == 1
    assert api.verdicts() == {ONE: "allow", TWO: "hold"}


def test_dry_run_of_a_waiver(api: Api) -> None:
    """A dry run of an `allow` shows what it would let through."""
    api.public.publish("demo", ONE)
    blocked = api.add_rule("block", final=True)
    waiver = {"action": "allow", "project": "demo", "reason": "read"}
    without = api.post("/rules?dry_run=1", json=waiver).get_json()["effects"]
    naming = api.post("/rules?dry_run=1", json={**waiver, "lifts": [blocked["id"]]}).get_json()["effects"]
    assert without["files"] == []
    assert [(one["before"], one["after"], one["reason"]) for one in naming["files"]] == [
        ("block", "allow", "read")
    ]


def test_dry_run_of_ownership(api: Api) -> None:
    """A dry run of an `own` shows the files that would come and go with the other index."""
    api.internal.publish("demo", ONE)
    api.public.publish("demo", TWO)
    own = {
        "action": "own",
        "project": "demo",
        "reason": "theirs",
        "index": "public",
        "repositories": ["default"],
    }
    effects = api.post("/rules?dry_run=true", json=own).get_json()["effects"]
    assert [(one["filename"], one["before"], one["after"]) for one in effects["files"]] == [
        (ONE, "allow", None),
        (TWO, None, "allow"),
    ]


def test_dry_run_of_a_pattern(api: Api) -> None:
    """For a pattern the projects of internal indexes are looked at, and the answer says that there may be more."""
    api.internal.publish("acme-one", "acme_one-1.tar.gz")
    api.internal.publish("other", "other-1.tar.gz")
    api.public.publish("acme-two", "acme_two-1.tar.gz")
    effects = api.post("/rules?dry_run=true", json={**BLOCK, "project": "acme-*"}).get_json()["effects"]
    assert {(one["project"], one["repository"]) for one in effects["files"]} == {
        ("acme-one", "default"),
        ("acme-one", "inside"),
    }
    assert effects["truncated"] is True


def test_dry_run_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run looks at so many pages and names so many files, and says when there are more."""
    for number in range(5):
        api.internal.publish(f"acme-{number}", f"acme_{number}-1.tar.gz", f"acme_{number}-2.tar.gz")
    body = {**BLOCK, "project": "acme-*", "repositories": ["default"]}
    monkeypatch.setattr("decider.web.api.effects.MAX_PAGES", 3)
    assert len(api.post("/rules?dry_run=true", json=body).get_json()["effects"]["files"]) == 6
    monkeypatch.setattr("decider.web.api.effects.MAX_FILES", 5)
    effects = api.post("/rules?dry_run=true", json=body).get_json()["effects"]
    assert (len(effects["files"]), effects["truncated"]) == (5, True)


def test_dry_run_with_an_index_away(api: Api) -> None:
    """What could not be asked is named, and the answer does not pass for whole."""
    api.public.error = IndexTimeout("public", "no answer in 20 s")
    effects = api.post("/rules?dry_run=true", json={**BLOCK, "repositories": ["default"]}).get_json()[
        "effects"
    ]
    assert effects["unanswered"] == [
        {"project": "demo", "index": "public", "detail": "index `public`: no answer in 20 s"}
    ]
    assert (effects["files"], effects["truncated"]) == ([], True)
