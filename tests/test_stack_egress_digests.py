"""Files that are not what their page says: nobody ever has one whole, and the right one comes as soon as the host has it."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from tests.fake_index import Behaviour, FakeIndex, Reply, _Handler
from tests.hostile import OWN_HEADERS, StrictClient, chunked, head, plain, plays
from tests.stack import PROMISE_S, Stack, eventually
from tests.test_stack_metrics import SOON_S, total
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

SIZES = {"1 kB": 0, "70 kB": 70_000, "5 MB": 5_000_000}
AT_ONCE = 50
MB = 2**20


@pytest.fixture(scope="module")
def public() -> Iterator[FakeIndex]:
    with FakeIndex() as index:
        yield index


@pytest.fixture(scope="module")
def gate(public: FakeIndex) -> Iterator[Stack]:
    """A stack over `public`."""
    stack = Stack(index_url=public.url, workers=1)
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


@pytest.fixture(autouse=True)
def _honest_again(public: FakeIndex) -> Iterator[None]:
    yield
    public.behave()


def tampered(data: bytes) -> bytes:
    """As long as `data`, and something else in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def wrong(framing: str) -> Behaviour:
    """The right size, other bytes."""
    if framing == "length":
        return plays(lambda data: [plain(tampered(data))])
    if framing == "chunked":
        pieces = 30_000
        return plays(
            lambda data: [
                head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"),
                chunked(*(tampered(data)[at : at + pieces] for at in range(0, len(data), pieces))),
            ]
        )
    return plays(lambda data: [head(), tampered(data)])


#: Request headers → the part of the file that they ask for.
QUESTIONS: list[tuple[dict[str, str], Callable[[bytes], bytes]]] = [
    ({}, lambda data: data),
    ({"Range": "bytes=0-"}, lambda data: data),
    ({"Range": "bytes=0-99"}, lambda data: data[:100]),
    ({"Range": "bytes=0-0,5-9"}, lambda data: data[5:10]),
    ({"Range": "bytes=-10"}, lambda data: data[-10:]),
    ({"Range": "bytes=100-"}, lambda data: data[100:]),
    ({"Range": "bytes=0-99", "If_Range": '"x"'}, lambda data: data),
    ({"If_None_Match": '"x"'}, lambda data: data),
    ({"Accept_Encoding": "gzip"}, lambda data: data),
]


def assert_never_whole(stack: Stack, path: str, data: bytes) -> None:
    """No question for it, in whatever order, is answered with all that was asked for; nothing but the cause is said."""
    for _ in range(2):
        for headers, part in QUESTIONS:
            with StrictClient(stack.port) as client:
                got = client.get(path, **headers)
            assert set(got.headers) <= OWN_HEADERS
            if got.is_whole:
                assert got.status in {502, 503}, (headers, got.status, len(got.body))
                assert got.headers["content-type"] == "application/problem+json"
            else:
                # From a stream of unknown length nginx gives no last bytes: it gives all, which is not all here.
                wanted = data if got.status == 200 else part(data)
                assert len(got.body) < len(wanted) or not got.body, (headers, got.status)
        assert stack.get(path, method="HEAD").status in {200, 502}


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("companion", ["", ".metadata"], ids=["file", "metadata"])
def test_wrong_bytes_of_the_right_size(  # noqa: PLR0917 (each has a name)
    gate: Stack, public: FakeIndex, project: str, framing: str, size: str, companion: str
) -> None:
    """Whatever the size and the framing, no question for a wrong file is answered with all of it; the right one is."""
    wheel = make_wheel(project, "1.0", padding=0 if companion else SIZES[size])
    if companion:
        wheel = replace(wheel, metadata=wheel.metadata + b"\n" + b"x" * SIZES[size])
    public.add(project, wheel)
    data = wheel.metadata if companion else wheel.data
    path = f"/files/{project}/{wheel.filename}{companion}"
    before = total(gate, "digest_mismatch_total", 'index="public"')
    public.switch(path, wrong(framing))
    assert_never_whole(gate, path, data)
    eventually(lambda: total(gate, "digest_mismatch_total", 'index="public"') >= before + 1, within_s=SOON_S)
    log = gate.log.read_text()
    (line, *_) = [line for line in log.splitlines() if f"file='{wheel.filename}{companion}'" in line]
    assert "index='public'" in line
    assert f"project='{project}'" in line
    stated, found = hashlib.sha256(data).hexdigest(), hashlib.sha256(tampered(data)).hexdigest()
    assert f"its sha256 is {found}, its page states {stated}" in line
    public.behave()
    eventually(lambda: gate.get(path).body == data, within_s=PROMISE_S)
    with StrictClient(gate.port) as client:
        for headers, part in QUESTIONS:
            assert part(data) in client.get(path, **headers).body, headers


@pytest.mark.parametrize("algorithm", ["sha512", "sha384", "blake2b", "md5"])
@pytest.mark.parametrize("size", ["1 kB", "5 MB"])
def test_other_digests(gate: Stack, public: FakeIndex, project: str, algorithm: str, size: str) -> None:
    """Where the page states another digest than a sha256 that one holds."""
    wheel = make_wheel(project, "1.0", padding=SIZES[size])
    size_of = {"digest_size": 32} if algorithm == "blake2b" else {}  # as installers mean it
    digest = getattr(hashlib, algorithm)(wheel.data, **size_of).hexdigest()
    public.add(project, wheel, fields={"hashes": {algorithm: digest}}, metadata=False)
    path = f"/files/{project}/{wheel.filename}"
    public.switch(path, wrong("chunked"))
    assert_never_whole(gate, path, wheel.data)
    public.behave()
    eventually(lambda: gate.get(path).body == wheel.data, within_s=PROMISE_S)


def test_strongest_digest_holds(gate: Stack, public: FakeIndex, project: str) -> None:
    """Of several digests the sha256 holds: a right md5 beside it makes no file right."""
    wheel = make_wheel(project, "1.0")
    evil = tampered(wheel.data)
    hashes = {"md5": hashlib.md5(evil, usedforsecurity=False).hexdigest(), "sha256": wheel.sha256}
    public.add(project, wheel, fields={"hashes": hashes}, metadata=False)
    path = f"/files/{project}/{wheel.filename}"
    public.switch(path, wrong("length"))
    assert_never_whole(gate, path, wheel.data)


def test_many_who_want_a_wrong_file(gate: Stack, public: FakeIndex, project: str) -> None:
    """Fifty clients at once for a wrong file all fail at once, after hardly more than one fetch."""
    wheel = public.add(project, make_wheel(project, "1.0", padding=5 * MB))
    path = f"/files/{project}/{wheel.filename}"
    release = threading.Event()

    def send(reply: Reply, wire: _Handler) -> None:
        release.wait(20)
        wrong("length")(reply, wire)

    public.switch(path, send)

    def ask(_: int) -> tuple[int, int, float]:
        with StrictClient(gate.port) as client:
            client.send(path)
            waiting.release()
            got = client.receive()
        assert not got.is_whole or got.status == 502
        return got.status, len(got.body), time.monotonic()

    waiting = threading.Semaphore(0)
    with ThreadPoolExecutor(AT_ONCE) as clients:
        answers = [clients.submit(ask, number) for number in range(AT_ONCE)]
        for _ in range(AT_ONCE):
            waiting.acquire()
        started = time.monotonic()
        release.set()
        done = [answer.result() for answer in answers]
    assert max(at for _, _, at in done) - started < PROMISE_S * 3
    assert all(status == 502 or length < len(wheel.data) for status, length, _ in done)
    assert len(public.requests(path)) <= 5
    public.behave()
    eventually(lambda: gate.get(path).body == wheel.data, within_s=PROMISE_S)


def test_first_bytes_come_early(gate: Stack, public: FakeIndex, project: str) -> None:
    """Of a large file the first bytes reach the client while its host has not sent the last: without a stated size too."""
    wheel = public.add(project, make_wheel(project, "1.0", padding=5 * MB), omit=("size",))
    path = f"/files/{project}/{wheel.filename}"
    go_on = threading.Event()

    def slow(reply: Reply, wire: _Handler) -> None:
        wire.close_connection = True
        wire.wfile.write(head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
        wire.wfile.write(chunked(reply.body[:MB], end=b""))
        go_on.wait(20)
        wire.wfile.write(chunked(reply.body[MB:]))

    public.switch(path, slow)
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    first = answer.read(MB // 2)
    assert not go_on.is_set()
    go_on.set()
    assert first + answer.read() == wheel.data
    connection.close()
