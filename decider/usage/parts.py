"""The columnar files: `day=2026-11-22/<node>-<first>-<last>.parquet`, in a folder that several nodes may share.

A file holds every record of that day and node whose number lies between first and last: its name is what makes it
count. So one rename commits it, and a reader needs nobody else's word: a file inside another's range is a leftover of a
merge, a staged record inside a file's range is a leftover of sealing. Files under other names are not there.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

from decider.errors import UsageUnavailable

__all__ = ["Part", "commit_file", "list_parts", "locked"]

LOCK = "lock"
_DAY = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})\Z")
_NAME = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})-([0-9]{1,18})\.parquet\Z")


class Part(NamedTuple):
    """One columnar file."""

    day: str  #: UTC
    node: str
    first: int
    last: int

    def path(self, folder: Path) -> Path:
        """Where it is."""
        return folder / f"day={self.day}" / f"{self.node}-{self.first}-{self.last}.parquet"

    def holds(self, other: "Part") -> bool:
        """Whether every record of `other` is in here too."""
        return (
            (self.day, self.node) == (other.day, other.node)
            and self.first <= other.first
            and other.last <= self.last
        )


def list_parts(
    folder: Path, since: date | None = None, until: date | None = None, *, leftovers: bool = False
) -> list[Part]:
    """Every file that counts, by day, node and number; days before `since` and after `until` are not looked at.

    With `leftovers`, those that do not count any more and wait for their removal instead.
    """
    found: list[Part] = []
    for day in sorted(_days(folder)):
        if (since and day < since.isoformat()) or (until and day > until.isoformat()):
            continue
        names = (_NAME.match(name) for name in _listdir(folder / f"day={day}"))
        parts = sorted(Part(day, name[1], int(name[2]), int(name[3])) for name in names if name)
        found += [
            part for part in parts if any(other != part and other.holds(part) for other in parts) == leftovers
        ]
    return found


def commit_file(fresh: Path, target: Path) -> None:
    """Give a finished file its name, durably; raise OSError."""
    with fresh.open("rb") as handle:
        os.fsync(handle.fileno())
    made = not target.parent.exists()
    target.parent.mkdir(mode=0o700, exist_ok=True)
    fresh.replace(target)
    for folder in (target.parent, target.parent.parent) if made else (target.parent,):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(folder: Path, *, exclusive: bool, wait: bool = True) -> Iterator[bool]:
    """Shared: files stay while they are read. Exclusive: files may be removed. False: others were faster."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageUnavailable(f"{folder}: {(error.strerror or 'failed').lower()}") from error
    try:
        try:
            fcntl.flock(
                descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
            )
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _days(folder: Path) -> Iterator[str]:
    for name in _listdir(folder):
        found = _DAY.match(name)
        if found:
            yield found[1]


def _listdir(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (names are wanted, of folders with thousands of files)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageUnavailable(f"{folder}: {(error.strerror or 'failed').lower()}") from error
