"""What a change of rules would have refused of late: the dry runs of `decider rules`.

Which files of the indexes' pages would change their verdict is the API's to say: only a running decider reads pages.
"""

from collections.abc import Sequence
from datetime import datetime

from decider.cli.context import Invocation
from decider.rules import Rule, RuleDraft, Snapshot
from decider.store import RulesetChange
from decider.store.rulesets import make_rule
from decider.usage.answers import UsageTotal
from decider.usage.exposure import RECENT, SeenJudge
from decider.usage.reading import Usage

__all__ = ["refused_by_change", "refused_by_draft", "refused_text"]


def refused_by_draft(
    invocation: Invocation, draft: RuleDraft, present: Snapshot, *, ruleset: str, at: datetime
) -> UsageTotal:
    """The recent downloads that a new rule would have refused."""
    rule = make_rule(draft, rule_id="dry-run", ruleset=ruleset, actor=invocation.actor, at=at, revision=0)
    return _refused(invocation, present, stored=[rule], removed=[], at=at)


def refused_by_change(
    invocation: Invocation, change: RulesetChange, present: Snapshot, *, at: datetime
) -> UsageTotal:
    """The recent downloads that a ruleset's change, by itself, would have refused."""
    return _refused(
        invocation,
        present,
        stored=[*change.added_rules, *(new for _, new in change.changed_rules)],
        removed=change.removed_rules,
        at=at,
    )


def refused_text(total: UsageTotal) -> str:
    """The same as a sentence."""
    downloads, clients = _counted(total.downloads, "download"), _counted(total.clients, "client")
    return f"would have refused {downloads} by {clients} in the last {RECENT.days} days"


def _refused(
    invocation: Invocation, before: Snapshot, *, stored: Sequence[Rule], removed: Sequence[Rule], at: datetime
) -> UsageTotal:
    after = before.updated(before.revision + 1, stored, [rule.id for rule in removed])
    patterns = [rule.project for rule in (*stored, *removed)]
    with invocation.store() as store:
        is_meant = SeenJudge(at=at, first_seen_of=store.first_seen).newly_refused(before, after)
        _, total = Usage(invocation.settings).changes(patterns, is_meant, since=at - RECENT)
    return total


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
