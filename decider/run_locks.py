"""Whose a data_dir is: one `decider up` at a time, and none before all processes of an earlier one have ended.

Those of one that was killed are ended: the kernel tells which they are, by the lock that each of them holds (proc(5)).

What runs there may not be added here.
"""

import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from decider.errors import CannotStart

__all__ = ["Hold", "take_hold"]

log = logging.getLogger(__name__)

# The decider lets requests end for 10 s; an nginx that is told to end does so at once.
_ENDS_WITHIN_S = 12.0  #: by itself; then it is killed
_ENDED_WITHIN_S = 15.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Hold:
    """The locks of one `decider up`."""

    own: IO[bytes]  #: the supervisor's alone
    #: Left open in every process that it starts: flock(2) lets go when the last of them has ended.
    family: IO[bytes]


def take_hold(data_dir: Path) -> Hold:
    """Keep every other `up` away; end, and wait for, what one that was killed has left. Raise CannotStart.

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
            f"processes of a `decider up` that was killed still run on data_dir {data_dir}, and cannot be ended"
            " from here"
        ) from None


def _lock_in_time(path: Path) -> IO[bytes]:
    """The lock; raise BlockingIOError where others keep it whatever is done."""
    try:
        return _lock(path)
    except BlockingIOError:
        log.info("up.waits", extra={"cause": "processes of one that was killed are ending"})
    # Most have been told already, by the end of their parent; workers of an nginx that was killed too have not.
    _signal_holders(path, signal.SIGTERM)
    started = time.monotonic()
    while True:
        time.sleep(_POLL_S)
        try:
            return _lock(path)
        except BlockingIOError:
            waited = time.monotonic() - started
            if waited >= _ENDED_WITHIN_S:
                raise
        if waited >= _ENDS_WITHIN_S:
            for pid in _signal_holders(path, signal.SIGKILL):
                log.warning("up.kills", extra={"pid": pid, "cause": "left by one that was killed"})


def _signal_holders(path: Path, number: signal.Signals) -> list[int]:
    """Signal every other process that holds the lock on this file; the ids of those that were."""
    signalled = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # Ended meanwhile, or not ours to look into: then the lock stays taken, and says so.
        with suppress(OSError):
            process = os.pidfd_open(int(entry.name))
            try:
                # Looked at with the process in hand: its id cannot have become another's.
                if _holds(entry, path.stat()):
                    signal.pidfd_send_signal(process, number)
                    signalled.append(int(entry.name))
            finally:
                os.close(process)
    return signalled


def _holds(process: Path, file: os.stat_result) -> bool:
    """Whether a process holds a lock on the file, not only the file open, as whoever backs it up has."""
    return any("FLOCK" in (process / "fdinfo" / number).read_text() for number in _descriptors(process, file))


def _descriptors(process: Path, file: os.stat_result) -> Iterator[str]:
    for link in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.path.samestat(link.stat(), file):
                yield link.name


def _lock(path: Path) -> IO[bytes]:
    """The file, locked until it is closed wherever it was left open; raise BlockingIOError where somebody else has it."""
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise
    return handle
