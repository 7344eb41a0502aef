"""A file's bytes on their way to a client: the last ones wait until all of them have been seen to be right.

So nobody ever has a complete file that is not what its page says, while the first bytes go out at once, however large
the file. Reading and writing may not be added here.
"""

import hashlib
from collections import deque
from collections.abc import Iterator

from decider.errors import FetchFailed

__all__ = ["HELD_BYTES", "Expected", "HeldBack"]

HELD_BYTES = 64 * 1024  #: at the end of a file, until its digest is right


class Expected:
    """What a page states of a file."""

    def __init__(self, *, digest: tuple[str, str] | None, size: int | None) -> None:
        self.digest = digest  #: algorithm and lower-case hex; None where the page states none
        self.size = size  #: bytes; None where the page does not say


class HeldBack:
    """One file on its way."""

    def __init__(self, expected: Expected, *, max_bytes: int) -> None:
        """`max_bytes`: how long a file may be whose page states no size."""
        self._expected = expected
        self._most = max_bytes if expected.size is None else expected.size
        self._hash = hashlib.new(expected.digest[0], usedforsecurity=False) if expected.digest else None
        self._chunks: deque[memoryview] = deque()
        self._held = 0
        self.received = 0  #: bytes so far

    def feed(self, chunk: bytes) -> Iterator[memoryview]:
        """Take the next bytes; yield what may go on. Raise FetchFailed where there are more than there may be."""
        self.received += len(chunk)
        if self.received > self._most:
            raise FetchFailed("mismatch", f"it is longer than {self._most} bytes")
        if self._hash is not None:
            self._hash.update(chunk)
        self._chunks.append(memoryview(chunk))
        self._held += len(chunk)
        while self._held > HELD_BYTES:
            first, surplus = self._chunks[0], self._held - HELD_BYTES
            if len(first) > surplus:
                self._chunks[0] = first[surplus:]
                first = first[:surplus]
            else:
                self._chunks.popleft()
            self._held -= len(first)
            yield first

    def finish(self) -> list[memoryview]:
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
