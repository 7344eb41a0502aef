"""Threads that share one index: one fetch for many, and a bound on how many wait."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from decider.errors import IndexTimeout
from decider.index.sharing import HANGS_S, Flights, WaitingRoom
from tests.stack import eventually


class Call:
    """A call that lasts until it is released, and counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.count = 0
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> str:
        self.count += 1
        self.begun.set()
        assert self.released.wait(10)
        if self.error is not None:
            raise self.error
        return "result"


def test_one_call_for_many() -> None:
    """Callers that come while one is under way get its result, and none makes a call of its own."""
    flights: Flights[str, str] = Flights()
    call = Call()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(flights.share, "demo", call)
        assert call.begun.wait(10)
        others = [threads.submit(flights.share, "demo", lambda: "own result") for _ in range(7)]
        call.released.set()
        assert first.result(10) == "result"
        assert {other.result(10) for other in others} <= {"result", "own result"}
    assert call.count == 1


def test_error_is_shared() -> None:
    """A call that fails fails for all who waited for it: nobody tries again, one after the other."""
    flights: Flights[str, str] = Flights()
    call = Call(IndexTimeout("public", "no answer in time"))
    waiting = threading.Barrier(4)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(flights.share, "demo", call)
        assert call.begun.wait(10)

        def follow() -> str:
            waiting.wait(10)
            return flights.share("demo", call)

        others = [threads.submit(follow) for _ in range(3)]
        waiting.wait(10)
        # Each follower is past the barrier; those that are not yet in line when the call ends make one more call.
        flight = flights._flights["demo"]
        eventually(lambda: len(flight._condition._waiters) == 3, within_s=10)  # type: ignore[attr-defined]
        call.released.set()
        for waiter in (first, *others):
            with pytest.raises(IndexTimeout):
                waiter.result(10)
    assert call.count == 1


def test_next_call_after_an_error() -> None:
    """What failed once is tried again by whoever comes later."""
    flights: Flights[str, str] = Flights()
    failing = Call(IndexTimeout("public", "no answer in time"))
    failing.released.set()
    with pytest.raises(IndexTimeout):
        flights.share("demo", failing)
    assert flights.share("demo", lambda: "result") == "result"


def test_keys_do_not_wait_for_each_other() -> None:
    """A call that hangs holds up no other key."""
    flights: Flights[str, str] = Flights()
    call = Call()
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(flights.share, "demo", call)
        assert call.begun.wait(10)
        assert flights.share("other", lambda: "at once") == "at once"
        call.released.set()
        assert hanging.result(10) == "result"


def test_meanwhile() -> None:
    """Who has something that will do meanwhile does not wait; who makes the call gets its result."""
    flights: Flights[str, str] = Flights()
    call = Call()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lambda: flights.share("demo", call, meanwhile="old"))
        assert call.begun.wait(10)
        assert flights.share("demo", call, meanwhile="old") == "old"
        call.released.set()
        assert first.result(10) == "result"


def test_full_room_of_a_hanging_index() -> None:
    """Where somebody has waited long already, a full room turns others away at once."""
    now = [100.0]
    room = WaitingRoom(2, monotonic=lambda: now[0])
    with ExitStack() as guests:
        assert all(guests.enter_context(room.place()) for _ in range(2))
        now[0] += HANGS_S + 1
        with room.place() as has_place:
            assert not has_place
    with room.place() as has_place:
        assert has_place


def test_full_room_of_a_busy_index() -> None:
    """A full room whose guests came just now is waited for: a burst is no failure."""
    room = WaitingRoom(1, monotonic=lambda: 100.0)
    inside, done = threading.Event(), threading.Event()

    def stay() -> bool:
        with room.place() as has_place:
            inside.set()
            assert done.wait(10)
            return has_place

    def come() -> bool:
        with room.place() as has_place:
            return has_place

    with ThreadPoolExecutor(2) as threads:
        guest = threads.submit(stay)
        assert inside.wait(10)
        next_guest = threads.submit(come)
        done.set()
        assert guest.result(10)
        assert next_guest.result(10)


def test_places_are_given_back_after_errors() -> None:
    """A guest whose fetch fails leaves its place to the next."""
    room = WaitingRoom(1)

    def fail() -> None:
        with room.place() as has_place:
            assert has_place
            raise IndexTimeout("public", "no answer in time")

    for _ in range(3):
        with pytest.raises(IndexTimeout):
            fail()
