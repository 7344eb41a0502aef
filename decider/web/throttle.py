"""Failed logins, counted per client address in memory that all worker processes share.

The count holds for decider as a whole, not for each process, and its memory is fixed: a table of slots in a file,
mapped into every process. Each address has one bucket of slots; a new address takes the slot that was free longest.
"""

import fcntl
import hashlib
import ipaddress
import math
import mmap
import os
import struct
import threading
from pathlib import Path

__all__ = ["FAILURES", "WINDOW_S", "FailedLogins"]

FAILURES = 10  #: failed logins that one address has in a window
WINDOW_S = 60

_SLOT = struct.Struct(f"<16s{FAILURES}d")  # whose it is, when its last failures were (0: none)
_BUCKET = 8  # slots
_BUCKETS = 1024
_SIZE = _SLOT.size * _BUCKET * _BUCKETS  # 786 kB


class FailedLogins:
    """The last failures of each address; safe to share between threads, and between processes by the file."""

    def __init__(self, file: Path | None) -> None:
        """Share the table in `file`, made when missing; None: a table of this process alone."""
        self._lock = threading.Lock()
        self._file: int | None = None
        if file is None:
            self._table = mmap.mmap(-1, _SIZE)
            return
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, _SIZE)
        self._table = mmap.mmap(self._file, _SIZE)

    def wait_s(self, client: str, *, at: float) -> int:
        """Whole seconds until `client` may try again; 0: now. `at` counts seconds since the epoch."""
        owner, first = _place(client)
        for number in range(first, first + _BUCKET):
            who, *times = self._read(number)
            if who == owner:
                oldest = min(times)
                # A time ahead of `at` was written before the clock was set back: it counts for one window.
                return max(0, math.ceil(min(oldest, at) + WINDOW_S - at)) if oldest > at - WINDOW_S else 0
        return 0

    def note(self, client: str, *, at: float) -> None:
        """Count one failure of `client`."""
        owner, first = _place(client)
        numbers = range(first, first + _BUCKET)
        with self._lock:
            if self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                slots = {number: self._read(number) for number in numbers}
                own = next((number for number in numbers if slots[number][0] == owner), None)
                number = own if own is not None else min(numbers, key=lambda one: max(slots[one][1:]))
                times = slots[number][1:] if own is not None else [0.0] * FAILURES
                _SLOT.pack_into(self._table, number * _SLOT.size, owner, *sorted([*times, at])[1:])
            finally:
                if self._file is not None:
                    fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _read(self, number: int) -> tuple[bytes, *tuple[float, ...]]:
        found: tuple[bytes, *tuple[float, ...]] = _SLOT.unpack_from(self._table, number * _SLOT.size)
        return found


def _place(client: str) -> tuple[bytes, int]:
    """What names the address in the table, and the first slot of its bucket."""
    digest = hashlib.blake2b(_network(client).encode("utf-8", "replace"), digest_size=20).digest()
    return digest[:16], int.from_bytes(digest[16:], "little") % _BUCKETS * _BUCKET


def _network(client: str) -> str:
    """The address, or for IPv6 its /64: one host has all of it to choose from (as nginx has it, nginx/clients.conf)."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
