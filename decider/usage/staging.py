"""Records of the last minutes, and the collector's place in nginx's log: one SQLite database, one transaction.

A record and the place behind it are committed together, so a crash at any moment loses nothing and counts nothing
twice. Numbers (`id`) are never used again: columnar files are named by the numbers they hold (see `parts`). Parsing
lines and querying may not be added here.
"""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from decider.errors import UsageUnavailable
from decider.usage.columns import COLUMNS, Row
from decider.usage.filters import Condition
from decider.usage.records import from_micros

__all__ = ["DATABASE", "Place", "Staging"]

DATABASE = "recent.sqlite"
_BUSY_S = 30.0
_KEEP_PLACE_DAYS = 30  #: how long the place in a log that is gone is remembered
_ROW = Row.__struct_fields__
_QUOTED = ", ".join(f'"{name}"' for name in _ROW)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS records (
  "id" INTEGER PRIMARY KEY AUTOINCREMENT,
  {", ".join(f'"{column.name}" {column.staged}' for column in COLUMNS if column.name in _ROW)},
  "day" TEXT GENERATED ALWAYS AS (date("at" / 1000000, 'unixepoch')) STORED
);
CREATE INDEX IF NOT EXISTS records_by_day ON records ("day", "id");
CREATE TABLE IF NOT EXISTS places (
  head TEXT PRIMARY KEY,
  position INTEGER NOT NULL,
  read_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""  # names of columns are ours


class Place(NamedTuple):
    """How far one log has been read."""

    head: str  #: names the log by its first line, whatever the file is called or copied to
    position: int  #: bytes


class Staging:
    """The database in one folder of this machine; an object is for one thread."""

    def __init__(self, folder: Path, *, is_writer: bool = False) -> None:
        """Open it, made by a writer where it is missing; raise UsageUnavailable."""
        self._file = folder / DATABASE
        with _unavailable():
            self._connection = sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None)
            if is_writer:
                self._file.chmod(0o600)
                self._connection.execute("PRAGMA journal_mode = WAL")
                # What a person asks to be erased leaves no trace on free pages.
                self._connection.execute("PRAGMA secure_delete = ON")
                self._connection.executescript(_SCHEMA)
                self._connection.execute(
                    "INSERT OR IGNORE INTO state VALUES ('node', ?), ('unreadable', '0')",
                    (secrets.token_hex(4),),
                )
            self._connection.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    @property
    def is_made(self) -> bool:
        """Whether a writer has finished making it: the file is there a moment before its tables are."""
        with _unavailable():
            if (
                self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone()
                is None
            ):
                return False
            return self._connection.execute("SELECT 1 FROM state WHERE name = 'node'").fetchone() is not None

    @property
    def node(self) -> str:
        """The name of this machine's records among those of others: given once, random."""
        return self._state("node")

    @property
    def unreadable(self) -> int:
        """How many lines of logs could not be read so far."""
        return int(self._state("unreadable"))

    # -- The collector

    def place(self, head: str) -> int:
        """How far the log of that head has been read; 0 when it is new."""
        with _unavailable():
            found = self._connection.execute("SELECT position FROM places WHERE head = ?", (head,)).fetchone()
        return int(found[0]) if found else 0

    def add(self, rows: Sequence[Row], place: Place, *, unreadable: int = 0) -> None:
        """Add what was read and move the place, both or neither."""
        marks = ", ".join("?" * len(_ROW))
        with self._transaction():
            self._connection.executemany(
                f"INSERT INTO records ({_QUOTED}) VALUES ({marks})", map(msgspec.structs.astuple, rows)
            )
            self._connection.execute(
                "INSERT INTO places (head, position) VALUES (?, ?) ON CONFLICT (head)"
                " DO UPDATE SET position = excluded.position, read_at = CURRENT_TIMESTAMP",
                place,
            )
            if unreadable:
                self._connection.execute(
                    "UPDATE state SET value = CAST(value AS INTEGER) + ? WHERE name = 'unreadable'",
                    (unreadable,),
                )

    def forget_places(self, *, but: Iterable[str]) -> None:
        """Forget logs that are gone for long, of which none is in `but`."""
        kept = tuple(but)
        with self._transaction():
            self._connection.execute(
                f"DELETE FROM places WHERE read_at < datetime('now', '-{_KEEP_PLACE_DAYS} days')"
                f" AND head NOT IN ({', '.join('?' * len(kept))})",
                kept,
            )

    # -- Sealing

    def days(self) -> list[str]:
        """The days that records are here of, oldest first."""
        with _unavailable():
            found = self._connection.execute('SELECT DISTINCT "day" FROM records ORDER BY "day"').fetchall()
        return [day for (day,) in found]

    def range(self, day: str, *, at_most: int) -> tuple[int, int]:
        """The numbers of that day's first record here, and of the last of so many."""
        with _unavailable():
            first, last = self._connection.execute(
                'SELECT min("id"), max("id") FROM'
                ' (SELECT "id" FROM records WHERE "day" = ? ORDER BY "id" LIMIT ?)',
                (day, at_most),
            ).fetchone()
        return int(first), int(last)

    def waiting(self) -> tuple[int, datetime | None]:
        """About how many records are here, and of when the first one is."""
        with _unavailable():
            numbers = self._connection.execute('SELECT min("id"), max("id") FROM records').fetchone()
            if numbers[0] is None:
                return 0, None
            oldest = self._connection.execute(
                'SELECT "at" FROM records WHERE "id" = ?', numbers[:1]
            ).fetchone()
        return numbers[1] - numbers[0] + 1, from_micros(oldest[0])

    def remove(self, day: str, *, up_to: int) -> None:
        """Remove that day's records up to that number: a columnar file has them."""
        with self._transaction():
            self._connection.execute('DELETE FROM records WHERE "day" = ? AND "id" <= ?', (day, up_to))

    def erase(self, whose: Condition) -> int:
        """Remove the records of that condition; how many."""
        with self._transaction():
            erased = self._connection.execute(
                f"DELETE FROM records WHERE {whose.text}", whose.parameters
            ).rowcount
        with _unavailable():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return int(erased)

    # -- Reading

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        with _unavailable():
            self._connection.execute("BEGIN")
            try:
                self._connection.execute("SELECT 1 FROM state").fetchone()
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def write_json(self, out: IO[bytes], condition: Condition) -> int:
        """Write the records of that condition as lines of JSON, in the columns' own names; how many."""
        fields = ", ".join(f"""'{name}', "{name}\"""" for name in _ROW)
        query = f"SELECT json_object({fields}, 'id', \"id\") || char(10) FROM records WHERE {condition.text}"
        count = 0
        with _unavailable():
            for (line,) in self._connection.execute(query, condition.parameters):
                out.write(line.encode())
                count += 1
        out.flush()
        return count

    def _state(self, name: str) -> str:
        with _unavailable():
            found = self._connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return str(found[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _unavailable():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


@contextmanager
def _unavailable() -> Iterator[None]:
    """What SQLite cannot do, as UsageUnavailable."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise UsageUnavailable(f"the recent records cannot be read or written: {error}") from error
