"""Whether another user of this machine may read a path, by mode bits.

Access control lists and supplementary groups are not looked at. Changing permissions may not be added here.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Reader", "readable_by"]


@dataclass(frozen=True, slots=True)
class Reader:
    """The user that nginx's workers run as, asked about many files of few folders."""

    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        """Whether the user can traverse `folder` and all its parents, as written and the way that links take."""
        return readable_by(folder, self.uid, self.gid, wanted=stat.S_IXOTH)

    def can_read(self, found: os.stat_result) -> bool:
        """Whether the user can read that file of a folder that can be entered."""
        return _allows(found, self.uid, self.gid, stat.S_IROTH)


def readable_by(path: Path, uid: int, gid: int, *, wanted: int | None = None) -> bool:
    """Whether the user can traverse every parent of `path` and read it (list and traverse, for a folder).

    `wanted`: other bits of the path itself, as those for others.

    Both the way as written and the way that symbolic links take must be open. False where the path is missing or
    this process cannot tell.
    """
    written = Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow links; both ways are wanted)
    try:
        real = written.resolve(strict=True)
        parents = {*written.parents, *real.parents}
        if not all(_allows(parent.stat(), uid, gid, stat.S_IXOTH) for parent in parents):
            return False
        found = real.stat()
    except (OSError, RuntimeError):  # RuntimeError: a loop of symbolic links
        return False
    if wanted is None:
        wanted = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(found.st_mode) else stat.S_IROTH
    return _allows(found, uid, gid, wanted)


def _allows(found: os.stat_result, uid: int, gid: int, wanted: int) -> bool:
    """POSIX: the first class that fits decides alone, so an owner may be shut out of what others may read."""
    if uid == 0:
        return True
    if uid == found.st_uid:
        return found.st_mode & (wanted << 6) == wanted << 6
    if gid == found.st_gid:
        return found.st_mode & (wanted << 3) == wanted << 3
    return found.st_mode & wanted == wanted
