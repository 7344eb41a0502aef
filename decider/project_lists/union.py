"""Makes the list of a repository out of those of its indexes, in a child: `python -m decider.project_lists`.

A name that a rule gives to an index is listed where that index has it (DESIGN, section 5: ownership first); one that
is refused whole is left out where refused files are hidden. Keeping lists may not be added here.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from itertools import groupby, repeat
from operator import itemgetter
from pathlib import Path

import msgspec

from decider.children import run_child
from decider.decision import owner_rule, refused_whole
from decider.index.project_names import ProjectNames, write_sorted_names
from decider.names import Kind, NormalizedName, parse_pattern
from decider.rules import Rule, Snapshot

__all__ = ["UnionJob", "unite", "unite_here"]

WITHIN_S = 60.0


class UnionJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to make a list of."""

    repository: str
    sources: dict[str, tuple[str, str]]  #: index → folder and digest of its names' file
    rules: tuple[Rule, ...]  #: all that can take a name out
    hide_refused: bool
    at: datetime
    folder: str  #: where to keep the names


def unite(job: UnionJob) -> str:
    """The digest of the file that the names are kept in; made in a child. Raise ChildFailed."""
    return run_child("decider.project_lists", job, str, timeout_s=WITHIN_S)


def unite_here(job: UnionJob) -> str:
    """The same, made in this process."""
    lists = {index: ProjectNames(Path(folder), digest) for index, (folder, digest) in job.sources.items()}
    return write_sorted_names(Path(job.folder), _listed(lists, job))


def _listed(lists: Mapping[str, ProjectNames], job: UnionJob) -> Iterator[NormalizedName]:
    """The names, sorted. They come and go one by one: nothing here holds a million of them."""
    snapshot = Snapshot(0, job.rules)
    patterns = {parse_pattern(rule.project) for rule in job.rules}
    exact = {pattern.stem for pattern in patterns if pattern.kind is Kind.EXACT}
    stems = tuple({pattern.stem for pattern in patterns if pattern.kind is not Kind.EXACT})
    for name, having in _merged(lists):
        is_spoken_of = name in exact or name.startswith(stems)
        if not is_spoken_of or _is_listed(name, having, snapshot, job):
            yield name


def _merged(lists: Mapping[str, ProjectNames]) -> Iterator[tuple[NormalizedName, tuple[str, ...]]]:
    """Every name, and the indexes that have it."""
    entries = heapq.merge(*(zip(names, repeat(index)) for index, names in lists.items()))
    for name, group in groupby(entries, key=itemgetter(0)):
        yield name, tuple(map(itemgetter(1), group))


def _is_listed(project: NormalizedName, having: Collection[str], snapshot: Snapshot, job: UnionJob) -> bool:
    rules = snapshot.rules_for(project, job.repository, sha256=frozenset())
    own = owner_rule(rules, at=job.at)
    if own is not None and own.index not in having:
        return False
    return not job.hide_refused or not refused_whole(rules, at=job.at)
