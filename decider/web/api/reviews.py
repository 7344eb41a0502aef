"""Reviews: held files that someone asked for, waiting for a decision."""

from typing import Any

import msgspec
from flask import Response

from decider.errors import Conflict
from decider.rules import Action, Rule
from decider.store import Page, Review, ReviewState, Role
from decider.web import services
from decider.web.api import examples
from decider.web.api.inputs import NO_BODY, Listing, NoQuery, json_body, project_field
from decider.web.api.operation import Call, operation, respond
from decider.web.api.rules import parse_rule, rule_url
from decider.web.api.shapes import ReviewDecided, ReviewDecision

__all__: list[str] = []


class ReviewQuery(Listing, frozen=True, kw_only=True):
    """Which reviews to list."""

    state: ReviewState | None = None
    project: str | None = None


@operation(
    "GET",
    "/reviews",
    role=Role.READER,
    query=ReviewQuery,
    body=NO_BODY,
    result=Page[Review],
    example_result=examples.listing(examples.REVIEW),
)
def list_reviews(call: Call[ReviewQuery, None]) -> Response:
    """List reviews."""
    query = call.query
    project = None if query.project is None else project_field(query.project)
    page = services().store.list_reviews(
        state=query.state, project=project, limit=query.limit, cursor=query.cursor
    )
    return respond(page)


@operation(
    "GET",
    "/reviews/<review_id>",
    role=Role.READER,
    query=NoQuery,
    body=NO_BODY,
    result=Review,
    example_result=examples.REVIEW,
)
def get_review(_call: Call[NoQuery, None], review_id: str) -> Response:
    """Get a review."""
    return respond(services().store.get_review(review_id))


@operation(
    "POST",
    "/reviews/<review_id>",
    role=Role.EDITOR,
    query=NoQuery,
    body=json_body(ReviewDecision),
    result=ReviewDecided,
    problems=(Conflict,),
    example={"decision": "approve", "reason": "read by the security team", "versions": "==3.0"},
    example_result={
        **examples.REVIEW,
        "state": "approved",
        "decided_by": "token:ci",
        "decided_at": "2026-11-22T10:00:00Z",
        "reason": "read by the security team",
        "written": {**examples.RULE, "action": "allow", "lifts": ["r18"], "versions": "==3.0"},
    },
)
def decide_review(call: Call[NoQuery, ReviewDecision], review_id: str) -> Response:
    """Approve or deny a held file.

    Approving writes an `allow` that lifts the hold, denying a `block`; for the `versions` given, else for all of
    the project's, until `expires_at` where given. The answer has the rule as `written`.
    """
    parts = services()
    at = parts.clock()
    review = parts.store.get_review(review_id)
    decision = call.body
    is_approved = decision.decision == "approve"
    draft = parse_rule(_rule_fields(review, decision), at=at)
    decided, rule = parts.store.decide_review(
        review_id,
        ReviewState.APPROVED if is_approved else ReviewState.DENIED,
        draft,
        reason=draft.reason,
        actor=call.caller.actor,
        at=at,
    )
    answer = ReviewDecided(**msgspec.structs.asdict(decided), written=rule)
    return respond(answer, location=rule_url(rule.id))


def _rule_fields(review: Review, decision: ReviewDecision) -> dict[str, Any]:
    hold = _hold(review)
    fields: dict[str, Any] = {
        "project": review.project,
        "versions": decision.versions,
        "reason": decision.reason,
        "expires_at": decision.expires_at,
        # Where the hold is in force, and nowhere else.
        "repositories": hold.repositories if hold else None,
    }
    if decision.decision == "approve":
        return {**fields, "action": Action.ALLOW.value, "lifts": [review.rule]}
    return {**fields, "action": Action.BLOCK.value}


def _hold(review: Review) -> Rule | None:
    return services().repositories.keeper.refresh().rule(review.rule)
