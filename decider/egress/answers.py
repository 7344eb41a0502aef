"""What the fetcher tells nginx and the decider: status line and headers of ours, made of what was parsed.

RFC 9110 (fields), RFC 9457 (problem bodies). A host's own headers may not be passed on here: what is kept of one is
parsed, and written anew.
"""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from aiohttp import web

from decider.errors import FailureKind, FetchFailed

__all__ = ["CAUSE", "KIND", "etag_of", "failure", "http_date", "max_age_s"]

CAUSE = "X-Decider-Cause"  #: what went wrong, in words
KIND = "X-Decider-Kind"  #: the same in one (errors.FailureKind)
_STATUS: Mapping[FailureKind, tuple[int, str]] = {
    "timeout": (504, "Gateway Timeout"),
    "away": (502, "Bad Gateway"),
    "refused": (502, "Bad Gateway"),
    "malformed": (502, "Bad Gateway"),
    "mismatch": (502, "Bad Gateway"),
}
# `*`, which is no ETag, would match whatever there is ever after (RFC 9110, 13.1.2).
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"\Z', re.ASCII)
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})", re.ASCII)


def failure(error: FetchFailed, subject: str, *, is_for_waiters: bool = False) -> web.Response:
    """The answer where there is nothing to pass on; `subject` begins the sentence that says why.

    `is_for_waiters`: nginx remembers it for those who wait for the same. They look every half second, and it counts whole
    seconds: it remembers for half a second at least, and one and a half at most.
    """
    status, title = _STATUS[error.kind]
    body = {"type": "about:blank", "title": title, "status": status, "detail": f"{subject}: {error.cause}"}
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/problem+json",
            # (!) Not both: with no-store nginx would remember nothing, and each of them would ask in turn.
            **(
                {"X-Accel-Expires": f"@{int(time.time() + 0.5)}"}
                if is_for_waiters
                else {"Cache-Control": "no-store"}
            ),
            "X-Decider-Degraded": "index",
            CAUSE: error.cause,
            KIND: error.kind,
        },
    )


def etag_of(headers: Mapping[str, str]) -> str | None:
    """A host's ETag where it is one; None where it is none, or would match more than this body."""
    etag = headers.get("ETag", "")
    return etag if _ETAG.match(etag) else None


def http_date(text: str | None) -> str | None:
    """A date as HTTP has it, written anew; None where `text` is none (RFC 9110, 5.6.7)."""
    try:
        parsed = parsedate_to_datetime(text) if text else None
        if parsed is None:
            return None
        return format_datetime(_in_utc(parsed), usegmt=True)
    except (ValueError, OverflowError):
        return None


def _in_utc(parsed: datetime) -> datetime:
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def max_age_s(headers: Mapping[str, str]) -> int | None:
    """Seconds that a host lets its answer live; None where it does not say, or says 0, which here means nothing."""
    found = _MAX_AGE.search(headers.get("Cache-Control", "").lower())
    return int(found[1]) or None if found is not None else None
