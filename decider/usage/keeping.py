"""What becomes of records: sealed into columnar files, merged, deleted when their time is over or somebody asks.

Every step leaves either the old state or the new one, whenever it is interrupted: files are written under another name,
synced and renamed (see `parts`), and only then is what they replace removed. One at a time works on a folder.
"""

import fcntl
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import IO

from decider.errors import UsageUnavailable
from decider.usage.clients import Clients, load_key
from decider.usage.columns import COLUMNS
from decider.usage.engine import Engine, open_engine
from decider.usage.filters import Condition, UsageFilter, condition_of
from decider.usage.parts import Part, commit_file, list_parts, locked
from decider.usage.staging import Staging

__all__ = ["Keeper"]

log = logging.getLogger(__name__)

MAX_ROWS = 200_000  #: in one sealed file: sorted in memory, of which the engine has little
MERGE_AT = 32  #: files of one day and node
WITHIN_S = 3_600.0
WORK = "work"
_FRESH = ".fresh-"


class Keeper:
    """Works on one folder of columnar files for one machine; `local` has its recent records."""

    def __init__(self, local: Path, folder: Path, *, retention_days: int, max_size: int) -> None:
        self._local = local
        self._folder = folder
        self._retention_days = retention_days
        self._max_size = max_size

    def keep(self, at: datetime) -> None:
        """Seal everything, merge what is worth it, delete what is over; raise UsageUnavailable."""
        with self._working():
            try:
                self._seal()
                self._merge(at.astimezone(UTC).date())
            finally:
                # Also where there is no room to seal: this makes some.
                self._sweep()
                self._expire(at.astimezone(UTC).date())

    def expire(self, at: datetime) -> None:
        """Delete what is over, and nothing else; raise UsageUnavailable."""
        with self._working():
            self._sweep()
            self._expire(at.astimezone(UTC).date())

    def erase(self, *, client: str | None = None, user: str | None = None) -> int:
        """Delete everything that a client (an address or a pseudonym) or a user asked for; how many records.

        Of both together, what that user asked for from that client. Raise UsageUnavailable.
        """
        wanted = UsageFilter(kind=None, client=client, user=user)
        if wanted == UsageFilter(kind=None):
            return 0  # nobody is not everybody
        whose = condition_of(wanted, Clients(load_key(self._local)))
        with self._working(), closing(Staging(self._local, is_writer=True)) as staging:
            erased = staging.erase(whose)
            for part, count in self._parts_with(whose):
                self._rewrite_without(part, whose)
                erased += count
        return erased

    # -- Sealing: from the recent records to columnar files

    def _seal(self) -> None:
        with closing(Staging(self._local, is_writer=True)) as staging:
            node = staging.node
            for part in list_parts(self._folder):
                if part.node == node:
                    # Left where the last sealing was interrupted behind its rename.
                    staging.remove(part.day, up_to=part.last)
            while days := staging.days():
                for day in sorted(days):
                    self._seal_day(staging, node, day)

    def _seal_day(self, staging: Staging, node: str, day: str) -> None:
        first, last = staging.range(day, at_most=MAX_ROWS)
        with tempfile.TemporaryFile(dir=self._folder) as recent:
            count = staging.write_json(recent, Condition('"day" = ? AND "id" <= ?', (day, last)))
            with self._engine([], recent=recent, node=node) as engine, self._fresh() as fresh:
                _copy(engine, "SELECT * FROM records", fresh, expected=count)
                commit_file(fresh, Part(day, node, first, last).path(self._folder))
        staging.remove(day, up_to=last)
        log.info("usage.sealed", extra={"day": day, "records": count})

    # -- Merging: fewer and larger files

    def _merge(self, today: date) -> None:
        with closing(Staging(self._local)) as staging:
            node = staging.node
        own = (part for part in list_parts(self._folder) if part.node == node)
        for day, found in groupby(own, key=lambda part: part.day):
            parts = list(found)
            is_over = day < today.isoformat()
            if len(parts) >= (2 if is_over else MERGE_AT):
                self._merge_parts(parts if is_over else _small_ones(self._folder, parts))

    def _merge_parts(self, parts: Sequence[Part]) -> None:
        if len(parts) < 2:
            return
        merged = parts[0]._replace(last=parts[-1].last)
        with self._engine(parts) as engine, self._fresh() as fresh:
            ((count,),) = engine.run("SELECT count(*) FROM records")
            _copy(engine, "SELECT * FROM records", fresh, expected=count)
            commit_file(fresh, merged.path(self._folder))
        log.info("usage.merged", extra={"day": merged.day, "files": len(parts), "records": count})

    def _sweep(self) -> None:
        """Remove files that larger ones hold; later, where somebody is reading."""
        leftovers = list_parts(self._folder, leftovers=True)
        if not leftovers:
            return
        with locked(self._folder, exclusive=True, wait=False) as is_alone:
            if is_alone:
                for part in leftovers:
                    part.path(self._folder).unlink(missing_ok=True)

    # -- Deleting

    def _expire(self, today: date) -> None:
        kept = list_parts(self._folder) + list_parts(self._folder, leftovers=True)
        sizes = {part: _size(part.path(self._folder)) for part in kept}
        oldest = (today - timedelta(days=self._retention_days)).isoformat()
        total = sum(sizes.values())
        over: set[Part] = set()
        for part in sorted(sizes):
            is_too_much = total > self._max_size and part.day < today.isoformat()
            if part.day < oldest or is_too_much:
                over.add(part)
                total -= sizes[part]
        # Whole days: a day that is there is there as a whole.
        days = {part.day for part in over}
        if not days:
            return
        with locked(self._folder, exclusive=True, wait=False) as is_alone:
            if not is_alone:
                return
            for part in sizes:
                if part.day in days:
                    part.path(self._folder).unlink(missing_ok=True)
            for day in days:
                _rmdir(self._folder / f"day={day}")
        log.info("usage.expired", extra={"days": sorted(days)})

    def _parts_with(self, whose: Condition) -> list[tuple[Part, int]]:
        """The files that have such records, leftovers too, and how many that count."""
        counting = list_parts(self._folder)
        found = []
        for part in counting + list_parts(self._folder, leftovers=True):
            with self._engine([part]) as engine:
                ((count,),) = engine.run(f"SELECT count(*) FROM records WHERE {whose.text}", whose.parameters)
            if count:
                found.append((part, count if part in counting else 0))
        return found

    def _rewrite_without(self, part: Part, whose: Condition) -> None:
        with self._engine([part]) as engine, self._fresh() as fresh:
            # Not `NOT (…)`: a record without a user is nobody's, and that is no truth value in SQL.
            kept = f"SELECT * FROM records WHERE ({whose.text}) IS NOT TRUE"
            _copy(engine, kept, fresh, parameters=whose.parameters)
            with locked(self._folder, exclusive=True):
                commit_file(fresh, part.path(self._folder))

    # -- Means

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Alone at work on the folder; whatever unfinished file lies there is nobody's."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self._folder / WORK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left in self._folder.glob(f"{_FRESH}*"):
                    left.unlink(missing_ok=True)
                yield
        except OSError as error:
            raise UsageUnavailable(f"{self._folder}: {error}") from error

    @contextmanager
    def _fresh(self) -> Iterator[Path]:
        """A path for a file to be written; what is still there in the end is removed."""
        path = self._folder / f"{_FRESH}{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _engine(
        self, parts: Sequence[Part], *, recent: IO[bytes] | None = None, node: str = ""
    ) -> Iterator[Engine]:
        with open_engine(
            [part.path(self._folder) for part in parts],
            recent,
            node=node,
            temporary=self._local / "temporary",
            within_s=WITHIN_S,
            is_background=True,
        ) as engine:
            yield engine


def _small_ones(folder: Path, parts: Sequence[Part]) -> list[Part]:
    """The newest files behind the last that holds half of all: so that each record is rewritten a few times only."""
    sizes = [_size(part.path(folder)) for part in parts]
    for position in range(len(parts)):
        if sizes[position] * 2 < sum(sizes[position:]):
            return list(parts[position:])
    return []


def _copy(
    engine: Engine,
    select: str,
    fresh: Path,
    *,
    expected: int | None = None,
    parameters: Sequence[object] = (),
) -> None:
    """Write a selection of `records` as one columnar file, sorted so that questions about a project read little."""
    fields = ", ".join(
        f'make_timestamptz("{column.name}") AS "{column.name}"'
        if column.stored.startswith("TIMESTAMP")
        else f'"{column.name}"'
        for column in COLUMNS
    )
    path = str(fresh).replace("'", "''")
    ((written,),) = engine.run(
        f'COPY (SELECT {fields} FROM ({select}) ORDER BY "project", "filename", "at")'
        f" TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)",
        parameters,
    )
    fresh.chmod(0o600)
    if expected is not None and written != expected:
        raise UsageUnavailable(f"{written} of {expected} records were written")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:  # files that are not ours
        log.warning(
            "usage.folder_kept", extra={"folder": str(folder), "cause": os.strerror(error.errno or 0)}
        )
