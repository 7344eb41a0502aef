"""Bodies and query parameters, whatever the call."""

import re
from io import BytesIO
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decider.web.api.operation import Operation, operations
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


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/rules", b'{"action": "block", "project": "demo", "reason": "x", "action": "allow"}'),
        ("PUT", "/rulesets/feed", b'{"rules": [{"project": "demo", "action": "block", "action": "yank"}]}'),
        ("POST", "/tokens", b'{"name": "ci", "action": 1, "role": "reader", "action": 2}'),
    ],
)
def test_member_given_twice(api: Api, method: str, path: str, body: bytes) -> None:
    """A JSON object that says two things under one name is refused: whoever reviewed it may have read the other."""
    response = api.call(method, path, data=body, content_type=JSON)
    assert faults(response) == {"action": "is given more than once"}


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
    for path in ("/usages", "/rules/r1/exposures", "/nothing", "/rules/", "/"):
        response = api.get(path)
        assert (response.status_code, response.content_type) == (404, "application/problem+json")
    response = api.call("PUT", "/rules")
    assert (response.status_code, response.content_type) == (405, "application/problem+json")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_nothing_keeps_answers(api: Api) -> None:
    """No answer may be kept by a cache on the way."""
    for response in (api.get("/rules"), api.get("/rules/r9"), api.get("/rules", role=None)):
        assert response.headers["Cache-Control"] == "no-store"


BODIES = [one for one in operations().values() if one.body.schema is not None]
FIELDS = sorted({name for one in BODIES for name in getattr(one.body.schema, "__struct_fields__", ())})
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(FIELDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=6)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("operation", BODIES, ids=lambda one: f"{one.method} {one.path}")
def test_any_body(api: Api, operation: Operation) -> None:
    """Whatever JSON comes in, the answer is one that the document has, and never a fault of decider's."""

    @settings(max_examples=40, deadline=None)
    @given(body=VALUES, dry_run=st.booleans())
    def ask(body: Any, dry_run: bool) -> None:
        path = operation.path.replace("<", "").replace(">", "")
        query = {"dry_run": "true"} if dry_run and operation.dry_run_role else {}
        data = msgspec.json.encode(body)
        response = api.call(
            operation.method,
            path,
            data=data,
            content_type=JSON,
            headers={"If-Match": "*"},
            query_string=query,
        )
        assert response.status_code != 500

    ask()


ODD = ["%00", "%ff", "%ed%a0%80", "%F0%9F%92%A9", "a" * 5000, "%2e%2e", "%0d%0aX: y", "1" * 40]


@pytest.mark.parametrize("operation", list(operations().values()), ids=lambda one: f"{one.method} {one.path}")
def test_odd_text(api: Api, operation: Operation) -> None:
    """Whatever text stands in path, query and precondition, the answer is one that the document has."""
    for odd in ODD:
        path = re.sub("<[a-z_]+>", odd, operation.path)
        names = operation.query.__struct_fields__
        for query in ["", *(f"?{name}={odd}" for name in names), f"?{odd}={odd}"]:
            response = api.call(operation.method, path + query, json={}, headers={"If-Match": f'"{odd[:9]}"'})
            assert response.status_code != 500
