"""One decorator for every route of the API: who may call it, what it takes, what it answers.

The same declaration guards the route and is what the OpenAPI document is made from, so neither can be forgotten.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, TypeVar

import msgspec
from flask import Blueprint, Response

from decider.errors import DeciderError
from decider.store import Role
from decider.web import services
from decider.web.api.inputs import Body, read_query
from decider.web.auth import Caller, authenticate

__all__ = ["PUBLIC", "Call", "Operation", "authorise", "blueprint", "operation", "operations", "respond"]

Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B")

blueprint = Blueprint("api", __name__, url_prefix="/api/v1", template_folder="templates")

PUBLIC = Caller("", Role.READER)  #: who calls a route that needs no token


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request, read and authorised."""

    caller: Caller
    query: Q
    body: B


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is declared of a route."""

    method: str
    path: str  #: as Flask spells it, below /api/v1
    role: Role | None  #: None: no token needed
    dry_run_role: Role | None  #: enough when `dry_run=true`; None: there is no dry run
    query: type[msgspec.Struct]
    body: Body[Any]
    status: int
    result: Any  #: type of the JSON answer; None: there is no body
    dry_run_result: Any  #: as `result`, of a dry run (status 200)
    media_type: str
    texts: Mapping[str, str]  #: other media types in which the same can be had → an example
    summary: str
    description: str
    problems: tuple[type[DeciderError], ...]  #: beyond those that follow from the above
    example: Any  #: of the request's body
    example_result: Any
    example_dry_run: Any


_OPERATIONS: dict[str, Operation] = {}


def operations() -> dict[str, Operation]:
    """Every declared operation by its name, which is its view's name."""
    return dict(_OPERATIONS)


def operation(
    method: str,
    path: str,
    *,
    role: Role | None,
    query: type[Q],
    body: Body[B],
    result: Any,
    status: int = 200,
    dry_run_role: Role | None = None,
    dry_run_result: Any = None,
    media_type: str = "application/json",
    texts: Mapping[str, str] | None = None,
    problems: tuple[type[DeciderError], ...] = (),
    example: Any = None,
    example_result: Any = None,
    example_dry_run: Any = None,
) -> Callable[[Callable[Concatenate[Call[Q, B], ...], Response]], Callable[..., Response]]:
    """Route `method path` to the view: its docstring is summary and description, its other arguments the path's."""

    def declare(view: Callable[Concatenate[Call[Q, B], ...], Response]) -> Callable[..., Response]:
        name = view.__name__
        summary, _, description = (view.__doc__ or "").partition("\n")
        declared = Operation(
            method=method,
            path=path,
            role=role,
            dry_run_role=dry_run_role,
            query=query,
            body=body,
            status=status,
            result=result,
            dry_run_result=dry_run_result,
            media_type=media_type,
            texts=texts or {},
            summary=summary.strip().rstrip("."),
            description=" ".join(description.split()),
            problems=problems,
            example=example,
            example_result=example_result,
            example_dry_run=example_dry_run,
        )
        _OPERATIONS[name] = declared

        @wraps(view)
        def guarded(**arguments: str) -> Response:
            answer = view(_call(declared, query, body), **arguments)
            if declared.role not in {None, Role.READER}:
                # A change is acknowledged when it decides here, too. Other processes load it at the same time, so
                # that none is much behind, however long a feed of 100,000 rules takes to load.
                services().repositories.keeper.catch_up()
            return answer

        blueprint.add_url_rule(path, endpoint=name, view_func=guarded, methods=[method])
        return guarded

    return declare


def _call(declared: Operation, query: type[Q], body: Body[B]) -> Call[Q, B]:
    caller, asked = authorise(declared, query)
    return Call(caller, asked, body.read())


def authorise(declared: Operation, query: type[Q]) -> tuple[Caller, Q]:
    """Who makes the present request, which may do so, and its query: authenticated before anything is read."""
    if declared.role is None:
        return PUBLIC, read_query(query)
    caller = authenticate()
    asked = read_query(query)
    is_dry = declared.dry_run_role is not None and getattr(asked, "dry_run", False)
    caller.require(declared.dry_run_role if is_dry and declared.dry_run_role else declared.role)
    return caller, asked


def respond(
    value: Any, *, status: int = 200, etag: int | None = None, location: str | None = None
) -> Response:
    """`value` as JSON. Nothing may keep it: it was made for the bearer of a token."""
    response = Response(
        msgspec.json.encode(value) if status != 204 else b"", status=status, content_type="application/json"
    )
    if status == 204:
        del response.headers["Content-Type"]
    response.headers["Cache-Control"] = "no-store"
    if etag is not None:
        response.set_etag(str(etag))
    if location is not None:
        response.headers["Location"] = location
    return response
