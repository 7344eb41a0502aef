"""Copies of listed files where nginx's unprivileged user can read them: `<sha256>/<filename>`, hard links if possible.

Deciding whether staging is needed may not be added here.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from decider.errors import UnreadableDistribution
from decider.index.directory import Candidate
from decider.index.folders import FILE_MODE, Sweeper, make_folder, temporary_name

__all__ = ["Stage"]

_SWEEP_INTERVAL_S = 60.0
_CHUNK = 2**20
_CHANGED = "changed while it was copied"


class Stage:
    """A folder of staged files; belongs to one index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sweeper = Sweeper(folder, interval_s=_SWEEP_INTERVAL_S)

    def place(self, source: Path, candidate: Candidate, *, sha256: str) -> str:
        """Stage `source`, which was found as `candidate` and whose bytes have that digest, and tell where, below the folder.

        Raise UnreadableDistribution when it is another by now, OSError when it cannot be written.
        """
        target = self._folder / sha256 / candidate.filename
        if not _is_in_place(source.stat(), target):
            make_folder(self._folder)
            make_folder(target.parent)
            temporary = temporary_name(target)
            try:
                _link_or_copy(source, temporary, candidate, sha256)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)  # rename leaves it when both are links to one inode
        return f"{sha256}/{candidate.filename}"

    def sweep(self, sha256s: Iterable[str], *, now: float) -> None:
        """Remove what none of these digests names; a minute or more after it fell out of use."""
        self._sweeper.sweep(sha256s, now=now)


def _is_in_place(source: os.stat_result, target: Path) -> bool:
    """A link of another inode may have been written to since; a copy of ours has not."""
    try:
        found = target.stat()
    except OSError:
        return False
    is_ours = os.path.samestat(found, source) or (found.st_nlink == 1 and found.st_size == source.st_size)
    return is_ours and _is_readable_by_all(found)


def _is_readable_by_all(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IROTH)


def _link_or_copy(source: Path, target: Path, candidate: Candidate, sha256: str) -> None:
    if _is_readable_by_all(source.stat()):
        try:
            target.hardlink_to(source)
        except OSError:  # another file system, or one without hard links
            _copy(source, target, sha256)
        else:
            # Of what lies there now: a symbolic link itself, or through one that is a folder by now any file at all.
            if not candidate.is_still(target.lstat()):
                raise UnreadableDistribution(_CHANGED)
    else:  # a link would share the mode, and the mode of the original is not ours to change
        _copy(source, target, sha256)


def _copy(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    # Nobody else reads it before we know what it is.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as writer, source.open("rb") as reader:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    if digest.hexdigest() != sha256:
        raise UnreadableDistribution(_CHANGED)
    found = source.stat()
    # nginx makes its ETag of it: the same for every process and machine.
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    target.chmod(FILE_MODE)
