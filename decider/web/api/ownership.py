"""Ownership conflicts: names that belong to one index and that a public index also has.

Such a name is safe as long as its owner is asked first; it is listed so that someone looks who put it there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import NamedTuple

from flask import Response

from decider.errors import IndexError_, NotFound
from decider.index import Index
from decider.index.project_names import ProjectNames
from decider.names import Kind, NormalizedName, ProjectPattern, parse_pattern
from decider.rules import Action, Rule, Snapshot
from decider.store import Role
from decider.store.cursors import decode_cursor, make_page
from decider.web import services
from decider.web.api import examples
from decider.web.api.asking import ask_all
from decider.web.api.inputs import NO_BODY, Listing
from decider.web.api.operation import Call, operation, respond
from decider.web.api.shapes import Conflicting, Conflicts, Unanswered

__all__: list[str] = []

_LISTING = "conflicts"


class _Owned(NamedTuple):
    """A name and the index it belongs to."""

    project: NormalizedName
    owner: str
    rule: str | None
    extends: tuple[str, ...]

    @property
    def key(self) -> str:
        """Where the name stands in the listing."""
        return f"{self.project} {self.owner}"


@operation(
    "GET",
    "/ownership/conflicts",
    role=Role.READER,
    query=Listing,
    body=NO_BODY,
    result=Conflicts,
    example_result={**examples.listing(examples.CONFLICT), "unanswered": []},
)
def list_conflicts(call: Call[Listing, None]) -> Response:
    """List owned names that a public index also has.

    Owned by an `own` rule (one about `*` apart) or by an internal index that has the project. `limit` counts the
    names looked at, so a page may have fewer items and still a `next`; `unanswered` says what could not be asked.
    """
    parts = services()
    indexes = parts.repositories.indexes
    unanswered: list[Unanswered] = []
    owned = _owned(parts.repositories.keeper.refresh(), indexes, unanswered, at=parts.clock())
    after = decode_cursor(_LISTING, call.query.cursor)
    left = (one for one in sorted(owned, key=lambda one: one.key) if one.key > after)
    page = make_page(_LISTING, left, call.query.limit, lambda one: one.key)
    items = list(_conflicting(page.items, indexes, unanswered))
    return respond(Conflicts(items=tuple(items), next=page.next, unanswered=tuple(unanswered)))


def _owned(
    snapshot: Snapshot, indexes: Mapping[str, Index], unanswered: list[Unanswered], *, at: datetime
) -> list[_Owned]:
    own = [(parse_pattern(rule.project), rule) for rule in _own_rules(snapshot, at)]
    exact = [
        _by_rule(NormalizedName(pattern.stem), rule) for pattern, rule in own if pattern.kind is Kind.EXACT
    ]
    named = {one.project for one in exact}
    patterns = [(pattern, rule) for pattern, rule in own if pattern.kind in {Kind.NAMESPACE, Kind.PREFIX}]
    under = [
        _by_rule(project, rule)
        for project in _under([pattern for pattern, _ in patterns], indexes, unanswered)
        if project not in named and (rule := _most_specific(project, patterns)) is not None
    ]
    named.update(one.project for one in under)
    unruled = [
        _Owned(project, index, None, ())
        for project, index in _internal_projects(indexes, unanswered).items()
        if project not in named and _most_specific(project, patterns) is None
    ]
    return exact + under + unruled


def _own_rules(snapshot: Snapshot, at: datetime) -> Iterator[Rule]:
    return (rule for rule in snapshot if rule.action is Action.OWN and rule.is_active(at))


def _by_rule(project: NormalizedName, rule: Rule) -> _Owned:
    return _Owned(project, rule.index or "", rule.id, rule.extends or ())


def _most_specific(project: NormalizedName, patterns: Iterable[tuple[ProjectPattern, Rule]]) -> Rule | None:
    matching = [(pattern.specificity, rule) for pattern, rule in patterns if pattern.matches(project)]
    return max(matching, key=lambda one: one[0])[1] if matching else None


def _under(
    patterns: Sequence[ProjectPattern], indexes: Mapping[str, Index], unanswered: list[Unanswered]
) -> list[NormalizedName]:
    """Every project of the public indexes that a pattern matches, sorted; they may have a million others."""
    if not patterns:
        return []
    lists = _lists([index for index in indexes.values() if not index.is_internal], unanswered)
    return sorted({name for _, names in lists for pattern in patterns for name in _matching(names, pattern)})


def _matching(names: AbstractSet[NormalizedName], pattern: ProjectPattern) -> Iterable[NormalizedName]:
    return names.matching(pattern) if isinstance(names, ProjectNames) else filter(pattern.matches, names)


def _internal_projects(
    indexes: Mapping[str, Index], unanswered: list[Unanswered]
) -> dict[NormalizedName, str]:
    """Every project of the internal indexes, and the first that has it."""
    found: dict[NormalizedName, str] = {}
    for index, names in _lists([index for index in indexes.values() if index.is_internal], unanswered):
        found = {**dict.fromkeys(names, index.name), **found}
    return found


def _lists(
    chosen: Sequence[Index], unanswered: list[Unanswered]
) -> Iterator[tuple[Index, AbstractSet[NormalizedName]]]:
    """The project lists of those indexes that give one."""
    for index, answer in zip(chosen, ask_all(lambda one: one.fetch_projects(), chosen), strict=True):
        if isinstance(answer, (NotFound, IndexError_)):
            unanswered.append(Unanswered(project=None, index=index.name, detail=str(answer)))
        else:
            yield index, answer


def _conflicting(
    owned: Iterable[_Owned], indexes: Mapping[str, Index], unanswered: list[Unanswered]
) -> Iterator[Conflicting]:
    """Those of the names that another public index has: each is asked for its page."""
    jobs = [
        (one, index)
        for one in owned
        for index in indexes.values()
        if not index.is_internal and index.name != one.owner and index.name not in one.extends
    ]
    having: dict[_Owned, list[str]] = {}
    answers = ask_all(lambda job: job[1].fetch_page(job[0].project) is not None, jobs)
    for (one, index), answer in zip(jobs, answers, strict=True):
        if isinstance(answer, (NotFound, IndexError_)):
            unanswered.append(Unanswered(project=one.project, index=index.name, detail=str(answer)))
        elif answer:
            having.setdefault(one, []).append(index.name)
    for one, names in having.items():
        yield Conflicting(project=one.project, owner=one.owner, rule=one.rule, indexes=tuple(names))
