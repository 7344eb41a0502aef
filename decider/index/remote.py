"""A remote index, asked through nginx's loopback listener; parsed pages are kept, bounded in bytes, per process.

The simple repository API: PEP 503, 629, 691, 700. All egress is nginx's: nothing here opens a connection to an
index itself. Judging may not be added here.
"""

import logging
import re
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from urllib.parse import urljoin, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from decider.errors import DeciderError, IndexTimeout, IndexUnavailable, UnreadablePage
from decider.files import ProjectPage
from decider.index.hosts import FileHosts
from decider.names import NormalizedName
from decider.pages import parse_page, parse_projects
from decider.settings import IndexSettings

__all__ = ["RemoteIndex"]

log = logging.getLogger(__name__)

MAX_PAGE_BYTES = 100 * 1024 * 1024  #: unpacked
FETCH_DEADLINE_S = 28.0  #: an index that hangs is answered for within 30 s
FRESH_S = 1.0  #: how long a page from memory is not revalidated with nginx
FRESH_WHEN_FAILING_S = 5.0  #: the same while the index is away: asking again costs its timeout
CACHE_BYTES = 48 * 1024 * 1024  #: of raw pages whose parsed form is kept, per process and index
MAX_REDIRECTS = 3
_CHUNK = 256 * 1024
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})", re.ASCII)


class _Entry(msgspec.Struct):
    """What is kept of one project."""

    page: ProjectPage | None  #: None: the index has no such project
    etag: str | None
    raw_digest: bytes  #: of the unpacked body: an index without ETags is compared by it
    size: int  #: bytes of the unpacked body
    fresh_until: float  #: monotonic
    stale_since: float | None = None  #: monotonic: since when nginx has had to answer with a stale copy
    asked_itself: float = 0.0  #: monotonic: when the index itself was last asked because of its own max-age


class _Answer(msgspec.Struct):
    """nginx's answer, unpacked."""

    status: int
    body: bytes
    headers: urllib3.HTTPHeaderDict
    url: str

    @property
    def is_stale(self) -> bool:
        return self.headers.get("X-Decider-Cache") == "STALE"


class RemoteIndex:
    """One remote index; safe to share between threads."""

    def __init__(
        self,
        settings: IndexSettings,
        *,
        internal_host: str,
        internal_port: int,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        max_waiting: int = 24,
    ) -> None:
        self.name = settings.name
        self.is_internal = settings.is_internal
        self._settings = settings
        self._hosts = FileHosts(settings)
        self._clock = clock
        self._monotonic = monotonic
        # maxsize covers every thread; block=False: a burst opens connections, it does not queue for them.
        self._pool = urllib3.HTTPConnectionPool(
            internal_host, internal_port, maxsize=max_waiting, block=False
        )
        # One index that hangs may not hold all threads of the process.
        self._slots = threading.BoundedSemaphore(max_waiting)
        self._lock = threading.Lock()
        self._entries: OrderedDict[NormalizedName, _Entry] = OrderedDict()
        self._entries_bytes = 0
        self._in_flight: dict[NormalizedName, threading.Lock] = {}
        self._projects: tuple[float, frozenset[NormalizedName]] | None = None
        self._projects_lock = threading.Lock()

    # -- Index

    def fetch_page(self, project: NormalizedName) -> ProjectPage | None:
        """As Index.fetch_page; concurrent callers for one project share one fetch."""
        entry = self._entries.get(project)
        if entry is not None and self._monotonic() < entry.fresh_until:
            return entry.page
        with self._lock:
            flight = self._in_flight.setdefault(project, threading.Lock())
        with flight:
            entry = self._entries.get(project)
            if entry is None or self._monotonic() >= entry.fresh_until:
                try:
                    entry = self._revalidate(project, entry)
                finally:
                    with self._lock:
                        self._in_flight.pop(project, None)
        return entry.page

    def refresh_page(self, project: NormalizedName) -> ProjectPage | None:
        """As Index.refresh_page."""
        return self._keep(project, self._get(project, refresh=True), self._entries.get(project)).page

    def fetch_projects(self) -> frozenset[NormalizedName]:
        """As Index.fetch_projects; a list younger than the page lifetime comes from memory."""
        with self._projects_lock:
            now = self._monotonic()
            if self._projects is not None and now < self._projects[0]:
                return self._projects[1]
            answer = self._get("")
            if answer.status != 200:
                raise IndexUnavailable(self.name, f"its project list answered {answer.status}")
            names = parse_projects(answer.body, content_type=_content_type(answer), index=self.name)
            self._projects = (now + self._settings.page_ttl_s, names)
            return names

    def ping(self, *, timeout_s: float) -> None:
        """Raise IndexUnavailable or IndexTimeout unless the index itself answers for some project."""
        answer = self._get("decider-readiness-probe", refresh=True, timeout_s=timeout_s)
        if answer.status not in {200, 404, 410}:
            raise IndexUnavailable(self.name, f"answered {answer.status}")

    # -- Keeping

    def _revalidate(self, project: NormalizedName, entry: _Entry | None) -> _Entry:
        answer = self._get(project, etag=entry.etag if entry and entry.page else None)
        if self._has_outlived_its_word(answer, entry):
            answer = self._ask_itself(project, answer, entry)
        try:
            return self._keep(project, answer, entry)
        except UnreadablePage:
            # nginx keeps what the index sent; a page that was bad once must not stay bad for its whole lifetime.
            if answer.headers.get("X-Decider-Cache") not in {"HIT", "REVALIDATED", "STALE"}:
                raise
            return self._keep(project, self._get(project, refresh=True), entry)

    def _has_outlived_its_word(self, answer: _Answer, entry: _Entry | None) -> bool:
        """Whether the index gave the page a shorter life than page_ttl, which is over."""
        stated = _MAX_AGE.search(answer.headers.get("Cache-Control", "").lower())
        if stated is None or answer.headers.get("X-Decider-Cache") != "HIT":
            return False
        max_age_s = int(stated[1])
        if not 0 < max_age_s < self._settings.page_ttl_s:
            return False
        if entry is not None and self._monotonic() - entry.asked_itself < max_age_s:
            return False
        sent_at = _http_date(answer.headers.get("Date"))
        return sent_at is not None and (self._clock() - sent_at).total_seconds() > max_age_s

    def _ask_itself(self, project: NormalizedName, cached: _Answer, entry: _Entry | None) -> _Answer:
        if entry is not None:
            entry.asked_itself = self._monotonic()
        try:
            answer = self._get(project, refresh=True)
        except (IndexUnavailable, IndexTimeout) as error:
            log.warning(
                "index.not_refreshed", extra={"index": self.name, "project": project, "cause": str(error)}
            )
            return cached
        return answer if answer.status in {200, 404, 410} else cached

    def _keep(self, project: NormalizedName, answer: _Answer, entry: _Entry | None) -> _Entry:
        now = self._monotonic()
        stale_since = (entry.stale_since if entry and entry.stale_since else now) if answer.is_stale else None
        if stale_since is not None and now - stale_since > self._settings.stale_if_error_s:
            raise IndexUnavailable(
                self.name, "it has been away for longer than its pages may be served stale"
            )
        if answer.status == 304 and entry is not None:
            page, digest, size = entry.page, entry.raw_digest, entry.size
        elif answer.status in {404, 410}:
            page, digest, size = None, b"", 0
        elif answer.status == 200:
            digest, size = sha256(answer.body).digest(), len(answer.body)
            unchanged = entry is not None and entry.page is not None and entry.raw_digest == digest
            page = entry.page if entry is not None and unchanged else self._parse(project, answer)
        else:
            raise self._unavailable(answer.status)
        kept = _Entry(
            page=page,
            etag=answer.headers.get("ETag") if answer.status == 200 else (entry.etag if entry else None),
            raw_digest=digest,
            size=size,
            fresh_until=now + (FRESH_WHEN_FAILING_S if answer.is_stale else FRESH_S),
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

    def _parse(self, project: NormalizedName, answer: _Answer) -> ProjectPage:
        parsed = parse_page(
            answer.body,
            content_type=_content_type(answer),
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

    # -- Asking

    def _get(
        self,
        project: str,
        *,
        etag: str | None = None,
        refresh: bool = False,
        timeout_s: float = FETCH_DEADLINE_S,
    ) -> _Answer:
        """Nginx's answer for a project's page ("": the project list), redirects inside the index followed."""
        deadline = time.monotonic() + timeout_s
        headers = {"Accept-Encoding": "identity"} | ({"X-Decider-Refresh": "1"} if refresh else {})
        if etag and not refresh:
            headers["If-None-Match"] = etag
        path = f"{project}/" if project else ""
        if not self._slots.acquire(timeout=min(5.0, timeout_s)):
            raise IndexTimeout(self.name, "too many requests are waiting for it")
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = self._get_once(path, headers, deadline)
                if answer.status not in {301, 302, 303, 307, 308}:
                    return answer
                path = self._redirected(answer)
        finally:
            self._slots.release()
        raise UnreadablePage(self.name, f"more than {MAX_REDIRECTS} redirects")

    def _get_once(self, path: str, headers: dict[str, str], deadline: float) -> _Answer:
        try:
            response = self._pool.request(
                "GET",
                f"/indexes/{self.name}/{path}",
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=2.0, read=max(deadline - time.monotonic(), 0.1)),
            )
            try:
                body = self._read(response, deadline)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except ReadTimeoutError as error:
            raise IndexTimeout(self.name, "no answer in time") from error
        except (HTTPError, OSError) as error:
            raise IndexUnavailable(self.name, "nginx's loopback listener gave no whole answer") from error
        url = urljoin(self._settings.url or "", path)
        return _Answer(status=response.status, body=body, headers=response.headers, url=url)

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        """The body, unpacked within the limits."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in {"identity", "gzip", "x-gzip", ""}:
            raise UnreadablePage(self.name, f"Content-Encoding `{encoding[:40]}`")
        unpack = zlib.decompressobj(31) if "gzip" in encoding else None
        parts: list[bytes] = []
        total = 0
        for chunk in response.stream(_CHUNK, decode_content=False):
            data = chunk if unpack is None else self._unpacked(unpack, chunk, MAX_PAGE_BYTES - total + 1)
            total += len(data)
            if total > MAX_PAGE_BYTES:
                raise UnreadablePage(self.name, f"larger than {MAX_PAGE_BYTES} bytes")
            if time.monotonic() > deadline:
                raise IndexTimeout(self.name, "its page took too long")
            parts.append(data)
        if unpack is not None and total and not unpack.eof:
            raise IndexUnavailable(self.name, "its page ended early")
        return b"".join(parts)

    def _unpacked(self, unpack: "zlib._Decompress", chunk: bytes, limit: int) -> bytes:
        try:
            return unpack.decompress(chunk, limit)
        except zlib.error as error:
            raise UnreadablePage(self.name, "its gzip encoding is broken") from error

    def _redirected(self, answer: _Answer) -> str:
        """The path below the index's base that a redirect leads to; raise UnreadablePage when it leads elsewhere."""
        base = self._settings.url or ""
        target = urljoin(answer.url, answer.headers.get("Location", ""))
        if not target.startswith(base) or urlsplit(target).query:
            raise UnreadablePage(self.name, "it redirects to a place outside itself")
        path = target.removeprefix(base).partition("#")[0]
        if ".." in path.split("/") or not path.isprintable() or not path.isascii():
            raise UnreadablePage(self.name, "it redirects to a place outside itself")
        return path

    def _unavailable(self, status: int) -> DeciderError:
        if status == 504:
            return IndexTimeout(self.name, "no answer in time")
        return IndexUnavailable(self.name, f"answered {status}")


def _content_type(answer: _Answer) -> str:
    return answer.headers.get("Content-Type", "")


def _http_date(text: str | None) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed is not None and parsed.tzinfo is None else parsed
