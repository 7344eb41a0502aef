"""Writes that a decision causes (claims, reviews, first-seen times): queued, bounded, never in its way.

Until a write is known the stricter answer holds: a claimed name is answered by the internal index, which is asked
first anyway; a file without a first-seen time counts as seen just now; a hold holds without its review.
"""

import fcntl
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from decider.decision import FileDecision
from decider.errors import Conflict, DeciderError, PreconditionFailed, RecordNotFound, StoreUnavailable
from decider.files import ProjectPage
from decider.names import NormalizedName
from decider.rules import Action, RuleDraft
from decider.store import Store

__all__ = ["CLAIMS", "PendingWrites"]

log = logging.getLogger(__name__)

CLAIMS = "claims"  #: the ruleset of automatic ownership
ACTOR = "decider"
MAX_PENDING = (
    50_000  #: entries of each kind; more are dropped with a log line, and come back with the next request
)
MAX_CLIENTS = 50
RETRY_S = 1.0


class _Wanted:
    """A review that was asked for, and by whom."""

    def __init__(self, at: datetime) -> None:
        self.count = 0
        self.clients: dict[str, None] = {}
        self.last_at = at


class PendingWrites:
    """The queue of one process; `run` drains it in a thread of its own."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime], lock_file: Path | None = None) -> None:
        self._store = store
        self._clock = clock
        self._lock_file = lock_file
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._claims: dict[NormalizedName, str] = {}
        self._reviews: dict[tuple[str, str | None, str, str, str], _Wanted] = {}
        self._unseen: dict[tuple[str, NormalizedName], tuple[datetime, frozenset[str]]] = {}
        self._seen: dict[tuple[str, NormalizedName], tuple[str, Mapping[str, datetime]]] = {}

    # -- Queueing

    def claim(self, index: str, projects: Iterable[NormalizedName]) -> None:
        """Have `index` own these names, unless an `own` rule already speaks of them."""
        with self._lock:
            for project in projects:
                if len(self._claims) < MAX_PENDING:
                    self._claims.setdefault(project, index)
        if self._claims:
            self._wake.set()

    def request_review(
        self, decision: FileDecision, *, project: str, repository: str, client: str | None, at: datetime
    ) -> None:
        """Open, or count for, the review of a held file."""
        key = (project, decision.version, decision.file.filename, repository, decision.rules[0].id)
        with self._lock:
            if key not in self._reviews and len(self._reviews) >= MAX_PENDING:
                log.error("review.dropped", extra={"project": project, "file": decision.file.filename})
                return
            wanted = self._reviews.setdefault(key, _Wanted(at))
            wanted.count += 1
            wanted.last_at = at
            if client and len(wanted.clients) < MAX_CLIENTS:
                wanted.clients[client] = None
        self._wake.set()

    def first_seen(self, pages: Sequence[ProjectPage]) -> dict[str, datetime]:
        """File name → when decider first saw it, for the files of `pages` without an upload time."""
        times: dict[str, datetime] = {}
        for page in reversed(pages):  # the earlier page's file wins
            times |= self._page_first_seen(page)
        return times

    def _page_first_seen(self, page: ProjectPage) -> Mapping[str, datetime]:
        key = (page.index, page.project)
        known = self._seen.get(key)
        if known is not None and known[0] == page.digest:
            return known[1]
        undated = frozenset(file.filename for file in page.files if file.upload_time is None)
        try:
            stored = self._store.first_seen(page.index, page.project)
        except StoreUnavailable:
            return {}  # not known counts as seen just now
        if undated <= stored.keys():
            with self._lock:
                if len(self._seen) >= MAX_PENDING // 10:
                    self._seen.pop(next(iter(self._seen)))
                self._seen[key] = (page.digest, stored)
            return stored
        with self._lock:
            if len(self._unseen) < MAX_PENDING:
                self._unseen.setdefault(key, (self._clock(), undated - stored.keys()))
        self._wake.set()
        return stored

    # -- Draining

    def run(self, stopping: threading.Event, *, periodic: Callable[[], None] | None = None) -> None:
        """Write what is queued until `stopping` is set; call `periodic` about twice a second."""
        told = ""
        while not stopping.is_set():
            self._wake.wait(0.5)
            self._wake.clear()
            try:
                if periodic is not None:
                    periodic()
                self.flush()
                told = ""
            except Exception as error:  # this thread has no caller: what it cannot write now it tries again
                if repr(error) != told:
                    told = repr(error)
                    log.warning(
                        "write.delayed", exc_info=not isinstance(error, DeciderError), extra={"cause": told}
                    )
                stopping.wait(RETRY_S)

    def flush(self) -> None:
        """Write everything that is queued now; raise StoreUnavailable and keep the rest when the store is away."""
        self._flush_claims()
        self._flush_first_seen()
        self._flush_reviews()

    def _flush_claims(self) -> None:
        with self._lock:
            claims = dict(self._claims)
        if not claims:
            return
        with self._one_writer():
            self._write_claims(claims)
        with self._lock:
            for project in claims:
                self._claims.pop(project, None)

    def _write_claims(self, claims: Mapping[NormalizedName, str]) -> None:
        """Add the names that no stored rule claims yet, in one transaction."""
        _, rules = self._store.load_rules()
        taken = {rule.project for rule in rules if rule.action is Action.OWN}
        new = {project: index for project, index in claims.items() if project not in taken}
        if not new:
            return
        try:
            info, claimed = self._store.get_ruleset(CLAIMS)
            revision = info.revision
        except RecordNotFound:
            revision, claimed = 0, ()
        drafts = [*map(_as_draft, claimed), *(_claim(project, index) for project, index in new.items())]
        try:
            self._store.replace_ruleset(CLAIMS, drafts, actor=ACTOR, at=self._clock(), if_revision=revision)
        except PreconditionFailed as error:
            raise StoreUnavailable("another machine is claiming names at the same time") from error
        except Conflict as error:
            log.warning("claims.conflict", extra={"cause": str(error)})
            return
        log.info("claims.added", extra={"projects": sorted(new)[:20], "count": len(new)})

    def _flush_first_seen(self) -> None:
        while True:
            with self._lock:
                if not self._unseen:
                    return
                (index, project), (at, names) = next(iter(self._unseen.items()))
            self._store.note_first_seen(index, project, names, at=at)
            with self._lock:
                self._unseen.pop((index, project), None)

    def _flush_reviews(self) -> None:
        while True:
            with self._lock:
                if not self._reviews:
                    return
                key = next(iter(self._reviews))
                wanted = self._reviews.pop(key)
            project, version, filename, repository, rule = key
            try:
                clients: list[str | None] = [*wanted.clients] or [None]
                for position, client in enumerate(clients):
                    self._store.request_review(
                        project=project,
                        version=version,
                        filename=filename,
                        repository=repository,
                        rule=rule,
                        client=client,
                        at=wanted.last_at,
                        count=wanted.count - len(clients) + 1 if position == 0 else 1,
                    )
            except StoreUnavailable:
                with self._lock:
                    self._reviews.setdefault(key, wanted)
                raise

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """Keep the processes of one machine from claiming the same names at the same time."""
        if self._lock_file is None:
            yield
            return
        with self._lock_file.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _claim(project: NormalizedName, index: str) -> RuleDraft:
    return RuleDraft(
        action=Action.OWN,
        project=project,
        index=index,
        reason=f"first seen in index {index}",
        key=project,
    )


def _as_draft(rule: RuleDraft) -> RuleDraft:
    return RuleDraft(**{name: getattr(rule, name) for name in RuleDraft.__struct_fields__})
