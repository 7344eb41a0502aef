"""Keeps the compiled rules of one process in step with the store.

The revision is asked before decisions, at most every REVISION_CHECK_S; so an acknowledged change is seen by every
process well within 250 ms. While the store is away the last snapshot goes on, for max_policy_age at most.
"""

import logging
import threading
import time
from collections.abc import Callable

from decider.errors import StoreUnavailable
from decider.rules import Snapshot
from decider.store import Store

__all__ = ["MAX_LAG_S", "RETRY_S", "REVISION_CHECK_S", "SnapshotKeeper"]

log = logging.getLogger(__name__)

REVISION_CHECK_S = 0.05
MAX_LAG_S = 0.2  #: how old rules may be for those who do not wait until the store was asked again
RETRY_S = 0.5  #: a store that is away is not asked for each decision


class SnapshotKeeper:
    """The rules in force, for all threads of a process."""

    def __init__(
        self, store: Store, *, max_policy_age_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._max_policy_age_s = max_policy_age_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
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
        now = self._monotonic()
        if now - self._confirmed_at < REVISION_CHECK_S and self._snapshot is not None:
            return self._snapshot
        # One thread asks. The others go on meanwhile, but not by rules of whose age nobody knows anything: after an
        # idle hour the second request must not be decided by the rules of an hour ago.
        may_go_on = self._is_degraded or now - self._confirmed_at < MAX_LAG_S
        if self._lock.acquire(blocking=self._snapshot is None or not may_go_on):
            try:
                if now - self._confirmed_at >= REVISION_CHECK_S and not self._was_just_refused():
                    self._ask()
            finally:
                self._lock.release()
        return self._usable()

    def refresh(self) -> Snapshot:
        """As current, but asks the store now: what this process has just changed is seen."""
        with self._lock:
            self._ask()
        return self._usable()

    def _usable(self) -> Snapshot:
        if self._snapshot is None:
            raise StoreUnavailable("the store is away and no rules were loaded before")
        if self._monotonic() - self._confirmed_at > self._max_policy_age_s:
            raise StoreUnavailable("the store is away, and the rules loaded before are too old to decide by")
        return self._snapshot

    def _was_just_refused(self) -> bool:
        return self._is_degraded and self._monotonic() - self._asked_at < RETRY_S

    def _ask(self) -> None:
        started = self._monotonic()
        try:
            self._snapshot = self._load(self._snapshot)
        except StoreUnavailable as error:
            if not self._is_degraded:
                log.warning("store.unavailable", extra={"cause": str(error)})
            self._is_degraded = True
        else:
            if self._is_degraded:
                log.warning("store.back", extra={"revision": self._snapshot.revision})
            # What it said is as old as the question.
            self._confirmed_at = started
            self._is_degraded = False
        self._asked_at = self._monotonic()

    def _load(self, snapshot: Snapshot | None) -> Snapshot:
        if snapshot is not None:
            if self._store.revision() == snapshot.revision:
                return snapshot
            changes = self._store.changes_since(snapshot.revision)
            if changes is not None:
                return snapshot.updated(*changes)
        return Snapshot(*self._store.load_rules())
