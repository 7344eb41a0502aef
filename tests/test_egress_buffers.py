"""How much the fetcher reads of a connection at once, by how many files are under way."""

import asyncio
import asyncio.sslproto
import socket
from contextlib import ExitStack

import pytest

from decider.egress import buffers
from decider.egress.buffers import FEW, LARGE, LARGE_TLS, SMALL, SMALL_TLS, one_more


class _Notes(asyncio.Protocol):
    """Takes notes of how large the pieces are that it is given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.first = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self.first.set()


def piece() -> int:
    """Bytes of the first piece that asyncio reads of a socket that has many."""

    async def run() -> int:
        mine, other = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, notes = await loop.create_connection(_Notes, sock=mine)
        other.setblocking(False)
        try:
            while True:
                other.send(bytes(SMALL))
        except BlockingIOError:
            pass
        assert notes.transport is not None
        notes.transport.resume_reading()
        await notes.first.wait()
        notes.transport.abort()
        other.close()
        await asyncio.sleep(0)
        return notes.sizes[0]

    return asyncio.run(run())


def test_by_how_many() -> None:
    """Up to FEW files pieces are large; with one more they are small, of connections that are open too."""
    assert buffers._under_way == 0
    with ExitStack() as opened:
        for _ in range(FEW):
            opened.enter_context(one_more())
        assert piece() > SMALL
        assert asyncio.sslproto.SSLProtocol.max_size == LARGE_TLS
        with one_more():
            assert piece() == SMALL
            assert asyncio.sslproto.SSLProtocol.max_size == SMALL_TLS
        assert SMALL < piece() <= LARGE


def test_a_file_that_fails_counts_no_more() -> None:
    """A file that failed is not under way."""
    with pytest.raises(ValueError, match="x"), one_more():
        raise ValueError("x")
    assert buffers._under_way == 0
