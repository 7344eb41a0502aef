"""What all rules together make of one file, and why; which index a name belongs to.

Verdicts: block before hold before yank before allow; an `allow` lifts blocks and holds, no yank, no ownership.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from packaging.version import Version

from decider.decision.matching import Facts, Match, Matcher, sentence
from decider.decision.model import Considered, FileDecision, Verdict
from decider.filenames import file_version
from decider.files import DistributionFile
from decider.names import NormalizedName, parse_pattern
from decider.rules import Action, Rule, age_order, format_moment

__all__ = ["Judge", "owner_rule", "refused_whole"]

#: Most severe first.
_RESTRICTIONS = {Action.BLOCK: Verdict.BLOCK, Action.HOLD: Verdict.HOLD, Action.YANK: Verdict.YANK}


def owner_rule(rules: Iterable[Rule], *, at: datetime) -> Rule | None:
    """The active `own` rule that fixes which index answers: the most specific pattern, then the oldest."""
    own = sorted((rule for rule in rules if rule.action is Action.OWN and rule.is_active(at)), key=age_order)
    return max(own, key=lambda rule: parse_pattern(rule.project).specificity, default=None)


def refused_whole(rules: Sequence[Rule], *, at: datetime) -> tuple[Rule, ...]:
    """The active rules that refuse every file of the project, whatever its pages say; () when there is none.

    A rule that an `allow` might lift for some file refuses not every file.
    """
    active = [rule for rule in rules if rule.is_active(at)]
    allows = [rule for rule in active if rule.action is Action.ALLOW]
    for action in (Action.BLOCK, Action.HOLD):
        whole = [rule for rule in active if rule.action is action and rule.is_project_level]
        if unlifted := [rule for rule in whole if not any(_lifts(allow, rule) for allow in allows)]:
            return tuple(sorted(unlifted, key=_deciding_order))
    return ()


class Outcome(NamedTuple):
    """What the matching rules come to."""

    verdict: Verdict
    deciding: tuple[Match, ...]  #: in the order in which texts name them


class Judge:
    """The rules for one project, made ready to be asked about its files."""

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        project: NormalizedName,
        index: str,
        at: datetime,
        first_seen: Mapping[str, datetime],
        trace: bool = False,
        merged: Mapping[str, str] | None = None,
    ) -> None:
        """Judge by `rules`, those of Snapshot.rules_for; `merged` maps names of files not from `index` to theirs."""
        self._rules = sorted(rules, key=age_order)
        self._matchers = [Matcher(rule) for rule in self._rules if rule.action is not Action.OWN]
        active = [matcher for matcher in self._matchers if matcher.rule.is_active(at)]
        per_file = [matcher for matcher in active if not matcher.asks_version_only]
        self._restrictions = [matcher for matcher in per_file if matcher.rule.action in _RESTRICTIONS]
        self._allows = [matcher for matcher in per_file if matcher.rule.action is Action.ALLOW]
        # A feed may name hundreds of ranges of one project, whose thousands of files have few versions.
        self._per_version = [matcher for matcher in active if matcher.asks_version_only]
        self._versions: dict[Version | None, list[Match]] = {}
        self._project = project
        self._index = index
        self._at = at
        self._first_seen = first_seen
        self._trace = trace
        self._merged = merged or {}

    @property
    def is_idle(self) -> bool:
        """Whether no rule restricts anything, so that every file is plainly allowed."""
        return not self._restrictions and not any(
            matcher.rule.action in _RESTRICTIONS for matcher in self._per_version
        )

    def index_of(self, filename: str) -> str:
        """The index that a listed file comes from."""
        return self._merged.get(filename, self._index)

    def decide(self, file: DistributionFile) -> FileDecision:
        """The decision for `file`."""
        facts = self._facts(file)
        if self._trace:
            matches = [matcher.match(facts) for matcher in self._matchers]
            return self._decision(facts, [match for match in matches if match.applies], matches)
        return self._decision(facts, self._restricting(facts) + _applying(self._allows, facts))

    def decide_restricted(self, file: DistributionFile) -> FileDecision | None:
        """The decision for `file`, as `decide`; None when no restriction matches: a plain allow."""
        facts = self._facts(file)
        matches = self._restricting(facts)
        if any(match.rule.action in _RESTRICTIONS for match in matches):
            return self.decide(file)
        return None

    def _restricting(self, facts: Facts) -> list[Match]:
        """What applies of the restrictions, and of all rules that ask for the version only."""
        matches = _applying(self._restrictions, facts)
        if self._per_version:
            version = facts.version
            if version not in self._versions:
                self._versions[version] = _applying(self._per_version, facts)
            matches += self._versions[version]
        return matches

    def _facts(self, file: DistributionFile) -> Facts:
        return Facts(
            file,
            project=self._project,
            index=self.index_of(file.filename),
            at=self._at,
            first_seen=self._first_seen.get(file.filename),
        )

    def _decision(
        self, facts: Facts, applying: Sequence[Match], looked_at: Sequence[Match] = ()
    ) -> FileDecision:
        outcome = _outcome(applying)
        reasons = tuple(match.reason() for match in outcome.deciding)
        version = file_version(self._project, facts.file.filename)
        return FileDecision(
            file=facts.file,
            index=facts.index,
            version=None if version is None else str(version),
            verdict=outcome.verdict,
            rules=tuple(match.rule for match in outcome.deciding),
            reasons=reasons,
            reason="; ".join(reasons),
            until=_next_change(applying, outcome),
            considered=self._considered(facts, looked_at, applying, outcome) if self._trace else (),
        )

    def _considered(
        self, facts: Facts, matches: Sequence[Match], applying: Sequence[Match], outcome: Outcome
    ) -> tuple[Considered, ...]:
        owner = owner_rule(self._rules, at=self._at)
        seen = {match.rule.id: _consider(match, applying, outcome) for match in matches}
        return tuple(
            seen[rule.id] if rule.id in seen else _consider_own(rule, owner, at=self._at)
            for rule in self._rules
            if rule.digest_anywhere in {None, facts.file.sha256}
        )


def _applying(matchers: Iterable[Matcher], facts: Facts) -> list[Match]:
    return [match for matcher in matchers if (match := matcher.match(facts)).applies]


def _lifts(allow: Rule, restriction: Rule) -> bool:
    if allow.lifts is None:
        return not restriction.final
    return restriction.id in allow.lifts


def _deciding_order(rule: Rule) -> tuple[bool, datetime, str]:
    return (not rule.final, *age_order(rule))


def _outcome(applying: Sequence[Match]) -> Outcome:
    """What `applying` matches come to; of several restrictions only those of the severest action decide."""
    if not applying:
        return Outcome(Verdict.ALLOW, ())
    allows = [match for match in applying if match.rule.action is Action.ALLOW]
    for action, verdict in _RESTRICTIONS.items():
        deciding = [
            match
            for match in applying
            if match.rule.action is action
            and (action is Action.YANK or not any(_lifts(allow.rule, match.rule) for allow in allows))
        ]
        if deciding:
            return _outcome_by(verdict, deciding)
    return _outcome_by(Verdict.ALLOW, [allow for allow in allows if _lifted_by(allow.rule, applying)])


def _outcome_by(verdict: Verdict, deciding: Iterable[Match]) -> Outcome:
    return Outcome(verdict, tuple(sorted(deciding, key=lambda match: _deciding_order(match.rule))))


def _lifted_by(allow: Rule, applying: Iterable[Match]) -> list[str]:
    """The ids of the matching blocks and holds that `allow` lifts."""
    return [
        match.rule.id
        for match in applying
        if match.rule.action in {Action.BLOCK, Action.HOLD} and _lifts(allow, match.rule)
    ]


def _next_change(applying: Sequence[Match], outcome: Outcome) -> datetime | None:
    """When the verdict or the deciding rules will next be others because a match is over."""
    for moment in sorted({match.ends for match in applying if match.ends is not None}):
        later = _outcome([match for match in applying if match.ends is None or moment < match.ends])
        if later != outcome:
            return moment
    return None


def _consider(match: Match, applying: Sequence[Match], outcome: Outcome) -> Considered:
    rule = match.rule
    why = ", ".join(map(sentence, match.why)) or "speaks of the whole project"
    if not match.applies:
        return Considered(rule.id, False, why)
    if rule.action is Action.ALLOW:
        if lifted := _lifted_by(rule, applying):
            return Considered(rule.id, True, f"{why}: lifts {', '.join(lifted)}")
        return Considered(rule.id, False, f"{why}, but nothing is there that it may lift")
    if match in outcome.deciding:
        return Considered(rule.id, True, why)
    allows = [one.rule for one in applying if one.rule.action is Action.ALLOW]
    if rule.action is not Action.YANK and (lifters := [allow.id for allow in allows if _lifts(allow, rule)]):
        return Considered(rule.id, False, f"{why}, but lifted by {', '.join(lifters)}")
    return Considered(rule.id, False, f"{why}, but {outcome.verdict} outranks it")


def _consider_own(rule: Rule, owner: Rule | None, *, at: datetime) -> Considered:
    if rule.expires_at is not None and not rule.is_active(at):
        return Considered(rule.id, False, f"expired since {format_moment(rule.expires_at)}")
    if owner is not None and rule.id != owner.id:
        return Considered(rule.id, False, f"{owner.id} owns the name: it is more specific, or older")
    return Considered(rule.id, True, f"index `{rule.index}` answers for the name")
