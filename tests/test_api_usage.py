"""Usage and exposure over HTTP."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from decider.store import Role
from decider.store.cursors import encode_cursor
from tests.api_harness import Api, api, faults
from tests.usage_samples import UV, make_row, stage

__all__ = ["api"]

ONE, TWO = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"
SECOND = f"version=2.0&sha256={'cd' * 32}&verdict=allow&index=public"


@pytest.fixture
def used(api: Api, tmp_path: Path) -> Api:
    """An API that has seen some requests."""
    stage(
        tmp_path,
        [
            make_row(second=0),
            make_row(second=1, filename=TWO, decided=SECOND, client="192.0.2.8", agent=UV),
            make_row(second=2, filename=TWO, decided=SECOND),
            make_row(second=3, asked="page", filename="", decided=""),
            make_row(second=4, filename=TWO, decided="version=2.0&verdict=block&rule=r9", status="403"),
        ],
    )
    return api


def items(api: Api, path: str, **query: str) -> list[dict[str, Any]]:
    response = api.get(path, role=Role.READER, query_string=query)
    assert response.status_code == 200, response.get_data(as_text=True)
    found: list[dict[str, Any]] = response.get_json()["items"]
    return found


def test_list(used: Api) -> None:
    """Records have the fields that DESIGN names, newest first; files only unless a kind is asked for."""
    found = items(used, "/usage")
    assert [one["filename"] for one in found] == [TWO, TWO, TWO, ONE]
    assert found[-1] == {
        "at": "2026-11-22T12:00:00Z",
        "kind": "file",
        "client": "192.0.2.7",
        "user": None,
        "installer": {"name": "pip", "version": "26.3", "python": "3.11.7", "system": "Linux", "ci": True},
        "repository": "default",
        "project": "demo",
        "version": "1.0",
        "filename": ONE,
        "sha256": "ab" * 32,
        "verdict": "allow",
        "rule": None,
        "status": 200,
        "bytes": 1000,
        "cache": "HIT",
    }
    assert [one["kind"] for one in items(used, "/usage", kind="page")] == ["page"]
    assert len(items(used, "/usage", kind="all")) == 5


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"project": "Demo"}, 4),
        ({"project": "other"}, 0),
        ({"version": "2"}, 3),
        ({"version": "2.0"}, 3),
        ({"version": "2.0+cpu"}, 0),
        ({"filename": ONE}, 1),
        ({"client": "192.0.2.8"}, 1),
        ({"client": "::ffff:192.0.2.8"}, 1),
        ({"user": "nobody"}, 0),
        ({"verdict": "block"}, 1),
        ({"since": "2026-11-22T12:00:02Z"}, 2),
        ({"until": "2026-11-22T12:00:02Z"}, 2),
    ],
)
def test_filters(used: Api, query: dict[str, str], count: int) -> None:
    """Each filter of DESIGN holds."""
    assert len(items(used, "/usage", **query)) == count


def test_wrong_queries(used: Api) -> None:
    """Queries that mean nothing are refused, by field."""
    for path, query, field in (
        ("/usage", {"kind": "files"}, "kind"),
        ("/usage", {"since": "yesterday"}, "since"),
        ("/usage", {"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ("/usage/counts", {"until": "9999-12-31T23:59:59-14:00"}, "until"),
        ("/usage", {"project": "no name"}, "project"),
        ("/usage", {"verdict": "maybe"}, "verdict"),
        ("/usage", {"cursor": "forged"}, "cursor"),
        ("/usage", {"cursor": encode_cursor("usage", '["\\ud800"]')}, "cursor"),
        ("/usage/counts", {"cursor": encode_cursor("usage-counts", "[-1, 0]")}, "cursor"),
        ("/usage", {"format": "xml"}, "format"),
        ("/usage/counts", {"by": "colour"}, "by"),
        ("/usage/counts", {"by": ""}, "by"),
        ("/usage/counts", {"by": "client, client"}, "by"),
    ):
        assert list(faults(used.get(path, query_string=query))) == [field]


def test_pages(used: Api) -> None:
    """A listing goes on by its cursor."""
    response = used.get("/usage?limit=3")
    cursor = response.get_json()["next"]
    rest = used.get("/usage", query_string={"limit": 3, "cursor": cursor}).get_json()
    assert ([one["filename"] for one in rest["items"]], rest["next"]) == ([ONE], None)


@pytest.mark.parametrize("by_accept", [True, False])
def test_exports(used: Api, by_accept: bool) -> None:
    """The same comes whole as lines of JSON and as CSV, by Accept or by format."""

    def export(form: str, media_type: str) -> str:
        options: dict[str, Any] = (
            {"headers": {"Accept": media_type}} if by_accept else {"query_string": {"format": form}}
        )
        response = used.get("/usage?limit=1" if by_accept else "/usage", **options)
        assert response.content_type.partition(";")[0] == media_type
        return str(response.get_data(as_text=True))

    lines = [json.loads(line) for line in export("ndjson", "application/x-ndjson").splitlines()]
    assert [line["filename"] for line in lines] == [TWO, TWO, TWO, ONE]
    rows = list(csv.DictReader(io.StringIO(export("csv", "text/csv"))))
    assert [row["filename"] for row in rows] == [TWO, TWO, TWO, ONE]


def test_counts(used: Api) -> None:
    """Counts by fields of the record, most first."""
    assert [(one["group"], one["count"]) for one in items(used, "/usage/counts")] == [
        ({"project": "demo"}, 4)
    ]
    by_client = items(used, "/usage/counts", by="client, verdict", project="demo")
    assert [(one["group"], one["count"], one["clients"]) for one in by_client] == [
        ({"client": "192.0.2.7", "verdict": "allow"}, 2, 1),
        ({"client": "192.0.2.7", "verdict": "block"}, 1, 1),
        ({"client": "192.0.2.8", "verdict": "allow"}, 1, 1),
    ]


def test_exposure(used: Api) -> None:
    """A rule's exposure: each client and file, first, last, how often."""
    rule = used.add_rule("block", versions="==2.0")
    found = items(used, f"/rules/{rule['id']}/exposure")
    assert [(one["client"], one["filename"], one["count"]) for one in found] == [
        ("192.0.2.7", TWO, 1),
        ("192.0.2.8", TWO, 1),
    ]
    assert found[0]["first_at"] == found[0]["last_at"] == "2026-11-22T12:00:02Z"
    used.add_rule("allow", filename=TWO)
    assert items(used, f"/rules/{rule['id']}/exposure") == []
    assert used.get("/rules/r999/exposure").status_code == 404


def test_exposure_export(used: Api) -> None:
    """Exposure can be had whole, as lines of JSON and as CSV."""
    rule = used.add_rule("block")
    text = used.get(f"/rules/{rule['id']}/exposure?format=csv").get_data(as_text=True)
    assert [row["client"] for row in csv.DictReader(io.StringIO(text))] == [
        "192.0.2.7",
        "192.0.2.7",
        "192.0.2.8",
    ]
    lines = used.get(f"/rules/{rule['id']}/exposure?format=ndjson").get_data(as_text=True).splitlines()
    assert len(lines) == 3


def test_dry_run_of_a_block(used: Api) -> None:
    """A dry run says what would have been refused in the last 30 days, to how many."""
    used.public.publish("demo", ONE, TWO)
    body = {"action": "block", "project": "demo", "versions": "==2.0", "reason": "bad"}
    effects = used.post("/rules?dry_run=true", json=body).get_json()["effects"]
    (effect,) = effects["usage"]
    assert (effect["filename"], effect["before"], effect["after"]) == (TWO, "allow", "block")
    assert (effect["requests"], effect["clients"], effect["rules"]) == (2, 2, ["dry-run"])
    assert effects["usage_total"] == {"since": "2026-10-23T12:00:00Z", "downloads": 2, "clients": 2}
    used.clock.pass_(days=31)
    later = used.post("/rules?dry_run=true", json=body).get_json()["effects"]
    assert (later["usage"], later["usage_total"]["downloads"]) == ([], 0)


def test_dry_run_of_a_waiver(used: Api) -> None:
    """A dry run of a waiver says which refused requests it would have let through."""
    used.public.publish("demo", ONE, TWO)
    used.add_rule("block", versions="==2.0")
    body = {"action": "allow", "project": "demo", "reason": "read"}
    effects = used.post("/rules?dry_run=true", json=body).get_json()["effects"]
    (effect,) = effects["usage"]
    assert (effect["before"], effect["after"], effect["requests"]) == ("block", "allow", 1)
    assert effects["usage_total"]["downloads"] == 0


def test_dry_run_of_a_feed(used: Api) -> None:
    """A ruleset's dry run says the same of all its rules."""
    used.public.publish("demo", ONE, TWO)
    rules = [{"action": "block", "project": "demo", "versions": f"=={n}.0", "reason": "bad"} for n in (1, 2)]
    answer = used.put("/rulesets/feed?dry_run=true", json={"rules": rules}).get_json()
    assert answer["effects"]["usage_total"]["downloads"] == 3
    assert sorted(one["filename"] for one in answer["effects"]["usage"]) == [ONE, TWO]


def test_dry_run_of_a_pattern(used: Api) -> None:
    """A pattern's dry run looks at the pages of public projects, too, that somebody used lately."""
    used.public.publish("demo", ONE)
    used.public.publish("demon", "demon-1.0.tar.gz")
    body = {"action": "block", "project": "d*", "repositories": ["default"], "reason": "bad"}
    effects = used.post("/rules?dry_run=true", json=body).get_json()["effects"]
    assert [one["filename"] for one in effects["files"]] == [ONE]
    assert effects["truncated"] is True


def test_records_away(used: Api, tmp_path: Path) -> None:
    """Where the records cannot be read, questions about them are 503, and a dry run says what is missing."""
    database = tmp_path / "usage" / "recent.sqlite"
    database.with_name("recent.sqlite-wal").unlink(missing_ok=True)
    database.write_bytes(b"no database, and no secret path")
    for path in ("/usage", "/usage?format=csv", "/usage/counts"):
        response = used.get(path)
        assert response.status_code == 503
        assert "secret" not in response.get_data(as_text=True)
        assert str(tmp_path) not in response.get_data(as_text=True)
    used.public.publish("demo", ONE)
    body = {"action": "block", "project": "demo", "reason": "bad"}
    effects = used.post("/rules?dry_run=true", json=body).get_json()["effects"]
    assert (effects["usage"], effects["usage_total"], effects["truncated"]) == ([], None, True)
    assert [one["detail"] for one in effects["unanswered"] if one["project"] is None] == [
        "the records of usage cannot be read"
    ]
