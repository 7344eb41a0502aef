"""What stands in for nginx's socket for the decider, or for the fetcher's: a server that answers as a test tells it to."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from tests.stack import JSON_TYPE

__all__ = ["Asked", "Listener", "Said", "UnixHTTPServer", "failed", "page"]


class UnixHTTPServer(ThreadingMixIn, UnixStreamServer):
    """An HTTP server on a unix socket."""

    daemon_threads = True
    request_queue_size = 128


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; header names in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """One answer. `length`: what Content-Length says, where that is not the truth."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    chunks: Callable[[Callable[[bytes], object]], None] | None = None  #: writes the body, instead of `body`


Answering = Said | Callable[[Asked], Said]


def page(text: str, **headers: str) -> Said:
    """A JSON page; keyword names become headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(body=text.encode(), headers={"Content-Type": JSON_TYPE, "X-Decider-Cache": "MISS", **named})


def failed(kind: str, cause: str, status: int = 502) -> Said:
    """What the fetcher says where it has nothing to pass on."""
    return Said(status, headers={"X-Decider-Kind": kind, "X-Decider-Cause": cause})


class Listener:
    """The server; use as a context manager."""

    def __init__(self) -> None:
        self.answers: dict[str, Answering] = {}
        self.asked: list[Asked] = []
        self.connections = 0  #: that came in
        self.stopping = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                listener.connections += 1

            def do_GET(self) -> None:
                listener._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
                """Say nothing."""

        # Not pytest's folder, whose path may be too long for an address.
        self._folder = TemporaryDirectory(prefix="listener-")
        self.socket = Path(self._folder.name) / "listener.sock"
        self._server = UnixHTTPServer(str(self.socket), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = Asked(handler.path, {name.lower(): value for name, value in handler.headers.items()})
        self.asked.append(asked)
        answering = self.answers.get(asked.path, Said(404, headers={"X-Decider-Cache": "MISS"}))
        said = answering if isinstance(answering, Said) else answering(asked)
        handler.send_response_only(said.status)
        for name, value in said.headers.items():
            handler.send_header(name, value)
        if said.status != 304:
            handler.send_header("Content-Length", str(len(said.body) if said.length is None else said.length))
        try:
            handler.end_headers()
            if said.chunks is None:
                handler.wfile.write(said.body)
            else:
                said.chunks(handler.wfile.write)
        except OSError:
            handler.close_connection = True  # who asked has gone
        if said.length is not None:
            handler.close_connection = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no more."""
        if not self.stopping.is_set():
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._folder.cleanup()
