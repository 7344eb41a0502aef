"""The OpenAPI 3.1 document, made from the declarations of the routes and the types of their values.

How it is shown may not be added here.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

import decider
from decider.errors import (
    DeciderError,
    Forbidden,
    InvalidRequest,
    InvalidRule,
    PreconditionFailed,
    PreconditionRequired,
    RecordNotFound,
    StoreUnavailable,
    TooManyRequests,
    Unauthenticated,
)
from decider.rules import RuleDraft
from decider.store import Role
from decider.web import problems
from decider.web.api.field_notes import FIELD_NOTES
from decider.web.api.operation import Operation, operations
from decider.web.api.shapes import Problem

__all__ = ["openapi_document"]

_PREFIX = "#/components/schemas/"
_ARGUMENT = re.compile(r"<(\w+)>")
#: nginx's own (nginx/refusals.conf).
_UNREAD = {400: "A header is too long, or there twice", 414: "The URL is too long"}
_BODY_TITLES = {413: "The body is too large", 415: "The body is of another type"}

Json = dict[str, Any]


@cache
def openapi_document() -> Json:
    """The document as plain JSON values; the same object each time, not to be changed."""
    declared = operations()
    schemas, components = _schemas(declared.values())
    paths: dict[str, Json] = defaultdict(dict)
    for name, one in sorted(declared.items(), key=lambda item: (item[1].path, item[1].method)):
        paths[_ARGUMENT.sub(r"{\1}", one.path)][one.method.lower()] = _operation(name, one, schemas)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "decider",
            "version": decider.__version__,
            "summary": "Which Python distribution files may be had, decided and explained",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "tags": [{"name": tag} for tag in sorted({_tag(one) for one in declared.values()})],
        "paths": dict(paths),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token; its role is reader, editor or admin, each with the rights of those before.",
                }
            },
        },
    }
    plain: Json = msgspec.json.decode(msgspec.json.encode(document))
    return plain


_INTRODUCTION = """\
Send `Authorization: Bearer <token>`. Bodies are JSON; unknown fields and unknown query parameters are refused (422).
Listings answer `{"items": […], "next": cursor or null}`: pass `next` as `cursor` to go on. Times are RFC 3339, UTC.
Errors are problem bodies (RFC 9457); `errors` names every field at fault. A change is acknowledged only when it is
durable, together with its audit entry; `If-Match` with an ETag makes sure that no other change is lost."""


class _Schemas:
    """Where the schema of a type is found in the document."""

    def __init__(self, types: list[Any]) -> None:
        found, components = msgspec.json.schema_components(types, ref_template=_PREFIX + "{name}")
        self._by_type = {repr(one): _renamed(schema) for one, schema in zip(types, found, strict=True)}
        self.components: Json = {_name(name): _renamed(schema) for name, schema in components.items()}

    def of(self, kind: Any) -> Json:
        """The schema, or the reference to it."""
        schema: Json = self._by_type[repr(kind)]
        return schema

    def fields_of(self, kind: type[msgspec.Struct]) -> tuple[Json, list[str]]:
        """Schemas of a struct's fields by name, and which are required."""
        component = self.components[self.of(kind)["$ref"].removeprefix(_PREFIX)]
        return component.get("properties", {}), component.get("required", [])


def _schemas(declared: Iterable[Operation]) -> tuple[_Schemas, Json]:
    declared = list(declared)
    queries = [one.query for one in declared]
    bodies = [one.body.schema for one in declared if one.body.schema is not None]
    results = [kind for one in declared for kind in (one.result, one.dry_run_result) if kind is not None]
    schemas = _Schemas([Problem, *queries, *bodies, *results])
    components = schemas.components
    query_names = {schemas.of(kind)["$ref"].removeprefix(_PREFIX) for kind in queries}
    public = {name: schema for name, schema in sorted(components.items()) if name not in query_names}
    for kind in bodies:
        if "$ref" in schemas.of(kind):
            public[schemas.of(kind)["$ref"].removeprefix(_PREFIX)]["additionalProperties"] = False
    for schema in public.values():
        for name, property_ in schema.get("properties", {}).items():
            if schema["title"] in _NOTED and name in FIELD_NOTES:
                property_["description"] = FIELD_NOTES[name]
    draft = public[RuleDraft.__name__]
    # What is read takes null for any field that may be left out.
    draft["properties"] = {
        name: value if name in draft["required"] else _nullable(value)
        for name, value in draft["properties"].items()
    }
    public[_PATCH] = {
        **{key: value for key, value in draft.items() if key != "required"},
        "title": _PATCH,
        "description": "Fields of a rule to change; null removes one.",
    }
    return schemas, public


def _nullable(schema: Json) -> Json:
    if "anyOf" in schema:
        return schema
    noted = {key: value for key, value in schema.items() if key == "description"}
    return {"anyOf": [schema, {"type": "null"}], **noted}


_PATCH = "RulePatch"
_NOTED = {"Rule", "RuleDraft", "DryRule"}


def _name(component: str) -> str:
    """`Page[Rule]` is called RulePage."""
    return re.sub(r"\APage_(\w+)_\Z", r"\1Page", component)


def _renamed(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _PREFIX + _name(value.removeprefix(_PREFIX)) if key == "$ref" else _renamed(value)
            for key, value in schema.items()
        }
    return [_renamed(value) for value in schema] if isinstance(schema, list) else schema


def _operation(name: str, one: Operation, schemas: _Schemas) -> Json:
    described: Json = {
        "operationId": name,
        "tags": [_tag(one)],
        "summary": one.summary,
        "description": " ".join([one.description, _role_note(one)]).strip(),
        "security": [] if one.role is None else [{"token": []}],
        "x-decider-role": one.role.value if one.role else None,
        "parameters": _parameters(one, schemas),
        "responses": _responses(one, schemas),
    }
    if one.body.schema is not None:
        schema = {"$ref": _PREFIX + _PATCH} if one.body.is_partial else schemas.of(one.body.schema)
        content = {"schema": schema, "examples": {"request": {"value": one.example}}}
        described["requestBody"] = {"required": True, "content": dict.fromkeys(one.body.media_types, content)}
    return described


def _role_note(one: Operation) -> str:
    if one.role is None:
        return "Needs no token."
    dry = f"; `{one.dry_run_role.value}` is enough for a dry run" if one.dry_run_role else ""
    return f"Needs the role `{one.role.value}`{dry}."


def _parameters(one: Operation, schemas: _Schemas) -> list[Json]:
    fields, required = schemas.fields_of(one.query)
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _ARGUMENT.findall(one.path)
    ]
    in_query = [
        {"name": name, "in": "query", "required": name in required, "schema": _of_query(schema)}
        for name, schema in fields.items()
    ]
    return in_path + in_query + _preconditions(one)


def _of_query(schema: Json) -> Json:
    """The schema of a query parameter, which is left out instead of being null."""
    if "anyOf" not in schema:
        return schema
    (one,) = (part for part in schema["anyOf"] if part.get("type") != "null")
    return dict(one)


def _preconditions(one: Operation) -> list[Json]:
    if PreconditionFailed not in one.problems:
        return []
    is_required = PreconditionRequired in one.problems
    return [
        {
            "name": "If-Match",
            "in": "header",
            "required": is_required,
            "description": "The ETag that was read: another state is refused.",
            "schema": {"type": "string"},
        }
    ]


def _responses(one: Operation, schemas: _Schemas) -> Json:
    responses: Json = {
        str(one.status): _result(one.result, one.media_type, {"asked": one.example_result}, schemas)
    }
    for media_type, text in one.texts.items():
        content = {"schema": {"type": "string"}, "examples": {"asked": {"value": text}}}
        responses[str(one.status)]["content"][media_type] = content
    if one.status == 201:
        responses["201"]["headers"] = {"Location": {"schema": {"type": "string"}}}
    if one.dry_run_result is not None and one.status == 200:
        # Both answer with one status: the document has to say what either looks like.
        content = responses["200"]["content"][one.media_type]
        content["schema"] = {"anyOf": [schemas.of(one.dry_run_result), schemas.of(one.result)]}
        content["examples"]["dry run"] = {"value": one.example_dry_run}
    elif one.dry_run_result is not None:
        dry = _result(one.dry_run_result, one.media_type, {"dry run": one.example_dry_run}, schemas)
        responses["200"] = {**dry, "description": "A dry run: nothing was stored."}
    titles: dict[int, set[str]] = defaultdict(set)
    for kind in _problems(one):
        row = problems.row_of(kind)
        titles[row.status.value].add(row.title)
    for status, title in (_UNREAD if one.body.schema is None else _UNREAD | _BODY_TITLES).items():
        titles[status].add(title)
    for status, said in sorted(titles.items()):
        responses[str(status)] = {
            "description": "; ".join(sorted(said)) + ".",
            "content": {problems.CONTENT_TYPE: {"schema": schemas.of(Problem)}},
        }
    return responses


def _result(kind: Any, media_type: str, examples: Json, schemas: _Schemas) -> Json:
    if kind is None:
        return {"description": "Done."}
    shown = {name: {"value": value} for name, value in examples.items() if value is not None}
    return {
        "description": "As asked.",
        "content": {media_type: {"schema": schemas.of(kind), **({"examples": shown} if shown else {})}},
    }


def _problems(one: Operation) -> list[type[DeciderError]]:
    found: list[type[DeciderError]] = [InvalidRequest, *one.problems]
    if one.role is not None:
        found += [Unauthenticated, TooManyRequests, StoreUnavailable]
    if one.role not in {None, Role.READER}:
        found.append(Forbidden)
    if _ARGUMENT.search(one.path):
        found.append(RecordNotFound)
    if one.body.schema is RuleDraft:
        found.append(InvalidRule)
    return found


def _tag(one: Operation) -> str:
    return one.path.split("/")[1].removesuffix(".json")
