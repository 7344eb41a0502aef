"""Keeps the project list of one remote index, for all worker processes of a machine: on disk, not in their memory.

A list younger than the page lifetime is as good as the index; one up to twice as old will do while a new one is being
loaded; an older one is waited for. While the index is away the last one goes on, as long as its pages may
(`stale_if_error`). A list never decides whether a project exists. Loading may not be added here.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from decider.errors import IndexError_, IndexUnavailable
from decider.index.folders import Sweeper, make_folder, write_whole
from decider.index.list_loading import LoadedList
from decider.index.project_names import ProjectNames
from decider.index.sharing import Flights

__all__ = ["ProjectList"]

log = logging.getLogger(__name__)

RETRY_S = 15.0  #: how soon an index that could not be asked for its list is asked again
_SWEEP_INTERVAL_S = 60.0
_STATE = "state.json"


class _State(msgspec.Struct, frozen=True):
    """What was loaded last."""

    digest: str
    loaded_at: float  #: seconds since the epoch
    stale_since: float | None = None  #: the same: since when nginx has had to answer for the index
    source: str = ""  #: the index's URL then


class ProjectList:
    """The list of one index; safe to share between threads, and with other processes that use the same folder."""

    def __init__(
        self,
        folder: Path,
        *,
        index: str,
        source: str,
        ttl_s: float,
        stale_if_error_s: float,
        load: Callable[[], LoadedList],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`load` puts the names into `folder`; it raises an IndexError_. What came from another `source` is forgotten."""
        self._folder = folder
        self._index = index
        self._source = source
        self._ttl_s = ttl_s
        self._stale_if_error_s = stale_if_error_s
        self._load = load
        self._wall_clock = wall_clock
        self._flights: Flights[None, _State] = Flights()
        self._sweeper = Sweeper(folder, interval_s=_SWEEP_INTERVAL_S)
        self._open: ProjectNames | None = None
        self._failed: tuple[float, IndexError_] | None = None  # until when not to ask again, and why

    def names(self) -> ProjectNames:
        """The names; raise IndexUnavailable, IndexTimeout or UnreadablePage where there are none young enough."""
        state = self._state()
        if state is None:
            return self._opened(self._renewed())
        age_s = self._wall_clock() - state.loaded_at
        if 0 <= age_s < self._ttl_s:
            return self._opened(state)
        if 0 <= age_s < 2 * self._ttl_s:
            threading.Thread(target=self._renew_quietly, args=(state,), daemon=True).start()
            return self._opened(state)
        return self._opened(self._renewed_if_possible(state))

    def is_stale(self) -> bool:
        """Whether the last list stands in for one that cannot be had."""
        state = self._state()
        if state is None:
            return False
        is_old = not 0 <= self._wall_clock() - state.loaded_at < self._ttl_s
        return state.stale_since is not None or (is_old and self._failed is not None)

    # -- Renewing

    def _renew_quietly(self, state: _State) -> None:
        self._renewed_if_possible(state, meanwhile=state)

    def _renewed_if_possible(self, state: _State, *, meanwhile: _State | None = None) -> _State:
        """A new list, else `state` as long as it may stand in for one; raise what kept us from a new one."""
        try:
            return self._renewed(meanwhile=meanwhile)
        except IndexError_:
            if self._wall_clock() - state.loaded_at > self._stale_if_error_s + self._ttl_s:
                raise
            return state

    def _renewed(self, *, meanwhile: _State | None = None) -> _State:
        if self._failed is not None and self._wall_clock() < self._failed[0]:
            raise self._failed[1].with_traceback(None)
        return self._flights.share(None, self._renew, meanwhile=meanwhile)

    def _renew(self) -> _State:
        make_folder(self._folder)
        with self._one_loader():
            state = self._state()
            if state is not None and 0 <= self._wall_clock() - state.loaded_at < self._ttl_s:
                return state  # another process was at it
            try:
                fresh = self._next(state, self._load())
            except IndexError_ as error:
                self._failed = (self._wall_clock() + RETRY_S, error)
                log.warning("index.list_not_loaded", extra={"index": self._index, "cause": error.detail})
                raise
            self._failed = None
            write_whole(self._folder / _STATE, msgspec.json.encode(fresh))
        self._sweeper.sweep(
            (_STATE, "lock", f"{fresh.digest}.names", f"{state.digest}.names" if state else ""),
            now=self._wall_clock(),
        )
        return fresh

    def _next(self, state: _State | None, loaded: LoadedList) -> _State:
        now = self._wall_clock()
        if not loaded.is_stale:
            return _State(loaded.digest, now, source=self._source)
        since = state.stale_since if state is not None and state.stale_since is not None else now
        if now - since > self._stale_if_error_s:
            raise IndexUnavailable(
                self._index, "it has been away for longer than its pages may be served stale"
            )
        return _State(loaded.digest, now, since, self._source)

    # -- Keeping

    def _state(self) -> _State | None:
        """What any process has loaded last; None where nothing was, it is damaged, or it is another index's."""
        try:
            state = msgspec.json.decode((self._folder / _STATE).read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError):
            return None
        return state if state.source == self._source else None

    def _opened(self, state: _State) -> ProjectNames:
        names = self._open
        if names is None or names.digest != state.digest:
            try:
                names = self._open = ProjectNames(self._folder, state.digest)
            except OSError as error:
                (self._folder / _STATE).unlink(missing_ok=True)
                raise IndexUnavailable(self._index, "its project list was lost; ask again") from error
        return names

    @contextmanager
    def _one_loader(self) -> Iterator[None]:
        """Keep the processes of a machine from loading the same list at the same time."""
        with (self._folder / "lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
