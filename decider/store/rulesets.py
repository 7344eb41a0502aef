"""Pure parts of changing rules: what identifies a rule in its ruleset, what replacing one means, who owns a name.

Storage may not be added here.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter

import msgspec

from decider.errors import Conflict
from decider.rules import Action, Rule, RuleDraft

__all__ = ["Replacement", "draft_of", "make_rule", "plan_replacement", "require_distinct", "require_unowned"]

_FIELDS = RuleDraft.__struct_fields__
# Getters of many fields at once, and no dict of them: a feed has 100,000 rules.
_said = attrgetter(*_FIELDS)
_matched = attrgetter(*(name for name in _FIELDS if name not in {"reason", "reference", "expires_at", "key"}))


class Replacement(msgspec.Struct, frozen=True):
    """What it takes to make a ruleset hold exactly certain drafts."""

    added: list[RuleDraft]
    removed: list[Rule]
    changed: list[tuple[Rule, RuleDraft]]  #: the stored rule, and what it is to say
    unchanged: int

    @property
    def is_empty(self) -> bool:
        """Whether everything is as it should be."""
        return not (self.added or self.removed or self.changed)


def draft_of(rule: RuleDraft) -> RuleDraft:
    """What a person or feed said of a rule, without what the store keeps."""
    return RuleDraft(**dict(zip(_FIELDS, _said(rule), strict=True)))


def make_rule(
    draft: RuleDraft,
    *,
    rule_id: str,
    ruleset: str,
    actor: str,
    at: datetime,
    revision: int,
    before: Rule | None = None,
) -> Rule:
    """The rule to store; `before` is the one it replaces, whose origin it keeps."""
    return Rule(
        **dict(zip(_FIELDS, _said(draft), strict=True)),
        id=rule_id,
        ruleset=ruleset,
        created_by=before.created_by if before else actor,
        created_at=before.created_at if before else at,
        updated_by=actor,
        updated_at=at,
        revision=revision,
    )


def require_distinct(drafts: Iterable[RuleDraft]) -> None:
    """Raise Conflict for two of one identity."""
    seen: set[object] = set()
    for draft in drafts:
        identity = _identity(draft)
        if identity in seen:
            raise Conflict(f"two rules of the ruleset are the same: {_describe(draft)}")
        seen.add(identity)


def plan_replacement(stored: Iterable[Rule], drafts: Iterable[RuleDraft]) -> Replacement:
    """The least change that makes `drafts` of the rules in `stored`; of one identity there may be several in both."""
    left: defaultdict[object, list[Rule]] = defaultdict(list)
    for rule in stored:
        left[_identity(rule)].append(rule)
    unequal, unchanged = [], 0
    for draft in drafts:
        identity = _identity(draft)
        same = left.get(identity, [])
        equal = next((place for place, rule in enumerate(same) if _said(rule) == _said(draft)), None)
        if equal is None:
            unequal.append((draft, identity))
        else:
            del same[equal]
            unchanged += 1
    added, changed = [], []
    for draft, identity in unequal:
        if same := left.get(identity, []):
            changed.append((same.pop(0), draft))
        else:
            added.append(draft)
    removed = sorted((rule for rules in left.values() for rule in rules), key=lambda rule: rule.id)
    return Replacement(added, removed, changed, unchanged)


def require_unowned(drafts: Iterable[RuleDraft], others: Iterable[RuleDraft], *, at: datetime) -> None:
    """Raise Conflict where two active `own` rules, of `drafts` or one of them and one of `others`, give the same
    pattern to different indexes in a repository where both hold.
    """
    owners: defaultdict[str, list[RuleDraft]] = defaultdict(list)
    for other in others:
        if _owns(other, at):
            owners[other.project].append(other)
    for draft in drafts:
        if not _owns(draft, at):
            continue
        for other in owners[draft.project]:
            if other.index != draft.index and _overlap(draft.repositories, other.repositories):
                raise Conflict(f"`{draft.project}` is owned by index `{other.index}`{_by(other)}")
        owners[draft.project].append(draft)


def _owns(draft: RuleDraft, at: datetime) -> bool:
    return draft.action is Action.OWN and (draft.expires_at is None or at < draft.expires_at)


def _overlap(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> bool:
    return one is None or other is None or not frozenset(one).isdisjoint(other)


def _by(rule: RuleDraft) -> str:
    return f" (rule `{rule.id}`)" if isinstance(rule, Rule) else ""


def _identity(draft: RuleDraft) -> object:
    return draft.key if draft.key is not None else _matched(draft)


def _describe(draft: RuleDraft) -> str:
    return f"key `{draft.key}`" if draft.key is not None else f"{draft.action} `{draft.project}`"
