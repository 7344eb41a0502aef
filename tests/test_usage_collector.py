"""The collector: loses nothing and counts nothing twice, wherever it is stopped and whatever becomes of the log."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from decider.errors import UsageUnavailable
from decider.settings import Settings, settings_to_json
from decider.usage import collector as collector_module
from decider.usage.clients import Clients
from decider.usage.collector import SEAL_AFTER, Collector
from decider.usage.columns import Row
from decider.usage.filters import UsageFilter
from decider.usage.following import LOG
from decider.usage.lines import Line, row_of
from decider.usage.reading import Usage
from decider.usage.staging import DATABASE, Staging
from tests.stack import eventually, source_environment
from tests.usage_samples import AT, make_line, seconds, settings_of, staged

KILLS = int(os.environ.get("DECIDER_TEST_KILLS", "8"))
LINES = int(os.environ.get("DECIDER_TEST_LINES", "20000"))
PATIENCE_S = 60.0  # the collector lets everybody else go first: on a busy machine it takes its time


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


@contextmanager
def collecting(settings: Settings) -> Iterator[Collector]:
    """A collector as a fresh process has it."""
    collector = Collector(settings, clock=lambda: AT)
    try:
        yield collector
    finally:
        collector.close()


def collect(settings: Settings) -> int:
    with collecting(settings) as collector:
        return collector.collect()


def log_of(settings: Settings) -> Path:
    return Path(settings.data_dir) / "logs" / LOG


def append(settings: Settings, data: bytes) -> None:
    with log_of(settings).open("ab") as log:
        log.write(data)


def unreadable(settings: Settings) -> int:
    staging = Staging(Path(settings.data_dir) / "usage")
    try:
        return staging.unreadable
    finally:
        staging.close()


def test_collects_what_is_new(settings: Settings) -> None:
    """Lines are taken over once, by the same collector and by the next."""
    append(settings, b"".join(make_line(second=n) for n in range(3)))
    with collecting(settings) as collector:
        assert [collector.collect(), collector.collect()] == [3, 0]
        append(settings, make_line(second=3))
        assert collector.collect() == 1
    assert collect(settings) == 0
    assert seconds(settings) == [0, 1, 2, 3]


def test_no_log_yet(settings: Settings) -> None:
    """Before nginx has begun a log there is nothing to collect, and no error."""
    assert collect(settings) == 0
    append(settings, b"")
    assert collect(settings) == 0


def test_stopped_at_every_byte(settings: Settings) -> None:
    """Wherever the log ends when it is read, each line is counted once it is whole, and once only."""
    record = make_line(second=1)
    whole = make_line(second=0)
    append(settings, whole)
    assert collect(settings) == 1
    for length in range(len(record)):
        append(settings, record[length : length + 1])
        assert collect(settings) == (length == len(record) - 1), length
    assert seconds(settings) == [0, 1]


def test_first_line_not_whole(settings: Settings) -> None:
    """A log is not begun before its first line is whole."""
    line = make_line()
    append(settings, line[:-1])
    assert collect(settings) == 0
    append(settings, line[-1:])
    assert collect(settings) == 1


def test_unreadable_lines(settings: Settings) -> None:
    """Lines that cannot be read are counted and passed over."""
    append(settings, make_line(second=0) + b"garbage\n\n" + make_line(second=1))
    assert collect(settings) == 4
    assert seconds(settings) == [0, 1]
    assert unreadable(settings) == 2


def test_line_that_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A line over which we fail is told, counted and passed over; what follows is not kept from being read."""

    def fail_at_one(said: Line, clients: Clients) -> Row | None:
        if said.at == AT.timestamp() + 1:
            raise ZeroDivisionError
        return row_of(said, clients)

    monkeypatch.setattr(collector_module, "row_of", fail_at_one)
    append(settings, b"".join(make_line(second=n) for n in (0, 1, 1, 2)))
    assert collect(settings) == 4
    assert seconds(settings) == [0, 2]
    assert unreadable(settings) == 2
    assert [
        record.exc_info is not None for record in caplog.records if record.message == "usage.line_failed"
    ] == [True]


def test_no_line_end_in_sight(settings: Settings) -> None:
    """Bytes without a line end, more than any line of ours has, do not hold the collector up for ever."""
    append(settings, b"x" * 3_000_000 + b"\n" + make_line(second=5))
    collect(settings)
    assert seconds(settings) == [5]


def test_a_failed_commit_takes_nothing(settings: Settings) -> None:
    """Where the records cannot be stored the place does not move either."""
    append(settings, make_line(second=0))
    broken = Staging(collector_folder(settings), is_writer=True)
    broken._connection.execute(  # a disk that fills up behind the records, before the place
        "CREATE TRIGGER full BEFORE INSERT ON places BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    broken.close()
    with pytest.raises(UsageUnavailable, match="disk full"):
        collect(settings)
    assert staged(settings) == 0
    again = Staging(collector_folder(settings), is_writer=True)
    again._connection.execute("DROP TRIGGER full")
    again.close()
    assert collect(settings) == 1
    assert seconds(settings) == [0]


def collector_folder(settings: Settings) -> Path:
    folder = Path(settings.data_dir) / "usage"
    folder.mkdir(exist_ok=True)
    return folder


# Logs that are turned over


def test_turned_over_while_nginx_still_writes(settings: Settings) -> None:
    """A log under another name is read to its end and kept as long as somebody may write to it; then it is removed."""
    append(settings, make_line(second=0))
    turned = log_of(settings).with_name(f"{LOG}.1")
    with collecting(settings) as collector:
        collector.collect()
        with log_of(settings).open("ab", buffering=0) as nginx:
            log_of(settings).rename(turned)
            append(settings, make_line(second=2))
            collector.collect()
            collector.tend()
            assert turned.exists()
            nginx.write(make_line(second=1))
        collector.collect()
        collector.tend()
        assert not turned.exists()
        assert log_of(settings).exists()
    assert seconds(settings) == [0, 1, 2]


def test_turned_over_while_away(settings: Settings) -> None:
    """What was turned over, moved or copied while no collector ran is read where it stopped."""
    append(settings, make_line(second=0))
    collect(settings)
    append(settings, make_line(second=1))
    old = log_of(settings)
    copied = old.with_name(f"{LOG}.2")
    copied.write_bytes(old.read_bytes())
    old.unlink()
    append(settings, make_line(second=2))
    assert collect(settings) == 2
    assert seconds(settings) == [0, 1, 2]


def test_last_line_cut_for_good(settings: Settings) -> None:
    """A turned log whose last line never ends is finished all the same."""
    turned = log_of(settings).with_name(f"{LOG}.1")
    turned.write_bytes(make_line(second=0) + make_line(second=1)[:-40])
    with collecting(settings) as collector:
        collector.collect()
        collector.tend()
    assert not turned.exists()
    assert seconds(settings) == [0]


@pytest.mark.parametrize("name", [f"{LOG}.1", f"{LOG}-20261122", f"{LOG}.2026-11-22"])
def test_turned_over_by_logrotate(settings: Settings, name: str) -> None:
    """Logs are followed to whatever name logrotate gives them (`dateext` too), read to their end, and removed."""
    append(settings, make_line(second=0))
    with collecting(settings) as collector:
        collector.collect()
        append(settings, make_line(second=1))
        turned = log_of(settings).rename(log_of(settings).with_name(name))
        append(settings, make_line(second=2))
        collector.collect()
        collector.tend()
    assert seconds(settings) == [0, 1, 2]
    assert not turned.exists()


def test_packed_logs_are_left_alone(settings: Settings) -> None:
    """Logs that somebody packed are not read."""
    packed = log_of(settings).with_name(f"{LOG}.1.gz")
    packed.write_bytes(make_line(second=0))
    with collecting(settings) as collector:
        collector.collect()
        collector.tend()
    assert packed.exists()
    assert seconds(settings) == []


def test_cut_short_under_us(settings: Settings) -> None:
    """A log that was emptied in place (copytruncate) is read from its beginning again."""
    append(settings, make_line(second=0) + make_line(second=1))
    with collecting(settings) as collector:
        collector.collect()
        os.truncate(log_of(settings), 0)
        append(settings, make_line(second=2))
        collector.collect()
    assert seconds(settings) == [0, 1, 2]


def test_written_anew_under_us(settings: Settings) -> None:
    """A log that was emptied in place, and is longer than before when it is looked at again, is a new one."""
    append(settings, make_line(second=0))
    with collecting(settings) as collector:
        collector.collect()
        os.truncate(log_of(settings), 0)
        append(settings, b"".join(make_line(second=second) for second in range(1, 5)))
        collector.collect()
    assert seconds(settings) == [0, 1, 2, 3, 4]
    assert unreadable(settings) == 0


class FakeNginx:
    """A process that calls itself nginx's master and begins a new log when it is told to."""

    def __init__(self, settings: Settings) -> None:
        script = (
            "import signal, sys, ctypes\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
            "log = open(sys.argv[1], 'ab')\n"
            "print('ready', flush=True)\n"
            "while signal.sigwait([signal.SIGUSR1]):\n"
            "    log.close(); log = open(sys.argv[1], 'ab')\n"
        )
        self.process = subprocess.Popen(
            ["nginx: master process", "-c", script, str(log_of(settings))],
            executable=sys.executable,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        (Path(settings.data_dir) / "run" / "nginx.pid").write_text(f"{self.process.pid}\n")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def nginx(settings: Settings) -> Iterator[FakeNginx]:
    running = FakeNginx(settings)
    yield running
    running.close()


def test_turns_the_log_over(settings: Settings, nginx: FakeNginx, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is large or old enough gets another name, nginx begins a new one, and the old one goes once read."""
    assert nginx.process.poll() is None
    monkeypatch.setattr("decider.usage.collector.TURN_BYTES", 1)
    append(settings, make_line(second=0))
    with collecting(settings) as collector:
        collector.collect()
        collector.tend()
        eventually(lambda: log_of(settings).exists(), within_s=10, what="a new log")
        append(settings, make_line(second=1))
        collector.collect()
        collector.tend()
        turned = [path for path in log_of(settings).parent.iterdir() if path.name != LOG]
        assert len(turned) <= 1
    assert seconds(settings) == [0, 1]


def test_killed_between_rename_and_signal(settings: Settings, nginx: FakeNginx) -> None:
    """Where a collector died after renaming the log, the next one has nginx begin a new one."""
    append(settings, make_line(second=0))
    log_of(settings).rename(log_of(settings).with_name(f"{LOG}.1"))
    assert nginx.process.poll() is None
    with collecting(settings) as collector:
        collector.collect()
        collector.tend()
        eventually(lambda: log_of(settings).exists(), within_s=10, what="a new log")


def test_pid_of_somebody_else(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number left in nginx's pid file that is another process's by now is not signalled."""
    monkeypatch.setattr("decider.usage.collector.TURN_BYTES", 1)
    with subprocess.Popen(["sleep", "60"]) as other:
        (Path(settings.data_dir) / "run" / "nginx.pid").write_text(f"{other.pid}\n")
        append(settings, make_line(second=0))
        with collecting(settings) as collector:
            collector.collect()
            collector.tend()
        lives = other.poll() is None
        other.kill()
    assert lives
    assert log_of(settings).exists()


# Keeping


def test_seals_when_it_is_time(settings: Settings) -> None:
    """Records are sealed into columnar files once they are an hour old, and count once all the while."""
    append(settings, make_line(second=0))
    with collecting(settings) as collector:
        collector.collect()
        collector.tend()
        assert staged(settings) == 1
        collector._clock = lambda: AT + SEAL_AFTER
        collector.tend()
        assert collector._keeping is not None
        collector._keeping.join(60)
        assert staged(settings) == 0
    assert len(list((Path(settings.data_dir) / "usage").rglob("*.parquet"))) == 1
    assert seconds(settings) == [0]


def test_expires_without_requests(tmp_path: Path) -> None:
    """Records whose time is over are deleted although nobody asks for anything any more."""
    settings = settings_of(tmp_path, retention_days=10)
    append(settings, make_line(second=0))
    now = [AT]
    with collecting(settings) as collector:
        collector._clock = lambda: now[0]
        for days, is_due in ((1, False), (30, False), (30, True)):
            now[0] = AT + timedelta(days=days)
            collector.collect()
            if is_due:
                collector._expire_at = 0.0
            collector.tend()
            assert collector._keeping is not None
            collector._keeping.join(60)
            assert seconds(settings) == ([] if is_due else [0])


def test_pseudonyms_from_the_first_byte(tmp_path: Path) -> None:
    """Where clients are pseudonymised no address is stored, and who knows the address still finds the records."""
    settings = settings_of(tmp_path, pseudonymise=True)
    append(settings, make_line(client="192.0.2.99"))
    collect(settings)
    log_of(settings).unlink()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"192.0.2.99" not in stored
    (found,) = Usage(settings).records(UsageFilter(client="192.0.2.99")).items
    assert found.client.startswith("p-")
    assert Usage(settings).records(UsageFilter(client=found.client)).items == (found,)
    assert Usage(settings).records(UsageFilter(client="192.0.2.98")).items == ()


# The process


_started: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    """What a failed test has started ends with it: collectors have sessions of their own."""
    yield
    while _started:
        process = _started.pop()
        process.kill()
        process.communicate()


class Running:
    """`python -m decider.usage` over one data_dir."""

    def __init__(self, settings: Settings) -> None:
        accepted = Path(settings.data_dir) / "run" / "accepted.json"
        accepted.write_bytes(settings_to_json(settings))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "decider.usage", str(accepted)],
            env=source_environment(),
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        _started.append(self.process)

    def await_word(self, word: str) -> None:
        """Read what it says up to a line with that word."""
        assert self.process.stderr is not None
        assert any(word in line.decode() for line in self.process.stderr), "it ended"

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, told = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, told.decode()


def test_killed_again_and_again(settings: Settings) -> None:
    """Killed at random moments while requests are logged and the log is turned over, the count is exact.

    DECIDER_TEST_KILLS and DECIDER_TEST_LINES make it as many as one likes.
    """
    chance = random.Random(7)
    is_over = threading.Event()
    log_of(settings).touch()

    def nginx() -> None:
        pause = threading.Event()
        log = log_of(settings).open("ab", buffering=0)
        turns = 0
        for start in range(0, LINES, 100):
            log.write(b"".join(make_line(second=n) for n in range(start, min(start + 100, LINES))))
            pause.wait(0.001)
            if start and start % (LINES // 5) == 0:
                turns += 1
                log_of(settings).rename(log_of(settings).with_name(f"{LOG}.{turns}"))
                log.close()
                log = log_of(settings).open("ab", buffering=0)
        log.close()
        is_over.set()

    writer = threading.Thread(target=nginx)
    writer.start()
    killed = 0
    while killed < KILLS or not is_over.is_set():
        running = Running(settings)
        before = _position(settings)

        def has_begun(before: int = before) -> bool:
            """Whether this one has taken something over, unless nothing was left."""
            return _position(settings) > before or (is_over.is_set() and _is_drained(settings))

        eventually(has_begun, within_s=PATIENCE_S)
        threading.Event().wait(chance.random() * 0.05)
        code, told = running.end(signal.SIGKILL)
        assert code == -signal.SIGKILL, told
        killed += 1
    writer.join()
    last = Running(settings)
    eventually(lambda: _is_drained(settings), within_s=PATIENCE_S)
    _, told = last.end(signal.SIGTERM)
    assert "Traceback" not in told
    assert seconds(settings) == list(range(LINES))
    assert unreadable(settings) == 0


def _position(settings: Settings) -> int:
    """How many records were taken over so far, sealed since or not: numbers are given once."""
    file = Path(settings.data_dir) / "usage" / DATABASE
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    except sqlite3.OperationalError:  # not there yet
        return 0
    return int(found[0]) if found else 0


def _is_drained(settings: Settings) -> bool:
    return _position(settings) >= LINES


def faults_in(told: str) -> list[str]:
    """What a collector said, but for what it did as planned: it seals old records in the background."""
    return [line for line in told.splitlines() if " INFO usage." not in line]


def test_ends_with_what_is_there(settings: Settings) -> None:
    """SIGTERM ends it with status 0, once what nginx has written is taken over."""
    append(settings, make_line(second=0))
    running = Running(settings)
    eventually(lambda: _position(settings) == 1, within_s=PATIENCE_S)
    append(settings, make_line(second=1))
    code, told = running.end(signal.SIGTERM)
    assert (code, faults_in(told)) == (0, [])
    assert seconds(settings) == [0, 1]


def test_a_second_one_waits(settings: Settings) -> None:
    """Of two collectors on one data_dir one waits, and takes over when the other is gone."""
    append(settings, make_line(second=0))
    first = Running(settings)
    eventually(lambda: _position(settings) == 1, within_s=PATIENCE_S)
    second = Running(settings)
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    append(settings, make_line(second=1))
    eventually(lambda: _position(settings) == 2, within_s=PATIENCE_S)
    code, told = second.end(signal.SIGINT)
    assert (code, faults_in(told)) == (0, [])


def test_settings_again(settings: Settings) -> None:
    """SIGHUP has the collector read its settings again; a faulty file changes nothing."""
    append(settings, make_line(second=0))
    running = Running(settings)
    eventually(lambda: _position(settings) == 1, within_s=PATIENCE_S)
    accepted = Path(settings.data_dir) / "run" / "accepted.json"
    good = accepted.read_bytes()
    accepted.write_bytes(b"{")
    running.process.send_signal(signal.SIGHUP)
    running.await_word("reload.refused")
    append(settings, make_line(second=1))
    eventually(lambda: _position(settings) == 2, within_s=PATIENCE_S)
    accepted.write_bytes(good.replace(b'"pseudonymise":false', b'"pseudonymise":true'))
    running.process.send_signal(signal.SIGHUP)
    eventually((Path(settings.data_dir) / "usage" / "client.key").exists, within_s=PATIENCE_S)
    code, told = running.end(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in told
