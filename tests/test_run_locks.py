"""One `decider up` for a data_dir: a second is turned away, and one that follows a killed one waits for its processes."""

import signal
import subprocess
import sys
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


ENDS = "sys.stdin.read()"
#: Deaf to SIGTERM, as a process that hangs is.
STAYS = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"


@contextmanager
def left_by(hold: Hold, program: str = ENDS) -> Iterator[subprocess.Popen[bytes]]:
    """A process that a supervisor with that hold started, and that is still there when the supervisor is not."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; {program}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[hold.family.fileno()],
    ) as process:
        if program == STAYS:
            assert process.stdout is not None
            process.stdout.readline()
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


def test_ends_what_a_killed_one_left(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where an `up` was killed the next one tells what it left to end, and starts when that has ended."""
    caplog.set_level("INFO", logger="decider")
    with left_by(take_hold(data_dir)) as process:
        let_go(take_hold(data_dir))
        assert process.wait(10) == -signal.SIGTERM
    assert "up.waits" in caplog.text
    assert "up.kills" not in caplog.text


def test_kills_what_does_not_end(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What does not end when it is told to, in the time that it has, is killed; the log names it."""
    monkeypatch.setattr(run_locks, "_ENDS_WITHIN_S", 0.2)
    with left_by(take_hold(data_dir), STAYS) as process:
        let_go(take_hold(data_dir))
        assert process.wait(10) == -signal.SIGKILL
    (said,) = {record.__dict__["pid"] for record in caplog.records if record.message == "up.kills"}
    assert said == process.pid


def test_ends_nobody_else(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only has the file open, or has a lock on another file of that name, is left alone."""
    monkeypatch.setattr(run_locks, "_ENDS_WITHIN_S", 0.0)
    (data_dir / "other" / "run").mkdir(parents=True)
    elsewhere = take_hold(data_dir / "other")
    hold = take_hold(data_dir)
    with (data_dir / "run" / "family.lock").open("rb") as reading:
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", "import sys; sys.stdin.read()"],
                stdin=subprocess.PIPE,
                pass_fds=[handle.fileno()],
            )
            for handle in (reading, elsewhere.family)
        ]
    try:
        with left_by(hold, STAYS) as process:
            let_go(take_hold(data_dir))
            assert process.wait(10) == -signal.SIGKILL
        assert [reader.poll() for reader in readers] == [None, None]
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
        let_go(elsewhere)


def test_never_beside_them(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what a killed `up` left cannot be ended the next one does not start, and says why; it leaves no lock."""
    monkeypatch.setattr(run_locks, "_ENDS_WITHIN_S", 0.05)
    monkeypatch.setattr(run_locks, "_ENDED_WITHIN_S", 0.1)
    first = take_hold(data_dir)
    first.own.close()
    # As a process of another container does: it is not among those that can be seen. (An `up` never ends itself.)
    for _ in range(2):
        with pytest.raises(CannotStart, match="that was killed still run on data_dir"):
            take_hold(data_dir)
    first.family.close()
    let_go(take_hold(data_dir))
