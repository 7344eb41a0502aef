"""One index's way out: connections to its own host, and to the hosts that its pages and redirects name.

RFC 9110, RFC 9112. An address is judged where it is connected to: a name is resolved by the system, its addresses are
judged, and one of those is what is connected to. What is no proper answer raises FetchFailed, with the cause in words.
What an answer is good for may not be added here.
"""

import asyncio
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from yarl import URL

from decider import __version__
from decider.egress import connecting
from decider.egress.connecting import CONNECT_S, REDIRECTS, Connector, Resolver, forbidden_words
from decider.egress.targets import Target
from decider.egress.wording import fail
from decider.errors import FetchFailed
from decider.hosts import host_and_port

__all__ = ["Answer", "Upstream", "read_on"]

BETWEEN_BYTES_S = 20.0
MAX_HEAD_BYTES = 32 * 1024
MAX_REDIRECTS = 3
MAX_CONNECTIONS = 1024  #: to one host, of one process: one that hangs holds no connection to another
READ_BYTES = 16 * 1024  #: of a body that wait for somebody to take them, beyond which no more is read
_READ_REST_BYTES = 16 * 1024  #: of a redirect, to use its connection again

Answer = aiohttp.ClientResponse


class Upstream:
    """One index's way out, within one event loop; close it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._proxies: set[tuple[str, int]] = set()
        self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=0,
                limit_per_host=MAX_CONNECTIONS,
                resolver=Resolver(self._may_reach),
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
            # (!) Not sock_read, whose clock goes on while a connection waits to be used again, and ends the next question.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=None),
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
                    if answer.status not in REDIRECTS:
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
        if answer.content.at_eof():
            answer.release()
        else:
            answer.close()

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, within_s: float) -> int:
        """The status of the answer to a POST, which is read no further; raise FetchFailed."""
        try:
            async with asyncio.timeout(within_s):
                answer = await self._ask("POST", url, headers=headers, body=body)
                await _be_done_with(answer)
        except TimeoutError:
            raise FetchFailed("timeout", f"no answer within {within_s:.0f} s") from None
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
                found = [address for _, address in await connecting.addresses(host, port, socket.AF_UNSPEC)]
            except OSError:
                return
        else:
            found = [host]
        if not any(self._may_reach(host, port, address) for address in found):
            raise FetchFailed("refused", forbidden_words(found[0]))

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
            fail(error)
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


async def read_on(answer: Answer) -> AsyncIterator[bytes]:
    """The body, as it comes; raise FetchFailed where it breaks off or stalls."""
    try:
        while True:
            async with asyncio.timeout(BETWEEN_BYTES_S):
                chunk = await answer.content.readany()
            if not chunk:
                return
            yield chunk
    except (aiohttp.ClientError, OSError, ValueError) as error:
        fail(error)
