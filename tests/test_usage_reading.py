"""Questions about usage: filters, pages, counts, exports, and who has what rules refuse."""

import csv
import io
import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from decider.decision import Verdict
from decider.errors import InvalidRequest, UsageUnavailable
from decider.files import ANY_DIGEST, FileIdentity
from decider.rules import Rule, Snapshot
from decider.settings import Settings
from decider.store.cursors import encode_cursor
from decider.usage import engine
from decider.usage.answers import Exposure, SeenFile
from decider.usage.exporting import csv_lines, json_lines
from decider.usage.exposure import SeenJudge
from decider.usage.filters import UsageFilter, rule_condition
from decider.usage.keeping import Keeper
from decider.usage.reading import Usage
from decider.usage.records import Installer, Kind, UsageRecord
from decider.usage.staging import DATABASE
from tests.samples import make_rule
from tests.usage_samples import AT, UV, judge, make_row, settings_of, stage

ONE, TWO = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"
SECOND = "version=2.0&sha256=" + "cd" * 32 + "&verdict=allow&index=public&uploaded=2026-11-20T00:00:00Z"
BLOCKED = "version=2.0&sha256=" + "cd" * 32 + "&verdict=block&rule=r7&index=public"


def make_world(tmp_path: Path, *, sealed: int) -> Settings:
    """A few records, the first so many of them in columnar files."""
    settings = settings_of(tmp_path)
    rows = [
        make_row(second=0),
        make_row(second=1, filename=TWO, decided=SECOND, client="192.0.2.8", agent=UV),
        make_row(second=2, filename=TWO, decided=SECOND, bytes=50),
        make_row(second=3, filename=TWO, decided=BLOCKED, status="403", cache=""),
        make_row(second=4, asked="page", filename="", decided=""),
        make_row(second=5, filename=TWO + ".metadata", decided="kind=metadata&" + SECOND),
        make_row(
            second=6,
            project="other",
            filename="other-1.tar.gz",
            decided="version=1&verdict=yank&rule=r2",
            user="ann",
        ),
        make_row(second=7, filename=TWO, decided=SECOND, method="HEAD", bytes=0),
    ]
    if sealed:
        stage(tmp_path, rows[:sealed])
        Keeper(tmp_path / "usage", tmp_path / "usage", retention_days=365, max_size=2**40).keep(AT)
    stage(tmp_path, rows[sealed:])
    return settings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Records of which columnar files have one half; tests leave them as they are."""
    return make_world(tmp_path_factory.mktemp("world"), sealed=4)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The same, for a test of its own."""
    return make_world(tmp_path, sealed=4)


@pytest.mark.parametrize("sealed", [0, 8])
def test_wherever_records_are(tmp_path: Path, sealed: int) -> None:
    """Recent and sealed records are told alike."""
    settings = make_world(tmp_path, sealed=sealed)
    usage = Usage(settings)
    assert seconds(usage.records(UsageFilter(kind=None)).items) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert seconds(usage.records(UsageFilter(version="2.0", client="192.0.2.7", taken=True)).items) == [2]
    assert [(one.group, one.count) for one in usage.counts(UsageFilter(), ["client"]).items] == [
        ({"client": "192.0.2.7"}, 5),
        ({"client": "192.0.2.8"}, 1),
    ]
    assert exposed(settings, make_rule(1, "block", "demo")) == EVERYBODY


def seconds(records: tuple[UsageRecord, ...]) -> list[int]:
    return [int((record.at - AT).total_seconds()) for record in records]


def test_record(world: Settings) -> None:
    """A record tells what was asked for, by whom, what was answered and why."""
    (record,) = Usage(world).records(UsageFilter(client="192.0.2.8")).items
    assert record == UsageRecord(
        at=AT + timedelta(seconds=1),
        kind=Kind.FILE,
        client="192.0.2.8",
        user=None,
        installer=Installer(name="uv", version="0.13.9", python="3.12.1", system="Darwin", ci=None),
        repository="default",
        project="demo",
        version="2.0",
        filename=TWO,
        sha256="cd" * 32,
        verdict=record.verdict,
        rule=None,
        status=200,
        bytes=1000,
        cache="HIT",
    )
    assert record.verdict == "allow"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (UsageFilter(), [7, 6, 3, 2, 1, 0]),
        (UsageFilter(kind=None), [7, 6, 5, 4, 3, 2, 1, 0]),
        (UsageFilter(kind=Kind.PAGE), [4]),
        (UsageFilter(kind=Kind.METADATA), [5]),
        (UsageFilter(project="other"), [6]),
        (UsageFilter(version="2.0"), [7, 3, 2, 1]),
        (UsageFilter(version="v2.0.0-0"), []),
        (UsageFilter(version="02.0"), [7, 3, 2, 1]),
        (UsageFilter(version="2"), [7, 3, 2, 1]),
        (UsageFilter(version="1.0.0"), [6, 0]),
        (UsageFilter(version="1.0+cpu"), []),
        (UsageFilter(filename=ONE), [0]),
        (UsageFilter(client="192.0.2.8"), [1]),
        (UsageFilter(client="::ffff:192.0.2.8"), [1]),
        (UsageFilter(user="ann"), [6]),
        (UsageFilter(verdict=Verdict.BLOCK), [3]),
        (UsageFilter(taken=True), [6, 2, 1, 0]),
        (UsageFilter(since=AT + timedelta(seconds=2), until=AT + timedelta(seconds=6)), [3, 2]),
        (UsageFilter(since=AT + timedelta(days=1)), []),
        (UsageFilter(project="'; DROP TABLE records; --"), []),
    ],
)
def test_filters(world: Settings, wanted: UsageFilter, expected: list[int]) -> None:
    """Each filter names the records that are meant; all of them have to hold."""
    assert seconds(Usage(world).records(wanted).items) == expected


def test_pages(settings: Settings) -> None:
    """A listing goes on where it left off, whatever is recorded or sealed meanwhile."""
    usage = Usage(settings)
    first = usage.records(UsageFilter(kind=None), limit=3)
    stage(Path(settings.data_dir), [make_row(second=100)], head="more")
    second = usage.records(UsageFilter(kind=None), limit=3, cursor=first.next)
    third = usage.records(UsageFilter(kind=None), limit=3, cursor=second.next)
    assert [seconds(page.items) for page in (first, second, third)] == [[7, 6, 5], [4, 3, 2], [1, 0]]
    assert third.next is None


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é"])
def test_forged_cursors(world: Settings, cursor: str) -> None:
    """A cursor that is none of ours is refused."""
    usage = Usage(world)
    with pytest.raises(InvalidRequest, match="cursor"):
        usage.records(UsageFilter(), cursor=cursor)
    of_counts = usage.counts(UsageFilter(kind=None), ["filename"], limit=1).next
    assert of_counts is not None
    with pytest.raises(InvalidRequest, match="cursor"):
        usage.records(UsageFilter(), cursor=of_counts)


HUGE = 10**30


@pytest.mark.parametrize("key", ["", "null", "[]", "{}", "[0]", "[0,0", '["\\ud800"]', "[" * 10_000, "NaN"])
@pytest.mark.parametrize("listing", ["usage", "usage-counts", "exposure"])
def test_forged_cursors_of_the_wrong_shape(world: Settings, listing: str, key: str) -> None:
    """A cursor that is well made, of something that no listing gives, is refused."""
    with pytest.raises(InvalidRequest, match="cursor: is not one that this listing gave"):
        ask(world, listing, key)


@pytest.mark.parametrize(
    ("listing", "key"),
    [
        ("usage", [-1, 1, "a"]),
        ("usage", [1, -1, "a"]),
        ("usage", [HUGE, 1, "a"]),
        ("usage", [1, HUGE, "a"]),
        ("usage", [1, 1.5, "a"]),
        ("usage", [1, 1, None]),
        ("usage", [1, 1, "a", "a"]),
        ("usage-counts", [-1, 1]),
        ("usage-counts", [1, -1]),
        ("usage-counts", [HUGE, 1]),
        ("usage-counts", [1, HUGE]),
        ("usage-counts", [1, 2**62]),
        ("exposure", ["a"] * 5 + [1]),
        ("exposure", ["a"] * 7),
    ],
)
def test_forged_cursors_of_what_cannot_be(world: Settings, listing: str, key: list[Any]) -> None:
    """So is one of a moment, a number or a place that cannot be."""
    with pytest.raises(InvalidRequest, match="cursor: is not one that this listing gave"):
        ask(world, listing, json.dumps(key))


LAST = 253_402_300_799_999_999  #: microsecond of year 9999


@pytest.mark.parametrize(
    ("listing", "key"),
    [
        ("usage", [0, 0, ""]),
        ("usage-counts", [0, 0]),
        ("usage-counts", [LAST, LAST]),
        ("exposure", ["\U0010ffff", "\0", "", "", "", ""]),
    ],
)
def test_forged_cursors_of_what_could_be(world: Settings, listing: str, key: list[Any]) -> None:
    """One that could be is taken: it skips records, and does no harm."""
    assert ask(world, listing, json.dumps(key)) == ()
    last = json.dumps([LAST, LAST, "\U0010ffff"])
    assert len(ask(world, "usage", last)) == 6


def ask(settings: Settings, listing: str, key: str) -> tuple[object, ...]:
    """What a listing says behind a cursor of that key."""
    usage, cursor = Usage(settings), encode_cursor(listing, key)
    if listing == "usage":
        return usage.records(UsageFilter(), cursor=cursor).items
    if listing == "usage-counts":
        return usage.counts(UsageFilter(), ["project"], cursor=cursor).items
    return usage.exposure(["*"], lambda _: True, cursor=cursor).items


def test_counts(world: Settings) -> None:
    """Counts by some fields come most first, with clients, bytes and times, page by page."""
    usage = Usage(world)
    by_file = usage.counts(UsageFilter(project="demo", taken=True), ["version", "filename"])
    assert [(one.group, one.count, one.clients, one.bytes) for one in by_file.items] == [
        ({"version": "2.0", "filename": TWO}, 2, 2, 1050),
        ({"version": "1.0", "filename": ONE}, 1, 1, 1000),
    ]
    assert by_file.items[0].first_at == AT + timedelta(seconds=1)
    assert by_file.items[0].last_at == AT + timedelta(seconds=2)
    pages = [usage.counts(UsageFilter(kind=None), ["status"], limit=1)]
    while (cursor := pages[-1].next) is not None:
        pages.append(usage.counts(UsageFilter(kind=None), ["status"], limit=1, cursor=cursor))
    assert [(one.group["status"], one.count) for page in pages for one in page.items] == [(200, 7), (403, 1)]
    by_day = usage.counts(UsageFilter(kind=None), ["day", "ci"]).items
    assert [(one.group, one.count) for one in by_day] == [
        ({"day": "2026-11-22", "ci": True}, 7),
        ({"day": "2026-11-22", "ci": None}, 1),
    ]


@pytest.mark.parametrize("until", [None, AT + timedelta(days=3), AT + timedelta(seconds=40)])
@pytest.mark.parametrize("sealed", [False, True])
def test_pages_of_counts(tmp_path: Path, until: datetime | None, sealed: bool) -> None:
    """Pages of counts tell each group once, however much of some groups is recorded between two pages."""
    settings = settings_of(tmp_path)
    names = ["a", "b", "c", "d"]
    stage(tmp_path, [make_row(second=n, project=name) for n, name in enumerate("aaaabbbccd")])
    usage, wanted = Usage(settings), UsageFilter(until=until)
    pages = [usage.counts(wanted, ["project"], limit=1)]
    while (cursor := pages[-1].next) is not None:
        # What comes meanwhile makes each of the last two the first one in turn.
        grown = [make_row(second=20 + len(pages), project="dc"[len(pages) % 2])] * 10
        stage(tmp_path, grown, head=str(len(pages)))
        if sealed:
            Keeper(tmp_path / "usage", tmp_path / "usage", retention_days=365, max_size=2**40).keep(AT)
        pages.append(usage.counts(wanted, ["project"], limit=1, cursor=cursor))
    assert [(one.group["project"], one.count) for page in pages for one in page.items] == list(
        zip(names, [4, 3, 2, 1], strict=True)
    )
    assert usage.counts(wanted, ["project"], limit=1).items[0].count > 4


def test_pages_of_counts_of_any_time(tmp_path: Path) -> None:
    """What a node with a wrong clock records is counted on every page, and an earlier end holds on each."""
    rows = [make_row(second=n * 10**9, project=name) for n, name in enumerate("aab")]
    stage(tmp_path, rows)
    usage = Usage(settings_of(tmp_path))
    first = usage.counts(UsageFilter(), ["project"], limit=1)
    (rest,) = usage.counts(UsageFilter(), ["project"], limit=1, cursor=first.next).items
    assert (rest.group["project"], rest.last_at) == ("b", AT + timedelta(seconds=2 * 10**9))
    before = UsageFilter(until=rest.last_at)
    assert usage.counts(before, ["project"], limit=1, cursor=first.next).items == ()


@pytest.mark.parametrize(
    "by", [[], ["unheard of"], ["project", 'x"; --'], ["client", "client"], ["client", "day"] * 150]
)
def test_counts_by_what_is_not_there(world: Settings, by: list[str]) -> None:
    """Counting by a field that records do not have, or by one twice, is refused, and names those that they have."""
    with pytest.raises(InvalidRequest, match=r"project, version.* each once"):
        Usage(world).counts(UsageFilter(), by)


def test_export(world: Settings) -> None:
    """Exports hold every record, as lines of JSON and as CSV."""
    usage = Usage(world)
    lines = [json.loads(line) for line in json_lines(usage.export(UsageFilter(kind=None)))]
    assert [line["at"] for line in lines][-1] == "2026-11-22T12:00:00Z"
    assert len(lines) == 8
    text = b"".join(csv_lines(usage.export(UsageFilter(client="192.0.2.8")), UsageRecord)).decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["client"], row["installer_name"], row["installer_ci"]) == ("192.0.2.8", "uv", "")
    assert (row["filename"], row["status"]) == (TWO, "200")


def test_csv_holds_no_formula(tmp_path: Path) -> None:
    """A cell that a spreadsheet would take for a formula is marked as text."""
    settings = settings_of(tmp_path)
    stage(tmp_path, [make_row(filename="=1+1", agent="+a/1")])
    text = b"".join(csv_lines(Usage(settings).export(UsageFilter()), UsageRecord)).decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["filename"], row["installer_name"]) == ("'=1+1", "'+a")


def test_nothing_recorded(tmp_path: Path) -> None:
    """Before anything was recorded every answer is empty."""
    usage = Usage(settings_of(tmp_path))
    assert usage.records(UsageFilter()).items == ()
    assert usage.counts(UsageFilter(), ["project"]).items == ()
    assert list(usage.export(UsageFilter())) == []
    assert usage.exposure(["*"], lambda _: True).items == ()
    assert usage.changes(["*"], lambda _: True, since=AT)[0] == []


def test_records_are_being_made(tmp_path: Path) -> None:
    """While a collector makes its database for the first time there are no records, and no failure."""
    settings = settings_of(tmp_path)
    (tmp_path / "usage").mkdir()
    for statements in ("", "CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL)"):
        with closing(sqlite3.connect(tmp_path / "usage" / DATABASE)) as database:
            database.executescript(statements)
        assert Usage(settings).records(UsageFilter()).items == ()
    stage(tmp_path, [make_row()])
    assert len(Usage(settings).records(UsageFilter()).items) == 1


def test_too_slow(world: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that takes too long is ended and told."""
    monkeypatch.setattr(engine, "_AT_ONCE", threading.BoundedSemaphore(1))
    with (
        engine.open_engine([], None, node="", temporary=Path(world.data_dir), within_s=1) as one,
        pytest.raises(UsageUnavailable, match="took too long"),
    ):
        one.run("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = -1")
    assert Usage(world).records(UsageFilter()).items


def test_killed_amid_an_answer() -> None:
    """A query process that dies while it writes is told as a failed query, not read as an answer."""
    cut = engine.Engine(
        io.BytesIO(), io.BytesIO(b'{"rows":[[1]],"fault":null,"done":false}\n{"rows":[[2],[3')
    )
    with pytest.raises(UsageUnavailable, match="it ended"):
        cut.run("SELECT 1")


# Exposure


def exposed(settings: Settings, rule: Rule, *others: Rule, **options: Any) -> list[tuple[str, str, int]]:
    """Client, file, how often."""
    is_meant = judge().refused_by(rule, Snapshot(1, [rule, *others]))
    among = rule_condition(rule, at=AT)
    found = Usage(settings).export_exposure([rule.project], is_meant, among=among, **options)
    return [(one.client, one.filename, one.count) for one in found]


EVERYBODY = [("192.0.2.7", ONE, 1), ("192.0.2.7", TWO, 1), ("192.0.2.8", TWO, 1)]
WITH_TWO = EVERYBODY[1:]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, EVERYBODY),
        ({"project": "demo"}, EVERYBODY),
        ({"project": "de*"}, EVERYBODY),
        ({"project": "demo-*"}, EVERYBODY),
        ({"project": "demolition"}, []),
        ({"project": "*", "sha256": "cd" * 32}, WITH_TWO),
        ({"versions": ">=2"}, WITH_TWO),
        ({"filename": "demo-1.*"}, EVERYBODY[:1]),
        ({"file_type": "sdist"}, []),
        ({"index": "public"}, EVERYBODY),
        ({"index": "internal"}, []),
        ({"repositories": ("default",)}, EVERYBODY),
        ({"repositories": ("other",)}, []),
        ({"uploaded_after": AT - timedelta(days=5)}, WITH_TWO),
        ({"younger_than": "7d"}, WITH_TWO),
        ({"attested": False}, EVERYBODY),
        ({"expires_at": AT}, []),
    ],
)
def test_exposure(world: Settings, fields: dict[str, Any], expected: list[tuple[str, str, int]]) -> None:
    """Who took what a rule refuses, by each of its conditions; refused requests, HEAD, metadata expose nobody."""
    fields = {"project": "demo", **fields}
    assert exposed(world, make_rule(1, "block", **fields)) == expected


@pytest.mark.parametrize("action", ["allow", "yank", "own"])
def test_exposure_to_what_refuses_nothing(world: Settings, action: str) -> None:
    """Rules that refuse nothing expose nobody."""
    fields = {"index": "public"} if action == "own" else {}
    assert exposed(world, make_rule(1, action, "demo", **fields)) == []


def test_exposure_with_waivers(world: Settings) -> None:
    """What a waiver lifts is not refused, so it exposes nobody; what other rules refuse is another rule's exposure."""
    rule = make_rule(1, "block", "demo")
    waiver = make_rule(2, "allow", "demo", versions="==2.0")
    assert exposed(world, rule, waiver, make_rule(3, "block", "other")) == EVERYBODY[:1]


def test_exposure_tells_when(settings: Settings) -> None:
    """Exposure tells each client and file once: first, last, how often, and the last request."""
    stage(
        Path(settings.data_dir),
        [make_row(second=60, filename=TWO, decided=SECOND, status="304")],
        head="more",
    )
    rule = make_rule(1, "block", "demo", versions="==2.0")
    is_meant = judge().refused_by(rule, Snapshot(1, [rule]))
    page = Usage(settings).exposure(["demo"], is_meant, limit=1)
    (found,) = page.items
    assert isinstance(found, Exposure)
    assert (found.client, found.count, found.status) == ("192.0.2.7", 2, 304)
    assert (found.first_at, found.last_at) == (AT + timedelta(seconds=2), AT + timedelta(seconds=60))
    assert found.installer is not None
    assert found.installer.name == "pip"
    rest = Usage(settings).exposure(["demo"], is_meant, limit=1, cursor=page.next)
    assert ([one.client for one in rest.items], rest.next) == (["192.0.2.8"], None)
    assert tuple(Usage(settings).export_exposure(["demo"], is_meant)) == page.items + rest.items
    assert exposed(settings, rule, since=AT + timedelta(seconds=30)) == [("192.0.2.7", TWO, 1)]


def test_newly_refused(world: Settings) -> None:
    """Of a change of rules, what it begins to refuse is told: not what was refused before."""
    old = make_rule(1, "block", "demo", versions="==1.0")
    new = make_rule(2, "block", "demo")
    meant = judge().newly_refused(Snapshot(1, [old]), Snapshot(2, [old, new]))
    found = Usage(world).exposure(["demo"], meant).items
    assert [(one.client, one.filename, one.count) for one in found] == WITH_TWO


@pytest.mark.parametrize("sealed", [0, 3])
def test_exposure_to_a_file_that_has_moved(tmp_path: Path, sealed: int) -> None:
    """A file that came from one index and comes from another now, or is dated anew, is judged as each client got it."""
    settings = settings_of(tmp_path)
    decided = "version=1.0&verdict=allow&index={}&uploaded={}"
    rows = [
        make_row(second=0, client="192.0.2.1", decided=decided.format("public", "2026-11-21T00:00:00Z")),
        make_row(second=1, client="192.0.2.2", decided=decided.format("internal", "2026-11-01T00:00:00Z")),
        make_row(second=2, client="192.0.2.1", decided=decided.format("internal", "2026-11-01T00:00:00Z")),
        make_row(second=3, client="192.0.2.3", decided=decided.format("public", "2026-11-01T00:00:00Z")),
    ]
    if sealed:
        stage(tmp_path, rows[:sealed])
        Keeper(tmp_path / "usage", tmp_path / "usage", retention_days=365, max_size=2**40).keep(AT)
    stage(tmp_path, rows[sealed:])
    public = [("192.0.2.1", ONE, 1), ("192.0.2.3", ONE, 1)]
    internal = [("192.0.2.1", ONE, 1), ("192.0.2.2", ONE, 1)]
    assert exposed(settings, make_rule(1, "block", "demo", index="public")) == public
    assert exposed(settings, make_rule(1, "block", "demo", index="internal")) == internal
    assert exposed(settings, make_rule(1, "block", "demo", younger_than="7d")) == public[:1]
    assert exposed(settings, make_rule(1, "block", "demo")) == [
        ("192.0.2.1", ONE, 2),
        ("192.0.2.2", ONE, 1),
        ("192.0.2.3", ONE, 1),
    ]
    rule = make_rule(1, "block", "demo", index="public")
    meant = judge().newly_refused(Snapshot(0, []), Snapshot(1, [rule]))
    _, total = Usage(settings).changes(["demo"], meant, since=AT)
    assert (total.downloads, total.clients) == (2, 2)


def test_exposure_to_a_file_without_date(tmp_path: Path) -> None:
    """A file that its index does not date is as old as decisions say: since decider first saw it, else it is new."""
    settings = settings_of(tmp_path)
    stage(tmp_path, [make_row(decided="version=1.0&verdict=allow&index=public")])
    rule = make_rule(1, "block", "demo", younger_than="7d")
    old, young = AT - timedelta(days=8), AT - timedelta(days=6)
    one, two = FileIdentity(ONE, ""), FileIdentity(TWO, "")
    for first_seen, count in (({one: old}, 0), ({one: young}, 1), ({}, 1), ({two: old}, 1)):
        meant = judge(first_seen).refused_by(rule, Snapshot(1, [rule]))
        found = Usage(settings).exposure(["demo"], meant, among=rule_condition(rule, at=AT)).items
        assert len(found) == count, first_seen
    # It had come of age when somebody took it; so a block is news.
    block = make_rule(2, "block", "demo")
    before, after = Snapshot(1, [rule]), Snapshot(2, [rule, block])
    for first_seen, count in (({one: old}, 1), ({one: young}, 0)):
        meant = judge(first_seen).newly_refused(before, after)
        assert len(Usage(settings).exposure(["demo"], meant).items) == count, first_seen


@pytest.mark.parametrize(
    ("sha256", "sights", "count"),
    [
        ("ab", {"sha256:ab": 8}, 0),
        ("ab", {"sha256:ab": 6}, 1),
        ("ab", {"sha256:ab": 6, "sha256:cd": 8, "": 8}, 1),
        ("ab", {"sha256:cd": 8, "": 8}, 1),
        ("ab", {ANY_DIGEST: 8}, 0),
        ("ab", {ANY_DIGEST: 6}, 1),
        (None, {"": 8}, 0),
        (None, {"": 6}, 1),
        (None, {"sha256:ab": 8}, 1),
        (None, {"md5:ab": 8, "sha512:cd": 6}, 1),
        (None, {"md5:ab": 8, "sha512:cd": 9, "sha256:ab": 6}, 0),
        (None, {ANY_DIGEST: 8}, 0),
    ],
)
def test_exposure_to_another_upload(
    tmp_path: Path, sha256: str | None, sights: dict[str, int], count: int
) -> None:
    """A file without date is as old as the bytes that the client got, not as others of its name; of unknown ones the
    youngest count.
    """
    settings = settings_of(tmp_path)
    said = "" if sha256 is None else f"&sha256={sha256}"
    stage(tmp_path, [make_row(decided=f"version=1.0&verdict=allow&index=public{said}")])
    rule = make_rule(1, "block", "demo", younger_than="7d")
    meant = judge(
        {FileIdentity(ONE, digest): AT - timedelta(days=days) for digest, days in sights.items()}
    ).refused_by(rule, Snapshot(1, [rule]))
    found = Usage(settings).exposure(["demo"], meant, among=rule_condition(rule, at=AT)).items
    assert len(found) == count


def test_age_is_asked_where_it_matters(tmp_path: Path) -> None:
    """The store is asked for first-seen times once for a project, and not where no rule or file needs them."""
    settings = settings_of(tmp_path)
    undated = "verdict=allow&index=public&version="
    rows = [make_row(filename=name, decided=f"{undated}{name[5]}.0") for name in (ONE, TWO)]
    stage(tmp_path, [*rows, make_row(project="other", filename="other-1.tar.gz")])
    asked: list[tuple[str, str]] = []

    def first_seen_of(index: str, project: str) -> dict[FileIdentity, datetime]:
        asked.append((index, project))
        return {}

    for fields in ({"versions": "<9"}, {"younger_than": "7d"}):
        rule = make_rule(1, "block", "*", **fields)
        meant = SeenJudge(at=AT, first_seen_of=first_seen_of).refused_by(rule, Snapshot(1, [rule]))
        Usage(settings).exposure(["*"], meant)
    assert asked == [("public", "demo")]


def test_changes(world: Settings) -> None:
    """Files that were asked for are told served and refused apart, with the total of downloads."""

    def of(is_meant: Callable[[SeenFile], bool]) -> tuple[list[tuple[str, bool, int, int]], tuple[int, int]]:
        files, total = Usage(world).changes(["demo", "oth*"], is_meant, since=AT)
        return [(one.filename, one.taken, one.requests, one.clients) for one in files], (
            total.downloads,
            total.clients,
        )

    files, total = of(lambda _: True)
    assert sorted(files) == [
        (ONE, True, 1, 1),
        (TWO, False, 1, 1),
        (TWO, True, 2, 2),
        ("other-1.tar.gz", True, 1, 1),
    ]
    assert total == (4, 2)
    assert of(lambda file: not file.taken) == ([(TWO, False, 1, 1)], (0, 0))


def test_many_patterns(world: Settings) -> None:
    """A feed of thousands of names is asked about at once."""
    rules = [make_rule(number, "block", f"bad-{number}") for number in range(2, 1_000)]
    rule = make_rule(1, "block", "demo", versions="==1.0")
    snapshot = Snapshot(1, [rule, *rules])
    meant = judge().newly_refused(Snapshot(0, []), snapshot)
    found = Usage(world).exposure([one.project for one in (rule, *rules)], meant).items
    assert [one.filename for one in found] == [ONE]
