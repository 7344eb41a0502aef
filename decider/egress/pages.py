"""An index's page of a project, or its project list: for nginx's cache `indexes`.

The simple repository API (PEP 503, 691), RFC 9110 (redirects, validators), RFC 1952 (gzip). A page passes as the index
compressed it, once it has been seen to unpack within the limit. What an index answers besides a page is a 404 where it
says that it has none, and else a failure: nginx then goes on with the page that it has. Reading pages may not be added
here.
"""

import logging
import re
import time
import zlib
from collections.abc import Mapping

from aiohttp import web

from decider.egress.answers import etag_of, failure, http_date, max_age_s
from decider.egress.counting import counted
from decider.egress.passing import Passing
from decider.egress.upstream import Answer, Upstream, read_on
from decider.errors import FetchFailed

__all__ = ["ACCEPT", "FINAL_URL", "MAX_PAGE_BYTES", "NEGATIVE_TTL_S", "PageFetcher", "Unpacked"]

log = logging.getLogger(__name__)

#: As sent, and unpacked. A little more than the decider reads of a page, so that it is the decider who says of one of which
#: some has gone on that it is too large.
MAX_PAGE_BYTES = 101 * 1024 * 1024
NEGATIVE_TTL_S = 60  #: how long an index's "no such project" is kept
HEAD_WITHIN_S = 10.0  #: what nginx keeps of the page has to be served in time
WITHIN_S = 25.0
GATHERED_BYTES = (
    512 * 1024
)  #: of a page, before any of it goes on: what fails until then is a failure from its first byte
FINAL_URL = "X-Decider-Final-Url"  #: where the page was found, which its links start from
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
_ABSENT = frozenset({404, 410})
_STEP = 1024 * 1024
# What a page's path needs. No escapes, which a server could read as `../`.
_PLAIN_PATH = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~+=,@-]+(?:/|\Z))*\Z", re.ASCII)
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+*-]{1,80}/[\w!#$&^.+*-]{1,80}(?:\s*;[ -~]{0,80})?\Z", re.ASCII)


class Unpacked:
    """Looks on while a body passes: whether it unpacks within the limit, and whole."""

    def __init__(self, encoding: str) -> None:
        """`encoding`: what Content-Encoding says; raise FetchFailed for one that was not asked for."""
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise FetchFailed("malformed", "its page has an encoding that was not asked for")
        self.is_packed = "gzip" in encoding
        self._unpack = zlib.decompressobj(31) if self.is_packed else None
        self._sent = self._unpacked = 0

    def feed(self, chunk: bytes) -> None:
        """Raise FetchFailed where it is too long, or not what its encoding says."""
        self._sent += len(chunk)
        if self._unpack is None:
            self._unpacked += len(chunk)
        while chunk and self._unpack is not None and self._unpacked <= MAX_PAGE_BYTES:
            try:
                self._unpacked += len(self._unpack.decompress(chunk, _STEP))
            except zlib.error:
                raise FetchFailed("malformed", "its page's gzip encoding is broken") from None
            chunk = self._unpack.unconsumed_tail
        if max(self._sent, self._unpacked) > MAX_PAGE_BYTES:
            raise FetchFailed("malformed", f"its page is larger than {MAX_PAGE_BYTES} bytes")
        if self._unpack is not None and self._unpack.unused_data:
            # Of a second member (RFC 1952) some readers would know nothing.
            raise FetchFailed("malformed", "something follows its page's gzip encoding")

    def finish(self) -> None:
        """Raise FetchFailed where it ended early."""
        if self._unpack is not None and self._sent and not self._unpack.eof:
            raise FetchFailed("away", "its page ended early")


class PageFetcher:
    """Fetches pages of all indexes."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def give(self, request: web.Request) -> web.StreamResponse:
        """The page, 304 where nginx's copy is still the index's, 404 where there is none; else why not."""
        index, path = request.match_info["index"], request.match_info["path"]
        passing = Passing(request)
        try:
            with counted("page") as course:
                response = await self._give(request, index, path, passing)
                course.outcome = {404: "absent", 304: "unchanged"}.get(response.status, "page")
                return response
        except FetchFailed as error:
            log.warning(
                "egress.page_failed",
                extra={"index": index, "page": path, "kind": error.kind, "cause": error.cause},
            )
            if passing.response is None:
                return failure(error, "the index gave no page")
            passing.break_off()
            return passing.response

    async def _give(
        self, request: web.Request, index: str, path: str, passing: Passing
    ) -> web.StreamResponse:
        upstream = self._upstreams.get(index)
        settings = upstream.target.index if upstream is not None else None
        if upstream is None or settings is None or settings.url is None:
            raise FetchFailed("refused", "no such index is configured")
        if request.headers.get("X-Decider-Source") != settings.url or not _PLAIN_PATH.match(path):
            raise FetchFailed("refused", "the index has another address by now")
        base = settings.url
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
        if known := etag_of({"ETag": request.headers.get("If-None-Match", "")}):
            headers["If-None-Match"] = known

        def stays_inside(_: str, target: str) -> bool:
            return target.startswith(base) and _PLAIN_PATH.match(target.removeprefix(base)) is not None

        asked = upstream.follow(
            base + path, headers=headers, head_within_s=HEAD_WITHIN_S, may_lead_to=stays_inside
        )
        async with asked as (answer, url):
            lives_s = min(max_age_s(answer.headers) or settings.page_ttl_s, settings.page_ttl_s)
            if answer.status == 304 and known:
                return web.Response(status=304, headers={"X-Accel-Expires": str(lives_s), "ETag": known})
            if answer.status in _ABSENT:
                kept = min(NEGATIVE_TTL_S, settings.page_ttl_s)
                return web.Response(status=404, headers={"X-Accel-Expires": str(kept)})
            if answer.status != 200:
                raise FetchFailed("refused", f"answered {answer.status:03}")
            passing.headers = _headers(answer, url, lives_s)
            return await _pass(answer, passing)


def _headers(answer: Answer, url: str, lives_s: int) -> dict[str, str]:
    """All that nginx and the decider learn from the index's headers."""
    media_type = answer.headers.get("Content-Type", "")
    etag, date = etag_of(answer.headers), http_date(answer.headers.get("Date"))
    return {
        "X-Accel-Expires": str(lives_s),
        "Content-Type": media_type if _MEDIA_TYPE.match(media_type) else "application/octet-stream",
        FINAL_URL: url,
        **({"ETag": etag} if etag else {}),
        # When it was sent: the decider reads off it how old nginx's copy is.
        **({"Date": date} if date else {}),
    }


async def _pass(answer: Answer, passing: Passing) -> web.StreamResponse:
    watch = Unpacked(answer.headers.get("Content-Encoding", "").strip().lower())
    if watch.is_packed:
        passing.headers["Content-Encoding"] = "gzip"
    # (!) Whether a packed one is whole is known after its last byte: with a length nginx would keep it all the same.
    passing.length = None if watch.is_packed else answer.content_length
    gathered, tail, give_up_at = bytearray(), b"", time.monotonic() + WITHIN_S
    async for chunk in read_on(answer):
        watch.feed(chunk)
        tail = (tail + chunk)[-_END_BYTES:]
        gathered += chunk
        if passing.response is not None or len(gathered) > GATHERED_BYTES:
            await passing.write(gathered)
            gathered = bytearray()
        if time.monotonic() > give_up_at:
            raise FetchFailed("timeout", "its page took too long")
    watch.finish()
    if not watch.is_packed and _is_without_end(answer) and not _ENDS_ITSELF.search(tail):
        raise FetchFailed(
            "malformed", "nobody can tell whether its page was cut off: it ends with its connection"
        )
    if passing.response is None:
        passing.length = len(gathered)
    if gathered:
        await passing.write(gathered)
    return await passing.end()


_END_BYTES = 4096
#: JSON and HTML say themselves where they end; behind `</html>` stand blanks and comments at the most.
_ENDS_ITSELF = re.compile(rb"(?:\}|</html\s*>(?:\s|<!--[^>]*-->)*)\s*\Z", re.IGNORECASE)


def _is_without_end(answer: Answer) -> bool:
    """Whether it ends with its connection (RFC 9112, 6.3, 8); a packed one says where it ends."""
    return answer.content_length is None and "Transfer-Encoding" not in answer.headers
