"""How the library's connections are kept strict: what counts as an answer on them, and which addresses they lead to.

RFC 9110, RFC 9112. What an answer is good for may not be added here.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
import aiohttp._http_parser as aiohttp_parser  # type: ignore[import-not-found]  # compiled, without types
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

__all__ = ["CONNECT_S", "REDIRECTS", "Connector", "Forbidden", "Resolver", "addresses", "forbidden_words"]

CONNECT_S = 5.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_INTERIM = frozenset({100, 102, 103})  #: nobody asks to switch protocols (101)
_GO_ON = REDIRECTS | {
    200,
    206,
    403,
    404,
    410,
    416,
}  #: after which a connection is used again; after a proper 304 too

# (!) The library reads answers leniently (bare line feeds, folded headers, blanks before a colon) unless it debugs. There
# is no other switch. tests/test_egress_upstream.py shows what is refused with it.
aiohttp_parser.DEBUG = True


class Forbidden(OSError):
    """No address of a host may be connected to."""


class StrictProtocol(ResponseHandler):
    """A connection on which an answer begins with its status line, at once (RFC 9112, 2.2: only servers skip empty lines).

    Before it there may be interim answers, of known numbers and without bodies (RFC 9110, 15.2); nothing else below 200.
    (!) What comes unasked behind it ends the connection, and so does an answer that nobody has a use for: the library would
    take what follows for the answer to the next question.
    """

    _is_head_awaited = False
    _is_answer_awaited = False

    def set_response_params(self, *arguments: Any, **named: Any) -> None:
        """As the library's: a request goes out, an answer is awaited."""
        super().set_response_params(*arguments, **named)
        self._is_head_awaited = self._is_answer_awaited = True

    def data_received(self, data: bytes) -> None:
        """As the library's; what does not begin as an answer does is made one that it refuses."""
        if self._is_head_awaited and data:
            self._is_head_awaited = False
            if data[:1] != b"H":
                data = b"?" + data
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """As the library's; who reads a body is told at once too, and does not wait for what will not come."""
        super().set_exception(exc, *cause)
        if self._payload is not None and not self._payload.is_eof() and isinstance(exc, HttpProcessingError):
            self._payload.set_exception(aiohttp.ClientPayloadError(exc.message))

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """As the library's, for an answer that is one."""
        message = data[0]
        is_framed = "Content-Length" in message.headers or "Transfer-Encoding" in message.headers
        if not self._is_answer_awaited:
            self.force_close()
            if self.transport is not None:
                self.transport.close()
        elif message.code < 200 and (message.code not in _INTERIM or is_framed):
            self.set_exception(
                HttpProcessingError(
                    code=message.code, message=f"status {message.code:03} is no interim answer"
                )
            )
        else:
            self._is_answer_awaited = message.code < 200
            is_unchanged = message.code == 304 and "ETag" in message.headers and not is_framed
            if message.code >= 200 and message.code not in _GO_ON and not is_unchanged:
                self.force_close()
            super().feed_data(data, size)


class Connector(aiohttp.TCPConnector):
    """Connections that take StrictProtocol's answers."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._factory = partial(StrictProtocol, loop=self._loop)  # type: ignore[assignment]


class Resolver(AbstractResolver):
    """The system's resolver; only addresses that may be connected to."""

    def __init__(self, may_reach: Callable[[str, int, str], bool]) -> None:
        self._may_reach = may_reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raise OSError where the name has no address, or none that may be connected to."""
        found = await addresses(host, port, family)
        allowed = [(kind, address) for kind, address in found if self._may_reach(host, port, address)]
        if not allowed:
            raise Forbidden(forbidden_words(found[0][1]))
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
            for kind, address in allowed
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def addresses(host: str, port: int, family: int) -> list[tuple[int, str]]:
    """Family and text of each address that the system's resolver has for a name; raise OSError where there is none."""
    infos = await asyncio.wait_for(
        asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family), CONNECT_S
    )
    found = [(int(info[0]), str(info[4][0])) for info in infos]
    if not found:
        raise OSError("the name has no address")
    return found


def forbidden_words(address: str) -> str:
    """Why a host with that address is not connected to."""
    return (
        f"its host has the address {address}, which is not on the internet, and `file_hosts` does not list it"
    )
