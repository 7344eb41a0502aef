"""Failed logins, counted per client address in memory that all worker processes share.

The count holds for decider as a whole, not for each process, and its memory is fixed: a table of slots in a file,
mapped into every process. Each address has one bucket of slots; a new address takes the slot that was free longest.
Whoever reads with a wrong token and whoever calls the API with one are counted apart.
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
from typing import Literal

__all__ = ["FAILURES", "WINDOW_S", "FailedLogins", "Login"]

Login = Literal["api", "read"]

FAILURES = 10  #: failed logins that one address has in a window, of either kind
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

    def note(self, client: str, kind: Login, *, at: float) -> int:
        """0: one failure of `client` is counted; else whole seconds until it may have another, and this one is not.

        `at` counts seconds since the epoch.
        """
        owner, first = _place(client, kind)
        numbers = range(first, first + _BUCKET)
        # Without the lock, which a flood of wrong ones would else be about all the time: a failure more or less is no matter.
        if wait_s := self._wait_s(owner, numbers, at):
            return wait_s
        with self._lock:
            if self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                if wait_s := self._wait_s(owner, numbers, at):
                    return wait_s
                slots = {number: self._read(number) for number in numbers}
                own = next((number for number in numbers if slots[number][0] == owner), None)
                number = own if own is not None else min(numbers, key=lambda one: max(slots[one][1:]))
                times = slots[number][1:] if own is not None else [0.0] * FAILURES
                _SLOT.pack_into(self._table, number * _SLOT.size, owner, *sorted([*times, at])[1:])
            finally:
                if self._file is not None:
                    fcntl.lockf(self._file, fcntl.LOCK_UN)
        return 0

    def _wait_s(self, owner: bytes, numbers: range, at: float) -> int:
        """Whole seconds until the owner may fail again; 0: now."""
        for number in numbers:
            who, *times = self._read(number)
            if who == owner:
                oldest = min(times)
                # A time ahead of `at` was written before the clock was set back: it counts for one window.
                return max(0, math.ceil(min(oldest, at) + WINDOW_S - at)) if oldest > at - WINDOW_S else 0
        return 0

    def _read(self, number: int) -> tuple[bytes, *tuple[float, ...]]:
        found: tuple[bytes, *tuple[float, ...]] = _SLOT.unpack_from(self._table, number * _SLOT.size)
        return found


def _place(client: str, kind: Login) -> tuple[bytes, int]:
    """What names the address in the table, and the first slot of its bucket."""
    digest = hashlib.blake2b(f"{kind} {_network(client)}".encode("utf-8", "replace"), digest_size=20).digest()
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
