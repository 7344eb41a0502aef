"""gunicorn with decider's application: `python -m decider.wsgi ACCEPTED`.

ACCEPTED is a file of settings that were read and found good (settings_to_json): a worker that starts later, or again,
works by these, whatever has become of decider.toml meanwhile.
"""

import ctypes
import gc
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger

from decider.logs import EventFormatter, configure
from decider.metrics import FOLDER, clear_seats, take_seat
from decider.run_files import SOCKET
from decider.settings import Settings, settings_from_json

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["GunicornLogger", "Server"]

SEAT_ROLE = "worker"
THREADS = 32  #: a thread waits while an index is asked; a decision from memory takes well under a millisecond


class GunicornLogger(Logger):
    """gunicorn's own words, in the form of ours."""

    def setup(self, cfg: Config) -> None:
        """Configure both loggers of this process."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(EventFormatter())
        configure()


class Server(BaseApplication):
    """One gunicorn, its workers in processes, its requests in threads."""

    def __init__(self, accepted: Path) -> None:
        self._accepted = accepted
        super().__init__()

    @property
    def _decider_settings(self) -> Settings:
        return settings_from_json(self._accepted.read_bytes())

    def load_config(self) -> None:
        """What gunicorn is told; read again on SIGHUP."""
        settings = self._decider_settings
        options: dict[str, Any] = {
            # The process is started in data_dir: a relative socket path is short enough for any folder.
            "bind": f"unix:{SOCKET}",
            "workers": settings.workers,
            "worker_class": "gthread",
            "threads": THREADS,
            "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,  # noqa: S108 (heartbeats, no data)
            # Longer than nginx keeps its connections, so that gunicorn never closes one that nginx is about to use.
            "keepalive": 75,
            "timeout": 60,
            "graceful_timeout": 10,
            "proc_name": "decider",
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "no_control_socket": True,
            # Header names with underscores could stand for nginx's own arguments.
            "header_map": "drop",
            "limit_request_field_size": 16_384,
            "limit_request_line": 0,  # nginx bounds it, and words the refusal (nginx/refusals.conf)
            "logger_class": GunicornLogger,
            "on_starting": lambda _: clear_seats(Path(settings.data_dir) / FOLDER, SEAT_ROLE),
        }
        for name, value in options.items():
            if name in self.cfg.settings:  # older gunicorns know fewer
                self.cfg.set(name, value)

    def load(self) -> "Flask":  # type: ignore[override]  # WSGI applications are told apart by their call
        """The application of one worker."""
        from decider.web import create_app  # noqa: PLC0415 (read before, see _share_code)

        settings = self._decider_settings
        take_seat(Path(settings.data_dir) / FOLDER, SEAT_ROLE)
        return create_app(settings)


def _share_arenas() -> None:
    """Keep threads from having a heap each: what one page took stays with each, a third of a worker's memory.

    glibc only (mallopt(3)); its locks are not felt under Python's own.
    """
    m_arena_max = -8
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_arena_max, 2)


def _share_code() -> None:
    """Read all code before workers are forked: they share its memory, and one that takes another's place is there at once."""
    importlib.import_module("decider.web")
    gc.collect()
    gc.freeze()  # a collection would write to every shared page


if __name__ == "__main__":
    _share_arenas()
    _share_code()
    # A decision takes half a millisecond and lets go of the interpreter several times, at each read and write; to have
    # it back from a thread that reads a page takes this long. Python's own 5 ms doubled the 99th percentile.
    sys.setswitchinterval(0.001)
    Server(Path(sys.argv[1])).run()
