"""How much is read of a connection at once: much while few files are under way, which halves the time that each byte takes;
little while many are, or two hundred downloads would hold 300 MB.

asyncio has no setting for it: its classes look these attributes up at each read (tests/test_egress_buffers.py).
"""

import asyncio.constants
import asyncio.sslproto
from asyncio import selector_events
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_more"]

FEW = 16  #: files under way
LARGE, SMALL = 128 * 1024, 32 * 1024
LARGE_TLS, SMALL_TLS = 128 * 1024, 16 * 1024  #: a record has 16 kB at most (RFC 8446, 5.1)

_under_way = 0


@contextmanager
def one_more() -> Iterator[None]:
    """While its block runs one file more is under way, in this process."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(more: int) -> None:
    global _under_way  # noqa: PLW0603 (of the process, as what it sets is)
    _under_way += more
    are_few = _under_way <= FEW
    selector_events._SelectorSocketTransport.max_size = LARGE if are_few else SMALL  # type: ignore[attr-defined]  # noqa: SLF001
    asyncio.sslproto.SSLProtocol.max_size = LARGE_TLS if are_few else SMALL_TLS
    # Of each new connection: what it gathers, in kB, before it reads no more.
    asyncio.constants.FLOW_CONTROL_HIGH_WATER_SSL_READ = (LARGE_TLS if are_few else SMALL_TLS) // 1024  # type: ignore[misc]


_count(0)
