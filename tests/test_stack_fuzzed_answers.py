"""Thousands of broken answers of an index: no byte of them comes to a client that keeps its connection, but of right files.

A seeded mutator makes them out of honest ones. A client reads what nginx sends byte by byte, as HTTP and nothing else.
"""

import json
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Self

import pytest

from decider.settings import IndexSettings
from tests.egress_harness import Fetcher
from tests.fake_index import FakeIndex
from tests.fake_index import body as body_of
from tests.stack import JSON_TYPE, Stack
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

#: Smaller than what waits for the digest: of a larger one the first bytes go on as they come, and the last do not.
WHEEL = make_wheel("demo", "1.0", padding=2_000)
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Evil: yes\r\n\r\nEVILBYTES"
#: All that a client may be told of a file.
HEADERS = {
    "server", "date", "content-type", "content-length", "connection", "cache-control", "etag", "last-modified",
    "accept-ranges", "access-control-allow-origin", "x-content-type-options", "x-decider-degraded", "transfer-encoding",
}  # fmt: skip
WORDS = (
    b"\r\n", b"\n", b"\r\n\r\n", b"\0", b": ", b" ", b"\t", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"HTTP/1.1 000 X\r\n", b"HTTP/1.1 199 X\r\n\r\n",
    b"HTTP/1.1 999 X\r\n", b"HTTP/1.1x 200 OK\r\n", b"HTTP/2.0 200 OK\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n",
    b"X-Accel-Redirect: /healthz\r\n", b"X-Accel-Expires: 9\r\n", b"Set-Cookie: evil=1\r\n", b"Via: evil\r\n", b"NEL: evil\r\n",
    b"Location: /x\r\n", b"Connection: close\r\n", b"Content-Encoding: gzip\r\n", b"ETag: *\r\n", EVIL,
)  # fmt: skip


def honest(data: bytes) -> list[bytes]:
    """Answers that a host may give."""
    chunked = (
        b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:100], data[100:])) + b"0\r\n\r\n"
    )
    return [
        b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: "x"\r\n\r\n%s' % (len(data), data),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
        b"HTTP/1.0 200 OK\r\n\r\n" + data,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data),
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nno",
    ]


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """One of them, changed in a few places, most of them where its head is."""
    made = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        most = min(len(made), chance.choice((40, 120, len(made))))
        place = chance.randint(0, most)
        match chance.randint(0, 5):
            case 0:
                made[place:place] = chance.choice(WORDS)
            case 1:
                made[place : place + chance.randint(1, 4)] = chance.choice(WORDS)
            case 2 if place < len(made):
                made[place] = chance.randint(0, 255)
            case 3:
                del made[place : place + chance.randint(1, 12)]
            case 4:
                del made[place:]
                made += chance.choice((b"", EVIL))
            case _:
                start = chance.randint(0, most)
                made[place:place] = made[start : start + 20]
    return bytes(made)


class FuzzedHost:
    """Answers each request with the next broken answer, and closes; use as a context manager."""

    def __init__(self, seeds: list[bytes], seed: int) -> None:
        self._chance = random.Random(seed)
        self._seeds = seeds
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listening.getsockname()[1])
        self.given = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    more = connection.recv(65_536)
                    if not more:
                        return
                    asked += more
                with self._lock:
                    said = mutated(self._seeds, self._chance)
                    self.given += 1
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                return


def test_fetcher() -> None:
    """Of 10,000 broken answers none is passed on by the fetcher but as the very file."""
    data = WHEEL.data
    expected = f"public sha256={WHEEL.sha256} {len(data)}"
    with FuzzedHost(honest(data), seed=12) as host:
        index = IndexSettings(name="public", url=f"http://127.0.0.1:{host.port}/simple/")
        with Fetcher([index]) as fetcher:
            statuses: dict[int, int] = {}
            for number in range(10_000):
                got = fetcher.file(f"http://127.0.0.1:{host.port}/{number}", expected)
                statuses[got.status] = statuses.get(got.status, 0) + 1
                assert got.status in {200, 502, 504}
                assert got.status != 200 or (got.body == data and got.is_whole)
                assert b"EVIL" not in got.body
                assert "x-evil" not in got.headers
            assert host.given >= 10_000
    assert statuses[200] > 20
    assert statuses[502] > 5_000


class Answers:
    """What comes on one connection, read strictly; a new one where it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._read = b""

    def close(self) -> None:
        self._client.close()

    def _more(self) -> bool:
        try:
            data = self._client.recv(65_536)
        except ConnectionResetError:
            data = b""
        assert b"EVIL" not in data
        assert b"X-Evil" not in data
        self._read += data
        return bool(data)

    def get(self, path: str) -> tuple[int, dict[str, str], bytes, bool]:
        """Status, headers, body, and whether all of that came."""
        assert self._read == b"", f"{self._read[:200]!r} came before anybody asked"
        self._client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while b"\r\n\r\n" not in self._read:
            assert self._more(), f"the connection ended in a head: {self._read[:200]!r}"
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]+", first)
        assert found is not None, first
        headers = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, line
            headers[name.lower()] = value
        body, is_whole = self._body(headers)
        if headers.get("connection") == "close" or not is_whole:
            self._client.close()
            self._client = socket.create_connection(("127.0.0.1", self._port), timeout=20)
            self._read = b""
        return int(found[1]), headers, body, is_whole

    def _body(self, headers: dict[str, str]) -> tuple[bytes, bool]:
        assert "transfer-encoding" not in headers, "the page states the size"
        length = int(headers["content-length"])
        while len(self._read) < length:
            if not self._more():
                return self._read, False
        body, self._read = self._read[:length], self._read[length:]
        return body, True


@pytest.fixture
def fuzzed() -> Iterator[FuzzedHost]:
    with FuzzedHost(honest(WHEEL.data), seed=7) as host:
        yield host


def test_client(fuzzed: FuzzedHost, new_stack: Callable[..., Stack]) -> None:
    """Of 1,500 broken answers a client that keeps its connection sees none: each question has its own answer, of ours."""
    names = [f"demo-{number}.0-py3-none-any.whl" for number in range(1_500)]
    with FakeIndex() as index:
        origin = f"http://127.0.0.1:{fuzzed.port}"
        files = [
            {
                "filename": name,
                "url": f"{origin}/{name}",
                "hashes": {"sha256": WHEEL.sha256},
                "size": len(WHEEL.data),
            }
            for name in names
        ]
        listed = {"meta": {"api-version": "1.1"}, "name": "demo", "versions": [], "files": files}
        index.switch("/simple/demo/", body_of(json.dumps(listed).encode(), JSON_TYPE))
        stack = new_stack(index_url=index.url, index=f'file_hosts = ["127.0.0.1:{fuzzed.port}"]')
        stack.start()
        client, statuses = Answers(stack.port), dict.fromkeys((200, 502, 504), 0)
        for name, number in zip(names, count()):
            status, headers, body, is_whole = client.get(f"/files/demo/{name}")
            assert set(headers) <= HEADERS, (number, headers)
            statuses[status] += 1
            if status == 200:
                assert WHEEL.data.startswith(body)
                assert (body == WHEEL.data) is is_whole
            else:
                assert json.loads(body)["status"] == status
        client.close()
        assert fuzzed.given >= len(names)
        assert statuses[502] > 500
        assert statuses[200] > 3
