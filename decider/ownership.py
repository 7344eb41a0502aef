"""Which index answers for a name (DESIGN, section 5: ownership first), and claims, which keep it so.

An index that cannot be asked is not one that does not have the project: it raises, and the next one is not asked.
Evaluating files may not be added here.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import NamedTuple

from decider.decision import owner_rule
from decider.errors import IndexUnavailable, ProjectNotFound
from decider.files import ProjectPage
from decider.index import Index
from decider.names import NormalizedName
from decider.rules import Snapshot
from decider.settings import RepositorySettings, Settings
from decider.snapshots import SnapshotKeeper
from decider.writes import PendingWrites

__all__ = ["Ownership"]

CLAIM_AGAIN = timedelta(seconds=10)


class _Claimed(NamedTuple):
    """What was last claimed for an index."""

    names: AbstractSet[NormalizedName]
    snapshot: Snapshot
    until: datetime


class Ownership:
    """The owners of names, in all repositories; safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        indexes: Mapping[str, Index],
        *,
        keeper: SnapshotKeeper,
        writes: PendingWrites,
        clock: Callable[[], datetime],
    ) -> None:
        self._repositories = tuple(repository.name for repository in settings.repositories)
        self._local = tuple(index.name for index in settings.indexes if index.is_local)
        self._indexes = indexes
        self._keeper = keeper
        self._writes = writes
        self._clock = clock
        self._claimed: dict[str, _Claimed] = {}  # by index

    def fetch_pages(
        self, repository: RepositorySettings, project: NormalizedName, snapshot: Snapshot, *, at: datetime
    ) -> tuple[ProjectPage, ...]:
        """The owner's page, then those that its `extends` merges in.

        Raise ProjectNotFound, or what the first index raises that cannot be asked.
        """
        own = owner_rule(snapshot.rules_for(project, repository.name, sha256=frozenset()), at=at)
        # A claim that is not written yet counts: the project may be gone again before the store takes it.
        owner = self._writes.claimant(project, repository.name) if own is None else own.index
        if owner is None:
            return (self._fetch_first(repository, project),)
        if owner not in repository.indexes:
            raise ProjectNotFound(
                project, owner, f"`{project}` belongs to index `{owner}`, which is not in this repository"
            )
        page = self._indexes[owner].fetch_page(project)
        if page is None:
            raise ProjectNotFound(project, owner)
        # Only what the repository is made of: a rule for all repositories opens none of them to a further index.
        extending = [name for name in (own and own.extends) or () if name in repository.indexes]
        others = (self._indexes[name].fetch_page(project) for name in extending)
        return (page, *(other for other in others if other is not None))

    def _fetch_first(self, repository: RepositorySettings, project: NormalizedName) -> ProjectPage:
        """The page of the first index that has the project; internal ones are asked before all others."""
        for name in sorted(repository.indexes, key=lambda name: not self._indexes[name].is_internal):
            index = self._indexes[name]
            page = index.fetch_page(project)
            if page is not None:
                if index.is_internal:
                    self._claim(name, [project])
                return page
        raise ProjectNotFound(project)

    def claim_local_projects(self) -> None:
        """Claim the names that internal indexes which can list them cheaply (directories) have."""
        for name in self._local:
            try:
                projects = self._indexes[name].fetch_projects()
            except IndexUnavailable:
                continue  # not mounted, say: readiness tells; the other directories are claimed all the same
            if not self._is_claimed(name, projects):
                self._claim(name, projects)

    def _is_claimed(self, index: str, projects: AbstractSet[NormalizedName]) -> bool:
        """Whether these very names were claimed by these very rules a moment ago: thousands need not be looked up again.

        Rules end by time too, so not for long.
        """
        snapshot, at = self._keeper.current(), self._clock()
        before = self._claimed.get(index)
        is_same = before is not None and before.snapshot is snapshot and before.names == projects
        if before is not None and is_same and at < before.until:
            return True
        self._claimed[index] = _Claimed(projects, snapshot, at + CLAIM_AGAIN)
        return False

    def _claim(self, index: str, projects: Iterable[NormalizedName]) -> None:
        """Claim the names for `index` in those repositories where no `own` rule in force speaks of them.

        In force, and not those that a dry run supposes.
        """
        snapshot, at = self._keeper.current(), self._clock()
        found: dict[tuple[str, ...], list[NormalizedName]] = {}
        for project in projects:
            unowned = tuple(
                name
                for name in self._repositories
                if owner_rule(snapshot.rules_for(project, name, sha256=frozenset()), at=at) is None
            )
            if unowned:
                found.setdefault(unowned, []).append(project)
        for repositories, names in found.items():
            everywhere = repositories == self._repositories
            self._writes.claim(index, names, repositories=None if everywhere else repositories)
