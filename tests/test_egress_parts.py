"""Parts of wheels through the fetcher: what was asked for, or the whole where it is small; never something else."""

import time
from collections.abc import Iterator

import pytest

from decider.egress import parts
from decider.egress.parts import MAX_WHOLE
from decider.settings import IndexSettings
from tests.egress_harness import HOSTILE_HEADERS, Fetcher, Host, Reply, Request, broken, redirect, reply

DATA = bytes(range(256)) * 100


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as started:
        yield started


@pytest.fixture
def fetcher(host: Host) -> Iterator[Fetcher]:
    with Fetcher([IndexSettings(name="public", url=f"{host.url}simple/")]) as started:
        yield started


def honest(request: Request) -> Reply:
    """A host that gives parts."""
    first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
    start = int(first) if first else max(len(DATA) - int(last), 0)
    end = min(int(last) + 1, len(DATA)) if first else len(DATA)
    if start >= len(DATA):
        return reply(b"", "416 Range Not Satisfiable", Content_Range=f"bytes */{len(DATA)}")
    return part(DATA[start:end], f"bytes {start}-{end - 1}/{len(DATA)}")


def part(body: bytes, content_range: str | None, content_type: str | None = None) -> Reply:
    return reply(body, "206 Partial Content", Content_Range=content_range, Content_Type=content_type)


@pytest.mark.parametrize(
    ("asked", "expected", "told"),
    [
        ("bytes=-100", DATA[-100:], "25500-25599"),
        ("bytes=-99999", DATA, "0-25599"),
        ("bytes=0-0", DATA[:1], "0-0"),
        ("bytes=5-104", DATA[5:105], "5-104"),
        ("bytes=25000-99999", DATA[25000:], "25000-25599"),
    ],
)
def test_part(host: Host, fetcher: Fetcher, asked: str, expected: bytes, told: str) -> None:
    """A part passes with what it is a part of, written anew."""
    host.answers["/x"] = honest
    got = fetcher.part(f"{host.url}x", asked)
    assert (got.status, got.body) == (206, expected)
    assert got.headers["content-range"] == f"bytes {told}/{len(DATA)}"
    assert got.headers["x-decider-given"] == "part"
    assert host.asked[0].headers["accept-encoding"] == "identity"


def test_nothing_there(host: Host, fetcher: Fetcher) -> None:
    """No such part is none."""
    host.answers["/x"] = honest
    assert fetcher.part(f"{host.url}x", "bytes=99999-100000").status == 416


def test_whole(host: Host, fetcher: Fetcher) -> None:
    """A small file may be given whole, with a word that it was."""
    host.answers["/x"] = reply(DATA, headers=HOSTILE_HEADERS)
    got = fetcher.part(f"{host.url}x", "bytes=-100")
    assert (got.status, got.body, got.headers["x-decider-given"]) == (200, DATA, "whole")
    assert set(got.headers) == {"content-type", "content-length", "date", "server", "x-decider-given"}


@pytest.mark.parametrize(
    "answer",
    [
        broken(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nabc" % (MAX_WHOLE + 1)),
        broken(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        broken(b"HTTP/1.1 200 OK\r\n\r\nabc"),
    ],
)
def test_large_whole(host: Host, fetcher: Fetcher, answer: Reply) -> None:
    """A host that gives a large file whole, or one of no stated length, gives no parts, and that is told."""
    host.answers["/x"] = answer
    got = fetcher.part(f"{host.url}x", "bytes=-100")
    assert (got.status, got.headers["x-decider-given"]) == (502, "none")


LYING: dict[str, tuple[Reply, str]] = {
    "which part?": (part(DATA[-100:], None), "malformed"),
    "another part": (part(DATA[:100], f"bytes 0-99/{len(DATA)}"), "malformed"),
    "less than it says": (part(DATA[-99:], f"bytes 25500-25599/{len(DATA)}"), "malformed"),
    "more than it says": (part(DATA[-101:], f"bytes 25500-25599/{len(DATA)}"), "malformed"),
    "no unit": (part(DATA[-100:], f"25500-25599/{len(DATA)}"), "malformed"),
    "no total": (part(DATA[-100:], "bytes 25500-25599/*"), "malformed"),
    "several": (part(DATA[-100:], None, "multipart/byteranges; boundary=x"), "malformed"),
    "backwards": (part(DATA[-100:], f"bytes 25599-25500/{len(DATA)}"), "malformed"),
    "markup": (part(DATA[-100:], "<script>"), "malformed"),
    "cut off": (broken(b"HTTP/1.1 206 X\r\nContent-Length: 100\r\nContent-Range: bytes 25500-25599/25600\r\n\r\nabc"), "away"),
    "no length": (broken(b"HTTP/1.1 206 X\r\nContent-Range: bytes 25500-25599/25600\r\n\r\n" + DATA[-100:]), "refused"),
    "not there": (reply(b"", "404 X"), "refused"),
    "error": (reply(b"", "503 X"), "refused"),
    "no content": (reply(b"", "204 X", Content_Length=None), "refused"),
    "redirect elsewhere": (redirect("https://127.0.0.9/"), "refused"),
    "no HTTP": (broken(b"hello"), "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("case", LYING)
def test_lying_hosts(host: Host, fetcher: Fetcher, case: str) -> None:
    """What is not the part that was asked for is an error, and none of it passes."""
    host.answers["/x"], kind = LYING[case]
    got = fetcher.part(f"{host.url}x", "bytes=-100")
    assert (got.status, got.kind) == (502, kind)
    assert "content-range" not in got.headers


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "bytes=",
        "bytes=-",
        "bytes=5-",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes=a-b",
        "bytes=0-1 ",
        "bytes=1234567890123456-1",
    ],
)
def test_odd_questions(host: Host, fetcher: Fetcher, asked: str) -> None:
    """Only what the decider asks is asked on."""
    host.answers["/x"] = honest
    got = fetcher.part(f"{host.url}x", asked)
    assert (got.status, got.kind) == (502, "refused") or asked.endswith(" ")
    assert host.asked == [] or asked.endswith(" ")


def test_redirects(host: Host, fetcher: Fetcher) -> None:
    """Redirects are followed as those of files are, and the part asked for where they lead."""
    host.answers |= {"/x": redirect("/y"), "/y": honest}
    assert fetcher.part(f"{host.url}x", "bytes=-100").body == DATA[-100:]
    assert [one.headers["range"] for one in host.asked] == ["bytes=-100"] * 2
    host.answers["/y"] = redirect("/x")
    assert fetcher.part(f"{host.url}x", "bytes=-100").cause == "it redirects more than 3 times"


def test_slow_host(host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that drips, or does not come, is waited for no longer than there is time."""
    monkeypatch.setattr(parts, "WITHIN_S", 0.4)

    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 206 X\r\nContent-Length: 100\r\nContent-Range: bytes 25500-25599/25600\r\n\r\n"
        while not host.stopping.wait(0.05):
            yield b" "

    started = time.monotonic()
    for answer in (Reply([lambda: host.stopping.wait(20)]), Reply(drip())):
        host.answers["/x"] = answer
        got = fetcher.part(f"{host.url}x", "bytes=-100")
        assert (got.status, got.kind) == (504, "timeout")
    assert time.monotonic() - started < 5
