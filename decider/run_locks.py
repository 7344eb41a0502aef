"""Whose a data_dir is: one `decider up` at a time, and none before all processes of an earlier one have ended.

What runs there may not be added here.
"""

import fcntl
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from decider.errors import CannotStart

__all__ = ["Hold", "take_hold"]

log = logging.getLogger(__name__)

# The decider lets requests end for 10 s; an nginx that is told to end does so at once.
_ENDED_WITHIN_S = 15.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Hold:
    """The locks of one `decider up`."""

    own: IO[bytes]  #: the supervisor's alone
    #: Left open in every process that it starts: flock(2) lets go when the last of them has ended.
    family: IO[bytes]


def take_hold(data_dir: Path) -> Hold:
    """Keep every other `up` away; wait for what one that was killed has left. Raise CannotStart.

    (!) A gunicorn that ends late removes the socket at its path, whosever it is by then: nginx would find no decider.
    """
    try:
        own = _lock(data_dir / "run" / "up.lock")
    except BlockingIOError:
        raise CannotStart(f"another `decider up` runs on data_dir {data_dir}") from None
    try:
        return Hold(own, _lock_in_time(data_dir / "run" / "family.lock"))
    except BlockingIOError:
        own.close()
        raise CannotStart(
            f"processes of a `decider up` that was killed still run on data_dir {data_dir}: end them"
        ) from None


def _lock_in_time(path: Path) -> IO[bytes]:
    """The lock; raise BlockingIOError where others keep it too long."""
    try:
        return _lock(path)
    except BlockingIOError:
        log.info("up.waits", extra={"cause": "processes of one that was killed are ending"})
    give_up_at = time.monotonic() + _ENDED_WITHIN_S
    while True:
        try:
            return _lock(path)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise
        time.sleep(_POLL_S)


def _lock(path: Path) -> IO[bytes]:
    """The file, locked until it is closed wherever it was left open; raise BlockingIOError where somebody else has it."""
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise
    return handle
