"""Index pages on their way into nginx's cache."""

import os
import time
from pathlib import Path

import pytest

from decider.arrivals import ARRIVING, stop_endless
from decider.index.loopback import MAX_PAGE_BYTES


@pytest.fixture
def arriving(tmp_path: Path) -> Path:
    folder = tmp_path / ARRIVING
    folder.mkdir()
    return folder


def allocate(path: Path, length: int) -> None:
    with path.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, length)


def room(path: Path) -> int:
    """Bytes that it takes on the disk."""
    return path.stat().st_blocks * 512


def test_endless_page(arriving: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is longer than any page gives its room back, again and again while it is written; the longest page does not."""
    endless, longest = arriving / "0000000001", arriving / "0000000002"
    allocate(longest, MAX_PAGE_BYTES)
    with endless.open("wb") as handle:
        for begin in (0, 2 * MAX_PAGE_BYTES):
            os.posix_fallocate(handle.fileno(), begin, MAX_PAGE_BYTES * 2)
            stop_endless(arriving.parent)
            assert room(endless) == 0
    assert room(longest) >= MAX_PAGE_BYTES
    assert [record.getMessage() for record in caplog.records] == ["index.endless"] * 2


def test_left_behind(arriving: Path) -> None:
    """What a killed nginx left goes after an hour; what still arrives stays."""
    old, young = arriving / "0000000001", arriving / "0000000002"
    for path, age_s in ((old, 3700), (young, 3500)):
        path.write_bytes(b"<html>")
        os.utime(path, (0, time.time() - age_s))
    stop_endless(arriving.parent)
    assert [path.name for path in arriving.iterdir()] == [young.name]


def test_before_nginx_has_started(tmp_path: Path) -> None:
    """A folder that is not there yet is no error."""
    stop_endless(tmp_path)


def test_what_cannot_be_stopped(arriving: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that cannot be stopped is told, and keeps nobody from the next."""
    folder, left = arriving / "0000000001", arriving / "0000000002"
    folder.mkdir()
    left.write_bytes(b"x")
    for path in (folder, left):
        os.utime(path, (0, 0))
    stop_endless(arriving.parent)
    assert [path.name for path in arriving.iterdir()] == [folder.name]
    assert [record.getMessage() for record in caplog.records] == ["index.endless_not_stopped"]
