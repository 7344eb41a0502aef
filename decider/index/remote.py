"""A remote index, asked through nginx and the fetcher; parsed pages are kept, bounded in bytes, per process.

The simple repository API: PEP 503, 629, 691, 700. How nginx is asked stands in `asking`. Judging may not be added
here.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from decider.errors import DeciderError, IndexTimeout, IndexUnavailable, UnreadablePage
from decider.files import ProjectPage
from decider.hosts import FileHosts
from decider.index.asking import FETCH_DEADLINE_S, Answer, IndexAsker, Observe, observe_nothing
from decider.index.list_loading import ListJob, load_list
from decider.index.project_list import ProjectList
from decider.index.project_names import ProjectNames
from decider.index.sharing import Flights, WaitingRoom
from decider.index.unreadable import UnreadablePages
from decider.names import NormalizedName
from decider.pages import parse_page
from decider.settings import IndexSettings

__all__ = ["RemoteIndex"]

log = logging.getLogger(__name__)

FRESH_S = 1.0  #: how long a page from memory is not revalidated with nginx
FRESH_WHEN_FAILING_S = 5.0  #: the same while the index is away: asking again costs its timeout
#: Of raw pages, whose parsed form (2.3 times that) each process keeps for each index.
CACHE_BYTES = 24 * 1024 * 1024
PROBE = "decider-readiness-probe"  #: a valid name; whether somebody has a project of it makes no difference
#: Of stale_if_error: what nginx has had for longer is fetched anew, all of it, however often the index has confirmed it.
_RENEWED_AFTER = 1 / 8
_FROM_CACHE = frozenset({"HIT", "REVALIDATED", "STALE"})


class _Entry(msgspec.Struct):
    """What is kept of one project."""

    page: ProjectPage | None  #: None: the index has no such project
    etag: str | None
    raw_digest: bytes  #: of all that the page is read from: an index without ETags is compared by it
    size: int  #: bytes of the unpacked body
    kept_at: float  #: monotonic
    fresh_until: float  #: monotonic
    stale_since: float | None = None  #: monotonic: since when nginx has had to answer with a stale copy
    asked_itself: float = (
        0.0  #: monotonic: when the index itself was last asked because nginx's copy was too old
    )


class RemoteIndex:
    """One remote index; safe to share between threads.

    `socket`: where nginx listens for the decider. `list_folder` keeps the index's project list, for it alone.
    """

    def __init__(
        self,
        settings: IndexSettings,
        *,
        socket: Path,
        list_folder: Path,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        max_waiting: int = 24,
        observe: Observe = observe_nothing,
    ) -> None:
        self.name = settings.name
        self.is_internal = settings.is_internal
        self._settings = settings
        self._hosts = FileHosts(settings)
        self._clock = clock
        self._monotonic = monotonic
        self._asker = IndexAsker(settings, socket=socket, connections=max_waiting, observe=observe)
        self._room = WaitingRoom(max_waiting, monotonic=monotonic)
        self._page_flights: Flights[NormalizedName, _Entry] = Flights()
        self._lock = threading.Lock()
        self._entries: OrderedDict[NormalizedName, _Entry] = OrderedDict()
        self._entries_bytes = 0
        self._unreadable = UnreadablePages()
        job = ListJob(index=settings, socket=str(socket), folder=str(list_folder))
        self._list = ProjectList(
            list_folder,
            index=settings.name,
            source=settings.url or "",
            ttl_s=settings.page_ttl_s,
            stale_if_error_s=settings.stale_if_error_s,
            load=lambda: load_list(job),
            wall_clock=lambda: clock().timestamp(),
        )

    # -- Index

    def fetch_page(self, project: NormalizedName) -> ProjectPage | None:
        """As Index.fetch_page; concurrent callers for one project share one fetch."""
        entry = self._fresh(project)
        if entry is not None:
            return entry.page
        with self._room.place() as has_place:
            if not has_place:
                return self._last_known(project).page
            return self._page_flights.share(
                project, lambda: self._fresh(project) or self._revalidate(project)
            ).page

    def is_stale(self, project: NormalizedName) -> bool:
        """As Index.is_stale."""
        if not project:
            return self._list.is_stale()
        entry = self._entries.get(project)
        return entry is not None and entry.stale_since is not None

    def refresh_page(self, project: NormalizedName) -> ProjectPage | None:
        """As Index.refresh_page."""
        answer = self._asker.get(project, refresh=True)
        return self._keep(project, answer, self._entries.get(project)).page

    def fetch_projects(self) -> ProjectNames:
        """As Index.fetch_projects; a list younger than the page lifetime, or one that is being renewed, is from disk."""
        with self._room.place() as has_place:
            if not has_place:
                raise _is_busy(self.name)
            return self._list.names()

    def ping(self, *, timeout_s: float) -> None:
        """Raise IndexUnavailable or IndexTimeout unless the index itself answers for some project."""
        self._asker.get(PROBE, refresh=True, timeout_s=timeout_s)

    # -- Keeping

    def _fresh(self, project: NormalizedName) -> _Entry | None:
        entry = self._entries.get(project)
        return entry if entry is not None and self._monotonic() < entry.fresh_until else None

    def _last_known(self, project: NormalizedName) -> _Entry:
        """What there is while the index keeps too many waiting; raise IndexTimeout where that is nothing, or too old."""
        entry = self._entries.get(project)
        if entry is not None:
            since = entry.kept_at if entry.stale_since is None else entry.stale_since
            if self._monotonic() - since <= self._settings.stale_if_error_s:
                return entry
        raise _is_busy(self.name)

    def _revalidate(self, project: NormalizedName) -> _Entry:
        entry = self._entries.get(project)
        give_up_at = self._monotonic() + FETCH_DEADLINE_S
        try:
            answer = self._asker.get(project, etag=entry.etag if entry else None)
        except (IndexUnavailable, IndexTimeout) as error:
            return self._go_on(project, entry, error)
        if self._is_to_be_fetched_anew(answer, entry):
            answer = self._ask_itself(project, answer, entry, timeout_s=self._left(give_up_at))
        try:
            return self._keep(project, answer, entry)
        except UnreadablePage:
            # nginx keeps what the index sent; a page that was bad once must not stay bad for its whole lifetime.
            if answer.cache_status not in _FROM_CACHE:
                raise
            fresh = self._asker.get(project, refresh=True, timeout_s=self._left(give_up_at))
            return self._keep(project, fresh, entry)
        except (IndexUnavailable, IndexTimeout) as error:
            return self._go_on(project, entry, error)

    def _go_on(self, project: NormalizedName, entry: _Entry | None, error: DeciderError) -> _Entry:
        """What is known, as long as it may be served stale; else raise `error`.

        nginx gives no stale copy where the index breaks off in the middle of a large page, whose beginning has been
        passed on.
        """
        now = self._monotonic()
        if entry is None or entry.page is None:
            # (!) It may have the project by now, and the next index would be asked for it.
            raise error
        since = min(entry.kept_at + self._settings.page_ttl_s, now)
        since = since if entry.stale_since is None else entry.stale_since
        if now - since > self._settings.stale_if_error_s:
            raise error
        log.warning("index.page_stale", extra={"index": self.name, "project": project, "cause": str(error)})
        stale = msgspec.structs.replace(entry, stale_since=since, fresh_until=now + FRESH_WHEN_FAILING_S)
        self._store(project, stale)
        return stale

    def _left(self, give_up_at: float) -> float:
        """Seconds for a further question: all of them together have one deadline, but none is hopeless."""
        return max(give_up_at - self._monotonic(), 1.0)

    def _is_to_be_fetched_anew(self, answer: Answer, entry: _Entry | None) -> bool:
        """Whether nginx's copy is too old, however often the index has confirmed it; once in that time, whatever its clock.

        What the index confirms stays as nginx first got it: after a restart nobody else knows how old it is, and an index
        that is away then may not have it served for longer than stale_if_error.
        """
        if answer.cache_status not in {"HIT", "REVALIDATED"}:
            return False
        life_s = self._settings.page_ttl_s + self._settings.stale_if_error_s * _RENEWED_AFTER
        if entry is not None and self._monotonic() - entry.asked_itself < life_s:
            return False
        age_s = self._age_s(answer)
        return age_s is not None and age_s > life_s

    def _age_s(self, answer: Answer) -> float | None:
        """Seconds since the index sent it; None where it does not say when."""
        sent_at = _http_date(answer.headers.get("Date"))
        return None if sent_at is None else (self._clock() - sent_at).total_seconds()

    def _stale_since(self, answer: Answer, entry: _Entry | None) -> float:
        """Since when the index owes word of a page of which nginx has only a stale copy, in monotonic seconds."""
        if entry is not None and entry.stale_since is not None:
            return entry.stale_since
        now = self._monotonic()
        # Since the index last confirmed it, where that is known; else, as after a restart, it is as old as its bytes.
        heard_at = now - (self._age_s(answer) or 0.0) if entry is None else entry.kept_at
        return min(heard_at + self._settings.page_ttl_s, now)

    def _ask_itself(
        self, project: NormalizedName, cached: Answer, entry: _Entry | None, *, timeout_s: float
    ) -> Answer:
        if entry is not None:
            entry.asked_itself = self._monotonic()
        try:
            answer = self._asker.get(project, refresh=True, timeout_s=timeout_s)
        except (IndexUnavailable, IndexTimeout) as error:
            log.warning(
                "index.not_refreshed", extra={"index": self.name, "project": project, "cause": str(error)}
            )
            return cached
        return answer

    def _keep(self, project: NormalizedName, answer: Answer, entry: _Entry | None) -> _Entry:
        now = self._monotonic()
        is_stale = answer.cache_status == "STALE"
        stale_since = self._stale_since(answer, entry) if is_stale else None
        if stale_since is not None and now - stale_since > self._settings.stale_if_error_s:
            raise IndexUnavailable(
                self.name, "it has been away for longer than its pages may be served stale"
            )
        etag = answer.etag
        if answer.status == 304 and entry is not None:
            page, digest, size, etag = entry.page, entry.raw_digest, entry.size, entry.etag
        elif answer.status == 200:
            digest, size = _digest(answer), len(answer.body)
            unchanged = entry is not None and entry.page is not None and entry.raw_digest == digest
            page = entry.page if entry is not None and unchanged else self._read(project, answer, digest)
        elif answer.status == 404:
            page, digest, size, etag = None, b"", 0, None
        else:
            raise IndexUnavailable(self.name, f"answered {answer.status}, which was not asked for")
        kept = _Entry(
            page=page,
            etag=etag,
            raw_digest=digest,
            size=size,
            kept_at=now,
            fresh_until=now + (FRESH_WHEN_FAILING_S if is_stale else FRESH_S),
            stale_since=stale_since,
            asked_itself=entry.asked_itself if entry else now,
        )
        self._store(project, kept)
        return kept

    def _store(self, project: NormalizedName, entry: _Entry) -> None:
        with self._lock:
            old = self._entries.pop(project, None)
            self._entries_bytes += entry.size - (old.size if old else 0)
            self._entries[project] = entry
            # 1 kB stands for an entry without a page, so that names which no index has are bounded too.
            while self._entries_bytes + 1024 * len(self._entries) > CACHE_BYTES and len(self._entries) > 1:
                _, gone = self._entries.popitem(last=False)
                self._entries_bytes -= gone.size

    def _read(self, project: NormalizedName, answer: Answer, digest: bytes) -> ProjectPage:
        self._unreadable.refuse(project, digest)
        try:
            return self._parse(project, answer)
        except UnreadablePage as error:
            self._unreadable.add(project, digest, error)
            raise

    def _parse(self, project: NormalizedName, answer: Answer) -> ProjectPage:
        parsed = parse_page(
            answer.body,
            content_type=answer.content_type,
            url=answer.url,
            index=self.name,
            project=project,
            is_allowed_host=self._hosts.is_allowed,
        )
        for dropped in parsed.dropped[:20]:
            log.warning(
                "index.file_dropped",
                extra={"index": self.name, "project": project, "file": dropped.filename, "why": dropped.why},
            )
        return parsed.page


def _is_busy(index: str) -> IndexTimeout:
    return IndexTimeout(index, "too many requests are waiting for it")


def _digest(answer: Answer) -> bytes:
    """Of the unpacked body, and of what decides how it is read: its type, and where its links start from."""
    found = sha256(f"{answer.url}\n{answer.content_type}\n".encode())
    found.update(answer.body)
    return found.digest()


def _http_date(text: str | None) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed is not None and parsed.tzinfo is None else parsed
