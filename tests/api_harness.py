"""The API over a real SQLite store and indexes in memory; each answer is held against the OpenAPI document."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.test import TestResponse

from decider.errors import IndexError_
from decider.files import ProjectPage
from decider.names import NormalizedName
from decider.repository import Repositories
from decider.settings import IndexSettings, RepositorySettings, Settings
from decider.store import Role, Store, open_store
from decider.tokens import hash_secret
from decider.web import Services, create_app
from decider.web.api.document import openapi_document
from decider.web.api.operation import operations
from tests.samples import make_page

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADMIN_SECRET = "the-admin-secret-of-32-characters"


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **duration: float) -> None:
        self.at += timedelta(**duration)


class MemoryIndex:
    """An index whose pages a test sets; `error` is raised instead of any answer."""

    def __init__(self, name: str, *, is_internal: bool) -> None:
        self.name = name
        self.is_internal = is_internal
        self.pages: dict[str, ProjectPage] = {}
        self.error: IndexError_ | None = None
        self.refreshed: list[str] = []

    def publish(self, project: str, *filenames: str, **fields: Any) -> None:
        self.pages[project] = make_page(
            *filenames, index=self.name, project=NormalizedName(project), **fields
        )

    def fetch_page(self, project: NormalizedName) -> ProjectPage | None:
        if self.error:
            raise self.error
        return self.pages.get(project)

    def is_stale(self, project: NormalizedName) -> bool:
        return project in self.pages and self.error is not None

    def refresh_page(self, project: NormalizedName) -> ProjectPage | None:
        self.refreshed.append(project)
        return self.fetch_page(project)

    def fetch_projects(self) -> frozenset[NormalizedName]:
        if self.error:
            raise self.error
        return frozenset(NormalizedName(name) for name in self.pages)


class Api:
    """A client that speaks as a role, and holds every answer against the document."""

    def __init__(self, app: Flask, store: Store, indexes: Mapping[str, MemoryIndex], clock: Clock) -> None:
        self.app = app
        self.store = store
        self.internal = indexes["internal"]
        self.public = indexes["public"]
        self.clock = clock
        self.client: FlaskClient = app.test_client()
        self.secrets = {role: f"secret-of-{role}" for role in Role}
        for role, secret in self.secrets.items():
            store.add_token(f"a-{role}", role, hash_secret(secret), actor="test", at=START)

    def call(
        self,
        method: str,
        path: str,
        *,
        role: Role | None = Role.ADMIN,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> TestResponse:
        sent = dict(headers or {})
        if role is not None:
            sent["Authorization"] = f"Bearer {self.secrets[role]}"
        response = self.client.open(f"/api/v1{path}", method=method, headers=sent, **options)
        require_documented(method, path, response)
        return response

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.call("POST", path, **options)

    def put(self, path: str, **options: Any) -> TestResponse:
        return self.call("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self.call("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.call("DELETE", path, **options)

    def add_rule(self, action: str, project: str = "demo", **fields: Any) -> dict[str, Any]:
        response = self.post(
            "/rules", json={"action": action, "project": project, "reason": "because", **fields}
        )
        assert response.status_code == 201, response.get_json()
        added: dict[str, Any] = response.get_json()
        return added

    def verdicts(self, project: str = "demo", **query: str) -> dict[str, str]:
        response = self.get("/explain", query_string={"project": project, **query})
        assert response.status_code == 200, response.get_json()
        return {one["filename"]: one["verdict"] for one in response.get_json()["files"]}


def faults(response: TestResponse) -> dict[str, str]:
    """Field → what is wrong with it, of a 422."""
    assert response.status_code == 422, response.get_data(as_text=True)
    return {one["field"]: one["detail"] for one in response.get_json()["errors"]}


def require_documented(method: str, path: str, response: TestResponse) -> None:
    """Fail unless the document has this answer, with this body; calls that it does not have are 404 or 405."""
    described = _described(method, path.partition("?")[0])
    if described is None:
        assert response.status_code in {404, 405}
        return
    answer = described["responses"].get(str(response.status_code))
    assert answer is not None, (
        f"{method} {path}: {response.status_code} is not documented: {response.get_data(as_text=True)}"
    )
    for name in answer.get("headers", {}):
        assert name in response.headers
    if "content" not in answer:
        assert response.get_data() == b""
        return
    media_type = response.headers["Content-Type"].partition(";")[0]
    assert media_type in answer["content"]
    content = answer["content"][media_type]
    if media_type == "application/json" or media_type.endswith("+json"):
        errors = [error.message for error in _validator(content["schema"]).iter_errors(response.get_json())]
        assert not errors, f"{method} {path}: {errors}"


def _described(method: str, path: str) -> dict[str, Any] | None:
    for operation in operations().values():
        pattern = re.sub(r"<\w+>", "[^/]+", operation.path)
        if operation.method == method and re.fullmatch(pattern, path):
            template = re.sub(r"<(\w+)>", r"{\1}", operation.path)
            described: dict[str, Any] = openapi_document()["paths"][template][method.lower()]
            return described
    return None


def _validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A strict one: a field that the document does not name is an error."""
    document = openapi_document()
    components = {
        name: {"additionalProperties": False, **component} if "properties" in component else component
        for name, component in document["components"]["schemas"].items()
    }
    return Draft202012Validator(
        {**schema, "components": {"schemas": components}}, format_checker=FormatChecker()
    )


def make_settings(data_dir: Path) -> Settings:
    return Settings(
        data_dir=str(data_dir),
        indexes=(
            IndexSettings(name="internal", path=str(data_dir / "packages")),
            IndexSettings(name="public", url="https://index.example/simple/"),
        ),
        repositories=(
            RepositorySettings(name="default", indexes=("internal", "public")),
            RepositorySettings(name="inside", indexes=("internal",)),
        ),
    )


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The API with a token of each role; index `internal` is internal, `public` is not."""
    monkeypatch.setenv("DECIDER_ADMIN_TOKEN", ADMIN_SECRET)
    with open_api(tmp_path) as opened:
        yield opened


@contextmanager
def open_api(tmp_path: Path, wrap: Callable[[Store], Store] = lambda store: store) -> Iterator[Api]:
    """An API of its own; `wrap` may put something around its store."""
    settings = make_settings(tmp_path)
    clock = Clock()
    store = wrap(open_store("sqlite", path=str(tmp_path)))
    indexes = {
        "internal": MemoryIndex("internal", is_internal=True),
        "public": MemoryIndex("public", is_internal=False),
    }
    repositories = Repositories(settings, store, indexes, clock=clock)
    app = create_app(settings, parts=Services(settings, store, repositories, clock))
    app.testing = True
    try:
        yield Api(app, store, indexes, clock)
    finally:
        store.close()


def ids(items: Iterable[Mapping[str, Any]]) -> list[str]:
    return [item["id"] for item in items]
