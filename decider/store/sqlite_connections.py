"""Connections to one SQLite database: opening it durable and private, lending connections to threads.

Every error of SQLite leaves here as StoreUnavailable. What is stored may not be said here.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from decider.errors import StoreUnavailable
from decider.store.encoding import coding_errors
from decider.store.sqlite_schema import upgrade

__all__ = ["Connections"]

_PRIVATE = 0o600  # token hashes are in there
#: Connections that a fork left behind: SQLite forbids even closing them in the child.
_inherited: list[sqlite3.Connection] = []


class Connections:
    """The connections of this process; each is used by one thread at a time."""

    def __init__(self, file: Path, *, busy_timeout_s: float) -> None:
        self._file = file
        self._busy_timeout_s = busy_timeout_s
        self._idle: list[sqlite3.Connection] = []  # append and pop are atomic
        self._process = os.getpid()
        self._closed = False
        with self._errors(), _one_at_a_time(file.parent):
            _make_private(file)
            connection = self._open()
            _set(connection, "PRAGMA journal_mode = WAL", "wal")
            upgrade(connection)
            _sync_folder(file.parent)
            self._identity = _identify(file)
            self._idle.append(connection)

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection, outside of any transaction; raise StoreUnavailable for whatever SQLite raises inside."""
        with self._errors():
            connection = self._take()
            try:
                yield connection
            except sqlite3.Error:
                connection.close()  # it may be the connection that is broken: the next one is fresh
                raise
            except BaseException:
                self._give_back(connection)
                raise
            self._give_back(connection)

    @contextmanager
    def transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: committed at the end, rolled back when anything raises."""
        with self.lend() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close all; those still lent are closed when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._process != os.getpid():
            _inherited.extend(self._idle)
            self._idle, self._process = [], os.getpid()
        # (!) SQLite goes on with a file that was moved or deleted, and would acknowledge changes that nobody finds again;
        # and one that took its place may hold no rules at all. Neither is this store.
        if _identify(self._file) != self._identity:
            raise StoreUnavailable(
                f"database `{self._file}`: another file has taken its place; put it back, or restart decider to use that one"
            )
        with suppress(IndexError):
            return self._idle.pop()
        return self._open()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._file.absolute().as_uri()}?mode=rw",  # never made by accident: a deleted database is a fault
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,  # transactions begin and end where we say
            check_same_thread=False,  # lent to one thread at a time
        )
        # FULL: in WAL mode a commit is only then on disk when it returns.
        _set(connection, "PRAGMA synchronous = FULL")
        _set(connection, "PRAGMA foreign_keys = ON")
        # A replaced feed leaves a large log behind; after a checkpoint it shrinks to this.
        _set(connection, "PRAGMA journal_size_limit = 67108864")
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        place = f"database `{self._file}`"
        try:
            with coding_errors(place):
                yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{place}: {error}") from error


def _set(connection: sqlite3.Connection, pragma: str, expected: str | None = None) -> None:
    row = connection.execute(pragma).fetchone()
    if expected is not None and row[0] != expected:
        raise sqlite3.OperationalError(f"`{pragma}` is not possible here (`{row[0]}`)")


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    # Changing the journal mode and the schema does not wait for the busy timeout when processes race to it.
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _identify(file: Path) -> tuple[int, int]:
    """What tells the file from any other that has its name later; raise OSError where there is none."""
    status = file.stat()
    return status.st_dev, status.st_ino


def _make_private(file: Path) -> None:
    # SQLite gives its log and shared memory the mode of the database.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
    if file.stat().st_uid == os.geteuid():
        file.chmod(_PRIVATE)


def _sync_folder(folder: Path) -> None:
    # A new file survives a power cut only when its folder was synced too.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
