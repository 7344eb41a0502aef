"""Which files that were asked for do rules refuse: the same evaluation as for pages, on what the records know.

Pure: files and rules in, a predicate or decision out. What the index says today is not asked, so a release that it has
withdrawn meanwhile is found too.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from decider.decision import FileDecision, decide_file
from decider.files import DistributionFile
from decider.names import NormalizedName
from decider.rules import Action, Rule, Snapshot
from decider.usage.answers import SeenFile

__all__ = ["RECENT", "decide_seen", "newly_refused", "refused_by"]

RECENT = timedelta(days=30)  #: what a dry run looks back on


def decide_seen(file: SeenFile, snapshot: Snapshot, *, at: datetime) -> FileDecision:
    """The decision that the rules of `snapshot` make at `at` on a file that was asked for."""
    return _decide(file, _rules(snapshot, file), at=at)


def refused_by(rule: Rule, snapshot: Snapshot, *, at: datetime) -> Callable[[SeenFile], bool]:
    """Whether this rule alone, but for the waivers of `snapshot`, refuses a file."""

    def is_refused(file: SeenFile) -> bool:
        rules = [rule, *(one for one in _rules(snapshot, file) if one.action is Action.ALLOW)]
        applies = rule.repositories is None or file.repository in rule.repositories
        return applies and _decide(file, rules, at=at).verdict.is_refusal

    return is_refused


def newly_refused(before: Snapshot, after: Snapshot, *, at: datetime) -> Callable[[SeenFile], bool]:
    """Whether a file is refused by the rules of `after` and was not by those of `before`."""

    def is_new(file: SeenFile) -> bool:
        return (
            decide_seen(file, after, at=at).verdict.is_refusal
            and not decide_seen(file, before, at=at).verdict.is_refusal
        )

    return is_new


def _rules(snapshot: Snapshot, file: SeenFile) -> tuple[Rule, ...]:
    digests = frozenset() if file.sha256 is None else frozenset({file.sha256})
    return snapshot.rules_for(NormalizedName(file.project), file.repository, sha256=digests)


def _decide(file: SeenFile, rules: Iterable[Rule], *, at: datetime) -> FileDecision:
    known = DistributionFile(
        filename=file.filename,
        url="",
        hashes={} if file.sha256 is None else {"sha256": file.sha256},
        upload_time=file.uploaded,
        provenance="" if file.attested else None,
    )
    return decide_file(
        known,
        project=NormalizedName(file.project),
        index=file.index or "",
        rules=tuple(rules),
        at=at,
        # It was there by then at the latest; for whatever states no upload time.
        first_seen=file.first_at,
    )
