"""First-seen times: when decider first saw a file that its index does not date. For cooldowns.

A file is known by its name and its digest, so other bytes under the same name are new. Where the index states no digest,
there is only the name.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from decider.errors import StoreUnavailable
from decider.files import ANY_DIGEST, FileIdentity, ProjectPage
from decider.names import NormalizedName
from decider.store import Store

__all__ = ["FirstSeen"]

log = logging.getLogger(__name__)

MAX_FILES = 500_000  #: queued or in memory: pages of a hostile index list 200,000 each


class _Unseen(msgspec.Struct, frozen=True):
    """The undated files of a page when one of them had no time."""

    at: datetime
    files: tuple[FileIdentity, ...]


class _Seen(msgspec.Struct, frozen=True):
    """The times of a page all of whose undated files have one."""

    digest: str  #: of the page
    times: Mapping[str, datetime]  #: by file name


_Key = tuple[str, NormalizedName]  # index, project


class FirstSeen:
    """The times that the store has, and those that it does not know yet."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime], wake: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake  # whoever writes
        self._lock = threading.Lock()
        self._unseen: dict[_Key, _Unseen] = {}
        self._unseen_files = 0
        self._seen: dict[_Key, _Seen] = {}
        self._seen_files = 0

    def times(self, pages: Sequence[ProjectPage]) -> dict[str, datetime]:
        """File name → when decider first saw it, for the files of `pages` that no index dates."""
        times: dict[str, datetime] = {}
        for page in reversed(pages):
            # The earlier page's file is the one that counts, also while it has no time.
            others = {name: at for name, at in times.items() if page.find(name) is None}
            times = {**others, **self._times_of(page)}
        return times

    def _times_of(self, page: ProjectPage) -> Mapping[str, datetime]:
        key = (page.index, page.project)
        known = self._seen.get(key)
        if known is not None and known.digest == page.digest:
            return known.times
        try:
            stored = self._settled_times(page)
        except StoreUnavailable:
            return {}  # not known counts as seen just now
        times = {file.filename: stored[file] for file in page.undated if file in stored}
        if len(times) < len(page.undated):
            self._queue(key, page.undated)
        else:
            self._remember(key, _Seen(page.digest, times))
        return times

    def _settled_times(self, page: ProjectPage) -> Mapping[FileIdentity, datetime]:
        """What the store has, once it has settled which files the times of an older decider are of.

        That is written here and not queued, once for each project after the upgrade. Meanwhile every file would be
        new, or each process would go by the file that it happens to see.
        """
        stored = self._store.first_seen(page.index, page.project)
        if any(file.digest == ANY_DIGEST for file in stored):
            self._store.note_first_seen(page.index, page.project, page.undated, at=self._clock())
            stored = self._store.first_seen(page.index, page.project)
        return stored

    def _remember(self, key: _Key, seen: _Seen) -> None:
        with self._lock:
            self._forget(key)
            self._seen[key] = seen
            self._seen_files += len(seen.times) + 1
            while self._seen_files > MAX_FILES and len(self._seen) > 1:
                self._forget(next(iter(self._seen)))

    def _forget(self, key: _Key) -> None:
        gone = self._seen.pop(key, None)
        if gone is not None:
            self._seen_files -= len(gone.times) + 1

    def _queue(self, key: _Key, files: tuple[FileIdentity, ...]) -> None:
        with self._lock:
            if key not in self._unseen and self._unseen_files < MAX_FILES:
                self._unseen[key] = _Unseen(self._clock(), files)
                self._unseen_files += len(files)
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
                self._store.note_first_seen(index, project, unseen.files, at=unseen.at)
            except StoreUnavailable:
                raise
            except (
                Exception
            ):  # what can never be written must not keep what comes after it from being written
                log.exception("first_seen.dropped", extra={"index": index, "project": project})
            with self._lock:
                del self._unseen[(index, project)]
                self._unseen_files -= len(unseen.files)
