"""What a change of rules would do to the current pages: the same decision, made by two snapshots.

Bounded: it looks at MAX_PAGES pages and names MAX_FILES files at most, and says so where there may be more.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import msgspec

from decider.decision import FileDecision, Verdict
from decider.errors import IndexError_, NotFound, ProjectNotFound, UsageUnavailable
from decider.names import Kind, NormalizedName, parse_pattern
from decider.repository import Repositories
from decider.rules import Rule, Snapshot
from decider.usage.answers import UsageTotal
from decider.usage.exposure import FirstSeenOf
from decider.usage.reading import Usage
from decider.web.api.asking import ask_all
from decider.web.api.shapes import Effect, Effects, Unanswered, UsageEffect
from decider.web.api.usage_effects import usage_effects

__all__ = ["MAX_FILES", "MAX_PAGES", "Change", "effects_of"]

MAX_PAGES = 100
MAX_FILES = 1_000


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Rules before and after a change."""

    removed: tuple[Rule, ...] = ()
    stored: tuple[Rule, ...] = ()  #: new ones, with provisional ids, and changed ones

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule that the change is about."""
        return self.removed + self.stored


class _Place(msgspec.Struct, frozen=True, order=True):
    """A project in a repository."""

    project: NormalizedName
    repository: str


def effects_of(
    change: Change, repositories: Repositories, usage: Usage, *, at: datetime, first_seen_of: FirstSeenOf
) -> Effects:
    """The files whose verdict the change would change, of pages and of recent requests; raise StoreUnavailable."""
    before = repositories.keeper.refresh()
    kept = {rule.id for rule in change.stored}
    after = before.updated(
        before.revision + 1, change.stored, [rule.id for rule in change.removed if rule.id not in kept]
    )
    unanswered: list[Unanswered] = []
    requests: tuple[UsageEffect, ...] = ()
    total: UsageTotal | None = None
    used: frozenset[NormalizedName] = frozenset()
    try:
        found = usage_effects(change.rules, before, after, usage, at=at, first_seen_of=first_seen_of)
        requests, total, used = found.files, found.total, found.projects
    except UsageUnavailable:
        unanswered.append(Unanswered(project=None, index=None, detail="the records of usage cannot be read"))
    places, is_partial = _places(change, repositories, used, unanswered)
    chosen = places[:MAX_PAGES]

    def compare(place: _Place) -> list[Effect]:
        return list(_compare(place, repositories, before, after, at))

    files: list[Effect] = []
    for place, answer in zip(chosen, ask_all(compare, chosen), strict=True):
        if isinstance(answer, (NotFound, IndexError_)):
            index = answer.index if isinstance(answer, IndexError_) else None
            unanswered.append(Unanswered(project=place.project, index=index, detail=str(answer)))
        else:
            files += answer
    is_cut = len(places) > MAX_PAGES or max(len(files), len(requests)) > MAX_FILES
    return Effects(
        files=tuple(files[:MAX_FILES]),
        usage=requests[:MAX_FILES],
        usage_total=total,
        truncated=is_partial or is_cut or bool(unanswered),
        unanswered=tuple(unanswered),
    )


def _places(
    change: Change,
    repositories: Repositories,
    used: Collection[NormalizedName],
    unanswered: list[Unanswered],
) -> tuple[list[_Place], bool]:
    """Where the rules can change something, as far as that can be told; and whether that is not all.

    Which projects a pattern means, only an index with a list of them tells: internal ones are asked, and of public
    ones those stand for all that somebody `used` lately. Who did not answer goes to `unanswered`.
    """
    places: set[_Place] = set()
    is_exact = True
    for rule in change.rules:
        pattern = parse_pattern(rule.project)
        if pattern.kind is Kind.EXACT:
            where = rule.repositories or repositories.names
            places.update(
                _Place(NormalizedName(pattern.stem), name) for name in where if name in repositories.names
            )
        else:
            is_exact = False
    if is_exact:
        return sorted(places), False
    # A feed of patterns and an index of projects, each against each, would take minutes: snapshots find them.
    snapshots = [Snapshot(0, rules) for rules in (change.removed, change.stored)]
    is_any = any(snapshot.names_digests for snapshot in snapshots)  # a bad digest may be listed anywhere
    for project in _local_projects(repositories, unanswered).union(used):
        places.update(
            _Place(project, name)
            for name in repositories.names
            if is_any or any(one.rules_for(project, name, sha256=()) for one in snapshots)
        )
    return sorted(places), True


def _local_projects(repositories: Repositories, unanswered: list[Unanswered]) -> set[NormalizedName]:
    found: set[NormalizedName] = set()
    for index in repositories.indexes.values():
        if not index.is_internal:
            continue
        try:
            found |= index.fetch_projects()
        except IndexError_ as error:
            unanswered.append(Unanswered(project=None, index=error.index, detail=error.detail))
    return found


def _compare(
    place: _Place, repositories: Repositories, before: Snapshot, after: Snapshot, at: datetime
) -> Iterator[Effect]:
    was = {one.file.filename: one for one in _decide(place, repositories, before, at)}
    now = {one.file.filename: one for one in _decide(place, repositories, after, at)}
    for filename in [*was, *(name for name in now if name not in was)]:
        old, new = was.get(filename), now.get(filename)
        if _verdict(old) is _verdict(new):
            continue
        yield Effect(
            project=place.project,
            repository=place.repository,
            filename=filename,
            version=next(one.version for one in (new, old) if one),
            before=_verdict(old),
            after=_verdict(new),
            rules=tuple(rule.id for rule in new.rules) if new else (),
            reason=(new.reason or None) if new else None,
        )


def _decide(
    place: _Place, repositories: Repositories, snapshot: Snapshot, at: datetime
) -> Sequence[FileDecision]:
    try:
        return repositories.decide_page(place.repository, place.project, at=at, snapshot=snapshot).files
    except ProjectNotFound:
        return ()


def _verdict(decision: FileDecision | None) -> Verdict | None:
    return decision.verdict if decision else None
