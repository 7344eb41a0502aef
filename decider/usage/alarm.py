"""Who already has what a change of rules begins to refuse: told with the change, by the webhook.

A change is read out of its audit entry. What time alone begins to refuse (a waiver that runs out) is no change.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from decider.errors import UsageUnavailable
from decider.rules import Rule, Snapshot
from decider.store import AuditEntry
from decider.usage.answers import Exposure
from decider.usage.exposure import FirstSeenOf, SeenJudge
from decider.usage.reading import Usage

__all__ = ["MAX_TOLD", "Alarm", "alarm_of"]

MAX_TOLD = 100  #: clients and files that one event names
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """The clients that took what is refused from now on."""

    items: tuple[Exposure, ...]
    complete: bool  #: False: there are more, or the records could not be read


def alarm_of(
    entry: AuditEntry,
    present: Snapshot,
    usage: Usage,
    *,
    later: Iterable[AuditEntry],
    first_seen_of: FirstSeenOf,
) -> Alarm | None:
    """What the webhook tells besides the change; None for an entry that changes no rules.

    `present` are the rules now, `later` what has changed since the entry, oldest first: a rule that came after it must
    not count as one that refused before.
    """
    old = {rule.id: rule for rule in _rules_in(entry.before, entry)}
    new = {rule.id: rule for rule in _rules_in(entry.after, entry)}
    if not old and not new:
        return None
    then = _changed_since(later) | dict.fromkeys(old) | new
    after = _updated(present, then)
    before = _updated(after, dict.fromkeys(new) | old)
    patterns = sorted({rule.project for rule in (*old.values(), *new.values())})
    judge = SeenJudge(at=entry.at, first_seen_of=first_seen_of)
    try:
        found = usage.exposure(patterns, judge.newly_refused(before, after), limit=MAX_TOLD)
    except UsageUnavailable:
        return Alarm(items=(), complete=False)
    return Alarm(items=found.items, complete=found.next is None)


def _changed_since(later: Iterable[AuditEntry]) -> dict[str, Rule | None]:
    """What those entries changed, as it was before the first of them: by the rule's id, None: it was not there."""
    then: dict[str, Rule | None] = {}
    for entry in later:
        old = {rule.id: rule for rule in _rules_in(entry.before, entry)}
        for rule_id in (*old, *(rule.id for rule in _rules_in(entry.after, entry))):
            then.setdefault(rule_id, old.get(rule_id))
    return then


def _updated(snapshot: Snapshot, rules: Mapping[str, Rule | None]) -> Snapshot:
    """The snapshot with those rules; without those that are None."""
    return snapshot.updated(
        snapshot.revision + 1,
        [rule for rule in rules.values() if rule is not None],
        [rule_id for rule_id, rule in rules.items() if rule is None],
    )


def _rules_in(value: Any, entry: AuditEntry) -> Iterator[Rule]:
    """The rules that one side of an audit entry spells: one rule, or the lists of a ruleset's change."""
    if not isinstance(value, dict):
        return
    if "action" in value and "project" in value:
        yield _rule(value, entry)
    for name in ("removed", "changed", "added"):
        for one in value.get(name) or ():
            yield _rule(one, entry)


def _rule(fields: dict[str, Any], entry: AuditEntry) -> Rule:
    """A rule; of one in a ruleset's change the audit log keeps what it says, not when it was stored."""
    stored = {"created_by": "", "created_at": _NEVER, "updated_by": "", "updated_at": _NEVER, "revision": 0}
    known = {"ruleset": entry.ruleset} if entry.ruleset else {}
    return msgspec.convert({**stored, **known, **fields}, Rule)
