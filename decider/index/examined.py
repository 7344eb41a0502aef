"""What was read out of distribution files, kept on disk across restarts and for all worker processes.

One small file an entry, keyed by the file's place and told valid by size, modification time and inode; extracted
metadata beside it, as the bytes that nginx serves (PEP 658). A damaged entry counts as none. Judging may not be
added here.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from decider.index.directory import Candidate
from decider.index.folders import Sweeper, make_folder, write_whole

__all__ = ["Examined", "ExaminedFiles"]

_SWEEP_INTERVAL_S = 3600.0
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What one file's bytes say."""

    size: int
    mtime_ns: int
    inode: int
    sha256: _Sha256
    requires_python: str | None
    metadata_sha256: _Sha256 | None  #: of the extracted metadata; None where none is offered

    def is_of(self, candidate: Candidate) -> bool:
        """Whether the file is still the one that was read."""
        return (self.size, self.mtime_ns, self.inode) == (candidate.size, candidate.mtime_ns, candidate.inode)


class ExaminedFiles:
    """The kept entries of one index, in `folder` below `cache_dir`."""

    def __init__(self, cache_dir: Path, folder: str) -> None:
        self._cache_dir = cache_dir
        self._folder = folder
        self._entries = cache_dir / folder / "entries"
        self._metadata = cache_dir / folder / "metadata"
        self._entry_sweeper = Sweeper(self._entries, interval_s=_SWEEP_INTERVAL_S)
        self._metadata_sweeper = Sweeper(self._metadata, interval_s=_SWEEP_INTERVAL_S)

    def load(self, candidate: Candidate) -> Examined | None:
        """The entry of that file, None where there is none, or one of other or damaged content."""
        try:
            data = (self._entries / _entry_name(candidate.path)).read_bytes()
            examined = msgspec.json.decode(data, type=Examined)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return examined if examined.is_of(candidate) and self._has_metadata_of(examined) else None

    def save(self, candidate: Candidate, examined: Examined, metadata: bytes | None) -> None:
        """Keep the entry and, first, the metadata that it names; raise OSError when that fails."""
        if metadata is not None and not self._has_metadata_of(examined):
            for folder in (self._cache_dir, self._cache_dir / self._folder):
                make_folder(folder)  # nginx passes through
            write_whole(self._cache_dir / self.metadata_path(examined), metadata)
        write_whole(self._entries / _entry_name(candidate.path), msgspec.json.encode(examined))

    def metadata_path(self, examined: Examined) -> str:
        """Where its metadata is, below the cache folder."""
        return f"{self._folder}/metadata/{examined.metadata_sha256}.metadata"

    def sweep(self, paths: Iterable[str], metadata_paths: Iterable[str], *, now: float) -> None:
        """Remove entries of other files, and other metadata; an hour or more after they fell out of use."""
        self._entry_sweeper.sweep((_entry_name(path) for path in paths), now=now)
        self._metadata_sweeper.sweep((path.rpartition("/")[2] for path in metadata_paths), now=now)

    def _has_metadata_of(self, examined: Examined) -> bool:
        if examined.metadata_sha256 is None:
            return True
        try:
            data = (self._cache_dir / self.metadata_path(examined)).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(data).hexdigest() == examined.metadata_sha256


def _entry_name(path: str) -> str:
    return f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"
