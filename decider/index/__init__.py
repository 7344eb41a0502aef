"""One index at a time: a local directory (`local`), or a remote one behind nginx and the fetcher (`remote`).

Judging, and choosing between indexes, may not be added here.
"""

from collections.abc import Set as AbstractSet
from typing import Protocol

from decider.files import ProjectPage
from decider.names import NormalizedName

__all__ = ["Index"]


class Index(Protocol):
    """A source of packages; implementations are safe to share between threads."""

    name: str
    is_internal: bool  #: claims its names: a local directory, or `internal = true`

    def fetch_page(self, project: NormalizedName) -> ProjectPage | None:
        """The project's page, None when the index says that it has no such project.

        Raise UnreadablePage, IndexUnavailable or IndexTimeout when the index cannot be asked: that is not the
        same as not having it. A page at most a second old may come from memory.
        """

    def is_stale(self, project: NormalizedName) -> bool:
        """Whether the page was last answered with a copy because the index itself is away; asks nobody."""

    def refresh_page(self, project: NormalizedName) -> ProjectPage | None:
        """As fetch_page, but asks the index itself first, past every cache."""

    def fetch_projects(self) -> AbstractSet[NormalizedName]:
        """All project names; raise as fetch_page."""
