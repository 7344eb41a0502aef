"""What becomes of records: sealed, merged, expired, erased; and none of it half."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decider.errors import UsageUnavailable
from decider.settings import Settings
from decider.usage import keeping
from decider.usage.filters import UsageFilter
from decider.usage.keeping import Keeper
from decider.usage.parts import Part, list_parts, locked
from decider.usage.reading import Usage
from decider.usage.staging import Staging
from tests.usage_samples import AT, make_row, seconds, settings_of, stage, staged

DAY = timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


def folder_of(settings: Settings) -> Path:
    return Path(settings.usage.folder or Path(settings.data_dir) / "usage")


def keeper_of(settings: Settings, **options: Any) -> Keeper:
    chosen = {"retention_days": 365, "max_size": 2**40, **options}
    return Keeper(Path(settings.data_dir) / "usage", folder_of(settings), **chosen)


def stage_seconds(settings: Settings, *numbers: float, **fields: Any) -> None:
    stage(Path(settings.data_dir), (make_row(second=number, **fields) for number in numbers))


def days(settings: Settings) -> dict[str, int]:
    """Day → how many columnar files there are, leftovers too."""
    found: dict[str, int] = {}
    for path in folder_of(settings).glob("day=*/*.parquet"):
        day = path.parent.name.removeprefix("day=")
        found[day] = found.get(day, 0) + 1
    return found


def test_sealed_by_day(settings: Settings) -> None:
    """Records go to columnar files by the day they were made on, with every field, and leave the recent ones."""
    stage_seconds(settings, 0, 1, 86_400, -86_400)
    before = list(Usage(settings).export(UsageFilter()))
    keeper_of(settings).keep(AT)
    assert days(settings) == {"2026-11-21": 1, "2026-11-22": 1, "2026-11-23": 1}
    assert staged(settings) == 0
    assert list(Usage(settings).export(UsageFilter())) == before
    assert [path.stat().st_mode & 0o077 for path in folder_of(settings).rglob("*.parquet")] == [0, 0, 0]


def test_nothing_to_seal(settings: Settings) -> None:
    """Without records there are no files."""
    stage_seconds(settings)
    keeper_of(settings).keep(AT)
    assert days(settings) == {}


def test_many_records_in_several_files(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file takes only so many records; a day has as many as it needs."""
    monkeypatch.setattr(keeping, "MAX_ROWS", 2)
    stage_seconds(settings, *range(5))
    keeper_of(settings).keep(AT)
    assert days(settings) == {"2026-11-22": 3}
    assert seconds(settings) == [0, 1, 2, 3, 4]


class Stopped(BaseException):
    """The process is gone."""


@contextmanager
def stopped_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str, *, after: bool) -> Iterator[None]:
    """Inside, the process dies when it calls that function: before it does anything, or right after."""
    real = getattr(module, name)

    def fail(*arguments: Any, **options: Any) -> Any:
        if after:
            real(*arguments, **options)
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(module, name, fail)
        with pytest.raises(Stopped):
            yield


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        (keeping, "_copy", False),
        (keeping, "_copy", True),
        (keeping, "commit_file", False),
        (keeping, "commit_file", True),
        (Staging, "remove", False),
        (Staging, "remove", True),
    ],
)
def test_stopped_while_sealing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, module: object, name: str, after: bool
) -> None:
    """Sealing that was interrupted, wherever, leaves every record counted once, before and after it is done again."""
    stage_seconds(settings, 0, 1, 2)
    with stopped_at(monkeypatch, module, name, after=after):
        keeper_of(settings).keep(AT)
    assert seconds(settings) == [0, 1, 2]
    stage_seconds(settings, 3)
    assert seconds(settings) == [0, 1, 2, 3]
    keeper_of(settings).keep(AT)
    assert seconds(settings) == [0, 1, 2, 3]
    assert staged(settings) == 0


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        (keeping, "_copy", False),
        (keeping, "commit_file", False),
        (keeping, "commit_file", True),
        (Path, "unlink", False),
        (Path, "unlink", True),
    ],
)
def test_stopped_while_merging(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, module: object, name: str, after: bool
) -> None:
    """Merging that was interrupted, wherever, leaves every record counted once."""
    for second in range(3):
        stage_seconds(settings, second)
        keeper_of(settings).keep(AT)
    with stopped_at(monkeypatch, module, name, after=after):
        keeper_of(settings).keep(AT + DAY)
    assert seconds(settings) == [0, 1, 2]
    keeper_of(settings).keep(AT + DAY)
    assert seconds(settings) == [0, 1, 2]
    assert days(settings) == {"2026-11-22": 1}
    assert not list(folder_of(settings).glob(".fresh-*"))


def test_merged_when_the_day_is_over(settings: Settings) -> None:
    """The files of a day become one once it is over; records that come late are kept beside, then with them."""
    for second in (0, 1):
        stage_seconds(settings, second)
        keeper_of(settings).keep(AT)
    assert days(settings) == {"2026-11-22": 2}
    keeper_of(settings).keep(AT + DAY)
    assert days(settings) == {"2026-11-22": 1}
    stage_seconds(settings, 2)
    keeper_of(settings).keep(AT + DAY)
    assert days(settings) == {"2026-11-22": 1}
    assert seconds(settings) == [0, 1, 2]


def test_merged_when_they_are_many(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the present day are merged as well when they become many."""
    monkeypatch.setattr(keeping, "MERGE_AT", 3)
    for second in range(3):
        stage_seconds(settings, second)
        keeper_of(settings).keep(AT)
    assert days(settings) == {"2026-11-22": 1}
    assert seconds(settings) == [0, 1, 2]


def test_readers_are_not_disturbed(settings: Settings) -> None:
    """Files that somebody reads are not removed under them; they go with the next time."""
    for second in (0, 1):
        stage_seconds(settings, second)
        keeper_of(settings).keep(AT)
    with locked(folder_of(settings), exclusive=False):
        keeper_of(settings).keep(AT + DAY)
        assert days(settings) == {"2026-11-22": 3}
        assert len(list_parts(folder_of(settings))) == 1
    assert seconds(settings) == [0, 1]
    keeper_of(settings).keep(AT + DAY)
    assert days(settings) == {"2026-11-22": 1}


def test_what_goes_on_meanwhile_counts_once(settings: Settings) -> None:
    """A question that was begun before sealing sees each record once."""
    stage_seconds(settings, 0, 1, 2)
    keeper_of(settings).keep(AT)
    stage_seconds(settings, 3, 4)
    records = Usage(settings).export(UsageFilter())
    first = next(records)
    keeper_of(settings).keep(AT)
    assert len([first, *records]) == 5


# Retention


def test_retention_by_age(settings: Settings) -> None:
    """Days older than the retention are deleted, their folders too."""
    stage_seconds(settings, 0, -10 * 86_400, -11 * 86_400, -400 * 86_400)
    keeper_of(settings, retention_days=10).keep(AT)
    assert days(settings) == {"2026-11-22": 1, "2026-11-12": 1}
    assert {path.name for path in folder_of(settings).glob("day=*")} == {"day=2026-11-22", "day=2026-11-12"}


def test_retention_while_nothing_is_asked_for(settings: Settings) -> None:
    """Days whose time is over are deleted also when there is nothing to seal; what is recent is left to be sealed."""
    stage_seconds(settings, 0)
    keeper_of(settings).keep(AT)
    stage_seconds(settings, 1)
    keeper_of(settings, retention_days=10).expire(AT + 10 * DAY)
    assert (days(settings), staged(settings)) == ({"2026-11-22": 1}, 1)
    keeper_of(settings, retention_days=10).expire(AT + 11 * DAY)
    assert (days(settings), staged(settings)) == ({}, 1)


def test_retention_makes_room(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days whose time is over are deleted also where there is no room to seal what is new; that is told, and stays."""
    stage_seconds(settings, 0)
    keeper_of(settings).keep(AT)
    stage_seconds(settings, 1)

    def fail(*_: object) -> None:
        raise UsageUnavailable("no space left on device")

    monkeypatch.setattr(keeping, "commit_file", fail)
    with pytest.raises(UsageUnavailable, match="no space"):
        keeper_of(settings, retention_days=10).keep(AT + 11 * DAY)
    assert (days(settings), staged(settings)) == ({}, 1)


def test_retention_by_size(settings: Settings) -> None:
    """The oldest days go first when there is too much; the present day stays."""
    for day in range(4):
        stage_seconds(settings, *(number - day * 86_400 for number in range(3)))
    keeper_of(settings).keep(AT)
    sizes = {path.parent.name: path.stat().st_size for path in folder_of(settings).rglob("*.parquet")}
    keeper_of(settings, max_size=sum(sorted(sizes.values())[-2:]) + 10).keep(AT)
    assert sorted(days(settings)) == ["2026-11-21", "2026-11-22"]
    keeper_of(settings, max_size=1).keep(AT)
    assert sorted(days(settings)) == ["2026-11-22"]


# Erasure


def test_erase_a_client(settings: Settings) -> None:
    """Everything that a client asked for is deleted, sealed or not, and nothing of others; no byte of it is left."""
    for second in (0, 86_400):
        stage_seconds(settings, second, client="192.0.2.77")
        stage_seconds(settings, second + 1, client="192.0.2.78")
        keeper_of(settings).keep(AT)
    stage_seconds(settings, 2, client="192.0.2.77")
    stage_seconds(settings, 3, client="192.0.2.78")
    assert keeper_of(settings).erase(client="192.0.2.77") == 3
    assert seconds(settings) == [1, 3, 86_401]
    stored = b"".join(path.read_bytes() for path in folder_of(settings).rglob("*") if path.is_file())
    assert b"192.0.2.77" not in stored
    assert keeper_of(settings).erase(client="192.0.2.77") == 0
    assert seconds(settings) == [1, 3, 86_401]


@pytest.mark.parametrize("asked", ["198.51.100.8", "::ffff:198.51.100.8", "::ffff:c633:6408"])
def test_erase_an_address_in_any_spelling(settings: Settings, asked: str) -> None:
    """An address is erased however it is spelled, also from older records, which have it as nginx does."""
    older = make_row(second=0)
    for is_sealed in (True, False):
        stage(
            Path(settings.data_dir),
            [
                msgspec.structs.replace(older, client="::ffff:198.51.100.8"),
                make_row(second=1, client="::ffff:198.51.100.8"),
                make_row(second=2, client="::ffff:198.51.100.9"),
            ],
        )
        if is_sealed:
            keeper_of(settings).keep(AT)
    assert keeper_of(settings).erase(client=asked) == 4
    assert seconds(settings) == [2, 2]


def test_erase_a_user(settings: Settings) -> None:
    """Everything asked for with a token is deleted, from wherever; what was asked for without one stays."""
    for is_sealed in (True, False):
        stage_seconds(settings, 0, user="ann", client="192.0.2.77")
        stage_seconds(settings, 1, user="ann")
        stage_seconds(settings, 2, user="bob")
        stage_seconds(settings, 3)
        if is_sealed:
            keeper_of(settings).keep(AT)
    assert keeper_of(settings).erase(user="ann", client="192.0.2.77") == 2
    assert keeper_of(settings).erase(user="ann") == 2
    assert seconds(settings) == [2, 2, 3, 3]
    assert keeper_of(settings).erase() == 0
    assert seconds(settings) == [2, 2, 3, 3]


def test_erase_what_was_sealed_meanwhile(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leftovers of a merge are erased from too, and not counted."""
    for second in (0, 1):
        stage_seconds(settings, second, client="192.0.2.77")
        keeper_of(settings).keep(AT)
    with stopped_at(monkeypatch, Path, "unlink", after=False):
        keeper_of(settings).keep(AT + DAY)
    assert keeper_of(settings).erase(client="192.0.2.77") == 2
    assert seconds(settings) == []
    keeper_of(settings).keep(AT + DAY)
    assert seconds(settings) == []


# Several nodes


def test_several_nodes_share_a_folder(tmp_path: Path) -> None:
    """Nodes that share a folder see each other's sealed records, and their own recent ones; nothing twice."""
    shared = str(tmp_path / "shared")
    one, two = (settings_of(tmp_path / name, folder=shared) for name in ("one", "two"))
    for settings, second in ((one, 0), (two, 1)):
        stage_seconds(settings, second)
        keeper_of(settings).keep(AT)
    stage_seconds(one, 2)
    assert (seconds(one), seconds(two)) == ([0, 1, 2], [0, 1])
    keeper_of(one).keep(AT + DAY)
    assert (seconds(one), seconds(two)) == ([0, 1, 2], [0, 1, 2])
    assert days(one) == {"2026-11-22": 2}  # each node merges its own
    assert keeper_of(two).erase(client="192.0.2.7") == 3
    assert (seconds(one), seconds(two)) == ([], [])


# Names of files


def test_names_decide_what_counts(tmp_path: Path) -> None:
    """A file inside another's range does not count; other names are not there."""
    day = tmp_path / "day=2026-11-22"
    day.mkdir()
    (tmp_path / "day=other").mkdir()
    for name in (
        "0000000a-1-10.parquet",
        "0000000a-1-4.parquet",
        "0000000a-5-10.parquet",
        "0000000a-11-12.parquet",
        "0000000b-2-3.parquet",
        "0000000a-1-10.parquet.tmp",
        "x.parquet",
        ".fresh-1",
    ):
        (day / name).touch()
    assert list_parts(tmp_path) == [
        Part("2026-11-22", "0000000a", 1, 10),
        Part("2026-11-22", "0000000a", 11, 12),
        Part("2026-11-22", "0000000b", 2, 3),
    ]
    assert [(part.first, part.last) for part in list_parts(tmp_path, leftovers=True)] == [(1, 4), (5, 10)]
    assert list_parts(tmp_path, datetime(2026, 11, 23).date()) == []  # noqa: DTZ001 (a date)
    assert list_parts(tmp_path, until=datetime(2026, 11, 21).date()) == []  # noqa: DTZ001 (a date)
    assert list_parts(tmp_path / "none") == []


def test_a_broken_file_is_told(settings: Settings) -> None:
    """A columnar file that cannot be read makes questions fail, and not answer with less."""
    stage_seconds(settings, 0)
    keeper_of(settings).keep(AT)
    (file,) = folder_of(settings).rglob("*.parquet")
    file.write_bytes(b"PAR1 no")
    with pytest.raises(UsageUnavailable):
        Usage(settings).records(UsageFilter())
