"""Keeps the compiled rules of one process in step with the store.

The revision is asked before decisions, at most every REVISION_CHECK_S; so an acknowledged change is seen by every
process well within 250 ms. Rules that changed are loaded aside, in a thread of its own: a feed of 100,000 rules takes a
second or so to load, and decisions go on meanwhile by the rules of before, for as long as the promise of two seconds
lets them. While the store is away the last snapshot goes on, for max_policy_age at most.
"""

import logging
import threading
import time
from collections.abc import Callable

from decider.errors import RulesUnavailable, StoreUnavailable
from decider.rules import Snapshot
from decider.store import Store

__all__ = ["LOADING_LAG_S", "MAX_LAG_S", "PATIENCE_S", "RETRY_S", "REVISION_CHECK_S", "SnapshotKeeper"]

log = logging.getLogger(__name__)

REVISION_CHECK_S = 0.05
MAX_LAG_S = 0.2  #: how old rules may be for those who do not wait until the store was asked again
LOADING_LAG_S = 0.9  #: the same while newer ones are being loaded; nginx keeps a decision for another second
PATIENCE_S = 0.05  #: how long a decision waits for newer rules: a small change is loaded long before
RETRY_S = 0.5  #: a store that is away is not asked for each decision


class SnapshotKeeper:
    """The rules in force, for all threads of a process."""

    def __init__(
        self,
        store: Store,
        *,
        max_policy_age_s: float,
        patience_s: float = PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._max_policy_age_s = max_policy_age_s
        self._patience_s = patience_s
        self._monotonic = monotonic
        self._lock = threading.Lock()  # of the one thread that asks
        self._snapshot: Snapshot | None = None
        self._loaded: threading.Event | None = None  # set when the load that is under way ends; None: none is
        self._asked_at = float("-inf")  # and answered or refused
        self._confirmed_at = float("-inf")
        self._is_degraded = False

    @property
    def is_degraded(self) -> bool:
        """Whether the last attempt to ask the store failed."""
        return self._is_degraded

    @property
    def revision(self) -> int | None:
        """Of the rules that decisions are made by; None where none were loaded yet."""
        return None if self._snapshot is None else self._snapshot.revision

    @property
    def age_s(self) -> float:
        """How long ago the store last said that these rules are in force."""
        return self._monotonic() - self._confirmed_at

    def current(self) -> Snapshot:
        """The rules in force; raise StoreUnavailable when there are none, or none young enough."""
        lag = self._monotonic() - self._confirmed_at
        if lag < REVISION_CHECK_S and self._snapshot is not None:
            return self._snapshot
        # One thread asks. The others go on meanwhile, but not by rules of whose age nobody knows anything: after an
        # idle hour the second request must not be decided by the rules of an hour ago.
        if self._loaded is None and self._lock.acquire(blocking=not self._may_go_on(MAX_LAG_S)):
            try:
                if self._loaded is None and self._is_due():
                    self._ask()
                    self._wait(self._patience_s)
            finally:
                self._lock.release()
        if not self._may_go_on(LOADING_LAG_S):
            self._wait()
        return self._usable()

    def refresh(self) -> Snapshot:
        """As current, but asks the store now: what was acknowledged before is seen."""
        self.catch_up()
        return self._usable()

    def catch_up(self) -> None:
        """Return once this process decides by what the store has now; at once where the store cannot be asked."""
        self._wait()  # what is under way may have read the store before
        with self._lock:
            if self._loaded is None:
                self._ask()
        self._wait()

    def _usable(self) -> Snapshot:
        if self._snapshot is None:
            raise RulesUnavailable("the store is away and no rules were loaded before")
        if self._monotonic() - self._confirmed_at > self._max_policy_age_s:
            raise RulesUnavailable("the store is away, and the rules loaded before are too old to decide by")
        return self._snapshot

    def _may_go_on(self, max_lag_s: float) -> bool:
        """Whether the present rules decide while newer ones are asked for."""
        is_young = self._monotonic() - self._confirmed_at < max_lag_s
        return self._snapshot is not None and (self._is_degraded or is_young)

    def _is_due(self) -> bool:
        """Whether nobody else has asked just now, with whatever success."""
        now = self._monotonic()
        was_just_refused = self._is_degraded and now - self._asked_at < RETRY_S
        return now - self._confirmed_at >= REVISION_CHECK_S and not was_just_refused

    def _wait(self, patience_s: float | None = None) -> None:
        """Return when no load is under way, or after `patience_s`."""
        if (loaded := self._loaded) is not None:
            loaded.wait(patience_s)

    def _ask(self) -> None:
        """Ask for the revision; where it moved, begin to load."""
        started = self._monotonic()
        try:
            if self._snapshot is not None and self._store.revision() == self._snapshot.revision:
                self._confirm(self._snapshot, started)
                return
        except StoreUnavailable as error:
            self._note_failure(error)
            return
        loaded = self._loaded = threading.Event()
        threading.Thread(target=self._load, args=(loaded,), name="decider-rules", daemon=True).start()

    def _load(self, loaded: threading.Event) -> None:
        started = self._monotonic()
        try:
            self._confirm(self._newer(self._snapshot), started)
        except StoreUnavailable as error:
            self._note_failure(error)
        except Exception as error:  # this thread has no caller: what it cannot load is as good as not there
            log.exception("rules.not_loaded")
            self._note_failure(StoreUnavailable(f"the rules cannot be loaded: {error}"))
        finally:
            self._loaded = None
            loaded.set()

    def _newer(self, snapshot: Snapshot | None) -> Snapshot:
        if snapshot is not None:
            changes = self._store.changes_since(snapshot.revision)
            if changes is not None:
                return snapshot.updated(*changes)
        return Snapshot(*self._store.load_rules())

    def _confirm(self, snapshot: Snapshot, asked_at: float) -> None:
        if self._is_degraded:
            log.warning("store.back", extra={"revision": snapshot.revision})
        self._snapshot = snapshot
        # What the store said is as old as the question.
        self._confirmed_at = asked_at
        self._is_degraded = False
        self._asked_at = self._monotonic()

    def _note_failure(self, error: StoreUnavailable) -> None:
        if not self._is_degraded:
            log.warning("store.unavailable", extra={"cause": str(error)})
        self._is_degraded = True
        self._asked_at = self._monotonic()
