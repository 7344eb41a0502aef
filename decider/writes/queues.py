"""The queues of one process, and the thread that drains them."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from decider.decision import FileDecision
from decider.errors import DeciderError
from decider.files import ProjectPage
from decider.names import NormalizedName
from decider.store import Store
from decider.writes.claims import ClaimQueue
from decider.writes.first_seen import FirstSeen
from decider.writes.reviews import ReviewQueue

__all__ = ["PendingWrites"]

log = logging.getLogger(__name__)

IDLE_S = 0.5
RETRY_S = 1.0


class PendingWrites:
    """The queue of one process; `run` drains it in a thread of its own."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime],
        lock_file: Path | None = None,
        name_client: Callable[[str], str] = str,
    ) -> None:
        """`name_client`: from a client's address to what reviews call it; it may raise StoreUnavailable."""
        self._wake = threading.Event()
        self._claims = ClaimQueue(store, clock=clock, lock_file=lock_file)
        self._first_seen = FirstSeen(store, clock=clock, wake=self._wake.set)
        self._reviews = ReviewQueue(store, name_client=name_client)
        self._writers = (self._claims.write, self._first_seen.write, self._reviews.write)

    def claim(
        self, index: str, projects: Iterable[NormalizedName], *, repositories: Iterable[str] | None = None
    ) -> None:
        """Have `index` own these names in `repositories` (None: in all), where no `own` rule speaks of them by then."""
        if self._claims.add(index, projects, repositories=repositories):
            self._wake.set()

    def claimant(self, project: NormalizedName, repository: str) -> str | None:
        """The index whose claim of the name is not written yet; None where there is none."""
        return self._claims.claimant(project, repository)

    def request_review(
        self, decision: FileDecision, *, project: str, repository: str, client: str | None, at: datetime
    ) -> None:
        """Open, or count for, the review of a held file."""
        self._reviews.add(decision, project=project, repository=repository, client=client, at=at)
        self._wake.set()

    def first_seen(self, pages: Sequence[ProjectPage]) -> dict[str, datetime]:
        """File name → when decider first saw it, for the files of `pages` without an upload time."""
        return self._first_seen.times(pages)

    @property
    def lengths(self) -> dict[str, int]:
        """How much waits to be written, by kind."""
        return {
            "claims": len(self._claims),
            "first_seen": len(self._first_seen),
            "reviews": len(self._reviews),
        }

    def flush(self) -> None:
        """Write everything that is queued now; raise StoreUnavailable and keep the rest when the store is away."""
        for write in self._writers:
            write()

    def run(self, stopping: threading.Event, *, periodic: Callable[[], None] | None = None) -> None:
        """Write what is queued until `stopping` is set; call `periodic` about twice a second."""
        jobs = self._writers if periodic is None else (periodic, *self._writers)
        told: frozenset[str] = frozenset()
        while not stopping.is_set():
            self._wake.wait(IDLE_S)
            self._wake.clear()
            faults = [fault for fault in map(_attempt, jobs) if fault is not None]
            for fault in faults:
                _tell(fault, told)
            told = frozenset(map(repr, faults))
            if faults:
                stopping.wait(RETRY_S)


def _attempt(job: Callable[[], None]) -> Exception | None:
    """What went wrong with it: this thread has no caller to tell."""
    try:
        job()
    except Exception as fault:  # noqa: BLE001 (one job that fails must not keep the others from being done)
        return fault
    return None


def _tell(fault: Exception, told: frozenset[str]) -> None:
    """Log it, once as long as it lasts."""
    if repr(fault) not in told:
        trace = None if isinstance(fault, DeciderError) else fault
        log.warning("write.delayed", exc_info=trace, extra={"cause": repr(fault)})
