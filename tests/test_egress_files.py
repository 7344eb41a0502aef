"""Files through the fetcher: what passes is what the page states, and nobody is given the last bytes of anything else."""

import hashlib
import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from decider.egress import files
from decider.egress.files import KEPT_S, Wanted, read_wanted
from decider.egress.held_back import HELD_BYTES
from decider.metrics import meters
from decider.settings import EgressSettings, IndexSettings
from tests.egress_harness import HOSTILE_HEADERS, Fetcher, Host, Reply, broken, chunked, redirect, reply

DATA = bytes(range(256)) * 2000
SMALL = b"a small file"
WRONG = DATA[:-1] + b"?"


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as started:
        yield started


@pytest.fixture
def fetcher(host: Host) -> Iterator[Fetcher]:
    with Fetcher([IndexSettings(name="public", url=f"{host.url}simple/")]) as started:
        yield started


def expect(data: bytes, algorithm: str = "sha256", *, size: bool = True) -> str:
    """What the decider says that a page states of `data`."""
    return f"public {algorithm}={hashlib.new(algorithm, data).hexdigest()} {len(data) if size else '-'}"


NOTHING = "public - -"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WITHOUT_END = b"HTTP/1.1 200 OK\r\n\r\n"

WAYS: dict[str, Callable[[bytes], Reply]] = {
    "length": reply,
    "chunks": lambda data: broken(
        IN_CHUNKS + chunked(*(data[at : at + 9999] for at in range(0, len(data), 9999)))
    ),
    "connection": lambda data: broken(WITHOUT_END + data),
}


# What is right


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", [DATA, SMALL, b"x" * HELD_BYTES, b"x" * (HELD_BYTES + 1)], ids=len)
@pytest.mark.parametrize("stated", ["all", "digest", "nothing"])
def test_right_file(host: Host, fetcher: Fetcher, way: str, data: bytes, stated: str) -> None:
    """A file passes whole, however its host marks its end, whatever its page states."""
    host.answers["/x"] = WAYS[way](data)
    told = {"all": expect(data), "digest": expect(data, size=False), "nothing": NOTHING}[stated]
    got = fetcher.file(f"{host.url}x", told)
    assert (got.status, got.is_whole) == (200, True)
    assert got.body == data
    assert host.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "algorithm", ["sha512", "blake2b", "sha3_512", "sha384", "sha3_384", "sha3_256", "md5"]
)
def test_other_digests(host: Host, fetcher: Fetcher, algorithm: str) -> None:
    """Where the page states no SHA-256, the digest that it states is what the file is held to."""
    host.answers["/x"] = reply(DATA)
    assert fetcher.file(f"{host.url}x", expect(DATA, algorithm)).body == DATA
    assert not fetcher.file(f"{host.url}x", expect(WRONG, algorithm)).is_whole


def test_headers(host: Host, fetcher: Fetcher) -> None:
    """Of the host's headers a date passes, and where the page states no digest an ETag; nothing else, and nothing unread."""
    hostile = {
        **HOSTILE_HEADERS,
        "ETag": '"theirs"', "Last-Modified": "Sun, 22 Nov 2026 13:00:00 +0100", "Content-Type": "text/html", "Content-Encoding": "br",
    }  # fmt: skip
    host.answers["/x"] = reply(SMALL, headers=hostile)
    got = fetcher.file(f"{host.url}x", expect(SMALL))
    headers = {name: value for name, value in got.headers.items() if name not in {"date", "server"}}
    assert headers == {
        "content-type": "application/octet-stream",
        "content-length": str(len(SMALL)),
        "etag": f'"{hashlib.sha256(SMALL).hexdigest()}"',
        "last-modified": "Sun, 22 Nov 2026 12:00:00 GMT",
        "x-accel-expires": str(KEPT_S),
    }
    assert fetcher.file(f"{host.url}x", NOTHING).headers["etag"] == '"theirs"'
    host.answers["/x"] = reply(SMALL, ETag="*", Last_Modified="never")
    assert {"etag", "last-modified"}.isdisjoint(fetcher.file(f"{host.url}x", NOTHING).headers)


@pytest.mark.parametrize(
    ("answer", "told", "is_kept"),
    [
        (reply(SMALL), expect(SMALL), True),
        (reply(SMALL), f"public - {len(SMALL)}", True),
        (reply(SMALL), NOTHING, True),
        (broken(IN_CHUNKS + chunked(SMALL)), NOTHING, True),
        # Nobody could tell whether it was cut off.
        (broken(WITHOUT_END + SMALL), NOTHING, False),
        (broken(WITHOUT_END + SMALL), expect(SMALL), True),
        # A page of a proxy on the way, or of a host that is down for maintenance.
        (reply(SMALL, Content_Type="text/html; charset=utf-8"), NOTHING, False),
        (reply(SMALL, Content_Type=" Application/XHTML+xml"), NOTHING, False),
        (reply(SMALL, Content_Type="text/html"), expect(SMALL), True),
        (reply(SMALL, Content_Type="text/plain"), NOTHING, True),
        # Which no file is.
        (reply(b""), NOTHING, False),
    ],
)
def test_what_is_kept(host: Host, fetcher: Fetcher, answer: Reply, told: str, *, is_kept: bool) -> None:
    """nginx keeps what is known to be the file: what its page states, or what a host gives whole and calls no web page."""
    host.answers["/x"] = answer
    got = fetcher.file(f"{host.url}x", told)
    assert got.status == 200
    assert got.headers["x-accel-expires"] == (str(KEPT_S) if is_kept else "0")


# What is wrong


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stated", ["all", "digest"])
def test_wrong_large_file(host: Host, fetcher: Fetcher, way: str, stated: str) -> None:
    """A large file that is not what its page states ends before its last 64 kB, and cannot be taken for a whole one."""
    host.answers["/x"] = WAYS[way](WRONG)
    got = fetcher.file(f"{host.url}x", expect(DATA, size=stated == "all"))
    assert (got.status, got.is_whole) == (200, False)
    assert len(got.body) <= len(DATA) - HELD_BYTES
    assert DATA.startswith(got.body)


@pytest.mark.parametrize("way", WAYS)
def test_wrong_small_file(host: Host, fetcher: Fetcher, way: str) -> None:
    """A small file that is not what its page states is an error, and none of it goes out."""
    host.answers["/x"] = WAYS[way](b"A small file")
    got = fetcher.file(f"{host.url}x", expect(SMALL))
    assert (got.status, got.kind) == (502, "mismatch")
    assert b"A small" not in got.body


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 10 * len(DATA)])
def test_wrong_size(host: Host, fetcher: Fetcher, way: str, size: int) -> None:
    """A file of another size than stated is no whole file either; what says so beforehand is not even read."""
    data = (DATA * 10)[:size]
    host.answers["/x"] = WAYS[way](data)
    for told in (expect(DATA), f"public - {len(DATA)}"):
        got = fetcher.file(f"{host.url}x", told)
        assert not got.is_whole or (got.status, got.kind) == (502, "mismatch")
        assert way != "length" or got.cause == f"it has {size} bytes, its page states {len(DATA)}"
        assert len(got.body) <= len(DATA)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + DATA,
        IN_CHUNKS + b"%x\r\n" % (len(DATA) + 1) + DATA,
    ],
)
def test_file_that_breaks_off(host: Host, fetcher: Fetcher, text: bytes) -> None:
    """A file that breaks off is not given whole, and another attempt is made by who asks next."""
    host.answers["/x"] = broken(text)
    for told in (NOTHING, expect(DATA + b"!" * (999_999 - len(DATA)))):
        got = fetcher.file(f"{host.url}x", told)
        assert not got.is_whole or got.status == 502
    host.answers["/x"] = reply(DATA)
    assert fetcher.file(f"{host.url}x", NOTHING).body == DATA


@pytest.mark.parametrize("way", WAYS)
def test_limit(host: Host, way: str) -> None:
    """A file whose page states no size ends at max_file_size; one whose page states a size, at that."""
    host.answers |= {"/fits": WAYS[way](DATA), "/more": WAYS[way](DATA + b"x")}
    egress = EgressSettings(max_file_size=len(DATA))
    index = IndexSettings(name="public", url=f"{host.url}simple/")
    with Fetcher([index], egress=egress) as fetcher:
        assert fetcher.file(f"{host.url}fits", NOTHING).body == DATA
        got = fetcher.file(f"{host.url}more", NOTHING)
        assert not got.is_whole
        assert fetcher.file(f"{host.url}more", expect(DATA + b"x")).is_whole


def test_endless_file(host: Host) -> None:
    """A file without end ends at its limit, and its host is let go."""
    gone = threading.Event()

    def endless() -> Iterator[bytes]:
        yield WITHOUT_END
        try:
            while True:
                yield b"x" * 100_000
        finally:
            gone.set()

    host.answers["/x"] = lambda _: Reply(endless())
    index = IndexSettings(name="public", url=f"{host.url}simple/")
    with Fetcher([index], egress=EgressSettings(max_file_size=10**6)) as fetcher:
        got = fetcher.file(f"{host.url}x", NOTHING)
        assert not got.is_whole
        assert len(got.body) <= 10**6
        assert gone.wait(10)


def test_mismatch_is_counted_and_told(host: Host, fetcher: Fetcher, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong file is counted by index, and the log names index, project, file and both digests, once."""
    counter = meters().digest_mismatches.labels("public")
    before = counter._value.get()
    host.answers["/x"] = reply(WRONG)
    with caplog.at_level(logging.WARNING):
        assert not fetcher.file(f"{host.url}x", expect(DATA), name="demo-1.0.whl").is_whole
    assert counter._value.get() == before + 1
    (record,) = (one.__dict__ for one in caplog.records if one.getMessage() == "egress.file_failed")
    assert (record["index"], record["project"], record["file"], record["kind"], record["began"]) == (
        "public", "demo", "demo-1.0.whl", "mismatch", True,
    )  # fmt: skip
    for data in (DATA, WRONG):
        assert hashlib.sha256(data).hexdigest() in record["cause"]


# On its way


def test_first_bytes_come_at_once(host: Host, fetcher: Fetcher) -> None:
    """A file streams: what is in front of the last 64 kB goes out while its host still sends."""
    released = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA)
    host.answers["/x"] = Reply(
        [head + DATA[:200_000], lambda: released.wait(20), DATA[200_000:]], is_kept=True
    )
    connection = connect(fetcher, f"{host.url}x", expect(DATA))
    answer = connection.getresponse()
    first = answer.read(200_000 - HELD_BYTES)
    assert (answer.status, len(first)) == (200, 200_000 - HELD_BYTES)
    assert not released.is_set()
    released.set()
    assert first + answer.read() == DATA
    connection.close()


def connect(fetcher: Fetcher, url: str, told: str) -> http.client.HTTPConnection:
    """A request under way."""
    connection = fetcher.connect()
    connection.request("GET", "/file", headers={"X-Decider-Url": url, "X-Decider-Expect": told})
    return connection


def test_nobody_reads_on(host: Host, fetcher: Fetcher) -> None:
    """When nobody reads on, the host is let go."""
    gone = threading.Event()

    def endless() -> Iterator[bytes]:
        yield WITHOUT_END
        try:
            while not host.stopping.wait(0.01):
                yield b"x" * 100_000
        finally:
            gone.set()

    host.answers["/x"] = lambda _: Reply(endless())
    connection = connect(fetcher, f"{host.url}x", NOTHING)
    assert len(connection.getresponse().read(10_000)) == 10_000
    connection.close()
    assert gone.wait(10)


def test_slow_reader_holds_its_host(host: Host, fetcher: Fetcher) -> None:
    """Somebody who does not read keeps no file in memory: its host waits."""
    sent = [0]

    def endless() -> Iterator[bytes]:
        yield WITHOUT_END
        while not host.stopping.is_set() and sent[0] < 10**9:
            yield b"x" * 100_000
            sent[0] += 100_000

    host.answers["/x"] = lambda _: Reply(endless())
    connection = connect(fetcher, f"{host.url}x", NOTHING)
    connection.getresponse().read(10_000)
    known, deadline = -1, time.monotonic() + 10
    while sent[0] != known and time.monotonic() < deadline:
        known = sent[0]
        time.sleep(0.3)  # nothing tells that a host has come to wait: it sends no more for a while
    assert sent[0] == known < 50 * 10**6
    connection.close()


def test_slow_file(host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that drips has its end too."""
    monkeypatch.setattr(files, "WITHIN_S", 0.3)

    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
        while not host.stopping.wait(0.05):
            yield b" "

    host.answers["/x"] = lambda _: Reply(drip())
    got = fetcher.file(f"{host.url}x", NOTHING)
    assert (got.status, got.kind) == (504, "timeout")


# Metadata


@pytest.mark.parametrize("status", ["404 X", "403 X", "410 X"])
def test_metadata_that_is_not_there(host: Host, fetcher: Fetcher, status: str) -> None:
    """Metadata that an index offers and does not have is read out of the wheel: nginx is sent there."""
    host.answers["/x.metadata"] = reply(b"", status)
    got = fetcher.file(f"{host.url}x.metadata", NOTHING, name="demo.whl.metadata")
    assert (got.status, got.headers.get("x-accel-redirect")) == (200, "@made_metadata")
    got = fetcher.file(f"{host.url}x.metadata", NOTHING, name="demo.whl")
    assert (got.status, got.kind, "x-accel-redirect" in got.headers) == (502, "refused", False)


@pytest.mark.parametrize(
    "answer",
    [reply(b"", "500 X"), reply(b"", "401 X"), broken(b"x"), redirect("https://127.0.0.9/"), reply(WRONG)],
)
def test_metadata_that_is_wrong(host: Host, fetcher: Fetcher, answer: Reply) -> None:
    """Any other failure is one: a host that is wrong for a moment changes nothing."""
    host.answers["/x.metadata"] = answer
    got = fetcher.file(f"{host.url}x.metadata", expect(SMALL), name="demo.whl.metadata")
    assert got.status == 502
    assert "x-accel-redirect" not in got.headers


# Failures, and who is told of them


def test_waiters_are_told(host: Host, fetcher: Fetcher) -> None:
    """Who has waited for a fetch that failed is told how it ended; who comes afterwards has it tried anew."""
    host.answers["/x"] = reply(b"", "500 X")
    assert fetcher.file(f"{host.url}x", expect(SMALL)).cause == "its answer was 500"
    host.answers["/x"] = reply(SMALL)
    got = fetcher.file(f"{host.url}x", expect(SMALL), X_Decider_Waited="10.5")
    assert (got.status, got.cause) == (502, "its answer was 500")
    assert len(host.asked) == 1
    assert fetcher.file(f"{host.url}x", expect(DATA), X_Decider_Waited="10.5").kind == "mismatch"
    assert fetcher.file(f"{host.url}x", expect(SMALL), X_Decider_Waited="0.000").body == SMALL
    assert len(host.asked) == 3


def test_cached_only(host: Host, fetcher: Fetcher) -> None:
    """Who wants a part out of the whole that nginx could not get is told why, and nobody is asked."""
    host.answers["/x"] = reply(WRONG)
    got = fetcher.file(f"{host.url}x", expect(DATA), X_Decider_Cached_Only="1")
    assert (got.status, got.kind) == (502, "away")
    assert host.asked == []
    fetcher.file(f"{host.url}x", expect(DATA))
    got = fetcher.file(f"{host.url}x", expect(DATA), X_Decider_Cached_Only="1")
    assert (got.status, got.kind) == (502, "mismatch")
    assert len(host.asked) == 1


def test_failures_are_not_remembered_without_end(
    host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many failures are remembered, the last ones."""
    monkeypatch.setattr(files, "_MAX_FAILED", 2)
    for name in "abc":
        fetcher.file(f"{host.url}{name}", NOTHING)
    for name, kind in (("a", "away"), ("c", "refused")):
        got = fetcher.file(f"{host.url}{name}", NOTHING, X_Decider_Cached_Only="1")
        assert got.kind == kind


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:{port}/x", "http://localhost:{port}/x", "http://127.0.0.1:1/x", "http://u@127.0.0.1:{port}/x",
        "https://vault.internal/x", "file:///etc/passwd", "/x", "http://[::1]:{port}/x", "https://169.254.169.254/latest/meta-data",
    ],
)  # fmt: skip
def test_places_that_are_none(host: Host, fetcher: Fetcher, url: str) -> None:
    """Files come from where the index's may come from, whatever the fetcher is told."""
    for got in (
        fetcher.file(url.format(port=host.port), NOTHING),
        fetcher.part(url.format(port=host.port), "bytes=-1"),
    ):
        assert (got.status, got.kind) == (502, "refused")
    assert host.asked == []


def test_unknown_index(host: Host, fetcher: Fetcher) -> None:
    """What no configured index lists is not fetched."""
    got = fetcher.file(f"{host.url}x", "nobody - -")
    assert (got.status, got.kind, got.cause) == (502, "refused", "no such index is configured")
    assert fetcher.part(f"{host.url}x", "bytes=-1", "nobody - -").kind == "refused"


def test_what_is_wanted() -> None:
    """What nginx says of a file, taken apart; names in any script survive the way."""
    said: dict[str, Any] = {
        "X-Decider-Url": "https://files.example/x",
        "X-Decider-Expect": "public sha256=ab 7",
        "X-Decider-File": "demo-é.zip".encode().decode("utf-8", "surrogateescape"),
        "X-Decider-Project": "demo",
        "X-Decider-Cached-Only": "1",
        "X-Decider-Waited": "1.250",
    }
    assert read_wanted(said) == Wanted(
        index="public", url="https://files.example/x", filename="demo-é.zip", project="demo", digest=("sha256", "ab"), size=7,
        is_cached_only=True, waited_s=1.25,
    )  # fmt: skip
    least = read_wanted({"X-Decider-Url": "u", "X-Decider-Expect": "public - -"})
    assert (least.digest, least.size, least.is_cached_only, least.waited_s) == (None, None, False, 0.0)
