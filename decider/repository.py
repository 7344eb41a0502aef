"""What a client points at: an ordered list of indexes, and the rules in force there.

Joins index, store and decision for `web` and `cli` alike: asks the right indexes in the right order, keeps the
compiled snapshot current, and hands both to the pure core. HTTP, printing and evaluating may not be added here.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from decider import __version__
from decider.decision import (
    FileDecision,
    PageDecision,
    Verdict,
    decide_one,
    decide_page,
    page_fingerprint,
    release_pages,
)
from decider.errors import Fault, FileNotListed, InvalidRequest, ReleaseNotFound, UnreadableDistribution
from decider.files import ProjectPage, strongest_digest
from decider.index import Index
from decider.index.location import (
    COMPANIONS,
    Companion,
    Location,
    locate_local,
    locate_remote,
)
from decider.index.offers import WheelOffers
from decider.index.project_names import ProjectNames
from decider.names import NormalizedName
from decider.ownership import Ownership
from decider.project_lists import RepositoryLists
from decider.rules import Snapshot
from decider.settings import RepositorySettings, Settings
from decider.snapshots import SnapshotKeeper
from decider.store import Store
from decider.writes import PendingWrites

__all__ = ["LocatedDecision", "Repositories"]


class LocatedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision for one requested file, and where its bytes are."""

    decision: FileDecision
    location: Location | None  #: None: the file is listed, this companion of it is not offered


class Repositories:
    """All configured repositories over one store; safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        indexes: Mapping[str, Index],
        *,
        clock: Callable[[], datetime],
        keeper: SnapshotKeeper | None = None,
        writes: PendingWrites | None = None,
        offers: Mapping[str, WheelOffers] | None = None,
    ) -> None:
        """`offers`, by index: of those remote indexes whose wheels' metadata may be offered where the index does not."""
        self._settings = {repository.name: repository for repository in settings.repositories}
        self._index_settings = {index.name: index for index in settings.indexes}
        self.indexes = dict(indexes)
        self._public_url = settings.public_url
        self._clock = clock
        self.keeper = keeper or SnapshotKeeper(store, max_policy_age_s=settings.max_policy_age_s)
        self.writes = writes or PendingWrites(store, clock=clock)
        self._ownership = Ownership(
            settings, self.indexes, keeper=self.keeper, writes=self.writes, clock=clock
        )
        self._offers = offers or {}
        self._lists = RepositoryLists(Path(settings.data_dir) / "lists" / "repositories")

    @property
    def names(self) -> tuple[str, ...]:
        """The configured repositories, `default` among them."""
        return tuple(self._settings)

    def snapshot(self) -> Snapshot:
        """The rules in force now; raise StoreUnavailable once the last ones are older than max_policy_age."""
        return self.keeper.current()

    def degraded(self, repository: str, project: NormalizedName) -> str:
        """What the last decision had to do without: "store", "index" (a copy of its page served); "" for nothing."""
        if self.keeper.is_degraded:
            return "store"
        settings = self._settings.get(repository)
        names = () if settings is None else settings.indexes
        return "index" if any(self.indexes[name].is_stale(project) for name in names) else ""

    def hides_refused(self, repository: str) -> bool:
        """Whether refused files leave this repository's pages."""
        return self._repository(repository).hide_refused

    def decide_page(
        self,
        repository: str,
        project: NormalizedName,
        *,
        at: datetime | None = None,
        snapshot: Snapshot | None = None,
        trace: bool = False,
    ) -> PageDecision:
        """The decisions for a project's current page; `snapshot` replaces the rules in force (dry runs).

        Raise ProjectNotFound, UnreadablePage, IndexUnavailable, IndexTimeout or StoreUnavailable.
        """
        at = at or self._clock()
        if snapshot is None:  # one without rules is false
            snapshot = self.snapshot()
        pages = self._pages(repository, project, snapshot, at)
        first_seen = self._first_seen(pages, snapshot, repository)
        return decide_page(
            pages,
            snapshot,
            repository=repository,
            at=at,
            first_seen=first_seen,
            variant=self._variant(repository),
            trace=trace,
        )

    def page_fingerprint(self, repository: str, project: NormalizedName) -> str:
        """What the project's page, as filtered now, depends on; raise as decide_page."""
        at = self._clock()
        snapshot = self.snapshot()
        pages = self._pages(repository, project, snapshot, at)
        if self._try_offers(pages, snapshot, repository, at):
            pages = self._pages(repository, project, snapshot, at)
        return self._fingerprint(pages, snapshot, repository, at)

    def json_fingerprint(self, repository: str, project: NormalizedName) -> str:
        """The same of the JSON of old, which says nothing of metadata: no file is judged; raise as decide_page."""
        at = self._clock()
        snapshot = self.snapshot()
        pages = self._pages(repository, project, snapshot, at)
        return self._fingerprint(pages, snapshot, repository, at)

    def decide_release(self, repository: str, project: NormalizedName, version: str) -> PageDecision:
        """The decisions for one release, under the project's fingerprint; no other file is judged.

        `version` is any spelling of it; `versions` of the page is the one that stands for it. Raise as decide_page, or
        ReleaseNotFound, before any file is judged.
        """
        at = self._clock()
        snapshot = self.snapshot()
        pages = self._pages(repository, project, snapshot, at)
        release = release_pages(pages, version)
        if not release:
            raise ReleaseNotFound(project, version, pages[0].index)
        return decide_page(
            release,
            snapshot,
            repository=repository,
            at=at,
            first_seen=self._first_seen(pages, snapshot, repository),
            variant=self._variant(repository),
            whole=pages,
        )

    def decide_file(
        self, repository: str, project: NormalizedName, filename: str, *, asked_by: str | None = None
    ) -> LocatedDecision:
        """The decision for one requested file, or for its `.metadata` or `.provenance`.

        `asked_by`: the client (an address, "" when unknown) for whom a hold opens a review, or counts for one; None
        opens none. Raise as decide_page, or FileNotListed.
        """
        at = self._clock()
        snapshot = self.snapshot()
        pages = self._pages(repository, project, snapshot, at)
        first_seen = self._first_seen(pages, snapshot, repository)
        for listed, companion in _readings(filename):
            decision = decide_one(
                pages, listed, snapshot, repository=repository, at=at, first_seen=first_seen
            )
            if decision is None:
                continue
            if decision.verdict is Verdict.HOLD and asked_by is not None:
                self.writes.request_review(
                    decision, project=project, repository=repository, client=asked_by or None, at=at
                )
            return LocatedDecision(decision=decision, location=self._locate(decision, companion))
        raise FileNotListed(project, filename, pages[0].index)

    def projects(self, repository: str) -> ProjectNames:
        """The names that the repository's indexes have, under ownership; without those refused whole where such are hidden.

        Raise IndexUnavailable, IndexTimeout, UnreadablePage, StoreUnavailable or ChildFailed: half a list is none.
        """
        settings = self._repository(repository)
        return self._lists.names(
            repository,
            {name: self.indexes[name].fetch_projects() for name in settings.indexes},
            self.snapshot(),
            hide_refused=settings.hide_refused,
            at=self._clock(),
        )

    def refresh(self, index: str, project: NormalizedName) -> ProjectPage | None:
        """Ask the index itself for the page, past every cache; raise InvalidRequest for an unknown index."""
        found = self.indexes.get(index)
        if found is None:
            raise InvalidRequest([Fault("index", f"no index `{index}`")])
        return found.refresh_page(project)

    def read_metadata(self, repository: str, project: NormalizedName, filename: str) -> bytes | None:
        """The core metadata of a wheel whose `.metadata` is asked for, read out of the wheel; None where it is refused.

        Raise as decide_file, or UnreadableDistribution, also where it is not what the index states of it.
        """
        located = self.decide_file(repository, project, filename)
        file, offers = located.decision.file, self._offers.get(located.decision.index)
        if located.decision.verdict.is_refusal:
            return None
        if located.location is None or offers is None or filename != f"{file.filename}.metadata":
            raise FileNotListed(project, filename, located.decision.index)
        data = offers.read(project, file)
        stated = strongest_digest(file.core_metadata) if isinstance(file.core_metadata, Mapping) else None
        if (
            stated is not None
            and stated[1] != hashlib.new(stated[0], data, usedforsecurity=False).hexdigest()
        ):
            raise UnreadableDistribution("does not have the metadata that its index states")
        return data

    def claim_local_projects(self) -> None:
        """As Ownership.claim_local_projects."""
        self._ownership.claim_local_projects()

    def _pages(
        self, repository: str, project: NormalizedName, snapshot: Snapshot, at: datetime
    ) -> tuple[ProjectPage, ...]:
        """As Ownership.fetch_pages, with what decider offers besides."""
        pages = self._ownership.fetch_pages(self._repository(repository), project, snapshot, at=at)
        return tuple(
            offers.overlay(page) if (offers := self._offers.get(page.index)) is not None else page
            for page in pages
        )

    def _try_offers(
        self, pages: Sequence[ProjectPage], snapshot: Snapshot, repository: str, at: datetime
    ) -> bool:
        """Whether it was just tried, by a wheel that is not refused, if metadata of an index's wheels can be offered."""
        for page in pages:
            offers = self._offers.get(page.index)
            for file in offers.untried(page) if offers is not None else ():
                decision = decide_one(pages, file.filename, snapshot, repository=repository, at=at)
                if decision is None or decision.index != page.index or decision.verdict.is_refusal:
                    continue
                if offers is not None:
                    offers.try_out(page.project, file)
                    return True
        return False

    def _repository(self, name: str) -> RepositorySettings:
        found = self._settings.get(name)
        if found is None:
            raise InvalidRequest([Fault("repository", f"no repository `{name}`")])
        return found

    def _first_seen(
        self, pages: Sequence[ProjectPage], snapshot: Snapshot, repository: str
    ) -> Mapping[str, datetime]:
        """When decider first saw those files whose index states no upload time; {} where no rule asks."""
        rules = snapshot.rules_for(pages[0].project, repository, sha256=frozenset())
        if any(rule.younger_than or rule.uploaded_after for rule in rules):
            return self.writes.first_seen(pages)
        return {}

    def _fingerprint(
        self, pages: Sequence[ProjectPage], snapshot: Snapshot, repository: str, at: datetime
    ) -> str:
        fingerprint, _ = page_fingerprint(
            pages,
            snapshot,
            repository=repository,
            at=at,
            first_seen=self._first_seen(pages, snapshot, repository),
            variant=self._variant(repository),
        )
        return fingerprint

    def _variant(self, repository: str) -> str:
        """What a page of the repository is rendered by, besides rules and indexes."""
        return f"{__version__} {self._repository(repository).hide_refused} {self._public_url}"

    def _locate(self, decision: FileDecision, companion: Companion) -> Location | None:
        settings = self._index_settings[decision.index]
        if settings.is_local:
            return locate_local(settings.name, decision.file, companion)
        return locate_remote(settings, decision.file, companion)


# `.asc` is a companion too (PEP 503): decided like its file, offered for none.
_COMPANION = re.compile(r"(.+)(\.metadata|\.provenance|\.asc)\Z", re.DOTALL)


def _readings(filename: str) -> list[tuple[str, Companion]]:
    """What a requested name may mean: a listed file of just that name, else a companion of one."""
    readings: list[tuple[str, Companion]] = [(filename, "")]
    companion = _COMPANION.fullmatch(filename)
    if companion is not None:
        readings += [(companion[1], known) for known in COMPANIONS if known == companion[2]]
    return readings
