"""What a change of rules would have done to recent requests: judged on what was recorded of each file.

The index is not asked, so it is quick for any number of projects; a changed owner shows in the pages' effects only.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from decider.decision import FileDecision
from decider.names import NormalizedName
from decider.rules import Rule, Snapshot
from decider.usage.answers import SeenFile, UsageTotal
from decider.usage.exposure import RECENT, FirstSeenOf, SeenJudge
from decider.usage.reading import Usage
from decider.web.api.shapes import UsageEffect

__all__ = ["UsageEffects", "usage_effects"]


class UsageEffects(msgspec.Struct, frozen=True):
    """Files whose requests would have ended otherwise, and how many downloads would have been refused."""

    files: tuple[UsageEffect, ...]
    total: UsageTotal
    projects: frozenset[NormalizedName]  #: those that the rules are about and of which files were asked for


def usage_effects(
    rules: Sequence[Rule],
    before: Snapshot,
    after: Snapshot,
    usage: Usage,
    *,
    at: datetime,
    first_seen_of: FirstSeenOf,
) -> UsageEffects:
    """What the change of `rules`, from `before` to `after`, would have done; raise UsageUnavailable."""
    changed: dict[SeenFile, tuple[FileDecision, FileDecision]] = {}
    projects: set[NormalizedName] = set()
    judge = SeenJudge(at=at, first_seen_of=first_seen_of)

    def is_changed(file: SeenFile) -> bool:
        projects.add(NormalizedName(file.project))
        was, now = judge.decide(file, before), judge.decide(file, after)
        if was.verdict is now.verdict:
            return False
        is_refusal = was.verdict.is_refusal or now.verdict.is_refusal
        if is_refusal and file.taken != now.verdict.is_refusal:
            return False  # what was asked for ended as it would then
        changed[file] = was, now
        return True

    files, total = usage.changes([rule.project for rule in rules], is_changed, since=at - RECENT)
    effects = tuple(_effect(file, *changed[file]) for file in files)
    return UsageEffects(effects, total, frozenset(projects))


def _effect(file: SeenFile, was: FileDecision, now: FileDecision) -> UsageEffect:
    return UsageEffect(
        project=file.project,
        repository=file.repository,
        filename=file.filename,
        version=file.version,
        sha256=file.sha256,
        index=file.index,
        before=was.verdict,
        after=now.verdict,
        rules=tuple(rule.id for rule in now.rules),
        requests=file.requests,
        clients=file.clients,
        first_at=file.first_at,
        last_at=file.last_at,
    )
