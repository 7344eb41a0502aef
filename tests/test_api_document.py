"""The OpenAPI document and the readable docs."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from decider.web.api.document import openapi_document
from decider.web.api.operation import operations
from decider.web.problems import TABLE, problem_type
from tests.api_harness import Api, api

__all__ = ["api"]

CALLS = [
    (f"{method.upper()} {path}", call)
    for path, methods in openapi_document()["paths"].items()
    for method, call in methods.items()
]


def test_document(api: Api) -> None:
    """The document needs no token, is valid OpenAPI 3.1, and has every call."""
    response = api.get("/openapi.json", role=None)
    document = response.get_json()
    assert response.content_type == "application/json"
    assert document == openapi_document()
    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert {call["operationId"] for _, call in CALLS} == set(operations())


def test_document_matches_the_routes(api: Api) -> None:
    """Path by path and method by method the document is the routing table."""
    routes = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1")))
        for rule in api.app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (method.upper(), path) for path, methods in openapi_document()["paths"].items() for method in methods
    }
    assert described == routes


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_call(name: str, call: dict[str, Any]) -> None:
    """Each call says what it does, who may make it, and has examples that fit its schemas."""
    del name
    assert call["summary"]
    assert call["description"]
    role = call["x-decider-role"]
    assert (call["security"] == []) == (role is None)
    assert ("401" in call["responses"]) == (role is not None)
    assert ("403" in call["responses"]) == (role in {"editor", "admin"})
    contents = [
        *call.get("requestBody", {}).get("content", {}).values(),
        *(one for answer in call["responses"].values() for one in answer.get("content", {}).values()),
    ]
    components = {"components": openapi_document()["components"]}
    for content in contents:
        validator = Draft202012Validator({**content["schema"], **components})
        for example in content.get("examples", {}).values():
            assert [error.message for error in validator.iter_errors(example["value"])] == []
    for status in ("200", "201"):
        for content in call["responses"].get(status, {}).get("content", {}).values():
            assert "examples" in content or role is None


def test_statuses() -> None:
    """The statuses that a call can end in follow from what it declares."""
    calls = dict(CALLS)
    assert set(calls["PATCH /rules/{rule_id}"]["responses"]) == {
        "200",
        "401",
        "403",
        "404",
        "409",
        "412",
        "413",
        "400",
        "414",
        "415",
        "422",
        "428",
        "429",
        "503",
    }
    reading = {"200", "400", "401", "404", "414", "422", "429", "502", "503", "504"}
    assert set(calls["GET /explain"]["responses"]) == reading
    assert set(calls["GET /docs"]["responses"]) == {"200", "400", "414", "422"}
    assert set(calls["POST /rules"]["responses"]) >= {"200", "201"}


class Page(HTMLParser):
    """What a page refers to, and the anchors and tags that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"href", "src"}:
                self.links.add(value or "")
            if name == "id":
                self.ids.append(value or "")


def test_docs(api: Api) -> None:
    """The docs are one page without script or anything from elsewhere, and its links lead somewhere."""
    response = api.get("/docs", role=None)
    text = response.get_data(as_text=True)
    page = Page(text)
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert {link for link in page.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert set(operations()) <= set(page.ids)
    assert {problem_type(kind).partition("#")[2] for kind in TABLE} <= set(page.ids)
    assert "http" not in re.sub(r"http://localhost:8080/api/v1/rules", "", text)


def test_docs_are_escaped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the document holds, the page shows it as text."""
    hostile = {**openapi_document(), "info": {**openapi_document()["info"], "version": "<script>1</script>"}}
    monkeypatch.setattr("decider.web.api.docs.openapi_document", lambda: hostile)
    text = api.get("/docs", role=None).get_data(as_text=True)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
