"""Wheels read part by part: a server stands in for nginx and the fetcher behind it, and says what they may."""

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import pytest
from packaging.version import Version

from decider import unix_sockets
from decider.errors import (
    DeciderError,
    IndexTimeout,
    IndexUnavailable,
    NoParts,
    UnreadableDistribution,
)
from decider.index import wheel_parts
from decider.index.location import Location
from decider.index.metadata import read_wheel
from decider.index.wheel_parts import PartReader, WheelParts
from tests.listener import Asked, Listener, Said, failed
from tests.samples import DEMO
from tests.uploads import Distribution, make_wheel

PATH = "/part"
PLACE = Location(
    url="https://index.example/files/demo.whl",
    index="public",
    key="public|demo",
    digest=("sha256", "a" * 64),
    size=7,
)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as started:
        yield started


@pytest.fixture(scope="module")
def wheel() -> Distribution:
    """Larger than what is read of it at first, its metadata somewhere in it."""
    return make_wheel("demo", "1.0", padding=300_000)


def in_parts(data: bytes, *, given: str = "part") -> Callable[[Asked], Said]:
    """The honest answers of an index that gives parts; `given`: what the fetcher says of it, "" where nginx has it all."""

    def answer(asked: Asked) -> Said:
        first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
        start = int(first) if first else max(len(data) - int(last), 0)
        end = min(int(last) + 1, len(data)) if first else len(data)
        told = {
            "Content-Range": f"bytes {start}-{end - 1}/{len(data)}",
            **({"X-Decider-Given": given} if given else {}),
        }
        return Said(206, data[start:end], told)

    return answer


def opened(listener: Listener, *, within_s: float = 10) -> WheelParts:
    reader = PartReader(socket=listener.socket, connections=2)
    deadline = time.monotonic() + within_s
    return WheelParts("public", lambda asked: reader.read(PLACE, asked, deadline=deadline))


def metadata(parts: WheelParts) -> bytes:
    return read_wheel(cast("BinaryIO", parts), project=DEMO, version=Version("1.0")).data


def test_metadata(listener: Listener, wheel: Distribution) -> None:
    """A wheel's metadata is read in a few parts, a fraction of the wheel, of the file that the page names."""
    listener.answers[PATH] = in_parts(wheel.data)
    parts = opened(listener)
    assert metadata(parts) == wheel.metadata
    assert parts.are_given is True
    assert len(listener.asked) <= 3
    first = listener.asked[0].headers
    told = [first.get(f"x-decider-{name}") for name in ("url", "expect", "key")]
    assert told == [PLACE.url, PLACE.expected, PLACE.key]


@pytest.mark.parametrize(("given", "expected"), [("", None), ("whole", False), ("part", True)])
def test_what_an_answer_tells_of_the_index(
    listener: Listener, wheel: Distribution, given: str, *, expected: bool | None
) -> None:
    """What nginx reads from its cache, or cuts out itself, does not tell that the index gives parts."""
    listener.answers[PATH] = in_parts(wheel.data, given=given)
    parts = opened(listener)
    assert (metadata(parts), parts.are_given) == (wheel.metadata, expected)


def test_whole_file(listener: Listener, wheel: Distribution) -> None:
    """A small wheel may be given whole, and nothing more is asked for."""
    listener.answers[PATH] = Said(200, wheel.data, {"X-Decider-Given": "whole"})
    parts = opened(listener)
    assert (metadata(parts), parts.are_given, len(listener.asked)) == (wheel.metadata, False, 1)


def test_as_a_file(listener: Listener) -> None:
    """It is read and sought in as a file is."""
    data = bytes(range(256)) * 1000
    listener.answers[PATH] = in_parts(data)
    parts = opened(listener)
    assert parts.seekable()
    assert (parts.seek(-3, 2), parts.read(), parts.read(1)) == (len(data) - 3, data[-3:], b"")
    assert (parts.seek(5), parts.read(4), parts.tell(), parts.seek(1, 1), parts.read(2)) == (
        5, data[5:9], 9, 10, data[10:12],
    )  # fmt: skip
    assert (parts.seek(len(data) + 10), parts.read(5)) == (len(data) + 10, b"")
    with pytest.raises(ValueError, match="before the beginning"):
        parts.seek(-1)


LYING: dict[str, tuple[Said, type[DeciderError], str]] = {
    "no such file": (Said(404), IndexUnavailable, "answered 404"),
    "error": (Said(503), IndexUnavailable, "answered 503"),
    "nothing in it": (Said(416), UnreadableDistribution, "is empty"),
    "which part?": (Said(206, b"abc"), IndexUnavailable, "without saying which"),
    "another length": (Said(206, b"abc", {"Content-Range": "bytes 0-9/20"}), IndexUnavailable, "without saying which"),
    "beyond the end": (Said(206, b"abc", {"Content-Range": "bytes 8-10/10"}), IndexUnavailable, "without saying which"),
    "no unit": (Said(206, b"abc", {"Content-Range": "0-2/3"}), IndexUnavailable, "without saying which"),
    "cut off": (Said(206, b"abc", {"Content-Range": "bytes 0-9/20"}, length=10), IndexUnavailable, "no whole answer|ended early"),
    "large and whole": (Said(502, headers={"X-Decider-Given": "none"}), NoParts, "whole"),
    "larger than was said": (Said(200, b"abc", length=10**12), IndexUnavailable, "more than a part"),
    "no length": (Said(200, b"", {"Content-Length": "x"}, length=0), IndexUnavailable, "more than a part"),
    "a failure that is told": (failed("refused", "its answer was 403"), IndexUnavailable, "its answer was 403"),
    "a redirect": (Said(302, headers={"Location": "/part"}), IndexUnavailable, "answered 302"),
}  # fmt: skip


@pytest.mark.parametrize("case", LYING)
def test_lying_servers(listener: Listener, case: str) -> None:
    """An answer that is not what was asked for is an error, and costs neither memory nor time."""
    said, error, words = LYING[case]
    listener.answers[PATH] = said
    with pytest.raises(error, match=words):
        opened(listener)


def test_other_parts(listener: Listener, wheel: Distribution) -> None:
    """A part that is not the one asked for, or of another file, is noticed."""
    honest = in_parts(wheel.data)
    listener.answers[PATH] = lambda asked: (
        honest(asked)
        if "=-" in asked.headers["range"]
        else Said(206, b"x", {"Content-Range": f"bytes 0-0/{len(wheel.data)}"})
    )
    parts = opened(listener)
    parts.seek(100)
    with pytest.raises(IndexUnavailable, match="another part"):
        parts.read(10)
    listener.answers[PATH] = in_parts(wheel.data + b"more")
    with pytest.raises(IndexUnavailable, match="changed a file"):
        parts.read(10)


def test_slow_server(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that drips is waited for no longer than there is time."""
    monkeypatch.setattr(unix_sockets, "left_s", lambda _: 0.2)

    def drip(write: Callable[[bytes], object]) -> None:
        write(b"x")
        listener.stopping.wait(30)

    listener.answers[PATH] = Said(200, length=100, chunks=drip)
    with pytest.raises(IndexTimeout):
        opened(listener)


def test_scattered(listener: Listener, wheel: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel whose metadata would take too many parts, or too much, is left alone."""
    listener.answers[PATH] = in_parts(wheel.data)
    for limit, value in (("MAX_PARTS", 1), ("MAX_READ", wheel_parts.TAIL)):
        with monkeypatch.context() as patched:
            patched.setattr(wheel_parts, limit, value)
            parts = opened(listener)
            with pytest.raises(UnreadableDistribution, match="too many places"):
                parts.read(10)


def test_nobody_listens() -> None:
    """Without nginx nothing is read."""
    with Listener() as gone:
        pass
    with pytest.raises(IndexUnavailable, match="no whole answer"):
        opened(gone)
