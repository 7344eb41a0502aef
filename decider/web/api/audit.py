"""The audit log: every change, who made it, what was before."""

from flask import Response

from decider.store import AuditEntry, Page, Role
from decider.web import services
from decider.web.api import examples
from decider.web.api.inputs import NO_BODY, Listing, Moment
from decider.web.api.operation import Call, operation, respond

__all__: list[str] = []


class AuditQuery(Listing, frozen=True, kw_only=True):
    """Which entries to list."""

    since: Moment | None = None
    actor: str | None = None
    rule: str | None = None


@operation(
    "GET",
    "/audit",
    role=Role.READER,
    query=AuditQuery,
    body=NO_BODY,
    result=Page[AuditEntry],
    example_result=examples.listing(examples.AUDIT_ENTRY),
)
def list_audit(call: Call[AuditQuery, None]) -> Response:
    """List audit entries, oldest first.

    Each carries the hash of the one before, so an edit or a gap shows; `decider audit verify` looks for them.
    """
    query = call.query
    page = services().store.list_audit(
        since=query.since, actor=query.actor, rule=query.rule, limit=query.limit, cursor=query.cursor
    )
    return respond(page)
