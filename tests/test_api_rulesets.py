"""Rulesets over HTTP."""

from typing import Any

import pytest

from decider.store import Role
from tests.api_harness import Api, api, faults

__all__ = ["api"]

ONE, TWO = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"


def block(project: str, **fields: Any) -> dict[str, Any]:
    return {"action": "block", "project": project, "reason": "because", **fields}


def counts(**fields: int) -> dict[str, int]:
    return {"added": 0, "removed": 0, "changed": 0, "unchanged": 0, **fields}


def test_replace(api: Api) -> None:
    """PUT makes a ruleset hold exactly the rules sent; a rule that did not change keeps its id."""
    first = api.put(
        "/rulesets/feed", role=Role.EDITOR, json={"rules": [block("a", key="1"), block("b", key="2")]}
    )
    assert (first.status_code, first.get_json()) == (200, counts(added=2, revision=1))
    assert first.headers["ETag"] == '"1"'
    rules = [block("a", key="1"), block("b", key="2", reason="new"), block("c", key="3")]
    second = api.put("/rulesets/feed", json={"rules": rules})
    assert second.get_json() == counts(added=1, changed=1, unchanged=1, revision=2)
    third = api.put("/rulesets/feed", json={"rules": rules[1:]})
    assert third.get_json() == counts(removed=1, unchanged=2, revision=3)
    again = api.put("/rulesets/feed", json={"rules": rules[1:]})
    assert again.get_json() == counts(unchanged=2, revision=3)
    assert "ETag" not in again.headers
    ruleset = api.get("/rulesets/feed")
    assert [(rule["id"], rule["project"]) for rule in ruleset.get_json()["rules"]] == [
        ("r0000002", "b"),
        ("r0000003", "c"),
    ]
    assert ruleset.headers["ETag"] == '"3"'


def test_get(api: Api) -> None:
    """A ruleset has its name, its rules, who changed it last, and when."""
    api.put("/rulesets/feed", json={"rules": [block("a")]})
    got = api.get("/rulesets/feed", role=Role.READER).get_json()
    assert got.pop("rules") == api.get("/rules?ruleset=feed").get_json()["items"]
    assert got == {
        "name": "feed",
        "revision": 1,
        "updated_by": "token:a-admin",
        "updated_at": "2026-11-22T12:00:00Z",
    }
    assert api.get("/rulesets/none").status_code == 404


def test_list(api: Api) -> None:
    """Rulesets are listed by name, without their rules, in pages."""
    for name in ("b", "a", "c"):
        api.put(f"/rulesets/{name}", json={"rules": [block(name)]})
    first = api.get("/rulesets?limit=2").get_json()
    assert [(one["name"], one["rules"]) for one in first["items"]] == [("a", 1), ("b", 1)]
    second = api.get("/rulesets", query_string={"cursor": first["next"]}).get_json()
    assert [one["name"] for one in second["items"]] == ["c"]


def test_faults(api: Api) -> None:
    """Every faulty rule is named by its place, and nothing is stored."""
    body = {"rules": [block("a"), block("-x", versions="soon"), 7, {"project": "a"}], "extra": 1}
    assert list(faults(api.put("/rulesets/feed", json=body))) == ["extra"]
    del body["extra"]
    assert set(faults(api.put("/rulesets/feed", json=body))) == {
        "rules[1].project",
        "rules[1].versions",
        "rules[2]",
        "rules[3].action",
        "rules[3].reason",
    }
    assert api.get("/rulesets").get_json()["items"] == []


@pytest.mark.parametrize("body", [{}, {"rules": None}, {"rules": {}}])
def test_no_rules(api: Api, body: Any) -> None:
    """A body without a list of rules is refused."""
    assert list(faults(api.put("/rulesets/feed", json=body))) == ["rules"]


def test_many_faults_are_cut(api: Api) -> None:
    """The first hundred faults are told."""
    assert len(api.put("/rulesets/feed", json={"rules": [7] * 1000}).get_json()["errors"]) == 100


@pytest.mark.parametrize("name", ["-x", "a" * 101, "a b", "%0a", "a%3Cb"])
def test_bad_name(api: Api, name: str) -> None:
    """A ruleset has a plain name."""
    assert list(faults(api.put(f"/rulesets/{name}", json={"rules": []}))) == ["name"]


def test_own_rulesets(api: Api) -> None:
    """The rulesets that decider itself fills are not replaced or removed as a whole."""
    api.add_rule("block")
    for name in ("manual", "claims"):
        assert api.put(f"/rulesets/{name}", json={"rules": []}).status_code == 409
        assert api.delete(f"/rulesets/{name}").status_code == 409
    assert api.get("/rulesets/manual").get_json()["rules"][0]["project"] == "demo"


def test_if_match(api: Api) -> None:
    """PUT and DELETE honour If-Match and If-None-Match; without them the last one wins."""
    rules = {"rules": [block("a")]}
    assert api.put("/rulesets/feed", json=rules, headers={"If-Match": '"1"'}).status_code == 412
    assert api.put("/rulesets/feed", json=rules, headers={"If-None-Match": "*"}).status_code == 200
    assert api.put("/rulesets/feed", json=rules, headers={"If-None-Match": "*"}).status_code == 412
    api.add_rule("block", "elsewhere")
    assert api.put("/rulesets/feed", json={"rules": []}, headers={"If-Match": '"2"'}).status_code == 412
    more = {"rules": [block("a"), block("b")]}
    assert api.put("/rulesets/feed", json=more, headers={"If-Match": '"1"'}).status_code == 200
    assert api.delete("/rulesets/feed", headers={"If-Match": '"1"'}).status_code == 412
    assert api.delete("/rulesets/feed", headers={"If-Match": '"3"'}).status_code == 204
    assert api.delete("/rulesets/feed").status_code == 404


def test_conflict(api: Api) -> None:
    """Two rules of one identity, or with another owner than the stored one, are refused."""
    assert api.put("/rulesets/feed", json={"rules": [block("a"), block("A")]}).status_code == 409
    api.add_rule("own", "acme", index="internal")
    own = {"action": "own", "project": "acme", "reason": "x", "index": "public"}
    assert api.put("/rulesets/feed", json={"rules": [own]}).status_code == 409
    assert api.put("/rulesets/feed?dry_run=true", json={"rules": [own]}).status_code == 409


def test_dry_run(api: Api) -> None:
    """A dry run tells what would be added, removed and changed, and which verdicts; it stores nothing."""
    api.public.publish("demo", ONE, TWO)
    rules = [block("demo", key="1", versions="==1.0"), block("gone", key="2"), block("same", key="3")]
    api.put("/rulesets/feed", json={"rules": rules})
    new = [block("demo", key="1", versions="==2.0"), rules[2], block("new", key="4")]
    response = api.put("/rulesets/feed?dry_run=true", role=Role.READER, json={"rules": new})
    answer = response.get_json()
    effects = answer.pop("effects")
    assert {**answer, "revision": 0} == counts(added=1, removed=1, changed=1, unchanged=1, revision=0)
    assert [(one["filename"], one["before"], one["after"]) for one in effects["files"]] == [
        (ONE, "block", "allow"),
        (TWO, "allow", "block"),
    ]
    assert effects["truncated"] is False
    assert [rule["versions"] for rule in api.get("/rulesets/feed").get_json()["rules"]] == [
        "==1.0",
        None,
        None,
    ]


def test_large(api: Api) -> None:
    """A ruleset may be larger than other bodies."""
    rules = [block(f"project-{number}", reason="x" * 600) for number in range(2_000)]
    assert api.put("/rulesets/feed", json={"rules": rules}).get_json()["added"] == 2_000
