"""Errors as problem bodies."""

import logging
from collections.abc import Iterator

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient

from decider import errors
from decider.errors import DeciderError, Fault
from decider.web import problems


def leaves(kind: type[DeciderError] = DeciderError) -> Iterator[type[DeciderError]]:
    """The classes of the error tree that have no class below them."""
    below = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    if not below:
        yield kind
    for one in below:
        yield from leaves(one)


@pytest.mark.parametrize("kind", list(leaves()), ids=lambda kind: kind.__name__)
def test_table_is_whole(kind: type[DeciderError]) -> None:
    """Each leaf of the error tree has a row of its own in the one table from error to status."""
    assert kind in problems.TABLE


def test_table_has_no_strangers() -> None:
    """The table has rows for errors of the tree only, and each says a client or a server error."""
    assert all(issubclass(kind, DeciderError) for kind in problems.TABLE)
    assert all(400 <= row.status < 600 for row in problems.TABLE.values())


EXAMPLES: list[tuple[DeciderError, int, str]] = [
    (errors.InvalidName("x y"), 404, "`x y` is no valid project name"),
    (errors.ProjectNotFound("demo", "public"), 404, "index `public` has no project `demo`"),
    (errors.FileNotListed("demo", "x.whl", "public"), 404, "index `public` lists no file `x.whl` for `demo`"),
    (errors.ReleaseNotFound("demo", "9.9", "public"), 404, "index `public` has no release `9.9` of `demo`"),
    (errors.RecordNotFound("rule", "r1"), 404, "no rule `r1`"),
    (errors.UnreadablePage("public", "no JSON"), 502, "index `public`: unreadable page: no JSON"),
    (errors.IndexUnavailable("public", "refused"), 503, "index `public`: refused"),
    (errors.IndexMisbehaved("public", "no HTTP"), 502, "index `public`: no HTTP"),
    (errors.FetchFailed("mismatch", "it is longer than 5 bytes"), 502, "it is longer than 5 bytes"),
    (errors.NoParts("public", "no ranges"), 502, "index `public`: no ranges"),
    (errors.IndexTimeout("public", "20 s"), 504, "index `public`: 20 s"),
    (errors.NotAcceptable(), 406, "No acceptable format"),
    (errors.Conflict("the name is taken"), 409, "the name is taken"),
    (errors.PreconditionFailed("changed"), 412, "changed"),
    (errors.PreconditionRequired("send If-Match"), 428, "send If-Match"),
    (errors.Unauthenticated("no token"), 401, "no token"),
    (errors.Forbidden("editor"), 403, "this call needs the role `editor`"),
    (errors.TooManyRequests(7), 429, "too many failed logins: try again in 7 s"),
    (
        errors.StoreUnavailable("redis://user:secret@host is away"),
        503,
        "the store cannot be read or written; nothing was changed",
    ),
    (
        errors.RulesUnavailable("too old"),
        503,
        "the store is away, and there are no rules from before that are young enough to decide by (max_policy_age)",
    ),
    (errors.ChildFailed("decider.x", "ended with -9"), 503, "the log says which; ask again"),
    (errors.InvalidSettings([Fault("store", "redis://user:secret@host")]), 500, "the log names the faults"),
]


@pytest.mark.parametrize(("error", "status", "detail"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_problem_response(error: DeciderError, status: int, detail: str) -> None:
    """An error answers with its status and a problem body of exactly that media type, which nothing keeps."""
    response = problems.problem_response(error)
    body = response.get_json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert (response.status_code, body["status"], body["detail"]) == (status, status, detail)
    assert body["title"] == problems.TABLE[type(error)].title
    assert body["type"] == problems.problem_type(type(error))
    assert "errors" not in body


def test_problem_type() -> None:
    """A problem's type is where the docs describe it."""
    assert problems.problem_type(errors.StoreUnavailable) == "/api/v1/docs#problem-store-unavailable"


def test_faults() -> None:
    """An input that cannot be read answers with every field at fault."""
    response = problems.problem_response(
        errors.InvalidRule([Fault("versions", "no specifier"), Fault("", "odd")])
    )
    assert response.status_code == 422
    assert response.get_json()["errors"] == [
        {"field": "versions", "detail": "no specifier"},
        {"field": "", "detail": "odd"},
    ]


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (errors.Unauthenticated("no token"), "WWW-Authenticate", 'Bearer realm="decider"'),
        (errors.TooManyRequests(7), "Retry-After", "7"),
        (errors.StoreUnavailable(), "Retry-After", "5"),
        (errors.IndexUnavailable("public", "away"), "Retry-After", "5"),
    ],
)
def test_headers(error: DeciderError, name: str, value: str) -> None:
    """401 says how to log in, 429 and 503 say when to come back."""
    assert problems.problem_response(error).headers[name] == value


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__)
    app.testing = True
    problems.register(app)

    @app.get("/fault")
    def fault() -> str:
        raise ValueError("secret")

    @app.get("/error")
    def error() -> str:
        raise errors.StoreUnavailable("secret")

    @app.get("/teapot")
    def teapot() -> str:
        abort(418)

    @app.get("/slashed/")
    def slashed() -> str:
        return ""

    return app.test_client()


def test_unknown_url(client: FlaskClient) -> None:
    """An unknown URL is a 404 with a problem body."""
    response = client.get("/nowhere")
    assert (response.status_code, response.content_type) == (404, "application/problem+json")
    assert response.get_json()["title"] == "Not Found"


def test_wrong_method(client: FlaskClient) -> None:
    """A wrong method is a 405 with a problem body that says which ones are right."""
    response = client.delete("/fault")
    assert (response.status_code, response.content_type) == (405, "application/problem+json")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_other_http_error(client: FlaskClient) -> None:
    """Any other HTTP error keeps its status and gets a problem body."""
    response = client.get("/teapot")
    assert (response.status_code, response.content_type) == (418, "application/problem+json")


def test_redirect(client: FlaskClient) -> None:
    """A redirect stays one."""
    assert client.get("/slashed").status_code == 308


def test_fault(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """What was not foreseen is a 500 whose cause is in the log, not in the body."""
    response = client.get("/fault")
    assert (response.status_code, response.content_type) == (500, "application/problem+json")
    assert "secret" not in response.get_data(as_text=True)
    assert [record.message for record in caplog.records] == ["request.failed"]
    assert caplog.records[0].exc_info


def test_unavailable_is_logged_without_secrets(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """A store that is away is logged by its class; what its error quotes is not."""
    with caplog.at_level(logging.INFO):
        assert client.get("/error").status_code == 503
    assert "secret" not in caplog.text
    assert [record.message for record in caplog.records] == ["request.unavailable"]
