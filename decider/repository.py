"""What a client points at: an ordered list of indexes, and the rules in force there.

Joins index, store and decision for `web` and `cli` alike: asks the right indexes in the right order, keeps the
compiled snapshot current, and hands both to the pure core. HTTP, printing and evaluating may not be added here.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from decider.decision import FileDecision, PageDecision
from decider.index import Index
from decider.names import NormalizedName
from decider.rules import Snapshot
from decider.settings import Settings
from decider.store import Store

__all__ = ["Repositories"]


class Repositories:
    """All configured repositories over one store; safe to share between threads."""

    def __init__(
        self, settings: Settings, store: Store, indexes: Mapping[str, Index], *, clock: Callable[[], datetime]
    ) -> None:
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """The configured repositories, `default` among them."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """The rules in force now; raise StoreUnavailable once the last ones are older than max_policy_age."""
        raise NotImplementedError

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
        raise NotImplementedError

    def decide_file(
        self, repository: str, project: NormalizedName, filename: str, *, client: str | None = None
    ) -> FileDecision:
        """The decision for one file; opens a review when a hold refuses it. Raise as decide_page, or FileNotListed."""
        raise NotImplementedError
