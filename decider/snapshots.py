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

__all__ = ["REVISION_CHECK_S", "SnapshotKeeper"]

log = logging.getLogger(__name__)

REVISION_CHECK_S = 0.05


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
        self._checked_at = float("-inf")
        self._confirmed_at = float("-inf")

    @property
    def is_degraded(self) -> bool:
        """Whether the last attempt to ask the store failed."""
        return self._checked_at > self._confirmed_at

    def current(self) -> Snapshot:
        """The rules in force; raise StoreUnavailable when there are none, or none young enough."""
        now = self._monotonic()
        snapshot = self._snapshot
        if snapshot is not None and now - self._checked_at < REVISION_CHECK_S and not self.is_degraded:
            return snapshot
        # One thread asks; the others go on with what there is, unless there is nothing yet.
        if self._lock.acquire(blocking=snapshot is None):
            try:
                self._refresh()
            finally:
                self._lock.release()
        if self._snapshot is None:
            raise StoreUnavailable("the store is away and no rules were loaded before")
        if self._monotonic() - self._confirmed_at > self._max_policy_age_s:
            raise StoreUnavailable("the store is away, and the rules loaded before are too old to decide by")
        return self._snapshot

    def refresh(self) -> Snapshot:
        """As current, but asks the store now: what this process has just changed is seen."""
        with self._lock:
            self._refresh()
        return self.current()

    def _refresh(self) -> None:
        now = self._monotonic()
        if self.is_degraded and now - self._checked_at < 1.0 and self._snapshot is not None:
            return  # a store that is away is not asked for each decision
        try:
            self._snapshot = self._load(self._snapshot)
        except StoreUnavailable as error:
            self._checked_at = now
            log.warning("store.unavailable", extra={"cause": str(error)})
            return
        self._checked_at = self._confirmed_at = now

    def _load(self, snapshot: Snapshot | None) -> Snapshot:
        if snapshot is not None:
            if self._store.revision() == snapshot.revision:
                return snapshot
            changes = self._store.changes_since(snapshot.revision)
            if changes is not None:
                return snapshot.updated(*changes)
        return Snapshot(*self._store.load_rules())
