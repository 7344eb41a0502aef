"""Cursors and pages: where a listing goes on, by the key of its last item.

A key stays where it is while others write, so a page neither repeats nor skips what was there all along.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from decider.errors import Fault, InvalidRequest
from decider.store import AuditEntry, Page

__all__ = [
    "decode_audit_cursor",
    "decode_cursor",
    "encode_audit_cursor",
    "encode_cursor",
    "make_audit_page",
    "make_page",
    "unusable_cursor",
]

T = TypeVar("T")

_CHECK_BYTES = 6
_MAX_DIGITS = 18  # of an audit id: what any store can compare
_MAX_PAGE_BYTES = 32 * 1024 * 1024  # of audit entries, which may hold whole feeds


def encode_cursor(listing: str, key: str) -> str:
    """The opaque, URL-safe cursor that goes on after `key`."""
    text = f"{listing} {key}".encode()
    return urlsafe_b64encode(_check(text) + text).decode().rstrip("=")


def decode_cursor(listing: str, cursor: str | None) -> str:
    """The key to go on after, "" for no cursor; raise InvalidRequest unless it was made for this listing."""
    if cursor is None:
        return ""
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        check, text = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        name, _, key = text.decode().partition(" ")
    except ValueError:
        raise unusable_cursor() from None
    # The decoder overlooks foreign characters: only the exact spelling is ours.
    if check != _check(text) or name != listing or encode_cursor(listing, key) != cursor:
        raise unusable_cursor()
    return key


def decode_audit_cursor(cursor: str | None) -> int:
    """The audit id to go on after, 0 for no cursor; raise as decode_cursor."""
    key = decode_cursor("audit", cursor) or "0"
    if not (key.isascii() and key.isdigit() and len(key) <= _MAX_DIGITS):
        raise unusable_cursor()
    return int(key)


def encode_audit_cursor(after: int) -> str:
    """The cursor that goes on after the entry of that id."""
    return encode_cursor("audit", str(after))


def make_page(listing: str, items: Iterable[T], limit: int, key: Callable[[T], str]) -> Page[T]:
    """The first `limit` of `items`, with a cursor when there are more; reads one item too many, to know."""
    _require_limit(limit)
    found = tuple(islice(items, limit + 1))
    if len(found) <= limit:
        return Page(found)
    return Page(found[:limit], encode_cursor(listing, key(found[limit - 1])))


def make_audit_page(entries: Iterable[tuple[AuditEntry, int]], limit: int) -> Page[AuditEntry]:
    """As make_page, of (entry, its length in bytes): fewer than `limit` where they would fill the memory."""
    _require_limit(limit)
    found: list[AuditEntry] = []
    total = 0
    for entry, size in entries:
        total += size
        if found and (len(found) == limit or total > _MAX_PAGE_BYTES):
            return Page(tuple(found), encode_audit_cursor(found[-1].id))
        found.append(entry)
    return Page(tuple(found))


def _require_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidRequest([Fault("limit", "must be at least 1")])


def _check(text: bytes) -> bytes:
    # Not a secret: it tells a damaged cursor from a good one, and a forged one could only skip its own page.
    return hashlib.sha256(b"cursor " + text).digest()[:_CHECK_BYTES]


def unusable_cursor() -> InvalidRequest:
    """What is raised for a cursor that its listing never gave."""
    return InvalidRequest([Fault("cursor", "is not one that this listing gave")])
