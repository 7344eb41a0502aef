"""The fetcher's process: `python -m decider.egress ACCEPTED`, started in data_dir.

ACCEPTED is the same file of settings that the decider works by (decider/wsgi.py). Started as root it leaves that for
nginx's user, once it holds what only root may read: certificates' keys, credentials, the files that it counts in. So new
settings are for a new process: it takes the socket over, and the one before ends when it has given what it was giving.
"""

import asyncio
import codecs
import ctypes
import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from decider.egress.service import Targets, make_runner, make_targets
from decider.logs import configure
from decider.metrics import FOLDER, take_seat, touch_egress
from decider.run_files import EGRESS_SOCKET
from decider.settings import Settings, settings_from_json
from decider.worker_user import WorkerUser, worker_user

SEAT_ROLE = "egress"
BACKLOG = 1024
LOOK_EVERY_S = 1.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


def _listen(path: Path, user: WorkerUser | None) -> socket.socket:
    """Listen there, in place of whoever did; for decider's and nginx's users alone."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    # (!) Who can open it has the indexes' credentials used for them.
    mask = os.umask(0o117)
    try:
        listener.bind(str(fresh))
    finally:
        os.umask(mask)
    if user is not None:
        os.chown(fresh, user.uid, user.gid)
    listener.listen(BACKLOG)
    fresh.replace(path)
    return listener


def _leave_root(user: WorkerUser) -> None:
    parent = os.getppid()
    os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    # With another user the kernel forgets it: to end with the supervisor, however that ends.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


async def _serve(settings: Settings, targets: Targets, listener: socket.socket) -> None:
    """Give what is asked for until told to stop, or until another process has taken the socket over."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # new settings are for a new process
    runner = make_runner(settings, targets)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    own = _inode()
    while not stopping.is_set() and _inode() in {own, None}:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)
    await runner.cleanup()


def _inode() -> int | None:
    try:
        return Path(EGRESS_SOCKET).stat().st_ino
    except OSError:
        return None


def _main(accepted: Path) -> None:
    configure()
    settings = settings_from_json(accepted.read_bytes())
    user = worker_user()
    take_seat(Path(settings.data_dir) / FOLDER, SEAT_ROLE)
    touch_egress(index.name for index in settings.indexes if index.url is not None)
    targets = make_targets(settings)
    # The process is started in data_dir: a relative path is short enough for any folder.
    listener = _listen(Path(EGRESS_SOCKET), user)
    # What Python would load when it is first needed, from folders that only root may be able to read.
    for encoding in ("idna", "punycode", "latin-1", "ascii"):
        codecs.lookup(encoding)
    if user is not None:
        _leave_root(user)
    gc.freeze()
    asyncio.run(_serve(settings, targets, listener))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
