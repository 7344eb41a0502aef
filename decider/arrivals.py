"""Index pages on their way into nginx's cache: what is longer than any page may be takes no more of the disk.

nginx ends no answer that it is keeping: not when the decider, which has seen enough of it, hangs up, and not at any
size. An index that sends without end would fill the disk. So nginx gathers pages in a folder of their own, where they
are looked at; and no file that it writes grows beyond MAX_FILE_BYTES, which ends such an answer at last. Files of
projects are larger and may not be judged here.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from decider.index.loopback import MAX_PAGE_BYTES

__all__ = ["ARRIVING", "MAX_FILE_BYTES", "stop_endless"]

log = logging.getLogger(__name__)

ARRIVING = "arriving"  #: folder beside the caches, on the same file system (nginx/indexes.conf)
MAX_FILE_BYTES = 16 * 2**30  #: what nginx may write into one file; no distribution file is as large
_MOST = MAX_PAGE_BYTES + 2**20  #: a page, and what nginx writes before it
_LEFT_BEHIND_S = 3600.0  #: one that nobody has written to for so long is what a killed nginx left


def stop_endless(cache_folder: Path, *, wall_clock: Callable[[], float] = time.time) -> None:
    """Give the disk back what too long pages took, and remove what was left behind.

    nginx writes on behind the place that it had reached, which takes no room before it; what comes of that is no cache
    entry to nginx, as it begins with nothing.
    """
    try:
        arriving = list((cache_folder / ARRIVING).iterdir())
    except FileNotFoundError:  # nginx has not made it yet
        return
    for path in arriving:
        try:
            _stop_if_endless(path, wall_clock())
        except FileNotFoundError:  # it has arrived in between
            continue
        except OSError as error:
            log.error("index.endless_not_stopped", extra={"cause": str(error)})  # noqa: TRY400 (its cause is told)


def _stop_if_endless(path: Path, now: float) -> None:
    status = path.stat()
    if now - status.st_mtime > _LEFT_BEHIND_S:
        path.unlink()
    elif status.st_blocks * 512 > _MOST:
        with path.open("r+b") as handle:
            handle.truncate(0)
        log.warning("index.endless", extra={"bytes": status.st_size})
