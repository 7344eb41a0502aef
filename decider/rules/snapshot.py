"""All rules of one store revision, compiled so that the rules for a name are found without looking at the others.

Namespaces: PEP 752. Evaluating a file may not be added here.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from decider.names import NormalizedName
from decider.rules.model import Action, Rule

__all__ = ["Snapshot", "age_order"]

Buckets = dict[str, tuple[Rule, ...]]

_ANY = "*"
_MANY = 4  #: a change of more than this fraction of the rules compiles them all anew


def age_order(rule: Rule) -> tuple[datetime, str]:
    """Sorts rules oldest first."""
    return (rule.created_at, rule.id)


class Snapshot:
    """All rules of one store revision, compiled; immutable, shared by threads."""

    __slots__ = ("_by_id", "_by_pattern", "_by_sha256", "_own", "_prefix_lengths", "revision")

    revision: int

    def __init__(self, revision: int, rules: Iterable[Rule]) -> None:
        self.revision = revision
        self._by_id = {rule.id: rule for rule in rules}
        by_pattern: defaultdict[str, list[Rule]] = defaultdict(list)
        by_sha256: defaultdict[str, list[Rule]] = defaultdict(list)
        for rule in self._by_id.values():
            if (
                rule.project == _ANY and rule.sha256 is not None
            ):  # Rule.digest_anywhere, without 100,000 calls
                by_sha256[rule.sha256].append(rule)
            else:
                by_pattern[rule.project].append(rule)
        #: canonical pattern → its rules
        self._by_pattern: Buckets = {pattern: tuple(found) for pattern, found in by_pattern.items()}
        #: Rule.digest_anywhere → its rules
        self._by_sha256: Buckets = {digest: tuple(found) for digest, found in by_sha256.items()}
        own = Action.OWN
        self._own = {rule.id: rule for rule in self._by_id.values() if rule.action is own}
        self._prefix_lengths = _prefix_lengths(self._by_pattern)

    def rules_for(
        self, project: NormalizedName, repository: str, *, sha256: Collection[str] | None = None
    ) -> tuple[Rule, ...]:
        """Every rule, expired ones too, that can touch `project` in `repository`, oldest first.

        `sha256` are the digests of the files in question where they are known, as a set when they are many: rules
        about `*` that name another digest are then left out. The cost depends on the number of rules about `project`
        and on the number of different prefix lengths, not on the number of rules about other projects.
        """
        found = [
            rule
            for bucket in self._buckets(project, sha256)
            for rule in bucket
            if rule.repositories is None or repository in rule.repositories
        ]
        found.sort(key=age_order)
        return tuple(found)

    def rule(self, rule_id: str) -> Rule | None:
        """The rule of that id, or None."""
        return self._by_id.get(rule_id)

    def own_rules(self) -> tuple[Rule, ...]:
        """Every `own` rule, expired ones too, oldest first."""
        return tuple(sorted(self._own.values(), key=age_order))

    @property
    def names_digests(self) -> bool:
        """Whether rules about `*` name digests, so that it pays to tell rules_for those of the files in question."""
        return bool(self._by_sha256)

    def updated(self, revision: int, changed: Iterable[Rule], removed: Iterable[str] = ()) -> "Snapshot":
        """The snapshot after a change: `changed` rules are new or replace those of their id, `removed` ids are gone.

        This one stays as it is. The cost is that of copying a few dicts, plus the change.
        """
        changed, removed = tuple(changed), frozenset(removed)
        if len(changed) + len(removed) > len(self._by_id) // _MANY:
            # To take much apart and put it together again costs three times what compiling does.
            rules = {**self._by_id, **{rule.id: rule for rule in changed}}
            return Snapshot(revision, [rule for rule in rules.values() if rule.id not in removed])
        copy = Snapshot(revision, ())
        copy._by_id = self._by_id.copy()
        copy._by_pattern = self._by_pattern.copy()
        copy._by_sha256 = self._by_sha256.copy()
        copy._own = self._own.copy()
        copy._prefix_lengths = self._prefix_lengths
        copy._replace(changed, removed)
        return copy

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._by_id.values())

    def _buckets(self, project: NormalizedName, sha256: Collection[str] | None) -> Iterator[tuple[Rule, ...]]:
        for spelling in _spellings(project, self._prefix_lengths):
            if spelling in self._by_pattern:
                yield self._by_pattern[spelling]
        if sha256 is None:
            yield from self._by_sha256.values()
        else:
            fewer, more = sorted((self._by_sha256.keys(), sha256), key=len)
            for digest in fewer:
                if digest in more:
                    yield self._by_sha256[digest]

    def _replace(self, changed: Sequence[Rule], removed: Collection[str]) -> None:
        """Take `changed` in and `removed` out, while nobody else sees this snapshot yet."""
        new = {rule.id: rule for rule in changed if rule.id not in removed}
        old = [self._by_id.pop(rule_id) for rule_id in {*new, *removed} if rule_id in self._by_id]
        self._by_id.update(new)
        for rule in old:
            self._own.pop(rule.id, None)
        self._own.update((rule.id, rule) for rule in new.values() if rule.action is Action.OWN)
        for buckets, key in ((self._by_pattern, _pattern_key), (self._by_sha256, _digest_key)):
            _rebucket(buckets, old, new.values(), key)
        lengths = set(_prefix_lengths(rule.project for rule in new.values()))
        if not lengths.issubset(self._prefix_lengths):
            self._prefix_lengths = tuple(sorted(lengths.union(self._prefix_lengths)))


def _rebucket(
    buckets: Buckets, old: Iterable[Rule], new: Iterable[Rule], key: Callable[[Rule], str | None]
) -> None:
    leaving: dict[str, set[str]] = {}
    coming: dict[str, list[Rule]] = {}
    for rule in old:
        if (place := key(rule)) is not None:
            leaving.setdefault(place, set()).add(rule.id)
    for rule in new:
        if (place := key(rule)) is not None:
            coming.setdefault(place, []).append(rule)
    for place in leaving.keys() | coming.keys():
        gone = leaving.get(place, ())
        rules = [rule for rule in buckets.get(place, ()) if rule.id not in gone] + coming.get(place, [])
        if rules:
            buckets[place] = tuple(rules)
        else:
            del buckets[place]


def _digest_key(rule: Rule) -> str | None:
    return rule.digest_anywhere


def _pattern_key(rule: Rule) -> str | None:
    return rule.project if rule.digest_anywhere is None else None


def _prefix_lengths(patterns: Iterable[str]) -> tuple[int, ...]:
    """The different lengths of the plain prefixes among `patterns`, ascending."""
    wide = (pattern for pattern in patterns if pattern.endswith("*") and pattern != _ANY)
    return tuple(sorted({len(pattern) - 1 for pattern in wide if not pattern.endswith("-*")}))


def _spellings(project: NormalizedName, prefix_lengths: tuple[int, ...]) -> Iterator[str]:
    """The canonical spelling of every pattern that matches `project`, prefixes only of the lengths there are."""
    yield _ANY
    yield project
    dash = project.find("-")
    while dash >= 0:
        yield f"{project[:dash]}-*"
        dash = project.find("-", dash + 1)
    yield f"{project}-*"
    for length in prefix_lengths:
        if length > len(project):
            return
        if project[length - 1] != "-":  # no prefix ends so: `acme-*` is a namespace
            yield f"{project[:length]}*"
