"""Repositories over indexes in memory and a real store: everything that decides, without HTTP and without disks."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from decider.errors import DeciderError
from decider.files import DistributionFile, ProjectPage
from decider.names import NormalizedName
from decider.repository import Repositories
from decider.rules import Action, Rule, RuleDraft
from decider.settings import IndexSettings, RepositorySettings, Settings
from decider.snapshots import SnapshotKeeper
from decider.store.sqlite import SqliteStore
from decider.writes import PendingWrites
from tests.samples import AT, make_page

__all__ = ["Harness", "MemoryIndex", "open_harness"]


class MemoryIndex:
    """An index whose pages a test sets."""

    def __init__(self, name: str, *, is_internal: bool) -> None:
        self.name = name
        self.is_internal = is_internal
        self.pages: dict[NormalizedName, ProjectPage] = {}
        self.error: DeciderError | None = None  #: raised instead of answering
        self.asked: list[str] = []
        self.stale: set[str] = set()  #: projects whose page is a copy

    def publish(self, project: str, *files: DistributionFile | str, **fields: Any) -> ProjectPage:
        """Have a page of the project."""
        name = NormalizedName(project)
        self.pages[name] = make_page(*files, index=self.name, project=name, **fields)
        return self.pages[name]

    def withdraw(self, project: str) -> None:
        """Have no such project any more."""
        del self.pages[NormalizedName(project)]

    def fetch_page(self, project: NormalizedName) -> ProjectPage | None:
        self.asked.append(project)
        if self.error is not None:
            raise self.error
        return self.pages.get(project)

    refresh_page = fetch_page

    def is_stale(self, project: NormalizedName) -> bool:
        return project in self.stale

    def fetch_projects(self) -> frozenset[NormalizedName]:
        if self.error is not None:
            raise self.error
        return frozenset(self.pages)


class Harness:
    """Three indexes: `internal` (a directory), `corp` (a remote one of our own), `public`.

    Repositories: `default` has all three, `lab` only `public`, `inside` all but `public`, `upside` `public` first.
    """

    def __init__(self, folder: Path) -> None:
        self.now = AT
        self.seconds = 0.0
        self.store = SqliteStore(folder / "decider.sqlite")
        self.internal = MemoryIndex("internal", is_internal=True)
        self.corp = MemoryIndex("corp", is_internal=True)
        self.public = MemoryIndex("public", is_internal=False)
        self.settings = Settings(
            data_dir=str(folder),
            indexes=(
                IndexSettings(name="internal", path=str(folder / "packages")),
                IndexSettings(name="corp", url="https://corp.example/simple/", internal=True),
                IndexSettings(name="public", url="https://index.example/simple/"),
            ),
            repositories=(
                RepositorySettings(name="default", indexes=("internal", "corp", "public")),
                RepositorySettings(name="lab", indexes=("public",)),
                RepositorySettings(name="inside", indexes=("internal", "corp")),
                RepositorySettings(name="upside", indexes=("public", "internal"), hide_refused=True),
            ),
        )
        self.keeper = SnapshotKeeper(self.store, max_policy_age_s=3600, monotonic=lambda: self.seconds)
        self.writes = PendingWrites(self.store, clock=self.clock)
        self.repositories = Repositories(
            self.settings,
            self.store,
            {index.name: index for index in (self.internal, self.corp, self.public)},
            clock=self.clock,
            keeper=self.keeper,
            writes=self.writes,
        )

    def clock(self) -> datetime:
        return self.now

    def add_rule(self, action: str, project: str = "demo", **fields: Any) -> Rule:
        """A stored rule that is in force at once."""
        draft = RuleDraft(action=Action(action), project=project, **{"reason": "because", **fields})
        rule = self.store.add_rule(draft, actor="ops", at=self.now)
        self.look_again()
        return rule

    def write(self) -> None:
        """Write what is queued, and let everybody see it."""
        self.writes.flush()
        self.look_again()

    def look_again(self) -> None:
        """Have the store asked for news by whoever asks next."""
        self.seconds += 1

    def owner(self, project: str = "demo", repository: str = "default") -> str:
        """The index that answers for the name; raise as decide_page."""
        return self.repositories.decide_page(repository, NormalizedName(project)).page.index


@contextmanager
def open_harness(folder: Path) -> Iterator[Harness]:
    """A harness whose store is closed in the end."""
    made = Harness(folder)
    try:
        yield made
    finally:
        made.store.close()
