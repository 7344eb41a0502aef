"""Bytes that no HTTP library would send, as behaviours of a fake index; a relay that tells when a client has asked again; a
client that takes nothing for an answer but what RFC 9112 has to the letter.
"""

import re
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.fake_index import Behaviour, Reply, _Handler

__all__ = [
    "OWN_HEADERS",
    "Got",
    "Relay",
    "StrictClient",
    "chunked",
    "has_gone",
    "head",
    "plain",
    "plays",
    "says",
]

Script = Callable[[bytes], Iterable[bytes]]  #: the honest body → what is sent, piece by piece


def plays(script: Script) -> Behaviour:
    """Send what `script` makes of the honest body, and close."""

    def send(reply: Reply, wire: _Handler) -> None:
        wire.close_connection = True
        for part in script(reply.body):
            wire.wfile.write(part)

    return send


def says(*parts: bytes) -> Behaviour:
    """Send these bytes, and close."""
    return plays(lambda _: parts)


def head(line: str = "HTTP/1.1 200 OK", *fields: str) -> bytes:
    """A status line and fields, as they are."""
    return "".join(f"{text}\r\n" for text in (line, *fields, "")).encode("latin-1")


def plain(body: bytes, *fields: str, line: str = "HTTP/1.1 200 OK") -> bytes:
    """An answer with a Content-Length."""
    return head(line, f"Content-Length: {len(body)}", *fields) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body with chunked transfer coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def has_gone(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what it has said besides is not looked for."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and not connection.recv(1, socket.MSG_PEEK)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that went through a relay."""

    connection: int
    path: str


class Relay:
    """Passes bytes between clients and `port`, and counts the requests; use as a context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[Asked] = []
        self.more = threading.Condition()
        self._connections = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def after(self, ending: str, *, until: Callable[[], bool]) -> Iterator[str]:
        """Paths that are asked for on the connection on which one with that ending was the last, each once it is; to `until`."""
        last = max(n for n, asked in enumerate(self.asked) if asked.path.endswith(ending))
        connection, seen = self.asked[last].connection, last + 1
        while not until():
            with self.more:
                if len(self.asked) == seen:
                    self.more.wait(0.05)
                fresh, seen = self.asked[seen:], len(self.asked)
            yield from (asked.path for asked in fresh if asked.connection == connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connections += 1
            threading.Thread(target=self._pass, args=(client, self._connections), daemon=True).start()

    def _pass(self, client: socket.socket, number: int) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server, suppress(OSError):
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65_536)
                    if not data:
                        return
                    # Installers send one request at a time on a connection, each in one piece.
                    found = re.match(rb"[A-Z]+ (\S+) HTTP/1\.1\r\n", data) if ready is client else None
                    if found is not None:
                        with self.more:
                            self.asked.append(Asked(number, found[1].decode()))
                            self.more.notify_all()
                    (client if ready is server else server).sendall(data)


#: All that an answer of decider may have, with nginx's own.
OWN_HEADERS = frozenset(
    {
        "accept-ranges",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "cache-control",
        "connection",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "etag",
        "last-modified",
        "link",
        "retry-after",
        "server",
        "transfer-encoding",
        "vary",
        "x-content-type-options",
        "x-decider-degraded",
    }
)
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([ -~]+)\Z")
_FIELD = re.compile(rb"([A-Za-z0-9-]+): ([!-~](?:[ -~]*[!-~])?)\Z")


@dataclass(frozen=True, slots=True)
class Got:
    """What came back for one request; `status` 0: the connection ended before any of it."""

    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes
    is_whole: bool


class StrictClient:
    """One connection on which request follows request. Anything but one proper answer to each fails the test."""

    def __init__(self, port: int, *, within_s: float = 40) -> None:
        self._port, self._within_s = port, within_s
        self._socket: socket.socket | None = None
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing may have come since the last answer."""
        if self._socket is not None:
            self._expect_silence()
            self._socket.close()
            self._socket = None

    def get(self, path: str, **headers: str) -> Got:
        """One GET; keyword names become headers."""
        self.send(path, **headers)
        return self.receive()

    def send(self, path: str, **headers: str) -> None:
        """Ask, and do not wait."""
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        if self._socket is not None and has_gone(self._socket):
            self._drop()
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=self._within_s)
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{named}\r\n".encode())

    def receive(self) -> Got:
        """The answer to the first question that has none yet; the connection is a new one after one that broke off."""
        line = self._line()
        if line is None:
            self._drop()
            return Got(0, {}, b"", is_whole=False)
        found = _STATUS_LINE.match(line)
        assert found, f"no status line: {line!r}"
        headers: dict[str, str] = {}
        while line := self._line():
            field = _FIELD.match(line)
            assert field, f"no field: {line!r}"
            name = field[1].decode().lower()
            assert name not in headers, f"{name} twice"
            headers[name] = field[2].decode()
        assert line is not None, f"it ended within its head: {headers}"
        body, is_whole = self._body(int(found[1]), headers)
        if not is_whole or headers.get("connection") == "close":
            self._drop()
        return Got(int(found[1]), headers, body, is_whole)

    def _body(self, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        if status in {204, 304}:
            return b"", True
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        assert (length is None) != (coding is None), headers
        if length is not None:
            assert re.fullmatch(r"0|[1-9][0-9]*", length)
            return self._bytes(int(length))
        assert coding == "chunked"
        body = b""
        while True:
            line = self._line()
            if line is None:
                return body, False
            assert re.fullmatch(rb"[0-9a-f]+", line), f"no chunk: {line!r}"
            size = int(line, 16)
            part, is_whole = self._bytes(size)
            body += part
            if not is_whole:
                return body, False
            if (line := self._line()) is None:
                return body, False
            assert line == b"", f"no end of a chunk: {line!r}"
            if size == 0:
                return body, True

    def _bytes(self, count: int) -> tuple[bytes, bool]:
        while len(self._read) < count and self._fill():
            pass
        found, self._read = self._read[:count], self._read[count:]
        return found, len(found) == count

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._read:
            assert len(self._read) < 65_536
            if not self._fill():
                return None
        line, _, self._read = self._read.partition(b"\r\n")
        return line

    def _fill(self) -> bool:
        assert self._socket is not None
        try:
            data = self._socket.recv(262_144)
        except ConnectionResetError:
            return False
        self._read += data
        return bool(data)

    def _drop(self) -> None:
        assert self._socket is not None
        self._socket.close()
        self._socket, self._read = None, b""

    def _expect_silence(self) -> None:
        assert self._socket is not None
        assert self._read == b"", f"said without being asked: {self._read[:200]!r}"
        if not has_gone(self._socket):
            readable, _, _ = select.select([self._socket], [], [], 0)
            assert not readable, f"said without being asked: {self._socket.recv(200)!r}"
