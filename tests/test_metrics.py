"""Counting together: seats, what becomes of them when processes die, and disks without room."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from decider import metrics
from tests.stack import source_environment

PROGRAM = """
import sys
from pathlib import Path
from decider import metrics

metrics.take_seat(Path(sys.argv[1]), "worker")
for line in sys.stdin:
    word, number = line.split()
    if word == "allow":
        for _ in range(int(number)):
            metrics.note_decision("file", "allow", 0.001)
        metrics.count_noted()
    elif word == "revision":
        metrics.meters().workers.set(1)
        metrics.meters().revision.labels("sqlite").set(int(number))
    print("done", flush=True)
"""


class Counting:
    """A process with a seat."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=source_environment(),
        )

    def do(self, word: str, number: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word} {number}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        """Kill it, with no chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where seats are."""
    made = tmp_path / "metrics"
    made.mkdir()
    return made


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], Counting]]:
    """Start processes that count; they are gone in the end."""
    with ExitStack() as opened:

        def make() -> Counting:
            made = Counting(folder)
            opened.callback(made.end)
            made.do("allow", 0)
            return made

        yield make


def seen(folder: Path) -> dict[str, float]:
    """Series → value, as a process with a seat renders them."""
    program = (
        "import sys; from pathlib import Path; from decider import metrics;"
        "metrics.take_seat(Path(sys.argv[1]), 'reader'); sys.stdout.buffer.write(metrics.render())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        check=True,
        env=source_environment(),
    )
    lines = [line for line in done.stdout.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


ALLOWED = 'decider_decisions_total{kind="file",verdict="allow"}'
REVISION = 'decider_rules_revision{store="sqlite"}'


def test_processes_are_counted_together(folder: Path, start: Callable[[], Counting]) -> None:
    """What several processes count adds up; of gauges the lowest revision is told, and how many processes there are."""
    first, second = start(), start()
    first.do("allow", 3)
    second.do("allow", 4)
    first.do("revision", 8)
    second.do("revision", 9)
    found = seen(folder)
    assert (found[ALLOWED], found[REVISION], found["decider_workers"]) == (7, 8, 2)
    assert found['decider_decision_seconds_count{kind="file"}'] == 7


def test_dead_processes_stay_counted_but_say_nothing(folder: Path, start: Callable[[], Counting]) -> None:
    """What a killed process counted stays counted; what it last said of itself goes with it."""
    first, second = start(), start()
    first.do("allow", 3)
    first.do("revision", 8)
    second.do("revision", 9)
    first.end()
    found = seen(folder)
    assert (found[ALLOWED], found[REVISION], found["decider_workers"]) == (3, 9, 1)


def test_seats_are_taken_over(folder: Path, start: Callable[[], Counting]) -> None:
    """However many processes come and go, there are no more files than processes at a time, and no count is lost."""
    staying = start()
    for _ in range(4):
        one = start()
        one.do("allow", 2)
        one.end()
    staying.do("allow", 1)
    assert seen(folder)[ALLOWED] == 9
    assert sorted(file.name for file in folder.glob("counter_worker-*.db")) == [
        "counter_worker-0.db",
        "counter_worker-1.db",
    ]


def test_cleared_by_role(folder: Path, start: Callable[[], Counting]) -> None:
    """Who starts processes of one role forgets what those before counted, and nothing of another role."""
    one = start()
    one.do("allow", 2)
    one.end()
    metrics.clear_seats(folder, "reader")
    assert seen(folder)[ALLOWED] == 2
    metrics.clear_seats(folder, "worker")
    assert ALLOWED not in seen(folder)


def test_files_are_whole_before_they_are_mapped(folder: Path, start: Callable[[], Counting]) -> None:
    """All of a file is on disk before it is written to: a disk that fills up later must not end the process."""
    start()
    for file in folder.glob("*_worker-0.db"):
        status = file.stat()
        assert status.st_blocks * 512 >= status.st_size > 0, file


def test_no_room(folder: Path) -> None:
    """A process that gets no seat counts for itself and goes on."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from decider import metrics;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "metrics.take_seat(Path(sys.argv[1]), 'worker');"
        "metrics.note_decision('file', 'allow', 0.001); print(metrics.render().decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=source_environment(),
    )
    assert f"{ALLOWED} 1.0" in done.stdout
    assert "metrics.alone" in done.stderr
    assert ALLOWED not in seen(folder)


def test_no_folder(tmp_path: Path) -> None:
    """Where there is no place for a folder, counting is no reason not to serve."""
    metrics.clear_seats(tmp_path / "absent" / "metrics", "worker")
    assert not (tmp_path / "absent").exists()


NGINX = """Active connections: 291
server accepts handled requests
 16630948 16630946 31070465
Reading: 6 Writing: 179 Waiting: 106
"""


def test_what_nginx_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx's page of numbers becomes series; one that is not understood is left out."""
    monkeypatch.setattr(metrics, "_meters", metrics.Meters())
    text = metrics.render(NGINX).decode()
    for line in (
        'decider_nginx_connections{state="active"} 291',
        'decider_nginx_connections{state="writing"} 179',
        "decider_nginx_connections_dropped_total 2",
        "decider_nginx_requests_total 31070465",
    ):
        assert line in text.splitlines()
    assert b"decider_nginx" not in metrics.render("something else 1 2 3")


def test_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions that nobody comes to count take no more than so much memory."""
    monkeypatch.setattr(metrics, "_meters", metrics.Meters())
    limit = metrics._noted.maxlen
    assert limit is not None
    for _ in range(limit + 10):
        metrics.note_decision("file", "allow", 0.001)
    metrics.count_noted()
    assert f"{ALLOWED} {limit}.0" in metrics.render().decode()


def test_seat_number_of_a_reader_is_its_own(folder: Path, start: Callable[[], Counting]) -> None:
    """Roles do not take each other's seats."""
    start()
    seen(folder)
    assert {file.name for file in folder.glob("*.lock")} == {"worker-0.lock", "reader-0.lock"}


def test_fetcher_s_numbers_are_there_from_the_start(folder: Path) -> None:
    """What the fetcher counts shows before anything was fetched, in files that it opened before it left root."""
    code = """
import os, sys
from pathlib import Path
from decider import metrics

folder = Path(sys.argv[1])
metrics.take_seat(folder, "egress")
metrics.touch_egress(sys.argv[2:])
opened = set(os.listdir("/proc/self/fd"))
for kind in ("file", "page", "part", "event"):
    metrics.meters().fetches.labels(kind, "whole").inc()
    metrics.meters().egress_seconds.labels(kind).observe(1)
assert set(os.listdir("/proc/self/fd")) == opened, "a file was opened too late"
print(metrics.render().decode())
"""
    for indexes in ([], ["public"]):
        text = subprocess.run(
            [sys.executable, "-c", code, str(folder), *indexes],
            capture_output=True,
            text=True,
            check=True,
            env=source_environment(),
        ).stdout
        assert 'decider_egress_fetches_total{kind="event",outcome="whole"}' in text
        assert ('decider_digest_mismatch_total{index="public"} 0.0' in text) == bool(indexes)
