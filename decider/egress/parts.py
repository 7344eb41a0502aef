"""A part of a wheel, for the metadata in it: read by ranges (RFC 9110, 14), never kept.

Which parts are asked for is `index.wheel_parts`' affair.
"""

import re
import time
from collections.abc import Mapping

from aiohttp import web

from decider.egress.answers import failure
from decider.egress.counting import counted
from decider.egress.files import Wanted, read_wanted
from decider.egress.upstream import Answer, Upstream, read_on
from decider.errors import FetchFailed

__all__ = ["GIVEN", "MAX_WHOLE", "NO_PARTS", "PartFetcher"]

MAX_WHOLE = 32 * 2**20  #: bytes of a wheel that a host gives whole although a part was asked for
WITHIN_S = 10.0
GIVEN = "X-Decider-Given"  #: "part" or "whole": what the host gave
NO_PARTS = "none"  #: the same, where it gives the whole and that is too much
_ASKED = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{1,15})|-([0-9]{1,15}))\Z", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})\Z", re.ASCII)


class PartFetcher:
    """Fetches parts of all indexes' wheels."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def give(self, request: web.Request) -> web.StreamResponse:
        """206 and the part, 200 and the whole, 416 where there is no such part; else why not."""
        wanted, asked = read_wanted(request.headers), request.headers.get("Range", "")
        give_up_at = time.monotonic() + WITHIN_S
        try:
            with counted("part") as course:
                upstream = self._upstream_for(wanted, asked)
                sent = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": asked}
                async with upstream.follow(wanted.url, headers=sent, head_within_s=WITHIN_S) as (answer, _):
                    response = await _pass(answer, asked, give_up_at)
                course.outcome = "part"
                return response
        except FetchFailed as error:
            return failure(error, "the index lists this file but did not give a part of it")

    def _upstream_for(self, wanted: Wanted, asked: str) -> Upstream:
        upstream = self._upstreams.get(wanted.index)
        if upstream is None or not upstream.may_ask(wanted.url) or not _ASKED.match(asked):
            raise FetchFailed("refused", "it may not be asked for that")
        return upstream


async def _pass(answer: Answer, asked: str, give_up_at: float) -> web.Response:
    if answer.status == 416:
        return web.Response(status=416)
    length = answer.content_length
    if answer.status == 200 and (length is None or length > MAX_WHOLE):
        return web.Response(status=502, headers={GIVEN: NO_PARTS})
    if answer.status not in {200, 206} or length is None:
        raise FetchFailed("refused", f"its answer to a Range was {answer.status:03}, or of no stated length")
    headers = {GIVEN: "whole"}
    if answer.status == 206:
        headers = {GIVEN: "part", "Content-Range": _content_range(answer.headers, asked, length)}
    body = bytearray()
    async for chunk in read_on(answer):
        body += chunk
        if len(body) > MAX_WHOLE or time.monotonic() > give_up_at:
            raise FetchFailed("timeout", "a part of it took too long")
    headers["Content-Type"] = "application/octet-stream"
    return web.Response(status=answer.status, body=bytes(body), headers=headers)


def _content_range(headers: Mapping[str, str], asked: str, length: int) -> str:
    """What a 206 says that it is a part of, written anew; raise FetchFailed where it is not what was asked for."""
    found, wanted = _CONTENT_RANGE.match(headers.get("Content-Range", "")), _ASKED.match(asked)
    if found is None or wanted is None:
        raise FetchFailed("malformed", "it gave a part without saying which")
    first, last, total = map(int, found.groups())
    if wanted[3] is not None:
        expected = (max(total - int(wanted[3]), 0), total - 1)
    else:
        expected = (int(wanted[1]), min(int(wanted[2]), total - 1))
    if (first, last) != expected or last - first + 1 != length or length > MAX_WHOLE:
        raise FetchFailed("malformed", "it gave another part than was asked for")
    return f"bytes {first}-{last}/{total}"
