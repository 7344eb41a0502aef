"""Errors as RFC 9457 problem bodies, and the one table from error class to HTTP status.

Installers print title and detail of a body whose Content-Type is exactly `application/problem+json` (STANDARDS
C12): no charset. Secrets never reach a body: errors of the store and of settings answer with fixed words, what was
not foreseen with none.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask, Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from decider.errors import (
    CannotStart,
    ChildFailed,
    Conflict,
    DeciderError,
    FetchFailed,
    FileNotListed,
    Forbidden,
    IndexMisbehaved,
    IndexTimeout,
    IndexUnavailable,
    InvalidName,
    InvalidRequest,
    InvalidRule,
    InvalidSettings,
    NoParts,
    NotAcceptable,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    ProjectNotFound,
    RecordNotFound,
    ReleaseNotFound,
    RulesUnavailable,
    StoreUnavailable,
    TooManyRequests,
    Unauthenticated,
    UnreadableDistribution,
    UnreadablePage,
    UsageUnavailable,
)

__all__ = [
    "CONTENT_TYPE",
    "RETRY_AFTER_S",
    "TABLE",
    "Row",
    "problem",
    "problem_members",
    "problem_of",
    "problem_response",
    "problem_type",
    "register",
    "row_of",
]

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = "5"
_TYPES = "/api/v1/docs#problem-"  #: where the types are described; RFC 9457, 3.1.1 permits a path


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of errors is answered."""

    status: HTTPStatus
    title: str
    detail: str | None = None  #: fixed words, where the error's own may say too much


TABLE: dict[type[DeciderError], Row] = {
    DeciderError: Row(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error", "a fault in decider: see its log"
    ),
    InvalidName: Row(HTTPStatus.NOT_FOUND, "No valid name"),
    InvalidRule: Row(HTTPStatus.UNPROCESSABLE_ENTITY, "The rule cannot be stored"),
    InvalidRequest: Row(HTTPStatus.UNPROCESSABLE_ENTITY, "The request cannot be read"),
    InvalidSettings: Row(
        HTTPStatus.INTERNAL_SERVER_ERROR, "The configuration cannot be used", "the log names the faults"
    ),
    CannotStart: Row(
        HTTPStatus.INTERNAL_SERVER_ERROR, "The service cannot start", "the log names what keeps it"
    ),
    ChildFailed: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "A part of the work failed", "the log says which; ask again"
    ),
    NotFound: Row(HTTPStatus.NOT_FOUND, "Not found"),
    ProjectNotFound: Row(HTTPStatus.NOT_FOUND, "No such project"),
    FileNotListed: Row(HTTPStatus.NOT_FOUND, "No such file"),
    ReleaseNotFound: Row(HTTPStatus.NOT_FOUND, "No such release"),
    RecordNotFound: Row(HTTPStatus.NOT_FOUND, "No such record"),
    UnreadableDistribution: Row(HTTPStatus.BAD_GATEWAY, "The file cannot be read"),
    UnreadablePage: Row(HTTPStatus.BAD_GATEWAY, "The index gave no readable page"),
    IndexUnavailable: Row(HTTPStatus.SERVICE_UNAVAILABLE, "The index is away"),
    IndexMisbehaved: Row(HTTPStatus.BAD_GATEWAY, "The index gave no proper answer"),
    FetchFailed: Row(HTTPStatus.BAD_GATEWAY, "A host gave no proper answer"),
    IndexTimeout: Row(HTTPStatus.GATEWAY_TIMEOUT, "The index is too slow"),
    NoParts: Row(HTTPStatus.BAD_GATEWAY, "The index gives files only whole"),
    NotAcceptable: Row(HTTPStatus.NOT_ACCEPTABLE, "No acceptable format"),
    Conflict: Row(HTTPStatus.CONFLICT, "The change contradicts what is stored"),
    PreconditionFailed: Row(HTTPStatus.PRECONDITION_FAILED, "It has changed meanwhile"),
    PreconditionRequired: Row(HTTPStatus.PRECONDITION_REQUIRED, "If-Match is required"),
    Unauthenticated: Row(HTTPStatus.UNAUTHORIZED, "A valid token is required"),
    Forbidden: Row(HTTPStatus.FORBIDDEN, "The token's role is too low"),
    TooManyRequests: Row(HTTPStatus.TOO_MANY_REQUESTS, "Too many failed logins"),
    UsageUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The usage records are away",
        "the records of what was served cannot be read now: the log says why",
    ),
    StoreUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The store is away",
        "the store cannot be read or written; nothing was changed",
    ),
    RulesUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The store is away",
        "the store is away, and there are no rules from before that are young enough to decide by (max_policy_age)",
    ),
}


def row_of(kind: type[DeciderError]) -> Row:
    """The row of the class, else of its nearest ancestor."""
    return next(TABLE[ancestor] for ancestor in kind.__mro__ if ancestor in TABLE)


def problem_type(kind: type[DeciderError]) -> str:
    """The URI reference that names this kind of problem: where the docs describe it."""
    slug = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.rstrip("_")).lower()
    return f"{_TYPES}{slug}"


def problem_members(error: DeciderError) -> dict[str, Any]:
    """The members of the problem body for `error`."""
    row = row_of(type(error))
    members: dict[str, Any] = {
        "type": problem_type(type(error)),
        "title": row.title,
        "status": row.status.value,
        "detail": row.detail or str(error) or row.title,
    }
    if isinstance(error, (InvalidRule, InvalidRequest)):
        members["errors"] = [{"field": fault.field, "detail": fault.detail} for fault in error.faults]
    return members


def problem_response(error: DeciderError) -> Response:
    """The answer to a request that ended in `error`."""
    response = problem_of(problem_members(error))
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="decider"'  # RFC 6750, 3
    if isinstance(error, Forbidden):
        response.headers["WWW-Authenticate"] = 'Bearer realm="decider", error="insufficient_scope"'
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def problem_of(members: Mapping[str, Any]) -> Response:
    """The answer whose body has these members, as problem_members gives them."""
    response = problem(**members)
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = RETRY_AFTER_S
    return response


def problem(*, status: int, title: str, detail: str, **members: Any) -> Response:
    """A problem answer of any kind; `members` are added to its body. Nothing may keep it."""
    body = {"type": "about:blank", "title": title, "status": int(status), "detail": detail} | members
    response = Response(msgspec.json.encode(body), status=int(status), content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def register(app: Flask) -> None:
    """Answer every error of `app` with a problem body: decider's own, HTTP ones (404, 405 …), and faults (500)."""
    app.register_error_handler(DeciderError, _decider_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)


def _decider_error(error: DeciderError) -> Response:
    if row_of(type(error)).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # The text of a store's error may quote its URL: the class and where it came from suffice.
        log.warning("request.unavailable", extra={"error": type(error).__name__})
    return problem_response(error)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status < HTTPStatus.BAD_REQUEST:
        return error  # a redirect
    response = problem(status=status, title=error.name, detail=error.description or error.name)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _fault(error: Exception) -> Response:
    log.error("request.failed", exc_info=error)
    return problem_response(DeciderError())
