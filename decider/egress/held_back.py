"""A file's bytes on their way to a client: the last ones wait until all of them have been seen to be right.

So nobody ever has a complete file that is not what its page says, while the first bytes go out at once, however large
the file. Reading and writing may not be added here.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from decider.errors import FetchFailed

__all__ = ["HELD_BYTES", "Expected", "HeldBack"]

HELD_BYTES = 64 * 1024  #: at least, at the end of a file, until its digest is right


def _hash(algorithm: str, stated: str) -> "hashlib._Hash":
    """What digests as `algorithm` does, to the length of `stated`: what installers call blake2b has 32 bytes, not 64."""
    length: dict[str, Any] = {"digest_size": len(stated) // 2} if algorithm == "blake2b" else {}
    return hashlib.new(algorithm, usedforsecurity=False, **length)


class Expected:
    """What a page states of a file."""

    def __init__(self, *, digest: tuple[str, str] | None, size: int | None) -> None:
        self.digest = digest  #: algorithm and lower-case hex; None where the page states none
        self.size = size  #: bytes; None where the page does not say


class HeldBack:
    """One file on its way."""

    def __init__(self, expected: Expected, *, max_bytes: int, length: int | None = None) -> None:
        """`length`: what the host states, None where it does not; `max_bytes`: how long a file may be whose page states none."""
        self._expected = expected
        # Where it is known where the file ends nothing need wait before that.
        end = length if expected.size is None else expected.size
        self._flowing = 0 if end is None else max(end - HELD_BYTES, 0)
        self._most = max_bytes if expected.size is None else expected.size
        self._hash = _hash(*expected.digest) if expected.digest else None
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self.received = 0  #: bytes so far

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield what may go on. Raise FetchFailed where there are more than there may be."""
        self.received += len(chunk)
        if self.received > self._most:
            raise FetchFailed("mismatch", f"it is longer than {self._most} bytes")
        if self._hash is not None:
            self._hash.update(chunk)
        if self.received <= self._flowing:
            yield chunk
            return
        self._chunks.append(chunk)
        self._held += len(chunk)
        # Whole chunks: to cut them would be to copy, or to keep what has gone on in memory.
        while self._held - len(self._chunks[0]) >= HELD_BYTES:
            first = self._chunks.popleft()
            self._held -= len(first)
            yield first

    def finish(self) -> list[bytes]:
        """The last bytes, now that there are no more; raise FetchFailed where the file is not what its page says."""
        size = self._expected.size
        if size is not None and self.received != size:
            raise FetchFailed("mismatch", f"it has {self.received} bytes, its page states {size}")
        if self._hash is not None and self._expected.digest is not None:
            algorithm, stated = self._expected.digest
            found = self._hash.hexdigest()
            if found != stated:
                raise FetchFailed("mismatch", f"its {algorithm} is {found}, its page states {stated}")
        return list(self._chunks)
