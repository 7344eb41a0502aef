"""Makes the list of a repository out of those of its indexes, in a child: `python -m decider.project_lists`.

A name that a rule gives to an index is listed where that index has it (DESIGN, section 5: ownership first); one that
is refused whole is left out where refused files are hidden. Keeping lists may not be added here.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path

import msgspec

from decider.children import run_child
from decider.decision import owner_rule, refused_whole
from decider.index.project_names import ProjectNames, write_names
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
    lists = {
        index: frozenset(ProjectNames(Path(folder), digest))
        for index, (folder, digest) in job.sources.items()
    }
    snapshot = Snapshot(0, job.rules)
    names: frozenset[NormalizedName] = frozenset().union(*lists.values())
    unlisted = {name for name in _spoken_of(names, job.rules) if not _is_listed(name, snapshot, lists, job)}
    return write_names(Path(job.folder), names - unlisted)


def _is_listed(
    project: NormalizedName,
    snapshot: Snapshot,
    lists: Mapping[str, AbstractSet[NormalizedName]],
    job: UnionJob,
) -> bool:
    rules = snapshot.rules_for(project, job.repository, sha256=frozenset())
    own = owner_rule(rules, at=job.at)
    if own is not None and project not in lists.get(own.index or "", frozenset()):
        return False
    return not job.hide_refused or not refused_whole(rules, at=job.at)


def _spoken_of(names: frozenset[NormalizedName], rules: Iterable[Rule]) -> set[NormalizedName]:
    """Those of `names` (up to a million) that some rule speaks of."""
    patterns = {parse_pattern(rule.project) for rule in rules}
    wide = [pattern for pattern in patterns if pattern.kind is not Kind.EXACT]
    stems = tuple({pattern.stem for pattern in wide})
    exact = {pattern.stem for pattern in patterns if pattern.kind is Kind.EXACT}
    return {
        name
        for name in names
        if name in exact or (name.startswith(stems) and any(pattern.matches(name) for pattern in wide))
    }
