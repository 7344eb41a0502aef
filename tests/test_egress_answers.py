"""What is kept of a host's headers, and what is told where there is nothing to pass on."""

import json

import pytest

from decider.egress.answers import etag_of, failure, http_date, max_age_s
from decider.errors import FailureKind, FetchFailed


@pytest.mark.parametrize(
    ("etag", "is_one"),
    [
        ('"abc"', True), ('W/"abc"', True), ('""', True), ('"' + "a" * 200 + '"', True), ('"' + "a" * 201 + '"', False),
        ("*", False), ("abc", False), ('"a", "b"', False), ('"a\xff"', False), ('"a b"', False), ('"a"\n', False), ('w/"a"', False), ("", False),
    ],
)  # fmt: skip
def test_etag(etag: str, *, is_one: bool) -> None:
    """What is no ETag is none: `*` would match every body that there will ever be."""
    assert etag_of({"ETag": etag}) == (etag if is_one else None)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Sun, 22 Nov 2026 12:00:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("Sun, 22 Nov 2026 13:00:00 +0100", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("22 Nov 2026 12:00:00", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("Sunday, 22-Nov-26 12:00:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("", None),
        (None, None),
        ("yesterday", None),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
        ("Mon, 99 Nov 2026 00:00:00 GMT", None),
        ("Sun, 22 Nov 99999 12:00:00 GMT", None),
        ("0", None),
    ],
)
def test_dates(text: str | None, date: str | None) -> None:
    """A date is written anew, and what is none is left out."""
    assert http_date(text) == date


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("max-age=60", 60),
        ("public, MAX-AGE=60", 60),
        ("no-cache,max-age=60", 60),
        ("max-age=99999", 99999),
        ("max-age=0", None),
        ("s-maxage=60", None),
        ("x-max-age=60", None),
        ("no-store", None),
        ("max-age=-1, max-age=x", None),
        ("max-age=", None),
        ("", None),
    ],
)
def test_max_age(cache_control: str, seconds: int | None) -> None:
    """How long a host lets its answer live, where it says so; 0 says nothing here."""
    assert max_age_s({"Cache-Control": cache_control}) == seconds


@pytest.mark.parametrize(
    ("kind", "status"),
    [("timeout", 504), ("away", 502), ("refused", 502), ("malformed", 502), ("mismatch", 502)],
)
def test_failure(kind: FailureKind, status: int) -> None:
    """A failure is a problem document that says why and that nobody keeps, but for nginx where others wait for the same."""
    error = FetchFailed(kind, "no answer in time")
    answer = failure(error, "the index gave no page")
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert isinstance(answer.body, bytes)
    told = json.loads(answer.body)
    assert (told["status"], told["detail"]) == (status, "the index gave no page: no answer in time")
    headers = dict(answer.headers)
    assert (headers["X-Decider-Kind"], headers["X-Decider-Cause"]) == (kind, "no answer in time")
    assert headers["Cache-Control"] == "no-store"
    assert "X-Accel-Expires" not in headers
    # (!) With no-store beside it nginx remembers nothing.
    headers = dict(failure(error, "the index gave no file", is_for_waiters=True).headers)
    assert headers["X-Accel-Expires"].startswith("@")
    assert "Cache-Control" not in headers
