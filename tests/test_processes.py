"""Supervised processes: started again, never in a storm, and gone with all their family when they are to go."""

import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from decider import processes
from decider.processes import Process
from tests.stack import ROOT, eventually

# Forks a worker that outlives it, and tells both ids.
FAMILY = """
import os, signal, sys, time
worker = os.fork()
if worker == 0:
    signal.signal(signal.SIGTERM, {worker_on_term})
    open("worker", "w").write(str(os.getpid()))
else:
    open("head", "w").write(str(os.getpid()))
while True:
    time.sleep(60)
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """Make processes that run Python; they are stopped in the end."""
    made: list[Process] = []

    def one(code: str, *, stop_signal: signal.Signals = signal.SIGTERM, **more: Any) -> Process:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        made.append(Process("demo", command, cwd=tmp_path, stop_signal=stop_signal, **more))
        return made[-1]

    yield one
    for process in made:
        process.stop()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOP_WITHIN_S", 1.0)
    monkeypatch.setattr(processes, "_LEFT_WITHIN_S", 0.5)


def written(file: Path) -> int:
    """The id that a process wrote, once it is there."""
    return int(eventually(lambda: file.read_text() if file.exists() else None, within_s=20))


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_start_and_stop(make: Callable[..., Process], tmp_path: Path) -> None:
    """A process is started in its folder, and has ended when stop returns."""
    process = make("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    process.start()
    pid = written(tmp_path / "pid")
    states = [process.is_running]
    process.stop()
    states.append(process.is_running)
    assert states == [True, False]
    assert not is_alive(pid)


def test_stop_of_what_does_not_run(make: Callable[..., Process]) -> None:
    """Stopping what was never started, or has ended, is no error."""
    process = make("pass")
    process.stop()
    process.start()
    eventually(lambda: not process.is_running, within_s=20)
    process.send(signal.SIGHUP)
    process.stop()


def test_stop_of_the_deaf(make: Callable[..., Process], tmp_path: Path) -> None:
    """What does not listen to its stop signal, nor to SIGTERM, is killed."""
    process = make(
        """
        import os, signal, time
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        open("pid", "w").write(str(os.getpid()))
        while True:
            time.sleep(60)
        """,
        stop_signal=signal.SIGQUIT,
    )
    process.start()
    pid = written(tmp_path / "pid")
    process.stop()
    assert not is_alive(pid)


@pytest.mark.parametrize("worker_on_term", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_workers_end_with_their_head(
    make: Callable[..., Process], tmp_path: Path, worker_on_term: str
) -> None:
    """When a master dies alone its workers are ended before it is started again, the deaf ones too."""
    process = make(FAMILY.format(worker_on_term=worker_on_term))
    process.start()
    head, worker = written(tmp_path / "head"), written(tmp_path / "worker")
    (tmp_path / "head").unlink()
    os.kill(head, signal.SIGKILL)
    eventually(lambda: not process.is_running, within_s=20)
    assert is_alive(worker)
    process.revive()
    assert not is_alive(worker)

    def is_back() -> bool:
        process.revive()
        return process.is_running

    eventually(is_back, within_s=20)
    assert written(tmp_path / "head") != head


def test_stop_ends_workers_too(make: Callable[..., Process], tmp_path: Path) -> None:
    """Stopping leaves nobody of the family."""
    process = make(FAMILY.format(worker_on_term="signal.SIG_IGN"))
    process.start()
    head, worker = written(tmp_path / "head"), written(tmp_path / "worker")
    process.stop()
    assert not is_alive(head)
    assert not is_alive(worker)


def test_no_restart_storm(make: Callable[..., Process]) -> None:
    """What dies again and again is started more and more slowly, and at once again after it has lived for a while."""
    now = [1000.0]
    process = make("pass", monotonic=lambda: now[0])
    pauses = []
    for _ in range(8):
        process.start()
        process._process.wait()  # type: ignore[union-attr]
        process.revive()
        assert not process.is_running
        pauses.append(process._start_at - now[0])
        now[0] = process._start_at
    assert pauses == [0.25, 0.75, 1.75, 3.75, 7.75, 10.0, 10.0, 10.0]
    process.start()
    process._process.wait()  # type: ignore[union-attr]
    now[0] += 6
    process.revive()
    assert process._process is not None


def test_pause_is_kept(make: Callable[..., Process]) -> None:
    """During the pause nothing is started, however often somebody looks."""
    now = [1000.0]
    process = make("pass", monotonic=lambda: now[0])
    process.start()
    process._process.wait()  # type: ignore[union-attr]
    for _ in range(5):
        process.revive()
        assert process._process is None
    now[0] += 0.25
    process.revive()
    assert process._process is not None


def test_process_that_cannot_be_started(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A program that is not there, or a machine without room for one more process, ends nobody else: it is tried again."""
    now = [1000.0]
    process = Process(
        "demo",
        [str(tmp_path / "absent")],
        cwd=tmp_path,
        stop_signal=signal.SIGTERM,
        monotonic=lambda: now[0],
    )
    for pause in (0.25, 0.75):
        process.revive()
        assert not process.is_running
        assert process._start_at - now[0] == pause
        now[0] = process._start_at
    assert caplog.text.count("child.died") == 2
    process.stop()


def test_signals_reach_the_process(make: Callable[..., Process], tmp_path: Path) -> None:
    """A child takes signals although the supervisor blocks them for itself."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM})
    try:
        process = make(
            """
            import signal, time
            signal.signal(signal.SIGHUP, lambda *_: open("heard", "w").write("1"))
            open("pid", "w").write("1")
            while True:
                time.sleep(60)
            """
        )
        process.start()
        written(tmp_path / "pid")
        process.send(signal.SIGHUP)
        written(tmp_path / "heard")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_process_ends_with_its_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that is killed leaves no child behind."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = textwrap.dedent(
        """
        import signal, sys, time
        from pathlib import Path
        from decider.processes import Process
        child = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
        Process("demo", [sys.executable, "-c", child], cwd=Path.cwd(), stop_signal=signal.SIGTERM).start()
        time.sleep(60)
        """
    )
    supervisor = Process("supervisor", [sys.executable, "-c", code], cwd=tmp_path, stop_signal=signal.SIGKILL)
    supervisor.start()
    pid = written(tmp_path / "pid")
    supervisor.stop()
    eventually(lambda: not is_alive(pid), within_s=10)


def test_what_a_killed_one_left(make: Callable[..., Process], tmp_path: Path) -> None:
    """What is in the way of the next start, a socket say, is removed before it, each time; nothing there is no error."""
    left = tmp_path / "left.sock"
    process = make(
        """
        import os, socket, time
        socket.socket(socket.AF_UNIX).bind("left.sock")
        open("pid", "w").write(str(os.getpid()))
        time.sleep(60)
        """,
        removes=(left, tmp_path / "absent"),
    )
    left.touch()
    for _ in range(2):
        process.start()
        os.kill(written(tmp_path / "pid"), signal.SIGKILL)
        eventually(lambda: not process.is_running, within_s=20)
        assert left.is_socket()
        (tmp_path / "pid").unlink()
