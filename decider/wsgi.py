"""gunicorn with decider's application: `python -m decider.wsgi ACCEPTED`.

ACCEPTED is a file of settings that were read and found good (settings_to_json): a worker that starts later, or again,
works by these, whatever has become of decider.toml meanwhile.
"""

import sys
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from decider.metrics import FOLDER, clear_seats, take_seat
from decider.settings import Settings, settings_from_json
from decider.web import create_app

__all__ = ["SOCKET", "Server"]

SOCKET = "run/decider.sock"  #: below data_dir
SEAT_ROLE = "worker"
THREADS = 32  #: a thread waits while an index is asked; a decision from memory takes well under a millisecond


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
            "logger_class": "decider.logs.GunicornLogger",
            "on_starting": lambda _: clear_seats(Path(settings.data_dir) / FOLDER, SEAT_ROLE),
        }
        for name, value in options.items():
            if name in self.cfg.settings:  # older gunicorns know fewer
                self.cfg.set(name, value)

    def load(self) -> Flask:  # type: ignore[override]  # WSGI applications are told apart by their call
        """The application of one worker."""
        settings = self._decider_settings
        take_seat(Path(settings.data_dir) / FOLDER, SEAT_ROLE)
        return create_app(settings)


if __name__ == "__main__":
    Server(Path(sys.argv[1])).run()
