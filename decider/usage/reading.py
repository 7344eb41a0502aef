"""Questions about what was served: lists, counts, exports, and who has what rules refuse.

One query covers the recent records of this machine and the columnar files of all nodes. Judging is passed in (see
`exposure`); SQL for other than these questions may not be added here.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import msgspec

from decider.errors import Fault, InvalidRequest
from decider.settings import Settings
from decider.store import Page
from decider.store.cursors import decode_cursor, encode_cursor, unusable_cursor
from decider.usage.answers import (
    DIMENSIONS,
    Exposure,
    SeenFile,
    UsageCount,
    UsageTotal,
    as_count,
    as_exposure,
    as_record,
    as_seen_file,
)
from decider.usage.clients import Clients, load_key, make_key
from decider.usage.engine import QUERY_S, Engine, open_engine
from decider.usage.filters import EVERYTHING, Condition, UsageFilter, condition_of, pattern_condition
from decider.usage.parts import list_parts, locked
from decider.usage.queries import EXPOSURE, EXPOSURE_KEY, FILES, LATEST, LIST, TOTAL, counts_sql
from decider.usage.records import UsageRecord, from_micros, to_micros
from decider.usage.staging import DATABASE, Staging

__all__ = ["Usage", "clients_of", "local_folder", "parts_folder"]

K = TypeVar("K")

#: A number in a cursor: a place, a record's number, or microseconds since 1970, as far as a datetime goes.
_Number = Annotated[int, msgspec.Meta(ge=0, le=to_micros(datetime.max.replace(tzinfo=UTC)))]

EXPORT_S = 3_600.0


def local_folder(settings: Settings) -> Path:
    """Where this machine keeps what is its own: recent records, its place in the log, the key for pseudonyms."""
    return Path(settings.data_dir) / "usage"


def parts_folder(settings: Settings) -> Path:
    """Where the columnar files are."""
    return Path(settings.usage.folder) if settings.usage.folder else local_folder(settings)


def clients_of(settings: Settings) -> Clients:
    """What clients are called from now on; makes the key where they are pseudonymised and there is none. Raise OSError."""
    return Clients(make_key(local_folder(settings)) if settings.usage.pseudonymise else None)


class Usage:
    """The records, to be asked; holds nothing open between questions. Each may raise UsageUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._local = local_folder(settings)
        self._folder = parts_folder(settings)

    def records(
        self, wanted: UsageFilter, *, limit: int = 100, cursor: str | None = None
    ) -> Page[UsageRecord]:
        """Records, newest first; raise InvalidRequest for a cursor that is none."""
        condition = both = self._condition(wanted)
        place = _read_cursor("usage", cursor, tuple[_Number, _Number, str])
        if place is not None:
            both = condition & Condition('("at", "id", "node") < (?, ?, ?)', place)
        with self._asked(condition, wanted.since, wanted.until) as engine:
            found = (
                [] if engine is None else engine.run(LIST.format(both.text), (*both.parameters, limit + 1))
            )
        more = len(found) > limit
        return Page(
            tuple(as_record(row) for row in found[:limit]),
            _write_cursor("usage", found[limit - 1][:3]) if more else None,
        )

    def export(self, wanted: UsageFilter) -> Iterator[UsageRecord]:
        """Every record, newest first, as they are read."""
        condition = self._condition(wanted)
        with self._asked(condition, wanted.since, wanted.until, within_s=EXPORT_S) as engine:
            if engine is not None:
                for row in engine.rows(LIST.format(condition.text), (*condition.parameters, None)):
                    yield as_record(row)

    def counts(
        self, wanted: UsageFilter, by: Sequence[str], *, limit: int = 100, cursor: str | None = None
    ) -> Page[UsageCount]:
        """How many records for each value of `by` (names of DIMENSIONS), most first; raise InvalidRequest.

        Counts that grow change places, so later pages count only up to the latest record that there was for the first.
        """
        unknown = [name for name in by if name not in DIMENSIONS]
        if unknown or not by or len(set(by)) < len(by):
            raise InvalidRequest([Fault("by", f"must be some of {', '.join(DIMENSIONS)}, each once")])
        offset, end = _read_cursor("usage-counts", cursor, tuple[_Number, _Number]) or (0, None)
        if end is not None:
            until = from_micros(end)
            wanted = msgspec.structs.replace(wanted, until=min(until, wanted.until or until))
        condition = self._condition(wanted)
        with self._asked(condition, wanted.since, wanted.until) as engine:
            found = (
                []
                if engine is None
                else engine.run(
                    counts_sql(by, condition.text),
                    (*condition.parameters, limit + 1, offset),
                )
            )
            more = len(found) > limit
            if engine is not None and more and end is None:
                ((latest,),) = engine.run(LATEST.format(condition.text), condition.parameters)
                end = latest + 1
        return Page(
            tuple(as_count(by, row) for row in found[:limit]),
            _write_cursor("usage-counts", [offset + limit, end]) if more else None,
        )

    def exposure(
        self,
        patterns: Sequence[str],
        is_meant: Callable[[SeenFile], bool],
        *,
        among: Condition = EVERYTHING,
        since: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Exposure]:
        """Who took files for which `is_meant` holds, of projects that `patterns` match: by file and client.

        `among` (see rule_condition) leaves out beforehand what cannot be meant.
        """
        taken = self._condition(UsageFilter(taken=True, since=since)) & pattern_condition(patterns)
        both = taken
        place = _read_cursor("exposure", cursor, tuple[str, str, str, str, str, str])
        if place is not None:
            both = taken & Condition(f"({EXPOSURE_KEY}) > (?, ?, ?, ?, ?, ?)", place)
        with self._asked(taken, since, None) as engine:
            if engine is None:
                return Page(())
            keys = [_key(file) for file in _files(engine, taken, among) if is_meant(file)]
            if not keys:
                return Page(())
            found = engine.run(EXPOSURE.format(both.text), (*both.parameters, keys, limit + 1))
        more = len(found) > limit
        return Page(
            tuple(as_exposure(row) for row in found[:limit]),
            _write_cursor("exposure", found[limit - 1][:6]) if more else None,
        )

    def export_exposure(
        self,
        patterns: Sequence[str],
        is_meant: Callable[[SeenFile], bool],
        *,
        among: Condition = EVERYTHING,
        since: datetime | None = None,
    ) -> Iterator[Exposure]:
        """All that `exposure` tells page by page, in one go, as it is read."""
        taken = self._condition(UsageFilter(taken=True, since=since)) & pattern_condition(patterns)
        with self._asked(taken, since, None, within_s=EXPORT_S) as engine:
            if engine is None:
                return
            keys = [_key(file) for file in _files(engine, taken, among) if is_meant(file)]
            if keys:
                for row in engine.rows(EXPOSURE.format(taken.text), (*taken.parameters, keys, None)):
                    yield as_exposure(row)

    def changes(
        self, patterns: Sequence[str], is_meant: Callable[[SeenFile], bool], *, since: datetime
    ) -> tuple[list[SeenFile], UsageTotal]:
        """The files asked for since then for which `is_meant` holds, served and refused apart, and their total."""
        asked = self._condition(UsageFilter(since=since)) & pattern_condition(patterns)
        nothing = UsageTotal(since=since, downloads=0, clients=0)
        with self._asked(asked, since, None) as engine:
            if engine is None:
                return [], nothing
            files = [file for file in _files(engine, asked, EVERYTHING) if is_meant(file)]
            taken = [_key(file) for file in files if file.taken]
            if not taken:
                return files, nothing
            ((downloads, clients),) = engine.run(TOTAL.format(asked.text), (*asked.parameters, taken))
        return files, UsageTotal(since=since, downloads=downloads, clients=clients)

    def _condition(self, wanted: UsageFilter) -> Condition:
        return condition_of(wanted, Clients(load_key(self._local)))

    @contextmanager
    def _asked(
        self,
        condition: Condition,
        since: datetime | None,
        until: datetime | None,
        *,
        within_s: float = QUERY_S,
    ) -> Iterator[Engine | None]:
        """An engine over the files of those days, and the recent records of that condition; None: there are none."""
        if not self._folder.is_dir():
            yield None
            return
        with locked(self._folder, exclusive=False), tempfile.TemporaryFile(dir=self._folder) as recent:
            node, parts, count = self._sources(recent, condition, since, until)
            if not parts and not count:
                yield None
                return
            with open_engine(
                parts,
                recent if count else None,
                node=node,
                temporary=self._local / "temporary",
                within_s=within_s,
            ) as engine:
                yield engine

    def _sources(
        self, recent: IO[bytes], condition: Condition, since: datetime | None, until: datetime | None
    ) -> tuple[str, list[Path], int]:
        """Our node, the columnar files, and how many recent records were written to `recent`."""
        days = (_day(since), _day(until))
        if (self._local / DATABASE).exists():
            with closing(Staging(self._local)) as staging:
                if staging.is_made:
                    return self._recent_and_sealed(staging, recent, condition, days)
        return "", [part.path(self._folder) for part in list_parts(self._folder, *days)], 0

    def _recent_and_sealed(
        self,
        staging: Staging,
        recent: IO[bytes],
        condition: Condition,
        days: tuple[date | None, date | None],
    ) -> tuple[str, list[Path], int]:
        with staging.snapshot():
            # In this order: what leaves the snapshot's records has its file before, and a file that comes later
            # holds records that are still among them.
            parts = list_parts(self._folder, *days)
            node = staging.node
            unsealed = [
                Condition('NOT ("day" = ? AND "id" <= ?)', (part.day, part.last))
                for part in parts
                if part.node == node
            ]
            for one in unsealed:
                condition &= one
            count = staging.write_json(recent, condition)
        return node, [part.path(self._folder) for part in parts], count


def _files(engine: Engine, condition: Condition, among: Condition) -> Iterator[SeenFile]:
    statement = FILES.format(condition.text, among.text)
    for row in engine.rows(statement, condition.parameters + among.parameters):
        yield as_seen_file(row)


def _key(file: SeenFile) -> str:
    """As queries._FILE_KEY makes it."""
    uploaded = "" if file.uploaded is None else to_micros(file.uploaded)
    where = f"{file.project}/{file.repository}/{file.filename}"
    return f"{where}/{file.sha256 or ''}/{file.index or ''}/{uploaded}/{int(file.attested)}"


def _day(at: datetime | None) -> date | None:
    return None if at is None else at.astimezone(UTC).date()


def _write_cursor(listing: str, key: Sequence[Any]) -> str:
    return encode_cursor(listing, msgspec.json.encode(key).decode())


def _read_cursor(listing: str, cursor: str | None, kind: type[K]) -> K | None:
    """The key that _write_cursor was given; raise InvalidRequest for a cursor that is none of that listing."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(decode_cursor(listing, cursor), type=kind)
    except msgspec.DecodeError:
        raise unusable_cursor() from None
