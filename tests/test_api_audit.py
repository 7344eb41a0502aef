"""The audit log over HTTP."""

from typing import Any

import pytest

from decider.store import Role
from tests.api_harness import Api, api, faults

__all__ = ["api"]


def listed(api: Api, **query: Any) -> list[tuple[str, str]]:
    response = api.get("/audit", role=Role.READER, query_string=query)
    return [(one["action"], one["actor"]) for one in response.get_json()["items"]]


def test_list(api: Api) -> None:
    """Every change is listed with who made it and what was before, oldest first, each hash carried on."""
    rule = api.add_rule("block")
    api.clock.pass_(hours=1)
    url = f"/rules/{rule['id']}"
    api.patch(url, role=Role.EDITOR, headers={"If-Match": "*"}, json={"reason": "better"})
    entries = api.get("/audit").get_json()["items"]
    made = entries[-2:]
    assert [(one["action"], one["rule"], one["actor"]) for one in made] == [
        ("rule.add", rule["id"], "token:a-admin"),
        ("rule.change", rule["id"], "token:a-editor"),
    ]
    assert (made[1]["before"]["reason"], made[1]["after"]["reason"]) == ("because", "better")
    assert [one["previous_hash"] for one in entries] == ["0" * 64, *(one["hash"] for one in entries[:-1])]


def test_filters(api: Api) -> None:
    """The log is filtered by time, actor and rule, and read in pages."""
    rule = api.add_rule("block")
    api.clock.pass_(hours=1)
    api.post("/rules", role=Role.EDITOR, json={"action": "block", "project": "x", "reason": "y"})
    api.clock.pass_(hours=1)
    api.delete(f"/rules/{rule['id']}")
    added, editor, removed = (
        ("rule.add", "token:a-admin"),
        ("rule.add", "token:a-editor"),
        ("rule.remove", "token:a-admin"),
    )
    assert listed(api, since="2026-11-22T13:00:00Z") == [editor, removed]
    assert listed(api, since="2026-11-22T15:00:00+01:00") == [removed]
    assert listed(api, actor="token:a-admin") == [added, removed]
    assert listed(api, rule=rule["id"]) == [added, removed]
    first = api.get("/audit?limit=2&rule=" + rule["id"]).get_json()
    assert (len(first["items"]), first["next"]) == (2, None)
    first = api.get("/audit?limit=4").get_json()
    assert listed(api, cursor=first["next"]) == [editor, removed]


def test_unescaped_zone(api: Api) -> None:
    """A `+` that the client did not escape is understood in a time."""
    api.add_rule("block")
    assert api.get("/audit?since=2026-11-22T13:00:00+01:00").get_json()["items"]


@pytest.mark.parametrize("since", ["yesterday", "2026-11-22T12:00:00", "2026-11-22", "1", ""])
def test_faulty(api: Api, since: str) -> None:
    """A time that is not RFC 3339 with a zone is refused."""
    assert list(faults(api.get("/audit", query_string={"since": since}))) == ["since"]
