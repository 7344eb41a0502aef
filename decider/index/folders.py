"""Folders that several processes keep things in: whole writes, and sweeping out what is no longer wanted.

What the things are may not be added here.
"""

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Sweeper", "make_folder", "temporary_name", "write_whole"]

FOLDER_MODE = 0o755
FILE_MODE = 0o644


def make_folder(folder: Path) -> None:
    """Make `folder`, which another user may traverse whatever our umask; its parents are made as the umask says."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    folder.chmod(FOLDER_MODE)


def temporary_name(target: Path) -> Path:
    """A name beside `target` that no other writer takes, and no reader looks for."""
    return target.with_name(f".{secrets.token_hex(8)}.tmp")


def write_whole(target: Path, data: bytes) -> None:
    """Write `target`, readable by all: readers see the old bytes or the new ones, never a part."""
    make_folder(target.parent)
    temporary = temporary_name(target)
    try:
        temporary.write_bytes(data)
        temporary.chmod(FILE_MODE)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


class Sweeper:
    """Removes from a folder what was unwanted at two sweeps in a row, at least `interval_s` apart.

    One sweep alone must not remove: another process may have put there, a moment ago, what this one will want too.
    """

    def __init__(self, folder: Path, *, interval_s: float) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._not_before = float("-inf")
        self._unwanted: frozenset[str] = frozenset()

    def sweep(self, wanted: Iterable[str], *, now: float) -> None:
        """Do so unless it is too early; `wanted` are names directly in the folder, `now` is monotonic seconds."""
        if now < self._not_before:
            return
        self._not_before = now + self._interval_s
        try:
            unwanted = frozenset(os.listdir(self._folder)).difference(wanted)  # noqa: PTH208 (names are what is wanted)
        except OSError:
            return
        for name in unwanted & self._unwanted:
            self._remove(self._folder / name)
        self._unwanted = unwanted

    def _remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            return
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return  # the next sweep tries again
