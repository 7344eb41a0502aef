"""Reads parts of a remote wheel, as if it were a file: its end, where a zip has its directory, and what is asked for.

RFC 9110, 14 (ranges). All egress is nginx's: its loopback listener fetches the address that a page stated, on a host
that its index allows, or reads from the whole file where nginx has it cached. Redirects are judged here, one by one.
Nothing that a server says is trusted: neither lengths nor places. What is in a wheel may not be added here.
"""

import os
import re
import time
from collections.abc import Callable
from typing import NamedTuple

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from decider.errors import IndexTimeout, IndexUnavailable, NoParts, UnreadableDistribution
from decider.index.location import Location

__all__ = ["MAX_WHOLE", "Part", "PartReader", "WheelParts"]

MAX_WHOLE = 32 * 2**20  #: bytes of a wheel that a server gives whole although a part was asked for
MAX_READ = 48 * 2**20  #: bytes of one wheel, in all its parts
MAX_PARTS = 24
TAIL = 64 * 1024  #: the first part: most wheels have directory and metadata in it
AHEAD = 16 * 1024  #: read at least so much: a zip entry's header, and what follows it
MAX_REDIRECTS = 3
CONNECT_S = 2.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})\Z", re.ASCII)

Follow = Callable[[str, str], Location | None]  #: from a source URL and a Location header to where it leads


class Part(NamedTuple):
    """What came of one request."""

    start: int
    data: bytes
    total: int  #: bytes of the whole file
    gives_parts: bool | None  #: what it tells of the index; None: nothing, nginx has the whole file cached


class PartReader:
    """nginx's way to parts of files; safe to share between threads."""

    def __init__(self, *, host: str, port: int, key: str, connections: int) -> None:
        self._key = key
        self._pool = urllib3.HTTPConnectionPool(host, port, maxsize=connections, block=False)

    def read(self, place: Location, asked: str, *, follow: Follow, deadline: float) -> Part:
        """The bytes `asked` for, as a Range header has it, or the whole file where it is small.

        Raise NoParts, IndexUnavailable, IndexTimeout or UnreadableDistribution.
        """
        for _ in range(MAX_REDIRECTS + 1):
            status, headers, data = self._ask(place, asked, deadline)
            if status not in _REDIRECTS:
                return _part(place.index, status, headers, data)
            leads_to = follow(place.source, headers.get("Location", ""))
            if leads_to is None:
                raise IndexUnavailable(place.index, "redirects a file to a host that it may not use")
            place = leads_to
        raise IndexUnavailable(place.index, f"redirects a file more than {MAX_REDIRECTS} times")

    def _ask(self, place: Location, asked: str, deadline: float) -> tuple[int, urllib3.HTTPHeaderDict, bytes]:
        sent = {
            "X-Decider-Part-Key": self._key,
            "X-Decider-Url": place.url,
            "X-Decider-Upstream": place.upstream,
            "X-Decider-Cache-Key": place.key,
            "Range": asked,
        }
        try:
            response = self._pool.request(
                "GET",
                "/-/part",
                headers=sent,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=_left(deadline)),
            )
            try:
                data = _read(place.index, response, deadline)
            finally:
                # Kept only where all of it was read: the rest of a large file is not worth waiting for.
                if not response.closed:
                    response.close()
        except ReadTimeoutError as error:
            raise IndexTimeout(place.index, "no answer in time for a part of a file") from error
        except (HTTPError, OSError) as error:
            raise IndexUnavailable(place.index, "no whole answer for a part of a file") from error
        return response.status, response.headers, data


def _read(index: str, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    if response.status not in {200, 206}:
        return b""
    length = response.headers.get("Content-Length", "")
    if not length.isdigit() or max(int(length), _given(response.headers)) > MAX_WHOLE:
        raise NoParts(index, "gives a large file whole where a part was asked for")
    found = bytearray()
    while chunk := response.read1(AHEAD * 16):
        found += chunk
        if len(found) > MAX_WHOLE or time.monotonic() > deadline:
            raise IndexTimeout(index, "a part of a file took too long")
    if len(found) != int(length):
        raise IndexUnavailable(index, "a part of a file ended early")
    return bytes(found)


def _gives_parts(headers: urllib3.HTTPHeaderDict) -> bool | None:
    """What an answer tells of the index; None: nothing, nginx has the whole file cached."""
    if headers.get("X-Decider-Cache") == "HIT":
        return None
    return headers.get("X-Decider-Upstream-Status") == "206"


def _given(headers: urllib3.HTTPHeaderDict) -> int:
    """Bytes that nginx has to be given for its answer; 0 where it has or is given no more than it answers."""
    found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    return int(found[3]) if found is not None and _gives_parts(headers) is False else 0


def _part(index: str, status: int, headers: urllib3.HTTPHeaderDict, data: bytes) -> Part:
    if status == 200:
        return Part(0, data, len(data), _gives_parts(headers))
    if status == 416:
        raise UnreadableDistribution("is empty")
    if status != 206:
        raise IndexUnavailable(index, f"answered {status} for a part of a file")
    found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    if found is None or int(found[2]) - int(found[1]) + 1 != len(data) or int(found[2]) >= int(found[3]):
        raise IndexUnavailable(index, "gave a part of a file without saying which")
    return Part(int(found[1]), data, int(found[3]), _gives_parts(headers))


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)


class WheelParts:
    """A wheel that is read where it is, part by part, as zipfile reads; used by one thread, once."""

    def __init__(self, index: str, ask: Callable[[str], Part]) -> None:
        """`ask` for what a Range header says."""
        self._index = index
        self._ask = ask
        self._parts: list[Part] = []
        self._read = 0
        self._position = 0
        self.are_given: bool | None = (
            None  #: whether the index gives parts; None where nginx has it all cached
        )
        self._size = self._fetch(f"bytes=-{TAIL}").total

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move there; nothing is read."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")  # as a file would
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or as many as there are."""
        start = min(self._position, self._size)
        end = self._size if size < 0 else min(start + size, self._size)
        data = self._bytes(start, end) if end > start else b""
        self._position = start + len(data)
        return data

    def _bytes(self, start: int, end: int) -> bytes:
        part = next(
            (one for one in self._parts if one.start <= start and end <= one.start + len(one.data)), None
        )
        if part is None:
            last = min(max(end, start + AHEAD), self._size) - 1
            part = self._fetch(f"bytes={start}-{last}")
            if not (part.start <= start and end <= part.start + len(part.data)):
                raise IndexUnavailable(self._index, "gave another part of a file than was asked for")
        return part.data[start - part.start : end - part.start]

    def _fetch(self, asked: str) -> Part:
        part = self._ask(asked)
        self._read += len(part.data)
        if len(self._parts) >= MAX_PARTS or self._read > MAX_READ:
            raise UnreadableDistribution("has its metadata scattered over too many places")
        if self._parts and part.total != self._parts[0].total:
            raise IndexUnavailable(self._index, "changed a file while it was read")
        self._parts.append(part)
        if part.gives_parts is not None:
            self.are_given = part.gives_parts
        return part
