"""One index's way out: connections to its own host, and to the hosts that its pages and redirects name.

RFC 9110, RFC 9112. An address is judged where it is connected to: a name is resolved by the system, its addresses are
judged, and one of those is what is connected to. What is no proper answer raises FetchFailed, with the cause in words.
What an answer is good for may not be added here.
"""

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, NoReturn
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # unknown to typeshed

import aiohttp
import aiohttp._http_parser as aiohttp_parser  # type: ignore[import-not-found]  # compiled, without types
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from decider import __version__
from decider.egress.tls import other_context, own_context
from decider.errors import FetchFailed
from decider.hosts import FileHosts, host_and_port
from decider.settings import EgressSettings, IndexSettings

__all__ = ["Answer", "Target", "Upstream", "make_target", "read_on"]

CONNECT_S = 5.0
BETWEEN_BYTES_S = 20.0
MAX_HEAD_BYTES = 32 * 1024
MAX_REDIRECTS = 3
MAX_CONNECTIONS = 1024  #: to one host, of one process: one that hangs holds no connection to another
READ_BYTES = 16 * 1024  #: of a body that wait for somebody to take them, beyond which no more is read
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_INTERIM = frozenset({100, 102, 103})  #: nobody asks to switch protocols (101)
_GO_ON = _REDIRECTS | {
    200,
    206,
    403,
    404,
    410,
    416,
}  #: after which a connection is used again; after a proper 304 too
_READ_REST_BYTES = 16 * 1024  #: of a redirect, to use its connection again

# (!) The library reads answers leniently (bare line feeds, folded headers, blanks before a colon) unless it debugs. There
# is no other switch. tests/test_egress_upstream.py shows what is refused with it.
aiohttp_parser.DEBUG = True

Answer = aiohttp.ClientResponse


class _Forbidden(OSError):
    """No address of a host may be connected to."""


class Target:
    """What all connections for one index go by."""

    def __init__(
        self,
        *,
        index: IndexSettings | None,
        egress: EgressSettings,
        own_tls: ssl.SSLContext,
        other_tls: ssl.SSLContext,
    ) -> None:
        """`index`: None for a webhook, whose address is the operator's choice. `own_tls`: for the index's own origin."""
        self.hosts = FileHosts(index) if index is not None else None
        self.index = index
        self.own_tls, self.other_tls = own_tls, other_tls
        self._egress = egress

    def is_own(self, url: SplitResult) -> bool:
        """Whether it is on the index's own origin, where its credentials go."""
        base = urlsplit(self.index.url or "") if self.index is not None else None
        return base is not None and url.scheme == base.scheme and host_and_port(url) == host_and_port(base)

    def proxy_for(self, url: SplitResult) -> str | None:
        """The URL of the proxy that it is asked through; None for none."""
        host = url.hostname or ""
        if self.index is not None and self.index.proxy is not None:
            return self.index.proxy or None
        proxy = self._egress.https_proxy if url.scheme == "https" else self._egress.http_proxy
        return None if not proxy or _is_asked_directly(host, self._egress.no_proxy) else proxy


def make_target(index: IndexSettings | None, *, egress: EgressSettings, ca_file: str | None) -> Target:
    """The target of an index, or of a webhook; raise OSError (ssl.SSLError too) where a certificate cannot be read."""
    other = own = other_context(index, ca_file)
    if index is not None:
        own = own_context(index, ca_file)
    return Target(index=index, egress=egress, own_tls=own, other_tls=other)


def _is_asked_directly(host: str, no_proxy: str) -> bool:
    """What `no_proxy` says of a host; this machine itself is never asked through a proxy."""
    try:
        address = ip_address(host)
    except ValueError:
        if host == "localhost":
            return True
    else:
        for entry in no_proxy.split(","):
            try:
                if address in ip_network(entry.strip(), strict=False):
                    return True
            except ValueError:
                continue
        if address.is_loopback:
            return True
    return bool(proxy_bypass_environment(host, {"no": no_proxy}))


class _Protocol(ResponseHandler):
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


class _Connector(aiohttp.TCPConnector):
    """Connections that take _Protocol's answers."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._factory = partial(_Protocol, loop=self._loop)  # type: ignore[assignment]


class _Resolver(AbstractResolver):
    """The system's resolver; only addresses that may be connected to."""

    def __init__(self, may_reach: Callable[[str, int, str], bool]) -> None:
        self._may_reach = may_reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raise OSError where the name has no address, or none that may be connected to."""
        found = await _addresses(host, port, family)
        allowed = [(kind, address) for kind, address in found if self._may_reach(host, port, address)]
        if not allowed:
            raise _Forbidden(_forbidden(found[0][1]))
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
            for kind, address in allowed
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def _addresses(host: str, port: int, family: int) -> list[tuple[int, str]]:
    infos = await asyncio.wait_for(
        asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family), CONNECT_S
    )
    found = [(int(info[0]), str(info[4][0])) for info in infos]
    if not found:
        raise OSError("the name has no address")
    return found


def _forbidden(address: str) -> str:
    return (
        f"its host has the address {address}, which is not on the internet, and `file_hosts` does not list it"
    )


class Upstream:
    """One index's way out, within one event loop; close it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._proxies: set[tuple[str, int]] = set()
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=0,
                limit_per_host=MAX_CONNECTIONS,
                resolver=_Resolver(self._may_reach),
                use_dns_cache=False,
                keepalive_timeout=30,
            ),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=8 * 1024,
            max_field_size=MAX_HEAD_BYTES,
            read_bufsize=READ_BYTES,
            requote_redirect_url=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=BETWEEN_BYTES_S),
        )

    async def close(self) -> None:
        """Close all its connections."""
        await self._session.close()

    @asynccontextmanager
    async def follow(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        head_within_s: float,
        may_lead_to: Callable[[str, str], bool] | None = None,
    ) -> AsyncIterator[tuple[Answer, str]]:
        """The answer to a GET and the URL that gave it, after at most MAX_REDIRECTS redirects; raise FetchFailed.

        `may_lead_to`: whether a redirect from one URL to another is followed; None: to the hosts of this index's files.
        """
        may_lead_to = may_lead_to or self._leads_to_a_file_host
        try:
            async with asyncio.timeout(head_within_s) as limit:
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._ask("GET", url, headers=headers)
                    if answer.status not in _REDIRECTS:
                        limit.reschedule(None)
                        break
                    location = answer.headers.get("Location", "")
                    await _be_done_with(answer)
                    url = _redirected(url, location, may_lead_to)
                else:
                    raise FetchFailed("refused", f"it redirects more than {MAX_REDIRECTS} times")
        except TimeoutError:
            raise FetchFailed("timeout", f"no answer within {head_within_s:.0f} s") from None
        try:
            yield answer, url
        except BaseException:
            # Not to be asked again on that connection: who knows what else is on it.
            answer.close()
            raise
        answer.release() if answer.content.at_eof() else answer.close()

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, within_s: float) -> int:
        """The status of the answer to a POST, which is read no further; raise FetchFailed."""
        try:
            async with asyncio.timeout(within_s):
                answer = await self._ask("POST", url, headers=headers, body=body)
        except TimeoutError:
            raise FetchFailed("timeout", f"no answer within {within_s:.0f} s") from None
        await _be_done_with(answer)
        return answer.status

    def may_ask(self, url: str) -> bool:
        """Whether files of this index may come from there."""
        hosts = self.target.hosts
        return hosts is not None and hosts.is_allowed(urlsplit(url))

    def _leads_to_a_file_host(self, source: str, target: str) -> bool:
        is_downgrade = source.startswith("https:") and not target.startswith("https:")
        return not is_downgrade and self.may_ask(target)

    def _may_reach(self, host: str, port: int, address: str) -> bool:
        hosts = self.target.hosts
        return (host, port) in self._proxies or hosts is None or hosts.may_reach(host, port, address)

    async def _judge_address(self, url: SplitResult, proxy: str | None) -> None:
        """Raise FetchFailed where an address that the URL spells, or that its name has behind a proxy, may not be asked.

        Any other name is judged when it is resolved, to connect. (!) What a proxy makes of a name only it knows: a name that
        this machine cannot resolve is for the proxy to judge.
        """
        place = host_and_port(url)
        if place is None:
            raise FetchFailed("refused", "its URL names no host")
        host, port = place
        try:
            ip_address(host)
        except ValueError:
            if proxy is None:
                return
            try:
                found = [address for _, address in await _addresses(host, port, socket.AF_UNSPEC)]
            except OSError:
                return
        else:
            found = [host]
        if not any(self._may_reach(host, port, address) for address in found):
            raise FetchFailed("refused", _forbidden(found[0]))

    async def _ask(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        parts = urlsplit(url)
        proxy = self.target.proxy_for(parts)
        if proxy is not None and (place := host_and_port(urlsplit(proxy))) is not None:
            self._proxies.add(place)
        await self._judge_address(parts, proxy)
        is_own = self.target.is_own(parts)
        sent = {"User-Agent": f"decider/{__version__}", **headers}
        if is_own and self.target.index is not None and self.target.index.credentials:
            sent["Authorization"] = _basic(self.target.index.credentials)
        try:
            answer = await self._session.request(
                method,
                URL(url, encoded=True),
                headers=sent,
                data=body,
                allow_redirects=False,
                ssl=self.target.own_tls if is_own else self.target.other_tls,
                proxy=proxy,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            _fail(error)
        try:
            _require_proper_head(answer)
        except FetchFailed:
            answer.close()
            raise
        return answer


def _basic(credentials: str) -> str:
    """RFC 7617."""
    return f"Basic {b64encode(credentials.encode()).decode()}"


def _require_proper_head(answer: Answer) -> None:
    """Raise FetchFailed unless it is HTTP/1 with one way to tell where the body ends (RFC 9112, 6.3)."""
    version = answer.version
    if version is None or version not in {(1, 0), (1, 1)}:
        raise FetchFailed("malformed", "its answer is of no version of HTTP that was asked for")
    if sum(len(name) + len(value) + 4 for name, value in answer.raw_headers) > MAX_HEAD_BYTES:
        raise FetchFailed("malformed", f"its answer has more than {MAX_HEAD_BYTES} bytes of headers")
    coding = answer.headers.get("Transfer-Encoding")
    if coding is not None and (coding.strip().lower() != "chunked" or version == (1, 0)):
        raise FetchFailed("malformed", "its answer has a Transfer-Encoding other than chunked")


async def _be_done_with(answer: Answer) -> None:
    """Let go of an answer whose body nobody wants; of a short one the rest is read, to use the connection again."""
    length = answer.content_length
    if length is not None and length <= _READ_REST_BYTES:
        try:
            await answer.read()
        except (aiohttp.ClientError, OSError):
            answer.close()
        else:
            answer.release()
    else:
        answer.close()


def _redirected(source: str, location: str, may_lead_to: Callable[[str, str], bool]) -> str:
    try:
        target = urljoin(source, location).partition("#")[0]
        is_allowed = bool(location) and target.isascii() and target.isprintable() and " " not in target
        is_allowed = is_allowed and may_lead_to(source, target)
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise FetchFailed("refused", "it redirects to a place that it may not lead to")
    return target


def _fail(error: Exception) -> NoReturn:
    """Raise what the library's errors mean here."""
    if isinstance(error, aiohttp.ServerTimeoutError | TimeoutError):
        raise FetchFailed("timeout", "no answer in time") from error
    if isinstance(error, aiohttp.ClientHttpProxyError):
        raise FetchFailed("away", f"the proxy answered {error.status}") from error
    if isinstance(error, aiohttp.ClientResponseError):
        raise FetchFailed("malformed", f"its answer is no proper HTTP: {_words(error.message)}") from error
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = error.__cause__
        if isinstance(cause, aiohttp.http_exceptions.ContentLengthError | ConnectionError) or (
            "Not enough data" in str(error)
        ):
            raise FetchFailed("away", "its answer ended before its end") from error
        raise FetchFailed("malformed", f"its answer is no proper HTTP: {_words(str(error))}") from error
    if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, _Forbidden):
        raise FetchFailed("refused", str(error.os_error)) from error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        raise FetchFailed("away", "its host's name cannot be resolved") from error
    if isinstance(error, aiohttp.ClientSSLError):
        raise FetchFailed("away", f"no TLS with it: {_words(str(error.os_error))}") from error
    if isinstance(error, aiohttp.InvalidURL):
        raise FetchFailed("refused", "its URL is none") from error
    if isinstance(error, aiohttp.ServerDisconnectedError):
        raise FetchFailed("away", "it closed the connection without an answer") from error
    raise FetchFailed("away", f"no connection with it: {_words(_reason(error))}") from error


def _reason(error: Exception) -> str:
    os_error = getattr(error, "os_error", error)
    return getattr(os_error, "strerror", None) or str(os_error) or type(error).__name__


def _words(text: str) -> str:
    """The library's words, which may quote the host's: one short line that no reader takes for markup."""
    line = re.sub(r"[^ -~]+|[<>\"\\`{}]", " ", text.split("\n\n", maxsplit=1)[0])
    return " ".join(line.split())[:160].rstrip(" :")


async def read_on(answer: Answer) -> AsyncIterator[bytes]:
    """The body, as it comes; raise FetchFailed where it breaks off or stalls."""
    try:
        while True:
            # Besides the library's own timeout, which rests while it reads nothing.
            async with asyncio.timeout(BETWEEN_BYTES_S):
                chunk = await answer.content.readany()
            if not chunk:
                return
            yield chunk
    except (aiohttp.ClientError, OSError, ValueError) as error:
        _fail(error)
