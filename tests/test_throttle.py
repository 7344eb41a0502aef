"""Failed logins counted per client address."""

import multiprocessing
from pathlib import Path

import pytest

from decider.web.throttle import FAILURES, WINDOW_S, FailedLogins

NOW = 1_800_000_000.0


def fail(failures: FailedLogins, client: str, *, times: int = FAILURES, at: float = NOW) -> None:
    for _ in range(times):
        assert failures.note(client, "api", at=at) == 0


def wait_s(failures: FailedLogins, client: str, *, at: float) -> int:
    """How long the address has to wait now; one more failure is counted where it has not."""
    return failures.note(client, "api", at=at)


def test_ten_in_a_minute() -> None:
    """Ten failures are let pass; then the address waits until the oldest is a minute ago, whatever it sends meanwhile."""
    failures = FailedLogins(None)
    for second in range(FAILURES):
        assert failures.note("192.0.2.1", "api", at=NOW + second) == 0
    for second in range(FAILURES, WINDOW_S):
        assert failures.note("192.0.2.1", "api", at=NOW + second) == WINDOW_S - second
    assert failures.note("192.0.2.1", "api", at=NOW + WINDOW_S) == 0


def test_window_slides() -> None:
    """After the wait one more failure is let pass for each that has aged."""
    failures = FailedLogins(None)
    fail(failures, "192.0.2.1", times=FAILURES - 1)
    fail(failures, "192.0.2.1", times=1, at=NOW + 30)
    fail(failures, "192.0.2.1", times=9, at=NOW + WINDOW_S)
    assert wait_s(failures, "192.0.2.1", at=NOW + WINDOW_S) == 30


def test_reads_and_calls_are_counted_apart() -> None:
    """Whoever reads with a wrong token has the API's ten failures left."""
    failures = FailedLogins(None)
    fail(failures, "192.0.2.1")
    assert failures.note("192.0.2.1", "api", at=NOW) == WINDOW_S
    for _ in range(FAILURES):
        assert failures.note("192.0.2.1", "read", at=NOW) == 0
    assert failures.note("192.0.2.1", "read", at=NOW) == WINDOW_S


def test_others_are_not_affected() -> None:
    """The failures of one address are not those of another."""
    failures = FailedLogins(None)
    fail(failures, "192.0.2.1")
    assert wait_s(failures, "192.0.2.2", at=NOW) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:2"),
        ("2001:db8::1", "2001:0DB8:0:0:f::"),
        ("::ffff:192.0.2.1", "::FFFF:c000:201"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("nonsense", "nonsense"),
    ],
)
def test_same_client(one: str, other: str) -> None:
    """One host's IPv6 network, and two spellings of an address, count as one."""
    failures = FailedLogins(None)
    fail(failures, one)
    assert wait_s(failures, other, at=NOW) == WINDOW_S


@pytest.mark.parametrize("other", ["2001:db8:0:1::1", "::ffff:192.0.2.2", "192.0.2.2", "::192.0.2.1"])
def test_other_client(other: str) -> None:
    """Another IPv6 network, and another mapped IPv4 address, count on their own."""
    failures = FailedLogins(None)
    fail(failures, "2001:db8::1")
    fail(failures, "::ffff:192.0.2.1")
    assert wait_s(failures, other, at=NOW) == 0


def test_clock_set_back() -> None:
    """A clock that was set back keeps nobody out for longer than a minute."""
    failures = FailedLogins(None)
    fail(failures, "192.0.2.1", at=NOW + 86_400)
    assert wait_s(failures, "192.0.2.1", at=NOW) == WINDOW_S


def test_memory_is_fixed(tmp_path: Path) -> None:
    """However many addresses fail, the table stays as large as it was, and the newest is counted."""
    failures = FailedLogins(tmp_path / "table")
    size = (tmp_path / "table").stat().st_size
    for number in range(20_000):
        failures.note(f"192.0.2.{number}", "api", at=NOW + number / 1000)
    fail(failures, "198.51.100.1", at=NOW + 21)
    assert (tmp_path / "table").stat().st_size == size < 1_000_000
    assert wait_s(failures, "198.51.100.1", at=NOW + 21) == WINDOW_S


def _fail_elsewhere(file: Path) -> None:
    fail(FailedLogins(file), "192.0.2.1", times=FAILURES // 2)


def test_shared_between_processes(tmp_path: Path) -> None:
    """What two processes count of an address adds up."""
    file = tmp_path / "table"
    processes = [
        multiprocessing.get_context("spawn").Process(target=_fail_elsewhere, args=(file,)) for _ in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert wait_s(FailedLogins(file), "192.0.2.1", at=NOW) == WINDOW_S
