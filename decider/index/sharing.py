"""How threads share one index: concurrent callers share one fetch, and an index that hangs holds only some of them.

What is fetched, and judging, may not be added here.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Flights", "WaitingRoom"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

HANGS_S = 2.0  #: an index that has kept somebody waiting for so long gets no more than the room holds


class Flights(Generic[K, V]):
    """Concurrent calls for one key become one call, whose result or error all of them get."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[K, Future[V]] = {}

    def share(self, key: K, call: Callable[[], V], *, meanwhile: V | None = None) -> V:
        """The result of `call`, made here or by another thread; not waited for where `meanwhile` will do."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                own = None
            else:
                own = self._flights[key] = Future()
        if flight is not None and meanwhile is not None:
            return meanwhile
        if own is None:
            assert flight is not None  # noqa: S101 (one of them is there)
            return flight.result()
        try:
            result = call()
        except BaseException as error:
            own.set_exception(error)
            raise
        else:
            own.set_result(result)
            return result
        finally:
            with self._lock:
                del self._flights[key]


class WaitingRoom:
    """The places of those threads that wait for one index."""

    def __init__(self, places: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: dict[object, float] = {}  # who waits, longest first

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Whether there is a place. A full room is waited for a moment, but not where the index seems to hang."""
        if not self._places.acquire(timeout=0 if self._hangs() else HANGS_S):
            yield False
            return
        guest = object()
        with self._lock:
            self._since[guest] = self._monotonic()
        try:
            yield True
        finally:
            with self._lock:
                del self._since[guest]
            self._places.release()

    def _hangs(self) -> bool:
        with self._lock:
            longest = next(iter(self._since.values()), None)
        return longest is not None and self._monotonic() - longest > HANGS_S
