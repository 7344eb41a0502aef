"""What each change of rules and rulesets means, in terms of one transaction; both stores run these.

Every function either raises before it writes, or writes everything that belongs together: the records, the
revision and the audit entry. SQL and Redis commands may not be added here.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from decider.errors import PreconditionFailed, RecordNotFound
from decider.rules import Action, Rule, RuleDraft
from decider.store import RulesetChange, RulesetInfo
from decider.store.audit import make_entry
from decider.store.ids import make_id
from decider.store.rulesets import (
    Replacement,
    draft_of,
    make_rule,
    plan_replacement,
    require_distinct,
    require_unowned,
)
from decider.store.transaction import Transaction

__all__ = ["add_rule", "append_audit", "change_rule", "remove_rule", "remove_ruleset", "replace_ruleset"]

#: Rulesets that nobody makes: they are there while they hold a rule.
_IMPLICIT = frozenset({"manual", "claims"})

_SAID = RuleDraft.__struct_fields__
_UNSAID = (None, False)  #: values of fields that a rule says nothing by


def add_rule(tx: Transaction, draft: RuleDraft, *, ruleset: str, actor: str, at: datetime) -> Rule:
    """See Store.add_rule."""
    if draft.action is Action.OWN:
        require_unowned([draft], tx.own_rules(draft.project), at=at)
    info = tx.find_ruleset(ruleset)
    revision = tx.state.raise_revision()
    (rule_id,) = _new_ids(tx, 1)
    rule = make_rule(draft, rule_id=rule_id, ruleset=ruleset, actor=actor, at=at, revision=revision)
    _count_rules(tx, ruleset, info, 1, actor=actor, at=at, revision=revision)
    tx.put_rules([rule])
    append_audit(
        tx,
        at=at,
        actor=actor,
        action="rule.add",
        rule=rule.id,
        ruleset=ruleset,
        after=_json(rule),
        reason=rule.reason,
    )
    return rule


def change_rule(
    tx: Transaction, rule_id: str, draft: RuleDraft, *, actor: str, at: datetime, if_revision: int | None
) -> Rule:
    """See Store.change_rule; a draft that says what is stored already changes nothing."""
    before = _require_rule(tx, rule_id, if_revision)
    if draft_of(before) == draft_of(draft):
        return before
    if draft.action is Action.OWN:
        others = (rule for rule in tx.own_rules(draft.project) if rule.id != rule_id)
        require_unowned([draft], others, at=at)
    info = tx.find_ruleset(before.ruleset)
    revision = tx.state.raise_revision()
    rule = make_rule(
        draft, rule_id=rule_id, ruleset=before.ruleset, actor=actor, at=at, revision=revision, before=before
    )
    _count_rules(tx, rule.ruleset, info, 0, actor=actor, at=at, revision=revision)
    tx.put_rules([rule], before=[before])
    append_audit(
        tx,
        at=at,
        actor=actor,
        action="rule.change",
        rule=rule_id,
        ruleset=rule.ruleset,
        before=_json(before),
        after=_json(rule),
        reason=rule.reason,
    )
    return rule


def remove_rule(
    tx: Transaction, rule_id: str, *, actor: str, at: datetime, reason: str | None, if_revision: int | None
) -> None:
    """See Store.remove_rule."""
    rule = _require_rule(tx, rule_id, if_revision)
    info = tx.find_ruleset(rule.ruleset)
    revision = tx.state.raise_revision()
    tx.drop_rules([rule], revision)
    _count_rules(tx, rule.ruleset, info, -1, actor=actor, at=at, revision=revision)
    append_audit(
        tx,
        at=at,
        actor=actor,
        action="rule.remove",
        rule=rule_id,
        ruleset=rule.ruleset,
        before=_json(rule),
        reason=reason,
    )


def replace_ruleset(
    tx: Transaction,
    name: str,
    drafts: Sequence[RuleDraft],
    *,
    actor: str,
    at: datetime,
    if_revision: int | None,
    dry_run: bool,
) -> RulesetChange:
    """See Store.replace_ruleset; a ruleset that is not there yet is made, even an empty one."""
    info = tx.find_ruleset(name)
    _require_ruleset_revision(name, info, if_revision)
    if name not in _IMPLICIT:  # there two people may have said the same, each with a reason
        require_distinct(drafts)
    plan = plan_replacement(tx.rules_in(name), drafts)
    if any(draft.action is Action.OWN for draft in drafts):
        require_unowned(drafts, (rule for rule in tx.own_rules(None) if rule.ruleset != name), at=at)
    if plan.is_empty and (info is not None or name in _IMPLICIT):
        revision = info.revision if info else tx.state.revision
        return RulesetChange(added=0, removed=0, changed=0, unchanged=plan.unchanged, revision=revision)
    revision = tx.state.raise_revision()
    change = _apply(plan, _new_ids(tx, len(plan.added)), name, actor=actor, at=at, revision=revision)
    if not dry_run:
        _write_replacement(tx, name, info, change, actor=actor, at=at)
    return change


def remove_ruleset(tx: Transaction, name: str, *, actor: str, at: datetime, if_revision: int | None) -> None:
    """See Store.remove_ruleset."""
    info = tx.find_ruleset(name)
    if info is None:
        raise RecordNotFound("ruleset", name)
    _require_ruleset_revision(name, info, if_revision)
    rules = tx.rules_in(name)
    revision = tx.state.raise_revision()
    tx.drop_rules(rules, revision)
    tx.drop_ruleset(name)
    before = {"removed": _contents(rules)}
    append_audit(tx, at=at, actor=actor, action="ruleset.remove", ruleset=name, before=before)


def append_audit(tx: Transaction, **what: Any) -> None:
    """Append an entry; the arguments are those of audit.make_entry after the head."""
    tx.append_audit(make_entry(tx.state.audit_head, **what))


def _apply(
    plan: Replacement, new_ids: Iterable[str], name: str, *, actor: str, at: datetime, revision: int
) -> RulesetChange:
    added = tuple(
        make_rule(draft, rule_id=rule_id, ruleset=name, actor=actor, at=at, revision=revision)
        for rule_id, draft in zip(new_ids, plan.added, strict=True)
    )
    changed = tuple(
        (
            rule,
            make_rule(
                draft, rule_id=rule.id, ruleset=name, actor=actor, at=at, revision=revision, before=rule
            ),
        )
        for rule, draft in plan.changed
    )
    return RulesetChange(
        added=len(added),
        removed=len(plan.removed),
        changed=len(changed),
        unchanged=plan.unchanged,
        revision=revision,
        added_rules=added,
        removed_rules=tuple(plan.removed),
        changed_rules=changed,
    )


def _write_replacement(
    tx: Transaction, name: str, info: RulesetInfo | None, change: RulesetChange, *, actor: str, at: datetime
) -> None:
    before = [rule for rule, _ in change.changed_rules]
    after = [rule for _, rule in change.changed_rules]
    tx.drop_rules(change.removed_rules, change.revision)
    difference = change.added - change.removed
    _count_rules(tx, name, info, difference, actor=actor, at=at, revision=change.revision)
    tx.put_rules(change.added_rules)
    tx.put_rules(after, before=before)
    counts = {"added": change.added, "removed": change.removed, "changed": change.changed}
    append_audit(
        tx,
        at=at,
        actor=actor,
        action="ruleset.replace",
        ruleset=name,
        before={"removed": _contents(change.removed_rules), "changed": _contents(before)},
        after={
            "counts": {**counts, "unchanged": change.unchanged},
            "added": _contents(change.added_rules),
            "changed": _contents(after),
        },
    )


def _count_rules(
    tx: Transaction,
    name: str,
    info: RulesetInfo | None,
    difference: int,
    *,
    actor: str,
    at: datetime,
    revision: int,
) -> None:
    rules = (info.rules if info else 0) + difference
    if rules == 0 and name in _IMPLICIT:
        tx.drop_ruleset(name)
    else:
        tx.put_ruleset(
            RulesetInfo(name=name, rules=rules, revision=revision, updated_by=actor, updated_at=at)
        )


def _require_rule(tx: Transaction, rule_id: str, if_revision: int | None) -> Rule:
    rule = tx.find_rule(rule_id)
    if rule is None:
        raise RecordNotFound("rule", rule_id)
    if if_revision not in {None, rule.revision}:
        raise PreconditionFailed(f"rule `{rule_id}` is at revision {rule.revision}, not {if_revision}")
    return rule


def _require_ruleset_revision(name: str, info: RulesetInfo | None, if_revision: int | None) -> None:
    present = info.revision if info else 0
    if if_revision not in {None, present}:
        state = f"is at revision {present}, not {if_revision}" if info else "does not exist"
        raise PreconditionFailed(f"ruleset `{name}` {state}")


def _new_ids(tx: Transaction, count: int) -> list[str]:
    return [make_id("rule", number) for number in tx.state.take_numbers("rule", count)]


def _json(rule: RuleDraft) -> Any:
    return msgspec.to_builtins(rule)


def _contents(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    # Of many rules only id and draft, and of those only what is said: what the store adds is alike for all.
    contents = []
    for rule in rules:
        stored = _json(rule)
        said = {field: stored[field] for field in _SAID if stored[field] not in _UNSAID}
        contents.append({"id": rule.id, **said})
    return contents
