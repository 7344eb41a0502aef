"""A distribution file, or a companion of one, from where its index's page says: for nginx's cache `files`.

PEP 503, 658 and 691 (digests), 740 (provenance). What is asked for comes from the decider's decision, in headers that
nginx passes on. Where the file is not what its page says the answer is 502, or, once bytes have gone, a connection that
breaks before the last of them: nginx keeps neither.
"""

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
from aiohttp import web

from decider.egress.answers import etag_of, failure, http_date
from decider.egress.buffers import one_more
from decider.egress.counting import counted
from decider.egress.held_back import Expected, HeldBack
from decider.egress.passing import Passing
from decider.egress.upstream import Answer, Upstream, read_on
from decider.errors import FetchFailed
from decider.metrics import meters

__all__ = ["FileFetcher", "Wanted", "read_wanted"]

log = logging.getLogger(__name__)

HEAD_WITHIN_S = 20.0
WITHIN_S = 3600.0  #: as long as nginx lets others wait for it
KEPT_S = 365 * 24 * 3600  #: by nginx; only a decision gives access to it
_MAX_FAILED = 1000
_ABSENT = frozenset({403, 404, 410})
#: A page of a proxy on the way, or of a host that is down for maintenance.
_WEB_PAGE = re.compile(r"\s*(?:text/html|application/xhtml\+xml)\b", re.IGNORECASE)


class Wanted(msgspec.Struct, frozen=True):
    """What the decider has decided on."""

    index: str
    url: str
    filename: str  #: as it was asked for, with `.metadata` or `.provenance`
    project: str
    digest: tuple[str, str] | None  #: algorithm and lower-case hex; None where the page states none
    size: int | None  #: bytes; None where the page does not say
    is_cached_only: bool  #: whether a copy in nginx's cache was to be served, and nothing else
    waited_s: float  #: how long ago its client asked


def read_wanted(headers: Mapping[str, str]) -> Wanted:
    """What the headers of nginx/fetched_file.inc say. `Expect`: index, digest as `algorithm=hex`, size; `-` for unknown."""
    index, digest, size = headers["X-Decider-Expect"].split(" ")
    algorithm, _, stated = digest.partition("=")
    return Wanted(
        index=index,
        url=headers["X-Decider-Url"],
        filename=_text(headers.get("X-Decider-File", "")),
        project=headers.get("X-Decider-Project", ""),
        digest=(algorithm, stated) if stated else None,
        size=None if size == "-" else int(size),
        is_cached_only=headers.get("X-Decider-Cached-Only") == "1",
        waited_s=float(headers.get("X-Decider-Waited", "0")),
    )


def _text(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class FileFetcher:
    """Fetches files of all indexes."""

    def __init__(self, upstreams: Mapping[str, Upstream], *, max_file_size: int) -> None:
        self._upstreams = upstreams
        self._max_file_size = max_file_size
        self._failed: OrderedDict[tuple[str, object], tuple[float, FetchFailed]] = OrderedDict()

    async def give(self, request: web.Request) -> web.StreamResponse:
        """The file, as it comes; else why not."""
        wanted = read_wanted(request.headers)
        passing = Passing(request)
        try:
            with counted("file") as course:
                self._refuse_failed(wanted, time.monotonic())
                with one_more():
                    response = await self._pass(wanted, passing)
                course.outcome = "whole"
                return response
        except FetchFailed as error:
            return self._failure(wanted, error, passing)

    def _failure(self, wanted: Wanted, error: FetchFailed, passing: Passing) -> web.StreamResponse:
        # Who has waited is not the only one; who asks first may ask again at once.
        has_waited = not self._note(wanted, error, began=passing.response is not None)
        if passing.response is not None:
            passing.break_off()
            return passing.response
        if wanted.filename.endswith(".metadata") and _is_absent(error):
            return web.Response(headers={"X-Accel-Redirect": "@made_metadata"})
        return failure(error, "the index lists this file but did not give it", is_for_waiters=has_waited)

    async def _pass(self, wanted: Wanted, passing: Passing) -> web.StreamResponse:
        upstream = self._upstreams.get(wanted.index)
        if upstream is None:
            raise FetchFailed("refused", "no such index is configured")
        if not upstream.may_ask(wanted.url):
            raise FetchFailed("refused", "files of this index may not come from that host")
        # Never an encoded body for a file: its digest is of the plain bytes.
        asked = {"Accept": "*/*", "Accept-Encoding": "identity"}
        async with upstream.follow(wanted.url, headers=asked, head_within_s=HEAD_WITHIN_S) as (answer, _):
            if answer.status != 200:
                raise _Answered(answer.status)
            expected = Expected(digest=wanted.digest, size=wanted.size)
            length = answer.content_length
            if wanted.size is not None and length is not None and length != wanted.size:
                raise FetchFailed("mismatch", f"it has {length} bytes, its page states {wanted.size}")
            held = HeldBack(expected, length=length, max_bytes=self._max_file_size)
            passing.headers = _headers(answer, wanted)
            passing.length = wanted.size if length is None else length
            give_up_at = time.monotonic() + WITHIN_S
            async for chunk in read_on(answer):
                for part in held.feed(chunk):
                    await passing.write(part)
                if time.monotonic() > give_up_at:
                    raise FetchFailed("timeout", f"it was not whole after {WITHIN_S:.0f} s")
            rest = held.finish()
            if held.received == 0:
                passing.headers["X-Accel-Expires"] = "0"  # which no file nor companion is
            if passing.response is None:
                passing.length = held.received
            for part in rest:
                await passing.write(part)
            return await passing.end()

    def _refuse_failed(self, wanted: Wanted, now: float) -> None:
        """Raise the error of a fetch that this request has waited for, or that was to bring the file into nginx's cache.

        Who asks after a fetch has failed is not kept from trying anew: the host may be right again.
        """
        failed_at, error = self._failed.get(_key(wanted), (0.0, None))
        if error is not None and (wanted.is_cached_only or now - wanted.waited_s < failed_at):
            raise error
        if wanted.is_cached_only:
            raise FetchFailed(
                "away", "it could not be fetched whole, and parts of it are given out of the whole"
            )

    def _note(self, wanted: Wanted, error: FetchFailed, *, began: bool) -> bool:
        """Whether it is news: not the error of a fetch that was waited for."""
        key = _key(wanted)
        known = self._failed.get(key)
        if known is not None and known[1] is error:
            return False
        self._failed[key] = (time.monotonic(), error)
        while len(self._failed) > _MAX_FAILED:
            self._failed.popitem(last=False)
        if error.kind == "mismatch":
            meters().digest_mismatches.labels(wanted.index).inc()
        log.warning(
            "egress.file_failed",
            extra={
                "index": wanted.index,
                "project": wanted.project,
                "file": wanted.filename,
                "kind": error.kind,
                "cause": error.cause,
                "began": began,
            },
        )
        return True


class _Answered(FetchFailed):
    """A status that is no 200."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__("refused", f"its answer was {status:03}")


def _is_absent(error: FetchFailed) -> bool:
    """Whether an index that offers metadata has just said that it does not have it: the decider reads it out of the wheel."""
    return isinstance(error, _Answered) and error.status in _ABSENT


def _key(wanted: Wanted) -> tuple[str, object]:
    return wanted.url, wanted.digest


def _headers(answer: Answer, wanted: Wanted) -> dict[str, str]:
    """All that a client learns from the host's headers: an ETag, where the page states no digest, and a date."""
    is_stated = wanted.digest is not None or wanted.size is not None
    is_bounded = answer.content_length is not None or answer.headers.get("Transfer-Encoding") is not None
    is_web_page = not is_stated and _WEB_PAGE.match(answer.headers.get("Content-Type", "")) is not None
    # Nobody could tell whether what ends with its connection was cut off, nor whether a web page is the file.
    is_kept = is_stated or (is_bounded and not is_web_page)
    etag = f'"{wanted.digest[1]}"' if wanted.digest is not None else etag_of(answer.headers)
    modified = http_date(answer.headers.get("Last-Modified"))
    return {
        "Content-Type": "application/octet-stream",
        "X-Accel-Expires": str(KEPT_S if is_kept else 0),
        **({"ETag": etag} if etag else {}),
        **({"Last-Modified": modified} if modified else {}),
    }
