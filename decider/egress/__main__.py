"""The fetcher's processes: `python -m decider.egress ACCEPTED`, started in data_dir.

gunicorn keeps them as it keeps the decider's own; ACCEPTED is the same file of settings (decider/wsgi.py). Started as
root they leave it for nginx's user, once they hold what only root may read: certificates' keys, credentials, and the
files that they count in.
"""

import asyncio
import asyncio.sslproto
import codecs
import gc
import sys
from asyncio import selector_events
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from gunicorn.app.base import BaseApplication

from decider.egress.service import DRAIN_S, KEEPALIVE_S, Targets, make_runner, make_targets
from decider.metrics import FOLDER, clear_seats, take_seat, touch_egress
from decider.run_files import EGRESS_SOCKET
from decider.settings import Settings, settings_from_json
from decider.worker_user import worker_user
from decider.wsgi import GunicornLogger

__all__ = ["Fetcher"]

SEAT_ROLE = "egress"
WORKERS = 2  #: one that reads a hostile answer for long holds only some of the others
# Of the event loop's own buffers, one for each connection that is read from, and two for each with TLS: with its 256 kB
# two hundred downloads would take 100 MB.
_BUFFER_BYTES = 64 * 1024


class Fetcher(BaseApplication):
    """One gunicorn, its workers in processes, each with an event loop."""

    def __init__(self, accepted: Path) -> None:
        self._accepted = accepted
        super().__init__()

    def load_config(self) -> None:
        """What gunicorn is told; read again on SIGHUP."""
        settings = settings_from_json(self._accepted.read_bytes())
        # As root, before workers leave it.
        targets = make_targets(settings)
        self.callable = None  # what SIGHUP makes new
        self._ready = settings, targets
        seats = Path(settings.data_dir) / FOLDER
        indexes = [index.name for index in settings.indexes if index.url is not None]

        def sit_down(_: object, worker: object) -> None:  # noqa: ARG001 (gunicorn hands both)
            take_seat(seats, SEAT_ROLE)
            touch_egress(indexes)

        user = worker_user()
        options: dict[str, Any] = {
            # The process is started in data_dir: a relative path is short enough for any folder.
            "bind": f"unix:{EGRESS_SOCKET}",
            # (!) For decider's and nginx's users: who can open it has the indexes' credentials used for them.
            "umask": 0o117,
            "workers": WORKERS,
            "worker_class": "aiohttp.GunicornWebWorker",
            "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,  # noqa: S108 (heartbeats, no data)
            "preload_app": True,
            "keepalive": KEEPALIVE_S,
            "timeout": 60,
            "graceful_timeout": DRAIN_S,
            "proc_name": "decider-egress",
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "no_control_socket": True,
            "logger_class": GunicornLogger,
            "on_starting": lambda _: clear_seats(seats, SEAT_ROLE),
            "post_fork": sit_down,
        }
        if user is not None:
            options |= {"user": user.uid, "group": user.gid}
        for name, value in options.items():
            if name in self.cfg.settings:  # older gunicorns know fewer
                self.cfg.set(name, value)

    def load(self) -> "Callable[[], Awaitable[web.AppRunner]]":  # type: ignore[override]  # a worker of aiohttp's wants this
        """What makes the service, in a worker's event loop."""
        settings, targets = self._ready
        return _service(settings, targets)


def _service(settings: Settings, targets: Targets) -> "Callable[[], Awaitable[web.AppRunner]]":
    async def make() -> web.AppRunner:
        return make_runner(settings, targets)

    return make


if __name__ == "__main__":
    selector_events._SelectorSocketTransport.max_size = _BUFFER_BYTES  # type: ignore[attr-defined]  # noqa: SLF001 (no setting)
    asyncio.sslproto.SSLProtocol.max_size = _BUFFER_BYTES
    # What Python would load when it is first needed, from folders that only root may be able to read.
    for encoding in ("idna", "punycode", "latin-1", "ascii"):
        codecs.lookup(encoding)
    gc.collect()
    gc.freeze()
    Fetcher(Path(sys.argv[1])).run()
