"""Whether another user of this machine may read a path, by mode bits.

Access control lists and supplementary groups are not looked at. Changing permissions may not be added here.
"""

import os
import stat
from pathlib import Path

__all__ = ["readable_by"]


def readable_by(path: Path, uid: int, gid: int) -> bool:
    """Whether the user can traverse every parent of `path` and read it (list and traverse, for a folder).

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
