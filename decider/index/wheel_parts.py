"""Reads parts of a remote wheel, as if it were a file: its end, where a zip has its directory, and what is asked for.

RFC 9110, 14 (ranges). nginx gives parts of what it has cached whole; the fetcher behind it gets others from where the
index's page says (decider/egress/parts.py). Nothing that a server says is trusted: neither lengths nor places. What is in
a wheel may not be added here.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from decider.errors import IndexTimeout, IndexUnavailable, NoParts, UnreadableDistribution
from decider.index.location import Location
from decider.unix_sockets import UnixPool

__all__ = ["MAX_WHOLE", "Part", "PartReader", "WheelParts"]

MAX_WHOLE = 32 * 2**20  #: bytes of a wheel that a server gives whole although a part was asked for
MAX_READ = 48 * 2**20  #: bytes of one wheel, in all its parts
MAX_PARTS = 24
TAIL = 64 * 1024  #: the first part: most wheels have directory and metadata in it
AHEAD = 16 * 1024  #: read at least so much: a zip entry's header, and what follows it
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})\Z", re.ASCII)


class Part(NamedTuple):
    """What came of one request."""

    start: int
    data: bytes
    total: int  #: bytes of the whole file
    gives_parts: bool | None  #: what it tells of the index; None: nothing, nginx has the whole file cached


class PartReader:
    """The way to parts of files, by nginx; safe to share between threads."""

    def __init__(self, *, socket: Path, connections: int) -> None:
        """`socket`: where nginx listens for the decider."""
        self._pool = UnixPool(socket, connections=connections)

    def read(self, place: Location, asked: str, *, deadline: float) -> Part:
        """The bytes `asked` for, as a Range header has it, or the whole file where it is small.

        Raise NoParts, IndexUnavailable, IndexTimeout or UnreadableDistribution.
        """
        sent = {
            "X-Decider-Url": place.url,
            "X-Decider-Expect": place.expected,
            "X-Decider-Key": place.key,
            "Range": asked,
        }
        try:
            response = self._pool.get("/part", headers=sent, deadline=deadline)
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
        return _part(place.index, response.status, response.headers, data)


def _read(index: str, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    if response.headers.get("X-Decider-Given") == "none":
        raise NoParts(index, "gives a large file whole where a part was asked for")
    if response.status not in {200, 206}:
        return b""
    length = response.headers.get("Content-Length", "")
    if not length.isdigit() or int(length) > MAX_WHOLE:
        raise IndexUnavailable(index, "gave more than a part of a file")
    found = bytearray()
    while chunk := response.read1(AHEAD * 16):
        found += chunk
        if len(found) > MAX_WHOLE or time.monotonic() > deadline:
            raise IndexTimeout(index, "a part of a file took too long")
    if len(found) != int(length):
        raise IndexUnavailable(index, "a part of a file ended early")
    return bytes(found)


def _part(index: str, status: int, headers: urllib3.HTTPHeaderDict, data: bytes) -> Part:
    # Of what nginx has cached whole nothing is said of the index.
    gives_parts = {"part": True, "whole": False}.get(headers.get("X-Decider-Given", ""))
    if status == 200:
        return Part(0, data, len(data), gives_parts)
    if status == 416:
        raise UnreadableDistribution("is empty")
    if status != 206:
        cause = headers.get("X-Decider-Cause", f"answered {status}")
        raise IndexUnavailable(index, f"no part of a file: {cause}")
    found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    if found is None or int(found[2]) - int(found[1]) + 1 != len(data) or int(found[2]) >= int(found[3]):
        raise IndexUnavailable(index, "gave a part of a file without saying which")
    return Part(int(found[1]), data, int(found[3]), gives_parts)


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
