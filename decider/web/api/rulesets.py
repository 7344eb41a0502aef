"""Rulesets: rules replaced as a whole, by a feed or from a file in git."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from flask import Response, request

from decider.errors import Conflict, Fault, InvalidRequest, InvalidRule, PreconditionFailed, RecordNotFound
from decider.rules import RuleDraft
from decider.store import Page, Role, RulesetChange, RulesetInfo
from decider.usage.reading import Usage
from decider.web import services
from decider.web.api import examples
from decider.web.api.effects import Change, effects_of
from decider.web.api.inputs import (
    MAX_RULESET_BODY,
    NO_BODY,
    Listing,
    NoQuery,
    has_if_match,
    json_body,
    matched_revision,
    refuse,
)
from decider.web.api.operation import Call, operation, respond
from decider.web.api.rules import MANUAL, DryRun, parse_rule
from decider.web.api.shapes import DryRulesetChange, RulesetBody, RulesetCounts, RulesetDetail

__all__: list[str] = []

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_MAX_FAULTS = 100
_KEPT = {
    MANUAL: "holds rules made one at a time: change them one by one",
    "claims": "is kept by decider: add an `own` rule of your own instead",
}


class RulesetFields(msgspec.Struct, frozen=True):
    """As RulesetBody, the rules not read yet."""

    rules: list[Any]


@operation(
    "GET",
    "/rulesets",
    role=Role.READER,
    query=Listing,
    body=NO_BODY,
    result=Page[RulesetInfo],
    example_result=examples.listing(examples.RULESET),
)
def list_rulesets(call: Call[Listing, None]) -> Response:
    """List rulesets, by name and without their rules."""
    return respond(services().store.list_rulesets(limit=call.query.limit, cursor=call.query.cursor))


@operation(
    "GET",
    "/rulesets/<name>",
    role=Role.READER,
    query=NoQuery,
    body=NO_BODY,
    result=RulesetDetail,
    example_result={**examples.RULESET, "rules": [examples.RULE]},
)
def get_ruleset(_call: Call[NoQuery, None], name: str) -> Response:
    """Get a ruleset with all its rules; its ETag is the revision that last changed it."""
    info, rules = services().store.get_ruleset(name)
    return respond(
        RulesetDetail(
            name=info.name,
            revision=info.revision,
            updated_by=info.updated_by,
            updated_at=info.updated_at,
            rules=rules,
        ),
        etag=info.revision,
    )


@operation(
    "PUT",
    "/rulesets/<name>",
    role=Role.EDITOR,
    dry_run_role=Role.READER,
    query=DryRun,
    body=json_body(RulesetFields, documented=RulesetBody, max_bytes=MAX_RULESET_BODY),
    result=RulesetCounts,
    dry_run_result=DryRulesetChange,
    problems=(Conflict, PreconditionFailed),
    example={"rules": [{**examples.DRAFT, "key": "feed-1"}]},
    example_result=examples.RULESET_CHANGE,
    example_dry_run={**examples.RULESET_CHANGE, "effects": examples.EFFECTS},
)
def replace_ruleset(call: Call[DryRun, RulesetFields], name: str) -> Response:
    """Make a ruleset hold exactly these rules, in one transaction.

    Rules are matched to the stored ones by `key`, else by all fields but reason, reference and expiry; one that did
    not change keeps its id. `If-None-Match: *` makes a new ruleset only. With `dry_run=true` nothing is stored.
    """
    if not _NAME.match(name):
        refuse("name", "must be letters, digits, `.`, `_` and `-`, 100 at most")
    _require_changeable(name)
    parts = services()
    at = parts.clock()
    drafts = _parse_rules(call.body.rules, at=at)
    change = parts.store.replace_ruleset(
        name,
        drafts,
        actor=call.caller.actor,
        at=at,
        if_revision=_expected(name),
        dry_run=call.query.dry_run,
    )
    counts = {field: getattr(change, field) for field in RulesetCounts.__struct_fields__}
    if call.query.dry_run:
        effects = effects_of(
            _change(change),
            parts.repositories,
            Usage(parts.settings),
            at=at,
            first_seen_of=parts.store.first_seen,
        )
        return respond(DryRulesetChange(**counts, effects=effects))
    is_changed = change.added or change.removed or change.changed
    return respond(RulesetCounts(**counts), etag=change.revision if is_changed else None)


@operation(
    "DELETE",
    "/rulesets/<name>",
    role=Role.EDITOR,
    query=NoQuery,
    body=NO_BODY,
    status=204,
    result=None,
    problems=(Conflict, PreconditionFailed),
)
def remove_ruleset(call: Call[NoQuery, None], name: str) -> Response:
    """Remove a ruleset with its rules."""
    _require_changeable(name)
    parts = services()
    parts.store.remove_ruleset(name, actor=call.caller.actor, at=parts.clock(), if_revision=_expected(name))
    return respond(None, status=204)


def _require_changeable(name: str) -> None:
    if name in _KEPT:
        raise Conflict(f"ruleset `{name}` {_KEPT[name]}")


def _parse_rules(rules: Sequence[object], *, at: datetime) -> list[RuleDraft]:
    drafts: list[RuleDraft] = []
    faults: list[Fault] = []
    for number, fields in enumerate(rules):
        try:
            drafts.append(parse_rule(fields, at=at))
        except InvalidRule as error:
            place = f"rules[{number}]"
            faults += [
                Fault(f"{place}.{one.field}" if one.field else place, one.detail) for one in error.faults
            ]
        if len(faults) >= _MAX_FAULTS:
            break
    if faults:
        raise InvalidRequest(faults[:_MAX_FAULTS])
    return drafts


def _expected(name: str) -> int | None:
    """The revision that the change must find: 0 for none yet, None for any; raise PreconditionFailed."""
    if request.if_none_match.star_tag:
        return 0
    if not has_if_match():
        return None
    try:
        info, _ = services().store.get_ruleset(name)
    except RecordNotFound as error:
        raise PreconditionFailed(str(error)) from error
    return matched_revision(info.revision)


def _change(change: RulesetChange) -> Change:
    return Change(
        removed=change.removed_rules + tuple(before for before, _ in change.changed_rules),
        stored=change.added_rules + tuple(after for _, after in change.changed_rules),
    )
