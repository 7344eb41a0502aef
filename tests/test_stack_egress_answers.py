"""What hosts answer that is no answer, byte by byte (RFC 9110, RFC 9112): nothing of it reaches a client, nothing is kept."""

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from tests.fake_index import FakeIndex, hang, inflate
from tests.hostile import OWN_HEADERS, Got, Script, StrictClient, chunked, head, plain, plays
from tests.stack import JSON_TYPE, PROMISE_S, Stack, eventually, system_trust
from tests.test_stack_metrics import SOON_S, total
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

PROVENANCE = b'{"version": 1, "attestation_bundles": []}'
MB = 2**20
MAX_FILE_MB = 4


@dataclass(frozen=True)
class Surface:
    """One thing that clients ask for, and what the index is asked for then."""

    path: str
    index_path: str
    right: bytes
    logged: str  #: what its log lines name, besides the index


@pytest.fixture(scope="module")
def public() -> Iterator[FakeIndex]:
    with FakeIndex(tls=True) as index:
        yield index


@pytest.fixture(scope="module")
def gate(public: FakeIndex) -> Iterator[Stack]:
    """A stack over `public`; nothing that it was refused is in its caches."""
    assert public.ca_file is not None
    stack = Stack(
        index_url=public.url,
        workers=1,
        tables=f'[egress]\nmax_file_size = "{MAX_FILE_MB}m"\n',
        environment=system_trust(public.ca_file),
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


@pytest.fixture(autouse=True)
def _honest_again(public: FakeIndex) -> Iterator[None]:
    yield
    public.behave()


def add(public: FakeIndex, project: str, wheel: Distribution | None = None) -> dict[str, Surface]:
    """A file with companions, and another project's page."""
    wheel = public.add(project, wheel or make_wheel(project, "1.0"), provenance=PROVENANCE)
    listed = public.add(f"{project}-page", make_wheel(f"{project}-page", "1.0"))
    path = f"/files/{project}/{wheel.filename}"
    asked = f"/integrity/{project}/{wheel.filename}/provenance"
    page, named = f"/simple/{project}-page/", f"project='{project}' file='{wheel.filename}"
    return {
        "file": Surface(path, path, wheel.data, f"{named}'"),
        "metadata": Surface(f"{path}.metadata", f"{path}.metadata", wheel.metadata, f"{named}.metadata'"),
        "provenance": Surface(f"{path}.provenance", asked, PROVENANCE, f"{named}.provenance'"),
        "page": Surface(page, page, listed.filename.encode(), f"page='{project}-page/'"),
    }


def ask(client: StrictClient, surface: Surface) -> Got:
    return client.get(surface.path, Accept=JSON_TYPE)


def is_right(got: Got, surface: Surface) -> bool:
    is_page = surface.path.startswith("/simple/")
    return (
        got.status == 200
        and got.is_whole
        and (surface.right in got.body if is_page else got.body == surface.right)
    )


def has_right(client: StrictClient, surface: Surface) -> bool:
    return is_right(ask(client, surface), surface)


def assert_refused(got: Got, surface: Surface, case: str) -> None:
    """5xx with the cause in words, or a broken connection."""
    assert set(got.headers) <= OWN_HEADERS, (case, got.headers)
    if not got.is_whole:
        assert got.body != surface.right, case
        return
    assert got.status in {502, 503, 504}, (case, got)
    assert got.headers["content-type"].startswith("application/problem+json"), case
    told = json.loads(got.body)
    assert told["status"] == got.status
    assert not set("<>{}\\") & set(told["detail"]), told
    assert len(told["detail"]) > 20, told


def play(
    gate: Stack,
    public: FakeIndex,
    surfaces: Iterable[Surface],
    script: Script,
    case: str,
    *,
    twice: bool = True,
) -> None:
    """All that hosts answer so is refused, logged, counted and not kept: the right answer is believed in time."""
    surfaces = list(surfaces)
    before = failures(gate)
    with StrictClient(gate.port) as client:
        for surface in surfaces:
            public.switch(surface.index_path, plays(script))
            assert_refused(ask(client, surface), surface, case)
            if twice:
                assert_refused(ask(client, surface), surface, case)
        log = gate.log.read_text().splitlines()
        for surface in surfaces:
            found = [line for line in log if surface.logged in line]
            assert found, (case, surface.logged)
            assert all("index='public'" in line and "cause=" in line for line in found), found
            public.behave(surface.index_path)
        eventually(lambda: failures(gate) >= before + len(surfaces), within_s=SOON_S)
        for surface in surfaces:
            eventually(partial(has_right, client, surface), within_s=PROMISE_S)


def failures(gate: Stack) -> float:
    """What the fetcher did not get."""
    kinds = ("timeout", "away", "refused", "malformed", "mismatch")
    return sum(total(gate, "egress_fetches_total", f'outcome="{kind}"') for kind in kinds)


# Framing and fields


def fields(*lines: str) -> Script:
    """A whole answer, right but for these lines."""
    return lambda data: [plain(data, *lines)]


def framed(*lines: str, wire: Callable[[bytes], bytes] = bytes) -> Script:
    """200, those lines, and the body as `wire` has it."""
    return lambda data: [head("HTTP/1.1 200 OK", f"Content-Type: {JSON_TYPE}", *lines), wire(data)]


def answers_with(line: str, data: bytes) -> list[bytes]:
    return [plain(data, f"Content-Type: {JSON_TYPE}", line=line)]


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


CHUNKED = "Transfer-Encoding: chunked"
MALFORMED: dict[str, Script] = {
    "two lengths": lambda data: [plain(data, f"Content-Length: {len(data) + 1}")],
    "a length twice": lambda data: [plain(data, f"Content-Length: {len(data)}")],
    "list of lengths": lambda data: [
        head("HTTP/1.1 200 OK", f"Content-Length: {len(data)}, {len(data)}"),
        data,
    ],
    "signed length": lambda data: [head("HTTP/1.1 200 OK", f"Content-Length: +{len(data)}"), data],
    "negative length": framed("Content-Length: -1"),
    "length in hexadecimal": lambda data: [head("HTTP/1.1 200 OK", f"Content-Length: {len(data):#x}"), data],
    "length with a unit": lambda data: [head("HTTP/1.1 200 OK", f"Content-Length: {len(data)} bytes"), data],
    "length with a fraction": lambda data: [head("HTTP/1.1 200 OK", f"Content-Length: {len(data)}.0"), data],
    "length without digits": framed("Content-Length:"),
    "endless length": framed("Content-Length: 99999999999999999999999"),
    "length and chunks": lambda data: [
        head("HTTP/1.1 200 OK", f"Content-Length: {len(data)}", CHUNKED),
        chunked(data),
    ],
    "chunks and length": lambda data: [
        head("HTTP/1.1 200 OK", CHUNKED, f"Content-Length: {len(data)}"),
        chunked(data),
    ],
    "gzip, chunked": framed("Transfer-Encoding: gzip, chunked", wire=chunked),
    "chunked, gzip": framed("Transfer-Encoding: chunked, gzip", wire=chunked),
    "gzip as transfer coding": lambda data: [
        head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip"),
        gzip.compress(data),
    ],
    "identity": framed("Transfer-Encoding: identity"),
    "chunked twice": framed("Transfer-Encoding: chunked, chunked", wire=chunked),
    "two codings": framed(CHUNKED, "Transfer-Encoding: identity", wire=chunked),
    "unknown coding": framed("Transfer-Encoding: xchunked", wire=chunked),
    "coding with a vertical tab": framed("Transfer-Encoding: \x0bchunked", wire=chunked),
    "no coding": framed("Transfer-Encoding:", wire=chunked),
    "chunks of an old version": lambda data: [head("HTTP/1.0 200 OK", CHUNKED), chunked(data)],
    "chunk without a number": framed(CHUNKED, wire=lambda data: b"zz\r\n" + data + b"\r\n0\r\n\r\n"),
    "chunk with a sign": framed(CHUNKED, wire=lambda data: b"+" + chunked(data)),
    "chunk with 0x": framed(CHUNKED, wire=lambda data: b"0x" + chunked(data)),
    "chunk that overflows": framed(CHUNKED, wire=lambda data: b"f" * 17 + b"\r\n" + data + b"\r\n0\r\n\r\n"),
    "chunk that says less": framed(CHUNKED, wire=lambda data: b"5\r\n" + data + b"\r\n0\r\n\r\n"),
    "chunk without its end": framed(
        CHUNKED, wire=lambda data: b"%x\r\n%b" % (len(data), data) + b"0\r\n\r\n"
    ),
    "chunk with a bare line feed": framed(
        CHUNKED, wire=lambda data: b"%x\n%b\r\n0\r\n\r\n" % (len(data), data)
    ),
    "no last chunk": framed(CHUNKED, wire=lambda data: chunked(data, end=b"")),
    "no end of the last chunk": framed(CHUNKED, wire=lambda data: chunked(data, end=b"0\r\n")),
    "line feed in an extension": framed(
        CHUNKED, wire=lambda data: b"%x;\nx\r\n" % len(data) + data + b"\r\n0\r\n\r\n"
    ),
    "trailer that is no field": framed(CHUNKED, wire=lambda data: chunked(data, end=b"0\r\nx\r\n\r\n")),
    "too short": lambda data: [plain(data)[:-1]],
    "half": lambda data: [head("HTTP/1.1 200 OK", f"Content-Length: {len(data)}"), half(data)],
    "head without end": lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"],
    "half a status line": lambda _: [b"HTTP/1.1 2"],
    "nothing": lambda _: [],
    "large field": fields("X: " + "y" * 40_000),
    "many fields": fields(*(f"X-{number}: {'y' * 100}" for number in range(400))),
    "thousands of fields": fields(*(f"X-{number}: y" for number in range(5000))),
    "large status line": lambda data: [plain(data, line="HTTP/1.1 200 " + "x" * 70_000)],
    "NUL in a value": fields("X: a\x00b"),
    "NUL in a name": fields("X\x00: a"),
    "bare carriage return": fields("X: a\rSet-Cookie: evil"),
    "bare line feed": fields("X: a\nSet-Cookie: evil"),
    "bare line feeds": lambda data: [plain(data).replace(b"\r\n", b"\n", 3)],
    "control in a value": fields("X: a\x08b"),
    "folded field": fields("X: a\r\n b"),
    "folded first field": lambda data: [b"HTTP/1.1 200 OK\r\n X: a\r\n" + plain(data).partition(b"\r\n")[2]],
    "blank before the colon": fields("X : a"),
    "blank before a length's colon": lambda data: [
        head("HTTP/1.1 200 OK", f"Content-Length : {len(data)}"),
        data,
    ],
    "field without a colon": fields("evil"),
    "field without a name": fields(": evil"),
    "field with a bad name": fields("X(y): evil"),
    "DEL in a value": fields("X: a\x7fb"),
    "TLS inside": lambda _: [b"\x16\x03\x01\x02\x00\x01\x00"],
    "another protocol": lambda _: [b"SSH-2.0-x\r\n"],
    "HTTP/2": lambda _: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "markup": lambda _: [b"<script>alert(1)</script>\r\n\r\n"],
    "markup as a reason": lambda data: [plain(data, line="HTTP/1.1 500 <script>alert(1)</script>")],
    "markup as a field": fields("<script>alert(1)</script>"),
    "quotation marks": fields('"}, "evil": {"\\'),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_answers(gate: Stack, public: FakeIndex, project: str, case: str) -> None:
    """No answer that is not to the letter of HTTP is passed on: files, their companions and pages alike."""
    play(gate, public, add(public, project).values(), MALFORMED[case], case)


#: Proper answers that are not what a file's page states.
OTHER: dict[str, Script] = {
    "longer": lambda data: [plain(data + b"x")],
    "longer in chunks": framed(CHUNKED, wire=lambda data: chunked(data, b"x")),
    "longer to the end": framed(wire=lambda data: data + b"x"),
    "shorter": lambda data: [plain(data[:-1])],
    "shorter in chunks": framed(CHUNKED, wire=lambda data: chunked(data[:-1])),
    "shorter to the end": framed(wire=half),
    "empty": lambda _: [plain(b"")],
    "empty in chunks": framed(CHUNKED, wire=lambda _: chunked()),
    "gzip": lambda data: [plain(gzip.compress(data), "Content-Encoding: gzip")],
    "twice gzip": lambda data: [plain(gzip.compress(gzip.compress(data)), "Content-Encoding: gzip, gzip")],
    "deflate": lambda data: [plain(zlib.compress(data), "Content-Encoding: deflate")],
    "gzip without saying so": lambda data: [plain(gzip.compress(data))],
    "a web page": lambda _: [plain(b"<html>down", "Content-Type: text/html")],
    "a part": lambda data: [plain(data[:100], f"Content-Range: bytes 0-99/{len(data)}", line="HTTP/1.1 206 Partial")],
    "all as a part": lambda data: [
        plain(data, f"Content-Range: bytes 0-{len(data) - 1}/{len(data)}", line="HTTP/1.1 206 Partial")
    ],
    "parts": lambda data: [plain(data, "Content-Type: multipart/byteranges; boundary=x", line="HTTP/1.1 206 Partial")],
    "redirect without a place": lambda data: [plain(data, line="HTTP/1.1 302 Found")],
    "redirect to no URL": lambda data: [plain(data, "Location: http://[", line="HTTP/1.1 302 Found")],
    "redirect to a file": lambda data: [plain(data, "Location: file:///etc/passwd", line="HTTP/1.1 302 Found")],
    "redirect to a socket": lambda data: [plain(data, "Location: unix:/run/x", line="HTTP/1.1 302 Found")],
    "redirect with blanks": lambda data: [plain(data, "Location: /a b", line="HTTP/1.1 302 Found")],
    "redirect beyond ASCII": lambda data: [plain(data, "Location: /\xe9", line="HTTP/1.1 302 Found")],
    "redirect to somebody": lambda data: [plain(data, "Location: //a:b@localhost/", line="HTTP/1.1 302 Found")],
    "redirect to itself": lambda data: [plain(data, "Location: ?", line="HTTP/1.1 302 Found")],
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER)
def test_other_bytes(gate: Stack, public: FakeIndex, project: str, case: str) -> None:
    """What is properly sent, and not what the page states, is refused as well: for files and metadata."""
    surfaces = add(public, project)
    play(gate, public, [surfaces["file"], surfaces["metadata"]], OTHER[case], case)


def bomb(data: bytes) -> bytes:
    """The same behind 150 MB of blanks, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blanks = bytes(b" " * MB)
    return b"".join(packer.compress(blanks) for _ in range(150)) + packer.compress(data) + packer.flush()


def packed(wire: Callable[[bytes], bytes], coding: str) -> Script:
    return lambda data: [plain(wire(data), f"Content-Type: {JSON_TYPE}", f"Content-Encoding: {coding}")]


PAGES: dict[str, Script] = {
    "brotli": packed(bytes, "br"),
    "zstd": packed(bytes, "zstd"),
    "deflate": packed(zlib.compress, "deflate"),
    "compress": packed(bytes, "compress"),
    "twice gzip": packed(lambda data: gzip.compress(gzip.compress(data)), "gzip, gzip"),
    "twice gzip, said once": packed(lambda data: gzip.compress(gzip.compress(data)), "gzip"),
    "no gzip": packed(bytes, "gzip"),
    "half of a gzip": packed(lambda data: half(gzip.compress(data)), "gzip"),
    "gzip and more": packed(lambda data: gzip.compress(data) + b"x", "gzip"),
    "gzip and gzip": packed(lambda data: gzip.compress(data) + gzip.compress(b" "), "gzip"),
    "gzip with a wrong sum": packed(lambda data: gzip.compress(data)[:-8] + b"\0" * 8, "gzip"),
    "bomb": packed(bomb, "gzip"),
    "half, to the end": framed(wire=half),
    "octets": lambda data: [plain(data, "Content-Type: application/octet-stream")],
    "no JSON": lambda data: [plain(half(data), f"Content-Type: {JSON_TYPE}")],
    "unasked 304": lambda _: [head("HTTP/1.1 304 Not Modified", 'ETag: "x"')],
    "redirect elsewhere": lambda _: [plain(b"", "Location: https://example.com/", line="HTTP/1.1 301 Moved")],
    "redirect upwards": lambda _: [plain(b"", "Location: ../../", line="HTTP/1.1 301 Moved")],
    "redirect to an escape": lambda _: [plain(b"", "Location: ./%2e%2e/", line="HTTP/1.1 301 Moved")],
}  # fmt: skip


@pytest.mark.parametrize("case", PAGES)
def test_pages(gate: Stack, public: FakeIndex, project: str, case: str) -> None:
    """A page in an encoding that was not asked for, without an end, or far too large when unpacked is no page."""
    surfaces = add(public, project)
    with StrictClient(gate.port) as client:
        page = surfaces["page"]
        public.switch(page.index_path, plays(PAGES[case]))
        assert_refused(ask(client, page), page, case)
        public.behave()
        eventually(partial(has_right, client, page), within_s=PROMISE_S)


# What a proper answer has besides


HOSTILE = [
    "X-Accel-Redirect: /evil",
    "X-Accel-Expires: 86400",
    "X-Accel-Buffering: no",
    "X-Accel-Limit-Rate: 1",
    "X-Accel-Charset: evil",
    "Set-Cookie: evil=1; Path=/",
    "NEL: {evil}",
    "Report-To: {evil}",
    "Via: 1.1 evil",
    "Link: <https://evil.example/>; rel=preload",
    "Location: https://evil.example/",
    "Refresh: 0; url=https://evil.example/",
    "X-Decider-Cause: evil",
    "X-Decider-Kind: timeout",
    "X-Decider-Degraded: evil",
    "X-Decider-Final-Url: https://evil.example/",
    "X-Decider-Given: evil",
    "X-Decider-Cache: EVIL",
    "Access-Control-Allow-Origin: https://evil.example",
    "Access-Control-Allow-Credentials: evil",
    "Access-Control-Expose-Headers: evil",
    "Content-Disposition: attachment; filename=evil",
    "Content-Security-Policy: evil",
    "Content-Language: evil",
    "Content-Location: /evil",
    "Content-MD5: evil",
    "Cache-Control: max-age=86400, public, evil",
    "Expires: Fri, 01 Jan 2100 00:00:00 GMT",
    "Pragma: evil",
    "Vary: evil",
    "Age: 666",
    "Alt-Svc: h3=evil:443",
    "Server: evil",
    "Server-Timing: evil",
    "Strict-Transport-Security: max-age=666",
    "Clear-Site-Data: evil",
    "Keep-Alive: timeout=666",
    "Trailer: evil",
    "Upgrade: evil",
    "Warning: 199 evil",
    "WWW-Authenticate: Basic realm=evil",
    "Proxy-Authenticate: Basic realm=evil",
    "X-PyPI-Last-Serial: 666",
    "X-Content-Type-Options: evil",
    "X-Powered-By: evil",
    "Accept-Ranges: evil",
    "Record: evil",
    "Url: evil",
    "Status: 666 evil",
    "Last-Modified: Fri, 01 Jan 2021 00:00:00 GMT",
    'ETag: "666"',
]  # fmt: skip
TRAILERS = b'0\r\nX-Accel-Redirect: /evil\r\nSet-Cookie: evil=1\r\nETag: "666"\r\n\r\n'
HINTS = head("HTTP/1.1 103 Early Hints", "Link: </evil>") + head(
    "HTTP/1.1 100 Continue", "Set-Cookie: evil=1"
)
PROPER: dict[str, Script] = {
    "length": framed(*HOSTILE),
    "chunks": framed(*HOSTILE, CHUNKED, wire=lambda data: chunked(half(data), data[len(half(data)) :])),
    "trailers": framed(*HOSTILE, CHUNKED, wire=lambda data: chunked(data, end=TRAILERS)),
    "hints": lambda data: [HINTS, plain(data, f"Content-Type: {JSON_TYPE}", *HOSTILE)],
    "more behind it": lambda data: [plain(data, f"Content-Type: {JSON_TYPE}", *HOSTILE) + plain(b"evil")],
    "old version": lambda data: [plain(data, f"Content-Type: {JSON_TYPE}", *HOSTILE, line="HTTP/1.0 200 OK")],
    "markup as a reason": lambda data: [
        plain(data, f"Content-Type: {JSON_TYPE}", *HOSTILE, line="HTTP/1.1 200 <evil>")
    ],
}
PROPER["length"] = lambda data: [plain(data, f"Content-Type: {JSON_TYPE}", *HOSTILE)]


@pytest.mark.parametrize("case", PROPER)
def test_fields_of_hosts(gate: Stack, public: FakeIndex, project: str, case: str) -> None:
    """Of a host's fields a client learns a date, and an ETag where the page states no digest: from a cache, too."""
    surfaces = add(public, project)
    with StrictClient(gate.port) as client:
        for surface in surfaces.values():
            public.switch(surface.index_path, plays(PROPER[case]))
            for _ in range(2):
                got = ask(client, surface)
                assert is_right(got, surface), (case, got)
                assert set(got.headers) <= OWN_HEADERS - {"x-decider-degraded"}
                told = {
                    name: value for name, value in got.headers.items() if "evil" in value or "666" in value
                }
                assert told == ({"etag": '"666"'} if "provenance" in surface.path else {}), (
                    surface.path,
                    told,
                )
                assert got.headers.get("last-modified") in {None, "Fri, 01 Jan 2021 00:00:00 GMT"}
            assert len(public.requests(surface.index_path)) == 1


# Time and length


def test_slow_hosts(gate: Stack, public: FakeIndex, project: str) -> None:
    """A host that says nothing, or no more, is given up after some seconds: 504, and nobody else waits for it."""
    stops = threading.Event()

    def stalls(data: bytes) -> Iterator[bytes]:
        yield head("HTTP/1.1 200 OK", f"Content-Type: {JSON_TYPE}", f"Content-Length: {len(data)}")
        yield half(data)
        stops.wait(60)

    def drips(_: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while not stops.wait(0.5):
            yield b"X: y\r\n"

    cases: list[tuple[str, Surface]] = []
    for case in ("hangs", "stalls", "drips"):
        for kind, surface in add(public, f"{project}-{case}").items():
            script = {"stalls": stalls, "drips": drips}.get(case)
            public.switch(surface.index_path, hang if script is None else plays(script))
            if kind != "metadata":
                cases.append((case, surface))
    quick = add(public, f"{project}-quick")

    def one(case: str, surface: Surface) -> tuple[str, Got, float]:
        started = time.monotonic()
        with StrictClient(gate.port) as client:
            got = ask(client, surface)
        return case, got, time.monotonic() - started

    with ThreadPoolExecutor(len(cases)) as clients:
        waiting = [clients.submit(one, *each) for each in cases]
        with StrictClient(gate.port) as client:
            for surface in quick.values():
                assert is_right(ask(client, surface), surface)
        for (_, surface), answer in zip(cases, waiting, strict=True):
            case, got, took = answer.result()
            assert_refused(got, surface, case)
            assert got.status in {502, 503, 504}, (case, surface, got)
            assert took < 35, (case, surface, took)
    stops.set()
    public.behave()
    with StrictClient(gate.port) as client:
        for _, surface in cases:
            eventually(partial(has_right, client, surface), within_s=PROMISE_S)


def test_endless_files(gate: Stack, public: FakeIndex, project: str) -> None:
    """A file without end is broken off at the size that its page states, or else at max_file_size; on disk too."""
    for name, omit in ((project, ()), (f"{project}-open", ("size", "hashes"))):
        wheel = public.add(name, make_wheel(name, "1.0", padding=200_000), omit=omit)
        path = f"/files/{name}/{wheel.filename}"

        def endless(_: bytes) -> Iterator[bytes]:
            yield head("HTTP/1.1 200 OK", CHUNKED)
            while True:
                yield chunked(bytes(65_536), end=b"")

        public.switch(path, plays(endless))
        with StrictClient(gate.port) as client:
            got = client.get(path)
        assert not got.is_whole or got.status == 502
        assert len(got.body) < (MAX_FILE_MB * MB if omit else len(wheel.data))
        (line, *_) = [
            line for line in gate.log.read_text().splitlines() if f"file='{wheel.filename}'" in line
        ]
        assert f"it is longer than {MAX_FILE_MB * MB if omit else len(wheel.data)} bytes" in line
        public.behave()
        with StrictClient(gate.port) as client:
            whole = Surface(path, path, wheel.data, "")
            eventually(partial(has_right, client, whole), within_s=PROMISE_S)


def test_endless_page(gate: Stack, public: FakeIndex, project: str) -> None:
    """A page far beyond what a page may have is none."""
    page = add(public, project)["page"]
    public.switch(page.index_path, inflate(120 * MB))
    with StrictClient(gate.port) as client:
        assert_refused(ask(client, page), page, "endless")
        public.behave()
        eventually(partial(has_right, client, page), within_s=PROMISE_S)


LISTS = [
    "two lengths", "list of lengths", "length and chunks", "gzip, chunked", "no last chunk", "half", "nothing",
    "NUL in a value", "bare line feed", "folded field", "large field", "markup", "markup as a field", "HTTP/2",
]  # fmt: skip


def test_project_list(public: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """A project list is no other page: malformed it is none, and the right one is believed."""
    assert public.ca_file is not None
    stack = new_stack(index_url=public.url, packages=False, environment=system_trust(public.ca_file))
    stack.start()
    public.add("listed-demo", make_wheel("listed-demo", "1.0"))
    surface = Surface("/simple/", "/simple/", b"listed-demo", "page=''")
    # A list that failed is asked for again after a while: a few kinds will do, they are the same as of pages.
    scripts = {case: MALFORMED[case] for case in LISTS[:2]} | {"half of a gzip": PAGES["half of a gzip"]}
    with StrictClient(stack.port) as client:
        for case, script in scripts.items():
            public.switch("/simple/", plays(script))
            asked = len(public.requests("/simple/"))

            def is_asked(case: str = case, asked: int = asked) -> bool:
                """Whether it was asked for anew; no answer until then is any other."""
                assert_refused(ask(client, surface), surface, case)
                return len(public.requests("/simple/")) > asked

            eventually(is_asked, within_s=30)
        assert [line for line in stack.log.read_text().splitlines() if surface.logged in line]
        public.behave()
        eventually(partial(has_right, client, surface), within_s=30)
