"""Asking nginx for pages: limits, ETags, what the fetcher says of failures; a small HTTP server stands in for nginx."""

import gzip
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from decider.errors import IndexError_, IndexMisbehaved, IndexTimeout, IndexUnavailable, UnreadablePage
from decider.index import asking
from decider.index.asking import Answer, IndexAsker
from decider.settings import IndexSettings
from tests.listener import Listener, Said, failed

BASE = "https://index.example/simple/"
HERE = "/indexes/public/"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as started:
        yield started


@pytest.fixture
def asked(listener: Listener) -> IndexAsker:
    settings = IndexSettings(name="public", url=BASE)
    return IndexAsker(settings, socket=listener.socket, connections=4)


def test_page_and_list(listener: Listener, asked: IndexAsker) -> None:
    """A project's page and the project list are asked for under the index's own prefix."""
    listener.answers = {f"{HERE}demo/": Said(body=b"page"), HERE: Said(body=b"list")}
    page, projects = asked.get("demo"), asked.get("")
    assert (page.status, page.body, page.url) == (200, b"page", f"{BASE}demo/")
    assert (projects.status, projects.body, projects.url) == (200, b"list", BASE)


def test_gzip(listener: Listener, asked: IndexAsker) -> None:
    """A page that comes compressed is unpacked."""
    listener.answers[f"{HERE}demo/"] = Said(
        body=gzip.compress(b"page" * 1000), headers={"Content-Encoding": "gzip"}
    )
    assert asked.get("demo").body == b"page" * 1000


def test_broken_gzip(listener: Listener, asked: IndexAsker) -> None:
    """Bytes that are not what their Content-Encoding says are no page."""
    listener.answers[f"{HERE}demo/"] = Said(body=b"page", headers={"Content-Encoding": "gzip"})
    with pytest.raises(UnreadablePage, match="broken"):
        asked.get("demo")


def test_gzip_that_ends_early(listener: Listener, asked: IndexAsker) -> None:
    """A compressed page without its end is an index that did not answer, not a shorter page."""
    listener.answers[f"{HERE}demo/"] = Said(
        body=gzip.compress(b"page" * 1000)[:-9], headers={"Content-Encoding": "gzip"}
    )
    with pytest.raises(IndexUnavailable, match="ended early"):
        asked.get("demo")


def test_body_that_ends_early(listener: Listener, asked: IndexAsker) -> None:
    """A body shorter than its Content-Length is an index that did not answer."""
    listener.answers[f"{HERE}demo/"] = Said(body=b"pa", length=4)
    with pytest.raises(IndexUnavailable):
        asked.get("demo")


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"x" * 3000, "identity"),
        (gzip.compress(b"x" * 3000), "gzip"),
        # Blocks that hold nothing: five bytes each on the wire, none unpacked, for ever.
        (zlib.compressobj(0, wbits=31).flush(zlib.Z_SYNC_FLUSH) + b"\0\0\0\xff\xff" * 600, "gzip"),
    ],
    ids=["plain", "packed", "packed nothing"],
)
def test_body_over_the_limit(
    listener: Listener, asked: IndexAsker, monkeypatch: pytest.MonkeyPatch, body: bytes, encoding: str
) -> None:
    """What is too large, packed or unpacked, is no page."""
    monkeypatch.setattr(asking, "MAX_PAGE_BYTES", 2000)
    listener.answers[f"{HERE}demo/"] = Said(body=body, headers={"Content-Encoding": encoding})
    with pytest.raises(UnreadablePage, match="larger than 2000 bytes"):
        asked.get("demo")


def test_body_at_the_limit(listener: Listener, asked: IndexAsker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What just fits is a page."""
    monkeypatch.setattr(asking, "MAX_PAGE_BYTES", 3000)
    listener.answers[f"{HERE}demo/"] = Said(
        body=gzip.compress(b"x" * 3000), headers={"Content-Encoding": "gzip"}
    )
    assert asked.get("demo").body == b"x" * 3000


def test_index_that_hangs(listener: Listener, asked: IndexAsker) -> None:
    """An answer that does not come in time is a timeout."""

    def hang(_: object) -> Said:
        listener.stopping.wait(10)
        return Said()

    listener.answers[f"{HERE}demo/"] = hang
    with pytest.raises(IndexTimeout):
        asked.get("demo", timeout_s=0.3)


def test_index_that_drips(listener: Listener, asked: IndexAsker) -> None:
    """An index that sends a byte now and then holds nobody longer than one that sends none."""

    def drip(write: Callable[[bytes], object]) -> None:
        while not listener.stopping.wait(0.05):
            write(b" ")

    listener.answers[f"{HERE}demo/"] = Said(length=10_000_000, chunks=drip)
    started = time.monotonic()
    with pytest.raises(IndexTimeout):
        asked.get("demo", timeout_s=0.5)
    assert time.monotonic() - started < 3


def test_listener_that_is_away(listener: Listener) -> None:
    """Where nginx does not listen the index is unavailable, and the text names no path."""
    listener.stop()
    settings = IndexSettings(name="public", url=BASE)
    gone = IndexAsker(settings, socket=listener.socket, connections=1)
    with pytest.raises(IndexUnavailable) as caught:
        gone.get("demo")
    assert str(listener.socket.parent) not in str(caught.value)


def test_where_the_page_was_found(listener: Listener, asked: IndexAsker) -> None:
    """The page's links start from where redirects led, as the fetcher says."""
    listener.answers[f"{HERE}demo/"] = Said(body=b"page", headers={"X-Decider-Final-Url": f"{BASE}v2/demo/"})
    assert asked.get("demo").url == f"{BASE}v2/demo/"


def test_redirect_is_not_followed(listener: Listener, asked: IndexAsker) -> None:
    """Redirects are the fetcher's affair: one that comes here is no answer."""
    listener.answers[f"{HERE}demo/"] = Said(302, headers={"Location": f"{HERE}other/"})
    with pytest.raises(IndexUnavailable, match="302"):
        asked.get("demo")
    assert [one.path for one in listener.asked] == [f"{HERE}demo/"]


FAILURES: list[tuple[Said, type[IndexError_], str]] = [
    (failed("timeout", "no answer in time", 504), IndexTimeout, "no answer in time"),
    (failed("away", "no connection with it"), IndexUnavailable, "no connection with it"),
    (failed("refused", "answered 403"), IndexUnavailable, "answered 403"),
    (failed("malformed", "its answer is no proper HTTP"), IndexMisbehaved, "no proper HTTP"),
    (failed("mismatch", "it is longer"), IndexMisbehaved, "it is longer"),
    (Said(502), IndexUnavailable, "the fetcher is away: nginx answered 502"),
    (Said(504), IndexUnavailable, "the fetcher is away: nginx answered 504"),
    (Said(204), IndexUnavailable, "the fetcher is away: nginx answered 204"),
    (Said(304), IndexUnavailable, "the fetcher is away: nginx answered 304"),
    (Said(410), IndexUnavailable, "the fetcher is away: nginx answered 410"),
]


@pytest.mark.parametrize(
    ("said", "error", "words"), FAILURES, ids=[f"{one[0].status} {one[2]}" for one in FAILURES]
)
def test_failures(
    listener: Listener, asked: IndexAsker, said: Said, error: type[IndexError_], words: str
) -> None:
    """What the fetcher says of a failure is told as it is; where it says nothing it is away itself."""
    listener.answers[f"{HERE}demo/"] = said
    with pytest.raises(IndexError_, match=words) as caught:
        asked.get("demo")
    assert type(caught.value) is error


def test_each_answer_is_counted(listener: Listener) -> None:
    """Whoever counts is told of each answer, in a word, and where nginx has it from."""
    seen: list[tuple[str, str, str]] = []
    settings = IndexSettings(name="public", url=BASE)
    counted = IndexAsker(
        settings,
        socket=listener.socket,
        connections=1,
        observe=lambda index, outcome, cache, _: seen.append((index, outcome, cache)),
    )
    listener.answers = {
        f"{HERE}a/": Said(headers={"X-Decider-Cache": "HIT"}),
        f"{HERE}d/": failed("timeout", "slow"),
        f"{HERE}e/": failed("away", "gone"),
        f"{HERE}f/": failed("malformed", "odd"),
    }
    for name in "acdef":
        with suppress(IndexError_):
            counted.get(name)
    listener.answers[f"{HERE}a/"] = Said(304)
    counted.get("a", etag='"a"')
    assert seen == [
        ("public", "page", "HIT"),
        ("public", "absent", "MISS"),
        ("public", "timeout", ""),
        ("public", "unavailable", ""),
        ("public", "unreadable", ""),
        ("public", "unchanged", ""),
    ]


def test_moved_index(listener: Listener, asked: IndexAsker) -> None:
    """nginx and the fetcher are told which address is meant: what was kept of another one is not given for it."""
    asked.get("demo")
    assert listener.asked[0].headers["x-decider-source"] == BASE


def test_validators(listener: Listener, asked: IndexAsker) -> None:
    """An ETag is sent to ask for news only; a refresh asks for the page itself, past nginx's cache."""
    listener.answers[f"{HERE}demo/"] = lambda asked: Said(304 if "if-none-match" in asked.headers else 200)
    assert asked.get("demo", etag='"a"').status == 304
    asked.get("demo", etag='"a"', refresh=True)
    plain, refreshed = (one.headers for one in listener.asked)
    assert (plain.get("if-none-match"), plain.get("x-decider-refresh")) == ('"a"', None)
    assert (refreshed.get("if-none-match"), refreshed.get("x-decider-refresh")) == (None, "1")
    assert {plain["accept-encoding"], refreshed["accept-encoding"]} == {"identity"}


@pytest.mark.parametrize(
    ("etag", "usable"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ('""', True),
        ("*", False),
        ("abc", False),
        ('"a", "b"', False),
        ('"a\xff"', False),
        ("", False),
    ],
)
def test_etag(listener: Listener, asked: IndexAsker, etag: str, usable: bool) -> None:
    """What is no ETag is never sent back: `*` would match every page that there will ever be."""
    listener.answers[f"{HERE}demo/"] = Said(headers={"ETag": etag})
    assert asked.get("demo").etag == (etag if usable else None)


def test_connections_survive_refusals(listener: Listener, asked: IndexAsker) -> None:
    """After answers that were given up half-way the next ones are right: nobody reads another's leftovers."""
    listener.answers[f"{HERE}bad/"] = Said(body=b"x" * 300_000, headers={"Content-Encoding": "gzip"})
    listener.answers[f"{HERE}demo/"] = Said(body=b"page")
    for _ in range(3):
        with pytest.raises(UnreadablePage):
            asked.get("bad")
        answer: Answer = asked.get("demo")
        assert (answer.status, answer.body) == (200, b"page")
