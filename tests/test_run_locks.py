"""One `decider up` for a data_dir: a second is turned away, and one that follows a killed one waits for its processes."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from decider import run_locks
from decider.errors import CannotStart
from decider.run_locks import Hold, take_hold


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def let_go(hold: Hold) -> None:
    """Do what the end of the supervisor alone does."""
    hold.own.close()
    hold.family.close()


@contextmanager
def left_by(hold: Hold) -> Iterator[subprocess.Popen[bytes]]:
    """A process that a supervisor with that hold started, and that is still there when the supervisor is not."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=[hold.family.fileno()],
    ) as process:
        let_go(hold)
        try:
            yield process
        finally:
            process.kill()


def test_one_at_a_time(data_dir: Path) -> None:
    """A second `up` on the same data_dir is turned away, at once, until the first has ended."""
    first = take_hold(data_dir)
    with pytest.raises(CannotStart, match="another `decider up`"):
        take_hold(data_dir)
    let_go(first)
    let_go(take_hold(data_dir))


def test_waits_for_what_a_killed_one_left(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where an `up` was killed the next one starts when the last process of the old one has ended, and not before."""
    caplog.set_level("INFO", logger="decider")
    with left_by(take_hold(data_dir)) as process:
        ended: list[int | None] = []

        def follow() -> None:
            hold = take_hold(data_dir)
            ended.append(process.poll())
            let_go(hold)

        follower = threading.Thread(target=follow)
        follower.start()
        while "up.waits" not in caplog.text:
            follower.join(0.01)
            assert follower.is_alive(), "it did not wait"
        process.kill()
        follower.join(30)
    assert ended == [-signal.SIGKILL]


def test_never_beside_them(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what a killed `up` left does not end the next one does not start, and says why; it leaves no lock."""
    monkeypatch.setattr(run_locks, "_ENDED_WITHIN_S", 0.1)
    with left_by(take_hold(data_dir)):
        for _ in range(2):
            with pytest.raises(CannotStart, match="that was killed still run on data_dir"):
                take_hold(data_dir)
    let_go(take_hold(data_dir))
