"""The project names of an index, or of a repository, as a sorted file: a million of them in a process's address space
cost it next to nothing until it looks.

One normalized name a line. A file is called after the digest of its content and never changes, so that who holds one
may go on reading it, also after it was removed. Where names come from may not be added here.
"""

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import Any

from decider.index.folders import FILE_MODE, make_folder, temporary_name
from decider.names import NormalizedName, ProjectPattern

__all__ = ["ProjectNames", "write_names", "write_sorted_names"]

_CHUNK = 256 * 1024
_LINES = 10_000  #: written at once
_SUFFIX = ".names"


class ProjectNames(AbstractSet[NormalizedName]):
    """The names in a file that write_names wrote; immutable, shared by threads."""

    def __init__(self, folder: Path, digest: str) -> None:
        """Open it; raise FileNotFoundError where it is not (any more) there."""
        self.folder = folder
        self.digest = digest  #: same digest, same names
        self._path = folder / f"{digest}{_SUFFIX}"
        with self._path.open("rb") as file:
            self._size = os.fstat(file.fileno()).st_size
            # Nothing can be mapped of an empty file.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._size else None

    @classmethod
    def _from_iterable(cls, names: Iterable[Any]) -> frozenset[NormalizedName]:  # type: ignore[override]
        """What `&`, `|` and the like give: a set in memory."""
        return frozenset(names)

    def __len__(self) -> int:
        return sum(chunk.count(b"\n") for chunk in self.chunks())

    def __iter__(self) -> Iterator[NormalizedName]:
        return (
            NormalizedName(name) for chunk in self.chunks() for name in chunk.decode("ascii").splitlines()
        )

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or self._map is None:
            return False
        line = name.encode() + b"\n"
        start = self._first_not_before(self._map, line)
        return self._map[start : start + len(line)] == line

    def chunks(self) -> Iterator[bytes]:
        """The whole file, in pieces of some 256 kB that end with a line."""
        if self._map is None:
            return
        start = 0
        try:
            while start < self._size:
                end = self._map.find(b"\n", start + _CHUNK) + 1 or self._size
                yield self._map[start:end]
                start = end
        finally:
            # What was looked at would count as this process's memory for good.
            self._map.madvise(mmap.MADV_DONTNEED)

    def matching(self, pattern: ProjectPattern) -> Iterator[NormalizedName]:
        """Those that `pattern` matches, sorted; found without looking at the others."""
        if self._map is None:
            return
        stem = pattern.stem.encode()
        start = self._first_not_before(self._map, stem)
        end = self._first_not_before(self._map, stem + b"\x7f")  # above every byte of a name
        for line in self._map[start:end].splitlines():
            name = NormalizedName(line.decode("ascii"))
            if pattern.matches(name):
                yield name

    def _first_not_before(self, text: mmap.mmap, wanted: bytes) -> int:
        """Where the first line begins that, with its end of line, is not less than `wanted`."""
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            start = text.rfind(b"\n", low, middle) + 1 or low
            stop = text.find(b"\n", middle) + 1
            if text[start:stop] < wanted:
                low = stop
            else:
                high = start
        return low


def write_names(folder: Path, names: Iterable[str]) -> str:
    """Keep `names`, normalized ones in any order, in `folder`; their digest."""
    return write_sorted_names(folder, sorted(set(names)))


def write_sorted_names(folder: Path, names: Iterable[str]) -> str:
    """The same for names that come sorted and without duplicates; none but a few are held."""
    make_folder(folder)
    digest = hashlib.sha256()
    temporary = temporary_name(folder / "names")
    try:
        with temporary.open("wb") as file:
            for lines in _lines(names):
                digest.update(lines)
                file.write(lines)
        temporary.chmod(FILE_MODE)
        temporary.replace(folder / f"{digest.hexdigest()}{_SUFFIX}")
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def _lines(names: Iterable[str]) -> Iterator[bytes]:
    left = iter(names)
    while some := list(islice(left, _LINES)):
        yield ("\n".join(some) + "\n").encode("ascii")
