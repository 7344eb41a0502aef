"""Asking nginx's loopback listener: limits, redirects, ETags; a small HTTP server stands in for it."""

import gzip
import time
import zlib
from collections.abc import Callable, Iterator

import pytest

from decider.errors import IndexTimeout, IndexUnavailable, UnreadablePage
from decider.index import loopback
from decider.index.loopback import Answer, Loopback
from decider.settings import IndexSettings
from tests.listener import Listener, Said

BASE = "https://index.example/simple/"
HERE = "/indexes/public/"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as started:
        yield started


@pytest.fixture
def asked(listener: Listener) -> Loopback:
    settings = IndexSettings(name="public", url=BASE)
    return Loopback(settings, host=listener.host, port=listener.port, connections=4)


def test_page_and_list(listener: Listener, asked: Loopback) -> None:
    """A project's page and the project list are asked for under the index's own prefix."""
    listener.answers = {f"{HERE}demo/": Said(body=b"page"), HERE: Said(body=b"list")}
    page, projects = asked.get("demo"), asked.get("")
    assert (page.status, page.body, page.url) == (200, b"page", f"{BASE}demo/")
    assert (projects.status, projects.body, projects.url) == (200, b"list", BASE)


def test_gzip(listener: Listener, asked: Loopback) -> None:
    """A page that comes compressed is unpacked."""
    listener.answers[f"{HERE}demo/"] = Said(
        body=gzip.compress(b"page" * 1000), headers={"Content-Encoding": "gzip"}
    )
    assert asked.get("demo").body == b"page" * 1000


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (b"page", "gzip", "broken"),
        (gzip.compress(b"page") + gzip.compress(b"more"), "gzip", "follows"),
        (gzip.compress(b"page") + b"\0" * 10, "gzip", "follows"),
        (b"page", "br", "Content-Encoding 'br'"),
        (b"page", "gzip, gzip", "Content-Encoding"),
        (b"page", "\xff\x1b", "Content-Encoding"),
    ],
)
def test_unreadable_encoding(
    listener: Listener, asked: Loopback, body: bytes, encoding: str, why: str
) -> None:
    """Bytes that their Content-Encoding does not describe wholly are no page: nothing is left out silently."""
    listener.answers[f"{HERE}demo/"] = Said(body=body, headers={"Content-Encoding": encoding})
    with pytest.raises(UnreadablePage, match=why) as caught:
        asked.get("demo")
    assert str(caught.value).isprintable()


def test_gzip_that_ends_early(listener: Listener, asked: Loopback) -> None:
    """A compressed page without its end is an index that did not answer, not a shorter page."""
    listener.answers[f"{HERE}demo/"] = Said(
        body=gzip.compress(b"page" * 1000)[:-9], headers={"Content-Encoding": "gzip"}
    )
    with pytest.raises(IndexUnavailable, match="ended early"):
        asked.get("demo")


def test_body_that_ends_early(listener: Listener, asked: Loopback) -> None:
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
    listener: Listener, asked: Loopback, monkeypatch: pytest.MonkeyPatch, body: bytes, encoding: str
) -> None:
    """What is too large, packed or unpacked, is no page."""
    monkeypatch.setattr(loopback, "MAX_PAGE_BYTES", 2000)
    listener.answers[f"{HERE}demo/"] = Said(body=body, headers={"Content-Encoding": encoding})
    with pytest.raises(UnreadablePage, match="larger than 2000 bytes"):
        asked.get("demo")


def test_body_at_the_limit(listener: Listener, asked: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """What just fits is a page."""
    monkeypatch.setattr(loopback, "MAX_PAGE_BYTES", 3000)
    listener.answers[f"{HERE}demo/"] = Said(
        body=gzip.compress(b"x" * 3000), headers={"Content-Encoding": "gzip"}
    )
    assert asked.get("demo").body == b"x" * 3000


def test_index_that_hangs(listener: Listener, asked: Loopback) -> None:
    """An answer that does not come in time is a timeout."""

    def hang(_: object) -> Said:
        listener.stopping.wait(10)
        return Said()

    listener.answers[f"{HERE}demo/"] = hang
    with pytest.raises(IndexTimeout):
        asked.get("demo", timeout_s=0.3)


def test_index_that_drips(listener: Listener, asked: Loopback) -> None:
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
    """Where nginx does not listen the index is unavailable, and the text names no address."""
    listener.stop()
    settings = IndexSettings(name="public", url=BASE)
    gone = Loopback(settings, host=listener.host, port=listener.port, connections=1)
    with pytest.raises(IndexUnavailable) as caught:
        gone.get("demo")
    assert str(listener.port) not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (f"{BASE}other/", "other/"),
        ("/simple/other/", "other/"),
        ("../other/", "other/"),
        ("../other", "other"),
        ("index.html#top", "demo/index.html"),
        ("/simple/", ""),
        ("/simple/v1..2/demo/", "v1..2/demo/"),
    ],
)
def test_redirect_inside_the_index(listener: Listener, asked: Loopback, location: str, path: str) -> None:
    """A redirect inside the index is followed, and the page's links start from where it led."""
    listener.answers[f"{HERE}demo/"] = Said(302, headers={"Location": location})
    listener.answers[f"{HERE}{path}"] = Said(body=b"page")
    answer = asked.get("demo")
    assert (answer.body, answer.url) == (b"page", BASE + path)


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example/simple/demo/",
        "http://index.example/simple/demo/",
        "https://index.example:8443/simple/demo/",
        "https://index.example/simple",
        "https://index.example/simplex/demo/",
        "https://index.example/other/demo/",
        "https://u@index.example/simple/demo/",
        "//elsewhere.example/simple/demo/",
        "../../other/",
        "/simple/../other/",
        # nginx decodes what is escaped: these would be pages of another index of ours, asked with its credentials.
        "/simple/%2e%2e/corp/demo/",
        "/simple/%2E./corp/demo/",
        "/simple/x/%2e%2e/%2e%2e/corp/demo/",
        "/simple/demo%2f..%2f..%2fcorp/",
        "/simple/demo/?a=b",
        "/simple/demo/%3fa=b",
        "/simple/https://elsewhere.example/",
        "/simple//elsewhere.example/demo/",
        "/simple/demo\\..\\",
        "/simple/d\xe9mo/",
        "https://[",
    ],
)
def test_redirect_out_of_the_index(listener: Listener, asked: Loopback, location: str) -> None:
    """A redirect that leads anywhere else is not followed."""
    listener.answers[f"{HERE}demo/"] = Said(302, headers={"Location": location})
    with pytest.raises(UnreadablePage, match="outside itself"):
        asked.get("demo")
    assert [one.path for one in listener.asked] == [f"{HERE}demo/"]


def test_redirects_end(listener: Listener, asked: Loopback) -> None:
    """Three redirects are followed, and no fourth, even where it leads nowhere new."""
    listener.answers[f"{HERE}demo/"] = Said(302, headers={"Location": ""})
    with pytest.raises(UnreadablePage, match="more than 3 redirects"):
        asked.get("demo")
    assert len(listener.asked) == 4


def test_validators(listener: Listener, asked: Loopback) -> None:
    """An ETag is sent to ask for news only; a refresh asks for the page itself, past nginx's cache."""
    listener.answers[f"{HERE}demo/"] = Said(304, headers={"ETag": '"a"'})
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
def test_etag(listener: Listener, asked: Loopback, etag: str, usable: bool) -> None:
    """What is no ETag is never sent back: `*` would match every page that there will ever be."""
    listener.answers[f"{HERE}demo/"] = Said(headers={"ETag": etag})
    assert asked.get("demo").etag == (etag if usable else None)


def test_connections_survive_refusals(listener: Listener, asked: Loopback) -> None:
    """After answers that were given up half-way the next ones are right: nobody reads another's leftovers."""
    listener.answers[f"{HERE}bad/"] = Said(body=b"x" * 300_000, headers={"Content-Encoding": "br"})
    listener.answers[f"{HERE}demo/"] = Said(body=b"page")
    for _ in range(3):
        with pytest.raises(UnreadablePage):
            asked.get("bad")
        answer: Answer = asked.get("demo")
        assert (answer.status, answer.body) == (200, b"page")
