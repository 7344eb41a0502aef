"""The project names of an index, or of a repository, as a sorted file: a million of them in a process's address space
cost it next to nothing until it looks.

One normalized name a line. A file is called after the digest of its content and never changes, so that who holds one
may go on reading it, also after it was removed. Where names come from may not be added here.
"""

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from decider.index.folders import write_whole
from decider.names import NormalizedName, ProjectPattern

__all__ = ["ProjectNames", "write_names"]

_CHUNK = 256 * 1024
_SUFFIX = ".names"


class ProjectNames(AbstractSet[NormalizedName]):
    """The names in a file that write_names wrote; immutable, shared by threads."""

    def __init__(self, folder: Path, digest: str) -> None:
        """Open it; raise FileNotFoundError where it is not (any more) there."""
        self.folder = folder
        self.digest = digest  #: same digest, same names
        self._path = folder / f"{digest}{_SUFFIX}"
        with self._path.open("rb") as file:
            self._size = self._path.stat().st_size
            # Nothing can be mapped of an empty file.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._size else b""

    @classmethod
    def _from_iterable(cls, names: Iterable[Any]) -> frozenset[NormalizedName]:  # type: ignore[override]
        """What `&`, `|` and the like give: a set in memory."""
        return frozenset(names)

    def __len__(self) -> int:
        return sum(chunk.count(b"\n") for chunk in self.chunks())

    def __iter__(self) -> Iterator[NormalizedName]:
        return self._names(0, self._size)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        line = name.encode() + b"\n"
        start = self._first_not_before(line)
        return self._map[start : start + len(line)] == line

    def chunks(self) -> Iterator[bytes]:
        """The whole file, in pieces of some 256 kB that end with a line."""
        start = 0
        while start < self._size:
            end = self._size if start + _CHUNK >= self._size else self._map.find(b"\n", start + _CHUNK) + 1
            yield self._map[start:end]
            start = end

    def matching(self, pattern: ProjectPattern) -> Iterator[NormalizedName]:
        """Those that `pattern` matches, sorted; found without looking at the others."""
        start = self._first_not_before(pattern.stem.encode())
        # No name has a byte above `z`.
        end = self._first_not_before(pattern.stem.encode() + b"\x7f")
        return (name for name in self._names(start, end) if pattern.matches(name))

    def _names(self, start: int, end: int) -> Iterator[NormalizedName]:
        while start < end:
            stop = self._map.find(b"\n", start)
            yield NormalizedName(self._map[start:stop].decode("ascii"))
            start = stop + 1

    def _first_not_before(self, text: bytes) -> int:
        """Where the first line begins that, with its end of line, is not less than `text`."""
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            start = self._map.rfind(b"\n", low, middle) + 1 or low
            stop = self._map.find(b"\n", middle) + 1
            if self._map[start:stop] < text:
                low = stop
            else:
                high = start
        return low


def write_names(folder: Path, names: Iterable[str]) -> str:
    """Keep `names`, normalized ones in any order, in `folder`; their digest."""
    data = "".join([f"{name}\n" for name in sorted(set(names))]).encode("ascii")
    digest = hashlib.sha256(data).hexdigest()
    target = folder / f"{digest}{_SUFFIX}"
    if not target.exists():
        write_whole(target, data)
    return digest
