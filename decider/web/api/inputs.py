"""What a request to the API says: query parameters, bodies, preconditions; everything that is wrong at once.

What the values mean may not be added here.
"""

import json
import types
import typing
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import msgspec
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from decider.errors import Fault, InvalidName, InvalidRequest, PreconditionFailed
from decider.names import NormalizedName, parse_project_name

__all__ = [
    "MAX_BODY",
    "MAX_RULESET_BODY",
    "NO_BODY",
    "Body",
    "Limit",
    "Listing",
    "Moment",
    "NoQuery",
    "fields_body",
    "has_if_match",
    "json_body",
    "matched_revision",
    "project_field",
    "read_query",
    "refuse",
    "text_body",
]

B = TypeVar("B")
S = TypeVar("S", bound=msgspec.Struct)

MAX_BODY = 1_000_000  #: bytes
MAX_RULESET_BODY = 64_000_000  #: bytes

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000, description="how many items at most")]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class NoQuery(msgspec.Struct, frozen=True):
    """No query parameter at all."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of every listing."""

    limit: Limit = 100
    cursor: Annotated[str, msgspec.Meta(description="`next` of the page before")] | None = None


def refuse(field: str, detail: str) -> NoReturn:
    """Raise InvalidRequest for one field."""
    raise InvalidRequest([Fault(field, detail)])


def project_field(raw: str, *, field: str = "project") -> NormalizedName:
    """The normalized name; raise InvalidRequest where `raw` is none."""
    try:
        return parse_project_name(raw)
    except InvalidName as error:
        refuse(field, str(error))


# Query parameters


def read_query(kind: type[S]) -> S:
    """The query parameters of the present request; raise InvalidRequest with every fault."""
    faults = [
        Fault(name, "is given more than once") for name, values in request.args.lists() if len(values) > 1
    ]
    return _struct(kind, request.args.to_dict(), faults, strict=False)


# Bodies


@dataclass(frozen=True, slots=True, kw_only=True)
class Body(Generic[B]):
    """How a body is read, and what the OpenAPI document says of it."""

    read: Callable[[], B]
    schema: type[Any] | None = None
    media_types: tuple[str, ...] = ()
    max_bytes: int = 0
    is_partial: bool = False  #: any field may be left out


NO_BODY: Body[None] = Body(read=lambda: None)


def json_body(kind: type[S], *, documented: type[Any] | None = None, max_bytes: int = MAX_BODY) -> Body[S]:
    """A JSON object whose fields are those of `kind`; `documented` where another type describes it better."""

    def read() -> S:
        return _struct(kind, _json_object(_JSON, max_bytes), [], strict=True)

    return Body(read=read, schema=documented or kind, media_types=_JSON, max_bytes=max_bytes)


def fields_body(schema: type[Any], *, is_partial: bool = False) -> Body[dict[str, Any]]:
    """A JSON object that another module reads field by field; documented as `schema`."""
    media_types = (*_JSON, "application/merge-patch+json") if is_partial else _JSON

    def read() -> dict[str, Any]:
        return _json_object(media_types, MAX_BODY)

    return Body(read=read, schema=schema, media_types=media_types, max_bytes=MAX_BODY, is_partial=is_partial)


def text_body() -> Body[str]:
    """A text in UTF-8 of whatever type, as command-line clients send files."""

    def read() -> str:
        if request.mimetype == "multipart/form-data":
            raise UnsupportedMediaType("send the file itself as the body")
        body = _read_bytes(MAX_BODY)
        if not body:
            # A pipeline that lost its file must not read "nothing is refused".
            refuse("", "the body is empty: send the file itself")
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            refuse("", f"no UTF-8 text: byte {error.start}")

    return Body(read=read, schema=str, media_types=("text/plain",), max_bytes=MAX_BODY)


_JSON = ("application/json",)


def _json_object(media_types: Collection[str], max_bytes: int) -> dict[str, Any]:
    if request.mimetype not in media_types:
        raise UnsupportedMediaType(f"send {' or '.join(media_types)}")
    body = _read_bytes(max_bytes)
    try:
        value = msgspec.json.decode(body)
        json.loads(body, object_pairs_hook=_require_distinct, parse_int=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse("", f"the body is no JSON: {error}")
    if not isinstance(value, dict):
        refuse("", "the body is no JSON object")
    return value


def _require_distinct(members: Sequence[tuple[str, object]]) -> None:
    """Raise InvalidRequest where a name stands twice: readers would differ in which they believe (RFC 8259, 4)."""
    if len(dict(members)) < len(members):
        ((twice, _),) = Counter(name for name, _ in members).most_common(1)
        refuse(twice[:80], "is given more than once")


def _read_bytes(max_bytes: int) -> bytes:
    # The one place that bounds bodies: a length is believed only to refuse early.
    if (request.content_length or 0) > max_bytes:
        raise RequestEntityTooLarge(f"at most {max_bytes} bytes")
    body = request.stream.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise RequestEntityTooLarge(f"at most {max_bytes} bytes")
    return body


def _struct(kind: type[S], given: Mapping[str, Any], faults: list[Fault], *, strict: bool) -> S:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields:
            faults.append(Fault(name[:80], "is not known"))
            continue
        try:
            values[fields[name].name] = _convert(value, fields[name].type, strict=strict)
        except msgspec.ValidationError as error:
            detail = str(error)
            faults.append(Fault(name, detail[:1].lower() + detail[1:]))
    faults += [
        Fault(name, "is required") for name, field in fields.items() if field.required and name not in given
    ]
    if faults:
        raise InvalidRequest(faults)
    return kind(**values)


def _convert(value: Any, kind: Any, *, strict: bool) -> Any:
    if not strict and _takes(kind, datetime):
        value = value.replace(" ", "+")  # what an unescaped `+00:00` arrives as
        strict = True  # a lax conversion would take seconds since the epoch
    if not strict and _takes(kind, str):
        return value
    if not strict and value == "null":
        kind = _not_none(kind)  # a lax conversion would read this text as None, and so as no filter at all
    converted = msgspec.convert(value, kind, strict=strict)
    return _in_utc(converted) if isinstance(converted, datetime) else converted


def _in_utc(moment: datetime) -> datetime:
    """The same moment; raise ValidationError where UTC has none: the first and the last hours of the calendar."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise msgspec.ValidationError("names no moment of the calendar") from None


def _not_none(kind: Any) -> Any:
    """`kind`, where it is optional the same without None."""
    if typing.get_origin(kind) not in {typing.Union, types.UnionType}:
        return kind
    return typing.Union[tuple(part for part in typing.get_args(kind) if part is not types.NoneType)]  # noqa: UP007


def _takes(kind: Any, wanted: type) -> bool:
    """Whether `kind` is `wanted`, perhaps annotated or optional."""
    origin = typing.get_origin(kind)
    if origin in {typing.Union, types.UnionType}:
        return any(_takes(part, wanted) for part in typing.get_args(kind))
    if origin is Annotated:
        return _takes(typing.get_args(kind)[0], wanted)
    return kind is wanted


# Preconditions (RFC 9110, 13.1)


def has_if_match() -> bool:
    """Whether the present request depends on the state it finds."""
    return "If-Match" in request.headers


def matched_revision(present: int) -> int:
    """`present`, where If-Match names it; raise PreconditionFailed where it does not.

    Weak tags count: a proxy that compresses makes a strong one weak, and a revision names a state either way.
    """
    if request.if_match.star_tag:
        return present
    if str(present) not in request.if_match.as_set(include_weak=True):
        raise PreconditionFailed(f'it is at revision "{present}" now')
    return present
