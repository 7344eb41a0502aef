"""Bodies and query parameters, whatever the call."""

from io import BytesIO
from typing import Any

import pytest

from tests.api_harness import Api, api, faults

__all__ = ["api"]

JSON = "application/json"


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/problem+json", "json"],
)
def test_media_type(api: Api, content_type: str) -> None:
    """A body that is not declared as JSON is refused: 415."""
    headers = {"Content-Type": content_type} if content_type else {}
    response = api.post("/rules", data=b"{}", headers=headers)
    assert response.status_code == 415
    assert response.get_json()["detail"] == "send application/json"


def test_media_type_with_charset(api: Api) -> None:
    """Parameters of the media type do not matter."""
    assert api.post("/rules", data=b"{}", content_type=f"{JSON}; charset=utf-8").status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}x",
        b"\xff",
        b'{"reason": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"reason": "\\ud800"}',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_no_json(api: Api, body: bytes) -> None:
    """A body that is no JSON is refused without harm."""
    found = faults(api.post("/rules", data=body, content_type=JSON))
    assert found


@pytest.mark.parametrize(("path", "method"), [("/rules", "POST"), ("/tokens", "POST"), ("/explain", "POST")])
def test_body_limit(api: Api, path: str, method: str) -> None:
    """A body over 1 MB is refused: 413, also when its length is not declared."""
    large = b'{"reason": "' + b"x" * 1_000_000 + b'"}'
    assert api.call(method, path, data=large, content_type=JSON).status_code == 413
    undeclared = {"CONTENT_LENGTH": "", "wsgi.input": BytesIO(large), "wsgi.input_terminated": True}
    assert api.call(method, path, content_type=JSON, environ_overrides=undeclared).status_code == 413


def test_ruleset_limit(api: Api) -> None:
    """A ruleset over 64 MB is refused by its declared length, before it is read."""
    declared = {"CONTENT_LENGTH": "64000001", "wsgi.input": BytesIO()}
    response = api.put("/rulesets/feed", content_type=JSON, environ_overrides=declared)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"name": "is required", "role": "is required"}),
        (
            {"name": 7, "role": "king"},
            {"name": "expected `str`, got `int`", "role": "invalid enum value 'king'"},
        ),
        (
            {"name": "x", "role": "reader", "expires_at": "2027-01-01T00:00:00", "y" * 100: 1},
            {"expires_at": "expected `datetime` with a timezone component", "y" * 80: "is not known"},
        ),
        (
            {"name": "x", "role": "reader", "expires_at": "2026-01-01T00:00:00Z"},
            {"expires_at": "lies in the past"},
        ),
    ],
)
def test_all_faults(api: Api, body: Any, expected: dict[str, str]) -> None:
    """Every field that is missing, unknown or of another type is named at once."""
    assert faults(api.post("/tokens", json=body)) == expected


def test_not_there(api: Api) -> None:
    """Calls that are not there are 404, wrong methods 405, each as a problem."""
    for path in ("/usage", "/rules/r1/exposure", "/nothing", "/rules/", "/"):
        response = api.get(path)
        assert (response.status_code, response.content_type) == (404, "application/problem+json")
    response = api.call("PUT", "/rules")
    assert (response.status_code, response.content_type) == (405, "application/problem+json")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_nothing_keeps_answers(api: Api) -> None:
    """No answer may be kept by a cache on the way."""
    for response in (api.get("/rules"), api.get("/rules/r9"), api.get("/rules", role=None)):
        assert response.headers["Cache-Control"] == "no-store"
