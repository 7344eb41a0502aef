"""The OpenAPI document as JSON, and as one page for people: no script, nothing from elsewhere."""

import json
import re
from typing import Any

from flask import Response, render_template
from markupsafe import Markup, escape

from decider.web.api.document import openapi_document
from decider.web.api.inputs import NO_BODY, NoQuery
from decider.web.api.operation import Call, operation, respond
from decider.web.problems import CONTENT_TYPE, TABLE, problem_type

__all__: list[str] = []

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@operation("GET", "/openapi.json", role=None, query=NoQuery, body=NO_BODY, result=dict[str, Any])
def get_openapi(_call: Call[NoQuery, None]) -> Response:
    """Get this description as an OpenAPI 3.1 document."""
    return respond(openapi_document())


@operation("GET", "/docs", role=None, query=NoQuery, body=NO_BODY, result=str, media_type="text/html")
def get_docs(_call: Call[NoQuery, None]) -> Response:
    """Get this description as a page for people."""
    document = openapi_document()
    kinds = sorted(
        (
            {"anchor": problem_type(kind).partition("#")[2], "status": row.status.value, "title": row.title}
            for kind, row in TABLE.items()
        ),
        key=lambda kind: (kind["status"], kind["title"]),
    )
    page = render_template(
        "api_docs.html",
        document=document,
        problems=kinds,
        problem_type=CONTENT_TYPE,
        anchor=_anchor,
        marked=_marked,
        pretty=_pretty,
        type_of=_type_of,
    )
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _marked(text: str) -> Markup:
    """The text, escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped just before)


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _anchor(schema: dict[str, Any]) -> str | None:
    """The name of the component that the schema refers to, itself or by its items."""
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref")
    return reference.rsplit("/", 1)[-1] if reference else None


def _type_of(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(_type_of(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "enum" in schema:
        return " | ".join(str(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type_of(schema.get('items') or {})}"
    return str(schema.get("format") or schema.get("type") or "any")
