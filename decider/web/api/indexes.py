"""Indexes: revalidate a page now."""

from flask import Response

from decider.errors import IndexTimeout, IndexUnavailable, RecordNotFound, UnreadablePage
from decider.store import Role
from decider.web import services
from decider.web.api import examples
from decider.web.api.inputs import NoQuery, json_body, project_field
from decider.web.api.operation import Call, operation, respond
from decider.web.api.shapes import Refreshed, RefreshRequest

__all__: list[str] = []


@operation(
    "POST",
    "/indexes/<index>/refresh",
    role=Role.EDITOR,
    query=NoQuery,
    body=json_body(RefreshRequest),
    result=Refreshed,
    problems=(UnreadablePage, IndexUnavailable, IndexTimeout),
    example={"project": "demo"},
    example_result=examples.REFRESHED,
)
def refresh_page(call: Call[NoQuery, RefreshRequest], index: str) -> Response:
    """Revalidate an index's page of a project now, past every cache."""
    repositories = services().repositories
    if index not in repositories.indexes:
        raise RecordNotFound("index", index)
    project = project_field(call.body.project)
    page = repositories.refresh(index, project)
    return respond(
        Refreshed(
            index=index,
            project=project,
            found=page is not None,
            files=len(page.files) if page else 0,
            digest=page.digest if page else None,
        )
    )
