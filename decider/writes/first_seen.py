"""First-seen times: when decider first saw a file that its index does not date. For cooldowns."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from decider.errors import StoreUnavailable
from decider.files import ProjectPage
from decider.names import NormalizedName
from decider.store import Store

__all__ = ["FirstSeen"]

log = logging.getLogger(__name__)

MAX_NAMES = 500_000  #: of files, queued or in memory: pages of a hostile index list 200,000 each


class _Unseen(msgspec.Struct, frozen=True):
    """Files that had no time when a page was looked at."""

    at: datetime
    filenames: frozenset[str]


class _Seen(msgspec.Struct, frozen=True):
    """The times of a page all of whose undated files have one."""

    digest: str  #: of the page
    times: Mapping[str, datetime]


_Key = tuple[str, NormalizedName]  # index, project


class FirstSeen:
    """The times that the store has, and those that it does not know yet."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime], wake: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake  # whoever writes
        self._lock = threading.Lock()
        self._unseen: dict[_Key, _Unseen] = {}
        self._unseen_names = 0
        self._seen: dict[_Key, _Seen] = {}
        self._seen_names = 0

    def times(self, pages: Sequence[ProjectPage]) -> dict[str, datetime]:
        """File name → when decider first saw it, for the files of `pages` that no index dates."""
        times: dict[str, datetime] = {}
        for page in reversed(pages):  # the earlier page's file wins
            times |= self._times_of(page)
        return times

    def _times_of(self, page: ProjectPage) -> Mapping[str, datetime]:
        key = (page.index, page.project)
        known = self._seen.get(key)
        if known is not None and known.digest == page.digest:
            return known.times
        try:
            stored = self._store.first_seen(page.index, page.project)
        except StoreUnavailable:
            return {}  # not known counts as seen just now
        times = {name: stored[name] for name in page.undated if name in stored}
        missing = frozenset(page.undated) - times.keys()
        if missing:
            self._queue(key, missing)
        else:
            self._remember(key, _Seen(page.digest, times))
        return times

    def _remember(self, key: _Key, seen: _Seen) -> None:
        with self._lock:
            self._forget(key)
            self._seen[key] = seen
            self._seen_names += len(seen.times) + 1
            while self._seen_names > MAX_NAMES and len(self._seen) > 1:
                self._forget(next(iter(self._seen)))

    def _forget(self, key: _Key) -> None:
        gone = self._seen.pop(key, None)
        if gone is not None:
            self._seen_names -= len(gone.times) + 1

    def _queue(self, key: _Key, filenames: frozenset[str]) -> None:
        with self._lock:
            if key not in self._unseen and self._unseen_names < MAX_NAMES:
                self._unseen[key] = _Unseen(self._clock(), filenames)
                self._unseen_names += len(filenames)
        self._wake()

    def __len__(self) -> int:
        return len(self._unseen)

    def write(self) -> None:
        """Write what is queued now; raise StoreUnavailable and keep what is left."""
        while True:
            with self._lock:
                if not self._unseen:
                    return
                (index, project), unseen = next(iter(self._unseen.items()))
            try:
                self._store.note_first_seen(index, project, unseen.filenames, at=unseen.at)
            except StoreUnavailable:
                raise
            except (
                Exception
            ):  # what can never be written must not keep what comes after it from being written
                log.exception("first_seen.dropped", extra={"index": index, "project": project})
            with self._lock:
                del self._unseen[(index, project)]
                self._unseen_names -= len(unseen.filenames)
