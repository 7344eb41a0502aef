"""Indexes and ownership over HTTP."""

from typing import Any

import pytest

from decider.errors import IndexTimeout, IndexUnavailable, UnreadablePage
from decider.store import Role
from tests.api_harness import Api, api, faults

__all__ = ["api"]


def test_refresh(api: Api) -> None:
    """A refresh asks the index itself and says what it has now."""
    api.public.publish("demo", "demo-1.tar.gz", "demo-2.tar.gz")
    response = api.post("/indexes/public/refresh", role=Role.EDITOR, json={"project": "Demo"})
    assert response.get_json() == {
        "index": "public",
        "project": "demo",
        "found": True,
        "files": 2,
        "digest": api.public.pages["demo"].digest,
    }
    assert api.public.refreshed == ["demo"]


def test_refresh_absent(api: Api) -> None:
    """That the index does not have the project is an answer too."""
    answer = api.post("/indexes/public/refresh", json={"project": "nope"}).get_json()
    assert (answer["found"], answer["files"], answer["digest"]) == (False, 0, None)


def test_refresh_faulty(api: Api) -> None:
    """An unknown index is a 404, a bad name a fault."""
    assert api.post("/indexes/nowhere/refresh", json={"project": "demo"}).status_code == 404
    assert list(faults(api.post("/indexes/public/refresh", json={"project": "-x"}))) == ["project"]
    assert list(faults(api.post("/indexes/public/refresh", json={}))) == ["project"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnreadablePage("public", "x"), 502),
        (IndexUnavailable("public", "x"), 503),
        (IndexTimeout("public", "x"), 504),
    ],
)
def test_refresh_away(api: Api, error: Any, status: int) -> None:
    """An index that cannot be asked is 502, 503 or 504."""
    api.public.error = error
    assert api.post("/indexes/public/refresh", json={"project": "demo"}).status_code == status


def conflicts(api: Api, query: str = "") -> Any:
    return api.get(f"/ownership/conflicts{query}", role=Role.READER).get_json()


def test_conflicts(api: Api) -> None:
    """Names that a rule or an internal index owns and a public index has are listed with their owner."""
    for project in ("acme-owned", "acme-squatted", "claimed", "prefixed", "theirs", "everyones"):
        api.public.publish(project)
    api.internal.publish("claimed")
    api.internal.publish("private")
    owned = api.add_rule("own", "acme-owned", index="internal")["id"]
    namespace = api.add_rule("own", "acme-*", index="internal")["id"]
    prefix = api.add_rule("own", "pref*", index="internal")["id"]
    api.add_rule("own", "theirs", index="public")
    api.add_rule("own", "*", index="internal")
    assert conflicts(api) == {
        "items": [
            {"project": "acme-owned", "owner": "internal", "rule": owned, "indexes": ["public"]},
            {"project": "acme-squatted", "owner": "internal", "rule": namespace, "indexes": ["public"]},
            {"project": "claimed", "owner": "internal", "rule": None, "indexes": ["public"]},
            {"project": "prefixed", "owner": "internal", "rule": prefix, "indexes": ["public"]},
        ],
        "next": None,
        "unanswered": [],
    }


def test_most_specific_owner(api: Api) -> None:
    """The most specific pattern tells the owner, as in decisions; merged indexes are no conflict."""
    for project in ("acme-x-one", "shared"):
        api.public.publish(project)
    api.add_rule("own", "acme-*", index="internal")
    api.add_rule("own", "acme-x-*", index="public")
    api.add_rule("own", "shared", index="internal", extends=["public"])
    assert conflicts(api)["items"] == []


def test_expired_owner(api: Api) -> None:
    """A rule that has ended owns nothing."""
    api.public.publish("demo")
    api.add_rule("own", "demo", index="internal", expires_at="2026-11-22T13:00:00Z")
    assert [one["project"] for one in conflicts(api)["items"]] == ["demo"]
    api.clock.pass_(hours=1)
    assert conflicts(api)["items"] == []


def test_conflict_pages(api: Api) -> None:
    """The listing is paged by owned names, so a page may be shorter than its limit."""
    for number in range(4):
        api.internal.publish(f"demo-{number}")
    api.public.publish("demo-0")
    api.public.publish("demo-3")
    first = conflicts(api, "?limit=3")
    assert [one["project"] for one in first["items"]] == ["demo-0"]
    second = conflicts(api, f"?limit=3&cursor={first['next']}")
    assert ([one["project"] for one in second["items"]], second["next"]) == (["demo-3"], None)
    assert list(faults(api.get("/ownership/conflicts?cursor=x"))) == ["cursor"]


def test_conflicts_unanswered(api: Api) -> None:
    """An index that cannot be asked is named: an empty list must not pass for a clean one."""
    api.internal.publish("demo")
    api.add_rule("own", "acme-*", index="internal")
    api.public.error = IndexTimeout("public", "20 s")
    answer = conflicts(api)
    assert answer["items"] == []
    assert answer["unanswered"] == [
        {"project": None, "index": "public", "detail": "index `public`: 20 s"},
        {"project": "demo", "index": "public", "detail": "index `public`: 20 s"},
    ]
