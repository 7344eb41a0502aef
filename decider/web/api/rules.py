"""Rules, one at a time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from flask import Response

from decider.errors import Conflict, InvalidName, PreconditionFailed, PreconditionRequired
from decider.names import parse_pattern
from decider.rules import Action, Rule, RuleDraft, apply_patch, parse_draft
from decider.store import Page, Role
from decider.store.rulesets import draft_of, make_rule, require_unowned
from decider.usage.reading import Usage
from decider.web import services
from decider.web.api import examples
from decider.web.api.effects import Change, effects_of
from decider.web.api.inputs import (
    NO_BODY,
    Listing,
    NoQuery,
    fields_body,
    has_if_match,
    matched_revision,
    refuse,
)
from decider.web.api.operation import Call, operation, respond
from decider.web.api.shapes import DryRule
from decider.web.auth import Caller

__all__ = ["MANUAL", "DryRun", "parse_rule", "rule_url"]

MANUAL = "manual"  #: the ruleset of rules made one at a time
_PROVISIONAL = "dry-run"  #: stands for the id that a new rule would get


class RuleQuery(Listing, frozen=True, kw_only=True):
    """Which rules to list."""

    project: str | None = None
    action: Action | None = None
    ruleset: str | None = None
    active: bool | None = None


class DryRun(msgspec.Struct, frozen=True):
    """Whether to store anything."""

    dry_run: bool = False


class Removal(msgspec.Struct, frozen=True):
    """Why a rule goes."""

    reason: str | None = None


@operation(
    "GET",
    "/rules",
    role=Role.READER,
    query=RuleQuery,
    body=NO_BODY,
    result=Page[Rule],
    example_result=examples.listing(examples.RULE),
)
def list_rules(call: Call[RuleQuery, None]) -> Response:
    """List rules.

    By id, expired ones too unless `active` is given. `project` names a pattern as rules spell it, not a project
    that patterns match: for that, ask `explain`.
    """
    query = call.query
    page = services().store.list_rules(
        at=services().clock(),
        project=None if query.project is None else _pattern(query.project),
        action=query.action,
        ruleset=query.ruleset,
        active=query.active,
        limit=query.limit,
        cursor=query.cursor,
    )
    return respond(page)


@operation(
    "POST",
    "/rules",
    role=Role.EDITOR,
    dry_run_role=Role.READER,
    query=DryRun,
    body=fields_body(RuleDraft),
    status=201,
    result=Rule,
    dry_run_result=DryRule,
    problems=(Conflict,),
    example=examples.DRAFT,
    example_result=examples.RULE,
    example_dry_run=examples.DRY_RULE,
)
def add_rule(call: Call[DryRun, dict[str, Any]]) -> Response:
    """Add a rule to the ruleset `manual`.

    In force at every nginx within two seconds of the answer. With `dry_run=true` nothing is stored: the answer
    says what would be, which files of current pages would change their verdict, and which requests of the last 30 days
    would have ended otherwise.
    """
    at = services().clock()
    draft = parse_rule(call.body, at=at)
    if call.query.dry_run:
        return respond(_dry_run(draft, call.caller, at=at))
    rule = services().store.add_rule(draft, actor=call.caller.actor, at=at)
    return respond(rule, status=201, etag=rule.revision, location=rule_url(rule.id))


@operation(
    "GET",
    "/rules/<rule_id>",
    role=Role.READER,
    query=NoQuery,
    body=NO_BODY,
    result=Rule,
    example_result=examples.RULE,
)
def get_rule(_call: Call[NoQuery, None], rule_id: str) -> Response:
    """Get a rule; its ETag is its revision."""
    rule = services().store.get_rule(rule_id)
    return respond(rule, etag=rule.revision)


@operation(
    "PATCH",
    "/rules/<rule_id>",
    role=Role.EDITOR,
    query=NoQuery,
    body=fields_body(RuleDraft, is_partial=True),
    result=Rule,
    problems=(Conflict, PreconditionFailed, PreconditionRequired),
    example={"expires_at": "2027-01-01T00:00:00Z"},
    example_result=examples.RULE,
)
def change_rule(call: Call[NoQuery, dict[str, Any]], rule_id: str) -> Response:
    """Change some fields of a rule; null removes one.

    Needs `If-Match` with the ETag of the rule that was read.
    """
    if not has_if_match():
        raise PreconditionRequired("send `If-Match` with the rule's ETag, so that no other change is lost")
    parts = services()
    at = parts.clock()
    rule = parts.store.get_rule(rule_id)
    expected = matched_revision(rule.revision)
    draft = _patched(rule, call.body, at=at)
    changed = parts.store.change_rule(rule_id, draft, actor=call.caller.actor, at=at, if_revision=expected)
    return respond(changed, etag=changed.revision)


@operation(
    "DELETE",
    "/rules/<rule_id>",
    role=Role.EDITOR,
    query=Removal,
    body=NO_BODY,
    status=204,
    result=None,
    problems=(PreconditionFailed,),
)
def remove_rule(call: Call[Removal, None], rule_id: str) -> Response:
    """Remove a rule.

    The audit log keeps it, with `reason` where one is given.
    """
    parts = services()
    expected = matched_revision(parts.store.get_rule(rule_id).revision) if has_if_match() else None
    parts.store.remove_rule(
        rule_id, actor=call.caller.actor, at=parts.clock(), reason=call.query.reason, if_revision=expected
    )
    return respond(None, status=204)


def rule_url(rule_id: str) -> str:
    """Where a rule is."""
    return f"/api/v1/rules/{rule_id}"


def parse_rule(fields: object, *, at: datetime) -> RuleDraft:
    """The draft that `fields` spells, checked against the configured names; raise InvalidRule."""
    repositories = services().repositories
    return parse_draft(fields, at=at, indexes=repositories.indexes, repositories=repositories.names)


def _dry_run(draft: RuleDraft, caller: Caller, *, at: datetime) -> DryRule:
    parts = services()
    repositories = parts.repositories
    require_unowned([draft], repositories.keeper.refresh(), at=at)
    rule = make_rule(draft, rule_id=_PROVISIONAL, ruleset=MANUAL, actor=caller.actor, at=at, revision=0)
    effects = effects_of(
        Change(stored=(rule,)),
        repositories,
        Usage(parts.settings),
        at=at,
        first_seen_of=parts.store.first_seen,
    )
    return DryRule(**msgspec.structs.asdict(draft), ruleset=MANUAL, effects=effects)


def _patched(rule: Rule, fields: Mapping[str, Any], *, at: datetime) -> RuleDraft:
    """The rule's draft with `fields` in place; an end that is past and not spoken of stays."""
    merged = apply_patch(draft_of(rule), fields)
    is_past = rule.expires_at is not None and not rule.is_active(at) and "expires_at" not in fields
    if is_past:
        del merged["expires_at"]
    draft = parse_rule(merged, at=at)
    return msgspec.structs.replace(draft, expires_at=rule.expires_at) if is_past else draft


def _pattern(raw: str) -> str:
    try:
        return str(parse_pattern(raw))
    except InvalidName as error:
        refuse("project", str(error))
