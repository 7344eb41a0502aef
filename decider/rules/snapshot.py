"""All rules of one store revision, compiled so that the rules for a name are found without looking at the others.

Namespaces: PEP 752. Evaluating a file may not be added here.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime

from decider.names import NormalizedName
from decider.rules.model import Action, Rule

__all__ = ["Snapshot", "age_order"]

Buckets = dict[str, tuple[Rule, ...]]

_ANY = "*"


def age_order(rule: Rule) -> tuple[datetime, str]:
    """Sorts rules oldest first."""
    return (rule.created_at, rule.id)


class Snapshot:
    """All rules of one store revision, compiled; immutable, shared by threads."""

    __slots__ = ("_by_id", "_by_pattern", "_by_sha256", "_own", "_prefix_lengths", "revision")

    revision: int

    def __init__(self, revision: int, rules: Iterable[Rule]) -> None:
        self.revision = revision
        self._by_id: dict[str, Rule] = {}
        self._by_pattern: Buckets = {}  # canonical pattern → its rules
        self._by_sha256: Buckets = {}  # Rule.digest_anywhere → its rules
        self._own: dict[str, Rule] = {}
        self._prefix_lengths: tuple[int, ...] = ()
        self._replace(rules, ())

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

    def _replace(self, changed: Iterable[Rule], removed: Iterable[str]) -> None:
        """Take `changed` in and `removed` out, while nobody else sees this snapshot yet."""
        without = set(removed)
        new = {rule.id: rule for rule in changed if rule.id not in without}
        old = [self._by_id.pop(rule_id) for rule_id in {*new, *without} if rule_id in self._by_id]
        self._by_id.update(new)
        for rule in old:
            self._own.pop(rule.id, None)
        self._own.update((rule.id, rule) for rule in new.values() if rule.action is Action.OWN)
        for buckets, key in ((self._by_pattern, _pattern_key), (self._by_sha256, _digest_key)):
            _rebucket(buckets, old, new.values(), key)
        lengths = {len(rule.project) - 1 for rule in new.values() if _is_prefix(rule.project)}
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


def _is_prefix(pattern: str) -> bool:
    return pattern.endswith("*") and pattern != _ANY and not pattern.endswith("-*")


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
