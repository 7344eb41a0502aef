"""Asks nginx for an index's pages: it keeps them, and the fetcher behind it gets them.

RFC 9110 (ETags), RFC 1952 (gzip). Nothing here opens a connection to an index itself (decider/egress/). nginx may
answer with what it kept long ago: where that is a page, the limits hold here too. Parsing of pages may not be added here.
"""

import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from decider.errors import IndexError_, IndexMisbehaved, IndexTimeout, IndexUnavailable, UnreadablePage
from decider.settings import IndexSettings
from decider.unix_sockets import UnixPool, left_s

__all__ = ["FETCH_DEADLINE_S", "MAX_PAGE_BYTES", "Answer", "IndexAsker", "Observe", "observe_nothing"]

MAX_PAGE_BYTES = 100 * 1024 * 1024  #: unpacked
FETCH_DEADLINE_S = 28.0  #: an index that hangs is answered for within 30 s
_CHUNK = 256 * 1024
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"\Z', re.ASCII)


Observe = Callable[
    [str, str, str, float], None
]  #: index, outcome, nginx's cache status ("" unknown), seconds
_OUTCOMES = {200: "page", 304: "unchanged", 404: "absent"}
_FAILURES = {
    IndexTimeout: "timeout",
    IndexUnavailable: "unavailable",
    IndexMisbehaved: "unreadable",
    UnreadablePage: "unreadable",
}


def observe_nothing(index: str, outcome: str, cache: str, seconds: float) -> None:
    """For those who do not count."""


class Answer(msgspec.Struct):
    """A page that is there (200), unchanged (304), or that the index does not have (404); unpacked."""

    status: int
    body: bytes
    headers: urllib3.HTTPHeaderDict
    url: str  #: where the page was found: the index's own address, after redirects

    @property
    def content_type(self) -> str:
        """As the index gives it; "" where it gives none."""
        return self.headers.get("Content-Type", "")

    @property
    def etag(self) -> str | None:
        """An ETag that may be sent back; None where there is none."""
        etag = self.headers.get("ETag", "")
        return etag if _ETAG.match(etag) else None

    @property
    def cache_status(self) -> str:
        """Nginx's word for where it has it from: HIT, MISS, STALE …; "" where it does not say."""
        return self.headers.get("X-Decider-Cache", "")


class IndexAsker:
    """The way to one index; safe to share between threads."""

    def __init__(
        self,
        index: IndexSettings,
        *,
        socket: Path,
        connections: int,
        observe: Observe = observe_nothing,
    ) -> None:
        """`socket`: where nginx listens for the decider."""
        self._index = index.name
        self._observe = observe
        self._base = index.url or ""
        self._pool = UnixPool(socket, connections=connections)

    def get(
        self,
        project: str,
        *,
        etag: str | None = None,
        refresh: bool = False,
        timeout_s: float = FETCH_DEADLINE_S,
    ) -> Answer:
        """The answer for a project's page ("": the project list).

        `etag`: 304 will do where the page still has it. `refresh`: past nginx's cache. Raise IndexTimeout,
        IndexUnavailable, IndexMisbehaved, or UnreadablePage where the limits are passed.
        """
        headers = {"Accept-Encoding": "identity", "X-Decider-Source": self._base}
        if refresh:
            headers["X-Decider-Refresh"] = "1"
        elif etag:
            headers["If-None-Match"] = etag
        started = time.monotonic()
        outcome = cache = ""
        try:
            answer = self._get(f"{project}/" if project else "", headers, started + timeout_s)
            outcome, cache = _OUTCOMES[answer.status], answer.cache_status
        except IndexError_ as error:
            outcome = _FAILURES[type(error)]
            raise
        finally:
            self._observe(self._index, outcome, cache, time.monotonic() - started)
        return answer

    def _get(self, path: str, headers: dict[str, str], deadline: float) -> Answer:
        try:
            response = self._pool.get(f"/indexes/{self._index}/{path}", headers=headers, deadline=deadline)
            try:
                body = self._read(response, deadline)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except ReadTimeoutError as error:
            raise IndexTimeout(self._index, "no answer in time") from error
        except (HTTPError, OSError) as error:
            raise IndexUnavailable(self._index, "nginx gave no whole answer for it") from error
        # (!) 304 to who has asked for no such thing says nothing: taken for absence, the next index would be asked.
        if response.status not in _OUTCOMES or (response.status == 304 and "If-None-Match" not in headers):
            raise self._failure(response)
        url = response.headers.get("X-Decider-Final-Url", f"{self._base}{path}")
        return Answer(status=response.status, body=body, headers=response.headers, url=url)

    def _failure(self, response: urllib3.BaseHTTPResponse) -> IndexError_:
        """What the fetcher says, or nginx where that is away."""
        kind, cause = response.headers.get("X-Decider-Kind"), response.headers.get("X-Decider-Cause", "")
        if kind == "timeout":
            return IndexTimeout(self._index, cause)
        if kind in {"malformed", "mismatch"}:
            return IndexMisbehaved(self._index, cause)
        if kind is None:
            return IndexUnavailable(self._index, f"the fetcher is away: nginx answered {response.status}")
        return IndexUnavailable(self._index, cause)

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        """The body, unpacked within the limits."""
        encoding = response.headers.get("Content-Encoding", "").lower()
        unpack = zlib.decompressobj(31) if encoding == "gzip" else None
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
            sock.settimeout(left_s(deadline))

    def _unpacked(self, unpack: "zlib._Decompress", chunk: bytes, limit: int) -> bytes:
        try:
            return unpack.decompress(chunk, limit)
        except zlib.error as error:
            raise UnreadablePage(self._index, "its gzip encoding is broken") from error
