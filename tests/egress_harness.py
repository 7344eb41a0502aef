"""The fetcher itself in a thread, on a unix socket; hosts that answer byte by byte as a test says; a proxy before them."""

import asyncio
import http.client
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from decider.egress import connecting
from decider.egress.service import make_runner, make_targets
from decider.settings import EgressSettings, IndexSettings, Settings, WebhookSettings
from decider.unix_sockets import connect_unix

__all__ = [
    "HOSTILE_HEADERS",
    "Fetcher",
    "Got",
    "Host",
    "Proxy",
    "Reply",
    "Request",
    "broken",
    "chunked",
    "redirect",
    "reply",
    "resolve_only",
]

HOST = "127.0.0.1"
#: What an upstream may say that nobody may hear of.
HOSTILE_HEADERS: Mapping[str, str] = {
    "X-Accel-Redirect": "/-/secret",
    "X-Accel-Expires": "99999",
    "X-Accel-Buffering": "no",
    "X-Decider-Cause": "<script>",
    "X-Decider-Kind": "away",
    "X-Decider-Final-Url": "https://evil.example/",
    "X-Decider-Given": "part",
    "X-Decider-Cache": "HIT",
    "Set-Cookie": "a=b",
    "Cache-Control": "max-age=99999",
    "Content-Disposition": "inline",
    "Content-Security-Policy": "none",
    "Access-Control-Allow-Origin": "https://evil.example",
    "Location": "https://evil.example/",
    "Refresh": "0; url=https://evil.example/",
    "Url": "https://evil.example/",
    "Key": "x",
    "Tag": "x",
    "Trailer": "X-A",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a host was asked; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    certificate: str | None = None  #: common name or first DNS name of the client's; None: it showed none
    server_name: str | None = None  #: that TLS was asked for


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes, as they are sent; a chunk that is a function is called instead, and may wait."""

    chunks: Iterable[bytes | Callable[[], object]]
    is_kept: bool = False  #: whether the connection goes on


def reply(
    body: bytes = b"",
    status: str = "200 OK",
    *,
    is_kept: bool = True,
    headers: Mapping[str, str | None] = MappingProxyType({}),
    **named: str | None,
) -> Reply:
    """A proper answer; keyword names become headers, of which None leaves one out."""
    given = {"Content-Length": str(len(body)), **headers}
    given |= {name.replace("_", "-"): value for name, value in named.items()}
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{name}: {value}" for name, value in given.items() if value is not None),
    ]
    return Reply([("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body], is_kept=is_kept)


def redirect(location: str, status: str = "302 Found") -> Reply:
    """To another place."""
    return reply(b"", status, Location=location)


def broken(text: bytes) -> Reply:
    """These bytes, and no more."""
    return Reply([text])


Answering = Reply | Callable[[Request], Reply]


class Host:
    """A server on a loopback address; answers by path, 404 to everything else; use as a context manager."""

    def __init__(self, address: str = HOST, *, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answering] = {}
        self.asked: list[Request] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._names: dict[int, str | None] = {}
        self._tls = tls
        if tls is not None:
            tls.sni_callback = self._note_name
        self._listening = socket.create_server((address, 0), backlog=256)
        self.address, self.port = address, int(self._listening.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """Its root."""
        return f"http{'s' if self._tls else ''}://{self.address}:{self.port}/"

    def paths(self) -> list[str]:
        """What it was asked for."""
        return [one.target for one in self.asked]

    def _note_name(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: object) -> None:
        self._names[id(connection)] = name

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.add(connection)
            with connection, connection.makefile("rb") as reader:
                while (request := self._read(reader, connection)) is not None:
                    self.asked.append(request)
                    if not self.give(request, connection):
                        return

    def give(self, request: Request, connection: socket.socket) -> bool:
        """Answer; whether the connection goes on."""
        answering = self.answers.get(request.target, reply(b"no", "404 Not Found"))
        answer = answering if isinstance(answering, Reply) else answering(request)
        for chunk in answer.chunks:
            if isinstance(chunk, bytes):
                connection.sendall(chunk)
            else:
                chunk()
        return answer.is_kept

    def _read(self, reader: Any, connection: socket.socket) -> Request | None:
        lines = []
        while (line := reader.readline()) not in {b"", b"\r\n"}:
            lines.append(line.decode("latin-1").rstrip("\r\n"))
        if not lines:
            return None
        method, target, _ = lines[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines[1:])
        }
        body = reader.read(int(headers.get("content-length", "0")))
        shown = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
        names: Any = (shown or {}).get("subjectAltName", ())
        return Request(
            method, target, headers, body, names[0][1] if names else None, self._names.get(id(connection))
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Proxy(Host):
    """A proxy for CONNECT and for absolute URLs, which itself knows where names lead."""

    def __init__(self, routes: Mapping[str, Host], *, credentials: str | None = None) -> None:
        """`routes`: host, whatever port → server. `credentials`: "user:password" that are wanted."""
        super().__init__()
        self._routes = routes
        self._wanted = f"Basic {b64encode(credentials.encode()).decode()}" if credentials else None

    def give(self, request: Request, connection: socket.socket) -> bool:
        """Pass on."""
        if self._wanted is not None and request.headers.get("proxy-authorization") != self._wanted:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return False
        is_tunnel = request.method == "CONNECT"
        url = urlsplit(f"//{request.target}" if is_tunnel else request.target)
        host = self._routes.get(url.hostname or "")
        if host is None:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return False
        with socket.create_connection((host.address, host.port)) as onward:
            self._open.add(onward)
            if is_tunnel:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                threading.Thread(target=_pump, args=(connection, onward), daemon=True).start()
            else:
                named = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
                onward.sendall(f"{request.method} {url.path} HTTP/1.1\r\n{named}\r\n".encode())
                onward.shutdown(socket.SHUT_WR)
            _pump(onward, connection)
        return False


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True)
class Got:
    """What the fetcher answered; header names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    is_whole: bool = True

    @property
    def kind(self) -> str:
        return self.headers.get("x-decider-kind", "")

    @property
    def cause(self) -> str:
        return self.headers.get("x-decider-cause", "")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("fetcher", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        connect_unix(self.sock, self._path)


@dataclass
class Fetcher:
    """The service; use as a context manager."""

    indexes: Iterable[IndexSettings] = ()
    webhook: WebhookSettings | None = None
    egress: EgressSettings = field(default_factory=EgressSettings)
    ca_file: str | None = None

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="egress-")
        self._socket = Path(self._folder.name) / "egress.sock"
        settings = Settings(
            indexes=tuple(self.indexes),
            repositories=(),
            webhook=self.webhook,
            egress=self.egress,
            ca_file=self.ca_file,
            data_dir=self._folder.name,
        )
        started: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def start() -> None:
            self._runner = make_runner(settings, make_targets(settings))
            await self._runner.setup()
            self._runner._shutdown_timeout = 0.1
            await web.UnixSite(self._runner, str(self._socket)).start()

        async def stop() -> None:
            await self._runner.cleanup()
            await self._loop.shutdown_default_executor()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            try:
                self._loop.run_until_complete(start())
            except BaseException as error:  # noqa: BLE001 (raised where the test is)
                started.append(error)
                self._loop.close()
                ready.set()
                return
            ready.set()
            self._loop.run_forever()
            self._loop.run_until_complete(stop())
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        ready.wait(30)
        if started:
            self._folder.cleanup()
            raise started[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._folder.cleanup()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one's own."""
        return _Connection(self._socket)

    def ask(
        self, path: str, headers: Mapping[str, str], *, method: str = "GET", body: bytes | None = None
    ) -> Got:
        """What it answers to any request."""
        connection = self.connect()
        try:
            connection.request(method, path, headers=dict(headers), body=body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            try:
                return Got(answer.status, answer.read(), found)
            except http.client.IncompleteRead as error:
                return Got(answer.status, error.partial, found, is_whole=False)
            except ConnectionResetError:
                return Got(answer.status, b"", found, is_whole=False)
        finally:
            connection.close()

    def page(self, path: str = "demo/", *, index: str = "public", **headers: str) -> Got:
        """An index's page, as nginx asks for it; keyword names become headers."""
        source = next((one.url or "" for one in self.indexes if one.name == index), "")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(f"/page/{index}/{path}", {"X-Decider-Source": source, **named})

    def file(self, url: str, expect: str = "public - -", *, name: str = "demo.whl", **headers: str) -> Got:
        """A file, as nginx asks for it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        told = {
            "X-Decider-Url": url,
            "X-Decider-Expect": expect,
            "X-Decider-File": name,
            "X-Decider-Project": "demo",
        }
        return self.ask("/file", told | named)

    def part(self, url: str, asked: str, expect: str = "public - -") -> Got:
        """A part of a file, as the decider asks for it through nginx."""
        return self.ask("/part", {"X-Decider-Url": url, "X-Decider-Expect": expect, "Range": asked})


def resolve_only(monkeypatch: pytest.MonkeyPatch, names: Mapping[str, Iterable[str]]) -> list[str]:
    """Have names lead where `names` says, and others nowhere; the list fills with what was asked for."""
    asked: list[str] = []

    async def addresses(host: str, port: int, family: int) -> list[tuple[int, str]]:  # noqa: ARG001 (as it stands)
        asked.append(host)
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (int(socket.AF_INET6 if ":" in address else socket.AF_INET), address) for address in names[host]
        ]

    monkeypatch.setattr(connecting, "addresses", addresses)
    return asked


def chunked(*chunks: bytes) -> bytes:
    """In chunks, with the last."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
