"""Index pages through the fetcher: what passes of them, what does not, and for how long nginx keeps it."""

import gzip
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from decider.egress import pages
from decider.egress.pages import ACCEPT, GATHERED_BYTES, NEGATIVE_TTL_S
from decider.metrics import meters
from decider.settings import IndexSettings
from tests.egress_harness import HOSTILE_HEADERS, Fetcher, Host, Reply, broken, chunked, redirect, reply

PAGE = "/simple/demo/"
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as started:
        yield started


def index_at(host: Host, **fields: Any) -> IndexSettings:
    return IndexSettings(name="public", url=f"{host.url}simple/", **fields)


@pytest.fixture
def fetcher(host: Host) -> Iterator[Fetcher]:
    with Fetcher([index_at(host), IndexSettings(name="local", path="packages")]) as started:
        yield started


# What passes


def test_page_and_list(host: Host, fetcher: Fetcher) -> None:
    """A project's page and the project list pass, with where they were found, when they were sent, and how long they live."""
    sent = {"Content-Type": JSON, "ETag": '"a"', "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}
    host.answers |= {PAGE: reply(b"page", headers=sent), "/simple/": reply(b"list", headers=sent)}
    for path, body in (("demo/", b"page"), ("", b"list")):
        got = fetcher.page(path)
        assert (got.status, got.body) == (200, body)
        headers = dict(got.headers)
        assert headers.pop("server", "")
        assert headers == {
            "content-type": JSON, "content-length": "4", "etag": '"a"', "date": "Sun, 22 Nov 2026 12:00:00 GMT",
            "x-accel-expires": "600", "x-decider-final-url": f"{host.url}simple/{path}",
        }  # fmt: skip
    assert {one.headers["accept"] for one in host.asked} == {ACCEPT}
    assert {one.headers["accept-encoding"] for one in host.asked} == {"gzip"}


def test_no_header_of_an_index_steers(host: Host, fetcher: Fetcher) -> None:
    """Nothing that an index sends besides steers nginx, the decider or a client."""
    host.answers[PAGE] = reply(b"page", headers=HOSTILE_HEADERS, Content_Type="text/html")
    got = fetcher.page()
    assert got.body == b"page"
    assert set(got.headers) == {
        "content-type", "content-length", "date", "server", "x-accel-expires", "x-decider-final-url",
    }  # fmt: skip
    assert (got.headers["x-accel-expires"], got.headers["x-decider-final-url"]) == (
        "600",
        f"{host.url}simple/demo/",
    )


@pytest.mark.parametrize(
    ("media_type", "given"),
    [
        (JSON, JSON),
        ("text/html; charset=utf-8", "text/html; charset=utf-8"),
        ("", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
        ("text/html; \xff", "application/octet-stream"),
        ("a/b/c", "application/octet-stream"),
    ],
)
def test_media_type(host: Host, fetcher: Fetcher, media_type: str, given: str) -> None:
    """A media type passes where it is one."""
    host.answers[PAGE] = reply(b"page", Content_Type=media_type or None)
    assert fetcher.page().headers["content-type"] == given


@pytest.mark.parametrize(
    ("cache_control", "lives"),
    [("max-age=60", "60"), ("max-age=599", "599"), ("max-age=99999", "600"), ("max-age=0", "600"), ("no-store", "600"), ("", "600")],
)  # fmt: skip
def test_how_long_a_page_is_kept(host: Host, fetcher: Fetcher, cache_control: str, lives: str) -> None:
    """nginx keeps a page for the index's page_ttl, or less where the index gives it less."""
    host.answers[PAGE] = reply(b"page", Cache_Control=cache_control or None)
    assert fetcher.page().headers["x-accel-expires"] == lives


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_absence(host: Host, fetcher: Fetcher, status: str) -> None:
    """404 and 410 say that there is no such project; nginx keeps that for a minute, or the page_ttl where that is less."""
    host.answers[PAGE] = reply(b"<script>", status, headers=HOSTILE_HEADERS)
    got = fetcher.page()
    assert (got.status, got.body) == (404, b"")
    assert got.headers["x-accel-expires"] == str(NEGATIVE_TTL_S)
    assert not any(name.startswith("x-decider") for name in got.headers)
    with Fetcher([index_at(host, page_ttl_s=5)]) as hasty:
        assert hasty.page().headers["x-accel-expires"] == "5"


# Validators


def test_unchanged(host: Host, fetcher: Fetcher) -> None:
    """What nginx has is confirmed by its ETag; how long it lives on is said anew."""
    host.answers[PAGE] = reply(
        b"", "304 Not Modified", Content_Length=None, Cache_Control="max-age=60", ETag='"b"'
    )
    got = fetcher.page(If_None_Match='"a"')
    assert host.asked[0].headers["if-none-match"] == '"a"'
    assert (got.status, got.body) == (304, b"")
    assert (got.headers["x-accel-expires"], got.headers["etag"]) == ("60", '"a"')


@pytest.mark.parametrize("etag", [None, "*", "a", '"a", "b"'])
def test_unchanged_without_a_question(host: Host, fetcher: Fetcher, etag: str | None) -> None:
    """What is no ETag is not asked for, and a 304 to no question is no answer."""
    host.answers[PAGE] = reply(b"", "304 Not Modified", Content_Length=None)
    got = fetcher.page(**({} if etag is None else {"If_None_Match": etag}))
    assert "if-none-match" not in host.asked[0].headers
    assert (got.status, got.kind, got.cause) == (502, "refused", "answered 304")


# Encodings and limits


def test_gzip(host: Host, fetcher: Fetcher) -> None:
    """A page passes as the index compressed it."""
    for body, encoding in ((gzip.compress(b"page" * 1000), "gzip"), (gzip.compress(b"x"), "X-GZip")):
        host.answers[PAGE] = reply(body, Content_Encoding=encoding)
        got = fetcher.page()
        assert (got.body, got.headers["content-encoding"]) == (body, "gzip")


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (b"page", "gzip", "its page's gzip encoding is broken"),
        (gzip.compress(b"page") + gzip.compress(b"more"), "gzip", "something follows"),
        (gzip.compress(b"page") + b"\0" * 10, "gzip", "something follows"),
        (gzip.compress(b"page" * 1000)[:-9], "gzip", "ended early"),
        (zlib.compress(b"page"), "deflate", "not asked for"),
        (b"page", "br", "not asked for"),
        (b"page", "zstd", "not asked for"),
        (b"page", "gzip, gzip", "not asked for"),
        (b"page", "\xff", "not asked for"),
    ],
)
def test_unreadable_encoding(host: Host, fetcher: Fetcher, body: bytes, encoding: str, why: str) -> None:
    """Bytes that their Content-Encoding does not describe wholly are no page: nothing is left out silently."""
    host.answers[PAGE] = reply(body, Content_Encoding=encoding)
    got = fetcher.page()
    assert (got.status, got.kind) == (502, "away" if "early" in why else "malformed")
    assert why in got.cause


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"x" * 3001, None),
        (gzip.compress(b"x" * 3001), "gzip"),
        # Blocks that hold nothing: five bytes each on the wire, none unpacked, for ever.
        (zlib.compressobj(0, wbits=31).flush(zlib.Z_SYNC_FLUSH) + b"\0\0\0\xff\xff" * 601, "gzip"),
    ],
    ids=["plain", "packed", "packed nothing"],
)
def test_page_over_the_limit(
    host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, body: bytes, encoding: str | None
) -> None:
    """What is too large, packed or unpacked, is no page; with a length and without."""
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 3000)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: %s\r\n\r\n"
    for answer in (
        reply(body, Content_Encoding=encoding),
        broken(head % (encoding or "identity").encode() + chunked(body[:1000], body[1000:]) if len(body) > 1000 else head % b"gzip" + chunked(body)),
    ):  # fmt: skip
        host.answers[PAGE] = answer
        got = fetcher.page()
        assert (got.status, got.kind, got.cause) == (502, "malformed", "its page is larger than 3000 bytes")


def test_page_at_the_limit(host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """What just fits is a page."""
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 3000)
    for body, encoding in ((b"x" * 3000, None), (gzip.compress(b"x" * 3000), "gzip")):
        host.answers[PAGE] = reply(body, Content_Encoding=encoding)
        assert fetcher.page().body == body


def test_bomb_costs_nothing(host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that unpacks to far more than may be is given up where the limit is, not at its end."""
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 2 * 2**20)
    host.answers[PAGE] = reply(gzip.compress(bytes(200 * 2**20), 9), Content_Encoding="gzip")
    started = time.monotonic()
    assert fetcher.page().kind == "malformed"
    assert time.monotonic() - started < 5


# Bodies


def large(size: int = GATHERED_BYTES * 3) -> bytes:
    return b"{" + b"x" * size + b"}"


def test_large_page(host: Host, fetcher: Fetcher) -> None:
    """A large page passes whole, with a length and in chunks."""
    body = large()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for answer in (
        reply(body),
        broken(head + chunked(*(body[at : at + 50_000] for at in range(0, len(body), 50_000)))),
    ):
        host.answers[PAGE] = answer
        got = fetcher.page()
        assert (got.status, got.is_whole) == (200, True)
        assert got.body == body


def test_page_that_breaks_off(host: Host, fetcher: Fetcher) -> None:
    """A page that breaks off is a failure from its first byte, or, where it is large, an answer that is not whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    host.answers[PAGE] = broken(head % 1000 + b"{")
    assert (got := fetcher.page()).status == 502
    assert got.kind == "away"
    for start in (
        head % (len(large()) + 9),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(large()) + 9),
    ):
        host.answers[PAGE] = broken(start + large())
        assert not fetcher.page().is_whole
    packed = gzip.compress(large(), 0)
    host.answers[PAGE] = reply(packed[:-9], Content_Encoding="gzip")
    assert not fetcher.page().is_whole


@pytest.mark.parametrize(
    ("body", "is_whole"),
    [
        (b'{"files": []}', True),
        (b'{"files": []}\r\n ', True),
        (b"<html>...</html>", True),
        (b"<html>...</HTML >\n<!-- made by x -->\n", True),
        (b'{"files": [', False),
        (b"<html><a href='x'>", False),
        (b"<html>...</html><a", False),
        (b"", False),
    ],
)
def test_body_whose_end_nobody_marks(host: Host, fetcher: Fetcher, body: bytes, *, is_whole: bool) -> None:
    """A page that ends with its connection is one where it says itself that it ends."""
    for head in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"):
        host.answers[PAGE] = broken(head + body)
        got = fetcher.page()
        assert got.status == (200 if is_whole else 502)
        assert is_whole or got.kind == "malformed"
    host.answers[PAGE] = broken(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(body))
    assert fetcher.page().status == 200


def test_index_that_drips(host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that sends a byte now and then holds nobody longer than one that sends none."""
    monkeypatch.setattr(pages, "WITHIN_S", 0.5)

    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        while not host.stopping.wait(0.05):
            yield b" "

    host.answers[PAGE] = lambda _: Reply(drip())
    started = time.monotonic()
    got = fetcher.page()
    assert (got.status, got.kind, got.cause) == (504, "timeout", "its page took too long")
    assert time.monotonic() - started < 5


# Redirects


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("{base}other/", "other/"),
        ("/simple/other/", "other/"),
        ("../other/", "other/"),
        ("../other", "other"),
        ("index.html#top", "demo/index.html"),
        ("/simple/", ""),
        ("/simple/v1..2/demo/", "v1..2/demo/"),
    ],
)
def test_redirect_inside_the_index(host: Host, fetcher: Fetcher, location: str, path: str) -> None:
    """A redirect inside the index is followed, and it is told where it led."""
    base = f"{host.url}simple/"
    host.answers |= {PAGE: redirect(location.format(base=base)), f"/simple/{path}": reply(b"page")}
    got = fetcher.page()
    assert (got.body, got.headers["x-decider-final-url"]) == (b"page", base + path)


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example/simple/demo/",
        "https://127.0.0.1:{port}/simple/demo/",
        "http://127.0.0.1:1/simple/demo/",
        "http://localhost:{port}/simple/demo/",
        "http://127.0.0.1:{port}/simple",
        "http://127.0.0.1:{port}/simplex/demo/",
        "http://127.0.0.1:{port}/other/demo/",
        "http://u@127.0.0.1:{port}/simple/demo/",
        "//elsewhere.example/simple/demo/",
        "../../other/",
        "/simple/../other/",
        # Servers decode what is escaped: these would be pages of another index, asked with this one's credentials.
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
def test_redirect_out_of_the_index(host: Host, fetcher: Fetcher, location: str) -> None:
    """A redirect that leads anywhere else is not followed."""
    host.answers[PAGE] = redirect(location.format(port=host.port))
    got = fetcher.page()
    assert (got.status, got.kind) == (502, "refused")
    assert got.cause == "it redirects to a place that it may not lead to"
    assert host.paths() == [PAGE]


def test_redirects_end(host: Host, fetcher: Fetcher) -> None:
    """Three redirects are followed, and no fourth, even where it leads nowhere new."""
    host.answers[PAGE] = redirect(PAGE)
    assert (got := fetcher.page()).status == 502
    assert got.cause == "it redirects more than 3 times"
    assert len(host.asked) == 4


def test_redirect_to_nowhere(host: Host, fetcher: Fetcher) -> None:
    """A redirect without a place is none."""
    host.answers[PAGE] = reply(b"", "302 Found")
    assert fetcher.page().kind == "refused"


# Who is asked


def test_moved_index(host: Host, fetcher: Fetcher) -> None:
    """Who means the address that an index had is not told what another one says."""
    host.answers[PAGE] = reply(b"page")
    for source in ("https://old.example/simple/", ""):
        got = fetcher.ask("/page/public/demo/", {"X-Decider-Source": source})
        assert (got.status, got.kind, got.cause) == (502, "refused", "the index has another address by now")
    for index in ("local", "nobody"):
        got = fetcher.ask(f"/page/{index}/demo/", {"X-Decider-Source": ""})
        assert (got.status, got.kind) == (502, "refused")
    assert host.asked == []


@pytest.mark.parametrize("path", ["%2e%2e/other/", "a%2fb/", "demo/?x=1", "a//b/", "%0d%0a/"])
def test_odd_paths(host: Host, fetcher: Fetcher, path: str) -> None:
    """No path is asked for that a server could read in another way."""
    fetcher.page(path)
    assert all(one.target in {"/simple/demo/", "/simple/a/b/"} for one in host.asked)
    assert host.paths() in ([], ["/simple/demo/"], ["/simple/a/b/"])


def test_what_is_counted(host: Host, fetcher: Fetcher) -> None:
    """Each page is counted by what came of it."""

    def counts() -> dict[str, float]:
        names = ("page", "absent", "unchanged", "refused", "malformed", "timeout", "away")
        return {name: meters().fetches.labels("page", name)._value.get() for name in names}

    before = counts()
    host.answers[PAGE] = reply(b"page")
    fetcher.page()
    fetcher.page("absent/")
    host.answers[PAGE] = reply(b"", "304 X", Content_Length=None)
    fetcher.page(If_None_Match='"a"')
    fetcher.page()
    host.answers[PAGE] = broken(b"x")
    fetcher.page()
    host.answers[PAGE] = broken(b"")
    fetcher.page()
    assert {name: count - before[name] for name, count in counts().items()} == {
        "page": 1, "absent": 1, "unchanged": 1, "refused": 1, "malformed": 1, "timeout": 0, "away": 1,
    }  # fmt: skip
