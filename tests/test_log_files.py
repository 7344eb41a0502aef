"""Turning over large logs."""

import os
from pathlib import Path

import pytest

from decider import log_files
from decider.log_files import KEEP, MAX_BYTES, turn_over_large


@pytest.fixture
def reopened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids that were told to open their logs anew; an nginx of id 7 runs."""
    told: list[int] = []
    monkeypatch.setattr(log_files, "nginx_pid", lambda _: 7)
    monkeypatch.setattr(log_files, "reopen", told.append)
    return told


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def grow(log: Path, size: int, first: str) -> None:
    log.write_text(first)
    os.truncate(log, size)


def test_small_logs_stay(tmp_path: Path, logs: Path, reopened: list[int]) -> None:
    """Logs below the limit, and logs that are not there, are left alone."""
    grow(logs / "access.log", MAX_BYTES - 1, "a")
    assert turn_over_large(tmp_path) == []
    assert reopened == []
    assert [log.name for log in logs.iterdir()] == ["access.log"]


def test_large_log(tmp_path: Path, logs: Path, reopened: list[int]) -> None:
    """A large log is put aside, older ones move up, the oldest goes, and nginx is told once."""
    for round_ in range(KEEP + 2):
        grow(logs / "access.log", MAX_BYTES, str(round_))
        grow(logs / "nginx.log", 10, "n")
        assert turn_over_large(tmp_path) == ["access.log"]
    assert reopened == [7] * (KEEP + 2)
    assert {log.name: log.read_bytes()[:1] for log in logs.glob("access.log*")} == {
        f"access.log.{number}": str(KEEP + 2 - number).encode() for number in range(1, KEEP + 1)
    }
    assert (logs / "nginx.log").stat().st_size == 10


def test_usage_log_is_not_touched(tmp_path: Path, logs: Path, reopened: list[int]) -> None:
    """The usage log is its collector's, however large."""
    grow(logs / "usage.log", MAX_BYTES, "u")
    assert turn_over_large(tmp_path) == []
    assert reopened == []


def test_without_nginx(tmp_path: Path, logs: Path) -> None:
    """Where no nginx runs that could begin a new log, the old one stays."""
    grow(logs / "access.log", MAX_BYTES, "a")
    assert turn_over_large(tmp_path) == []
    assert (logs / "access.log").exists()
