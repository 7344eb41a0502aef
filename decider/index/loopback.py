"""Asks for an index's pages through nginx's loopback listener, within limits of size and time.

RFC 9110 (redirects, ETags), RFC 1952 (gzip). All egress is nginx's: nothing here opens a connection to an index
itself. Nothing that an index says is trusted: neither to end, nor to be small, nor to lead to itself. Parsing of
pages may not be added here.
"""

import re
import time
import zlib
from collections.abc import Callable
from urllib.parse import urljoin

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from decider.errors import IndexError_, IndexTimeout, IndexUnavailable, UnreadablePage
from decider.settings import IndexSettings

__all__ = ["FETCH_DEADLINE_S", "MAX_PAGE_BYTES", "Answer", "Loopback", "Observe", "observe_nothing"]

MAX_PAGE_BYTES = 100 * 1024 * 1024  #: unpacked
FETCH_DEADLINE_S = 28.0  #: an index that hangs is answered for within 30 s
CONNECT_S = 2.0
MAX_REDIRECTS = 3
_CHUNK = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What a page's path needs. No escapes: nginx would decode `%2e%2e/` and leave the index's folder by it.
_PLAIN_PATH = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~+=,@-]+(?:/|\Z))*\Z", re.ASCII)
# `*`, which is no ETag, would match whatever page there is ever after (RFC 9110, 13.1.2).
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"\Z', re.ASCII)


Observe = Callable[
    [str, str, str, float], None
]  #: index, outcome, nginx's cache status ("" unknown), seconds
_OUTCOMES = {200: "page", 304: "unchanged", 404: "absent", 410: "absent"}
_FAILURES = {IndexTimeout: "timeout", IndexUnavailable: "unavailable", UnreadablePage: "unreadable"}


def observe_nothing(index: str, outcome: str, cache: str, seconds: float) -> None:
    """For those who do not count."""


class Answer(msgspec.Struct):
    """nginx's answer, unpacked."""

    status: int
    body: bytes
    headers: urllib3.HTTPHeaderDict
    url: str  #: the index's own, after redirects

    @property
    def content_type(self) -> str:
        """As the index gives it; "" where it gives none."""
        return self.headers.get("Content-Type", "")

    @property
    def etag(self) -> str | None:
        """An ETag that may be sent back; None where there is none, or one that would match more than this body."""
        etag = self.headers.get("ETag", "")
        return etag if _ETAG.match(etag) else None

    @property
    def cache_status(self) -> str:
        """Nginx's word for where it has it from: HIT, MISS, STALE …; "" where it does not say."""
        return self.headers.get("X-Decider-Cache", "")


class Loopback:
    """nginx's way to one index; safe to share between threads."""

    def __init__(
        self,
        index: IndexSettings,
        *,
        host: str,
        port: int,
        connections: int,
        observe: Observe = observe_nothing,
    ) -> None:
        self._index = index.name
        self._observe = observe
        self._base = index.url or ""
        # block=False: a burst opens connections, it does not queue for them.
        self._pool = urllib3.HTTPConnectionPool(host, port, maxsize=connections, block=False)

    def get(
        self,
        project: str,
        *,
        etag: str | None = None,
        refresh: bool = False,
        timeout_s: float = FETCH_DEADLINE_S,
    ) -> Answer:
        """The answer for a project's page ("": the project list), redirects inside the index followed.

        `etag`: 304 will do where the page still has it. `refresh`: past nginx's cache. Raise IndexTimeout,
        IndexUnavailable, or UnreadablePage where the limits are passed or a redirect leads elsewhere.
        """
        headers = {"Accept-Encoding": "identity"}
        if refresh:
            headers["X-Decider-Refresh"] = "1"
        elif etag:
            headers["If-None-Match"] = etag
        started = time.monotonic()
        outcome = cache = ""
        try:
            answer = self._followed(f"{project}/" if project else "", headers, started + timeout_s)
            outcome, cache = _OUTCOMES.get(answer.status, "error"), answer.cache_status
        except IndexError_ as error:
            outcome = _FAILURES[type(error)]
            raise
        finally:
            self._observe(self._index, outcome, cache, time.monotonic() - started)
        return answer

    def _followed(self, path: str, headers: dict[str, str], deadline: float) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get_once(path, headers, deadline)
            if answer.status not in _REDIRECTS:
                return answer
            path = self._redirected(answer)
        raise UnreadablePage(self._index, f"more than {MAX_REDIRECTS} redirects")

    def _get_once(self, path: str, headers: dict[str, str], deadline: float) -> Answer:
        try:
            response = self._pool.request(
                "GET",
                f"/indexes/{self._index}/{path}",
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=_left(deadline)),
            )
            try:
                body = self._read(response, deadline)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except ReadTimeoutError as error:
            raise IndexTimeout(self._index, "no answer in time") from error
        except (HTTPError, OSError) as error:
            raise IndexUnavailable(self._index, "nginx's loopback listener gave no whole answer") from error
        return Answer(status=response.status, body=body, headers=response.headers, url=f"{self._base}{path}")

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        """The body, unpacked within the limits."""
        encoding = response.headers.get("Content-Encoding", "").lower()
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise UnreadablePage(self._index, f"Content-Encoding {encoding[:40]!a}")
        unpack = zlib.decompressobj(31) if "gzip" in encoding else None
        parts: list[bytes] = []
        read = unpacked = 0
        # read1: what is there. To wait for a full chunk would be to wait as long as an index drips bytes.
        while chunk := response.read1(_CHUNK):
            part = chunk if unpack is None else self._unpacked(unpack, chunk, MAX_PAGE_BYTES - unpacked + 1)
            read += len(chunk)
            unpacked += len(part)
            if max(read, unpacked) > MAX_PAGE_BYTES:
                raise UnreadablePage(self._index, f"larger than {MAX_PAGE_BYTES} bytes")
            parts.append(part)
            self._limit_next_read(response, deadline)
        if unpack is not None and read and not unpack.eof:
            raise IndexUnavailable(self._index, "its page ended early")
        return b"".join(parts)

    def _limit_next_read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise IndexTimeout(self._index, "its page took too long")
        sock = getattr(response.connection, "sock", None)
        if sock is not None:  # None: nginx closes the connection behind this answer; the first timeout stays
            sock.settimeout(_left(deadline))

    def _unpacked(self, unpack: "zlib._Decompress", chunk: bytes, limit: int) -> bytes:
        try:
            part = unpack.decompress(chunk, limit)
        except zlib.error as error:
            raise UnreadablePage(self._index, "its gzip encoding is broken") from error
        if unpack.unused_data:
            # A second member (RFC 1952) would be left out silently, and zlib would go on gathering what follows.
            raise UnreadablePage(self._index, "something follows its gzip encoding")
        return part

    def _redirected(self, answer: Answer) -> str:
        """The path below the index's base that a redirect leads to; raise UnreadablePage when it leads elsewhere."""
        try:
            target = urljoin(answer.url, answer.headers.get("Location", "")).partition("#")[0]
        except ValueError:
            target = ""
        path = target.removeprefix(self._base)
        if not target.startswith(self._base) or not _PLAIN_PATH.match(path):
            raise UnreadablePage(self._index, "it redirects to a place outside itself")
        return path


def _left(deadline: float) -> float:
    """Seconds until then; never 0, which would mean not to wait at all."""
    return max(deadline - time.monotonic(), 0.1)
