"""Review requests: a held file that somebody wanted is opened for review, or counted to the review there is."""

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from decider.decision import FileDecision
from decider.errors import StoreUnavailable
from decider.store import Store

__all__ = ["ReviewQueue"]

log = logging.getLogger(__name__)

MAX_PENDING = 50_000  #: reviews; more are dropped with a log line, and come back with the next request
MAX_CLIENTS = 50  #: of one review


class _Key(msgspec.Struct, frozen=True):
    """What a review is about; the names are those of Store.request_review."""

    project: str
    version: str | None
    filename: str
    repository: str
    rule: str


class _Wanted(msgspec.Struct):
    """How often a review was asked for, and by whom."""

    last_at: datetime
    count: int = 0
    clients: dict[str, None] = msgspec.field(default_factory=dict)  #: a set in order

    def add(self, count: int, clients: Iterable[str], at: datetime) -> None:
        self.count += count
        self.last_at = max(self.last_at, at)
        for client in clients:
            if len(self.clients) < MAX_CLIENTS:
                self.clients[client] = None


class ReviewQueue:
    """Review requests that the store does not know yet."""

    def __init__(self, store: Store, *, name_client: Callable[[str], str]) -> None:
        self._store = store
        self._name_client = name_client
        self._lock = threading.Lock()
        self._reviews: dict[_Key, _Wanted] = {}

    def add(
        self, decision: FileDecision, *, project: str, repository: str, client: str | None, at: datetime
    ) -> None:
        """Ask for the review of a held file."""
        rule = decision.rules[0].id
        key = _Key(project, decision.version, decision.file.filename, repository, rule)
        with self._lock:
            if key not in self._reviews and len(self._reviews) >= MAX_PENDING:
                log.error("review.dropped", extra={"project": project, "file": decision.file.filename})
                return
            self._reviews.setdefault(key, _Wanted(at)).add(1, [client] if client else [], at)

    def __len__(self) -> int:
        return len(self._reviews)

    def write(self) -> None:
        """Write what is queued now; raise StoreUnavailable and keep what is left."""
        while True:
            with self._lock:
                if not self._reviews:
                    return
                key = next(iter(self._reviews))
                wanted = self._reviews.pop(key)
            try:
                self._write(key, wanted)
            except StoreUnavailable:
                self._give_back(key, wanted)
                raise
            except (
                Exception
            ):  # what can never be written must not keep what comes after it from being written
                log.exception("review.dropped", extra={"project": key.project, "file": key.filename})

    def _write(self, key: _Key, wanted: _Wanted) -> None:
        """Write it client by client; what was written is no longer `wanted`, though the store fail at the next one."""
        while wanted.count > 0:
            client = next(iter(wanted.clients), None)
            name = None if client is None else self._name_client(client)
            count = wanted.count - max(len(wanted.clients) - 1, 0)
            self._store.request_review(
                **msgspec.structs.asdict(key), client=name, at=wanted.last_at, count=count
            )
            wanted.count -= count
            if client is not None:
                del wanted.clients[client]

    def _give_back(self, key: _Key, wanted: _Wanted) -> None:
        with self._lock:  # others may have asked for it meanwhile
            newer = self._reviews.setdefault(key, _Wanted(wanted.last_at))
            newer.add(wanted.count, wanted.clients, wanted.last_at)
