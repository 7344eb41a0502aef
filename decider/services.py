"""Wires settings, store, indexes and repositories together; the one place that does."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from decider.errors import StoreUnavailable
from decider.index import Index
from decider.index.asking import Observe, observe_nothing
from decider.index.local import LocalIndex
from decider.index.offers import WheelOffers
from decider.index.permissions import Reader
from decider.index.remote import RemoteIndex
from decider.index.wheel_parts import PartReader
from decider.repository import Repositories
from decider.run_files import INDEXES_SOCKET
from decider.settings import IndexSettings, Settings
from decider.snapshots import SnapshotKeeper
from decider.store import Store, open_store
from decider.usage.alarm import alarm_of
from decider.usage.reading import Usage, clients_of
from decider.webhooks import WebhookSender
from decider.worker_user import WorkerUser, worker_user
from decider.writes import PendingWrites

__all__ = ["Services", "build", "now", "start_background"]

#: Threads of a process (wsgi.THREADS) that may wait for remote indexes, all together, as long as there are few of these.
MAX_WAITING = 24
REPORT_EVERY_S = 1.0
MIN_WAITING = 4  #: for each index


@dataclass(frozen=True, slots=True)
class Services:
    """What views and commands work with."""

    settings: Settings
    store: Store
    repositories: Repositories
    clock: Callable[[], datetime]


def now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def build(
    settings: Settings, *, clock: Callable[[], datetime] = now, observe: Observe = observe_nothing
) -> Services:
    """Everything that the settings name, connected to nothing yet but the store; raise StoreUnavailable."""
    data_dir = Path(settings.data_dir)
    store = open_store(settings.store, path=str(data_dir))
    user = worker_user()
    remote = sum(not index.is_local for index in settings.indexes)
    max_waiting = max(MAX_WAITING // max(remote, 1), MIN_WAITING)
    indexes: Mapping[str, Index] = {
        index.name: _index(settings, index, user, clock=clock, max_waiting=max_waiting, observe=observe)
        for index in settings.indexes
    }
    keeper = SnapshotKeeper(store, max_policy_age_s=settings.max_policy_age_s)
    writes = PendingWrites(
        store,
        clock=clock,
        lock_file=data_dir / "run" / "claims.lock",
        name_client=partial(_client_name, settings),
    )
    repositories = Repositories(
        settings, store, indexes, clock=clock, keeper=keeper, writes=writes, offers=_offers(settings)
    )
    return Services(settings=settings, store=store, repositories=repositories, clock=clock)


def start_background(parts: Services, *, report: Callable[[], None]) -> threading.Event:
    """Start the threads that scan, claim, drain writes, tell the webhook and `report`; set the event to stop them."""
    stopping = threading.Event()
    threading.Thread(target=_repeat, args=(report, stopping), name="decider-metrics", daemon=True).start()
    if parts.settings.webhook is not None:
        usage = Usage(parts.settings)
        sender = WebhookSender(
            parts.settings,
            parts.store,
            clock=parts.clock,
            exposure_of=lambda entry, later: alarm_of(
                entry,
                parts.repositories.snapshot(),
                usage,
                later=later,
                first_seen_of=parts.store.first_seen,
            ),
        )
        threading.Thread(target=sender.run, args=(stopping,), name="decider-webhook", daemon=True).start()
    threading.Thread(
        target=parts.repositories.writes.run,
        args=(stopping,),
        kwargs={"periodic": parts.repositories.claim_local_projects},
        name="decider-writes",
        daemon=True,
    ).start()
    return stopping


def _client_name(settings: Settings, address: str) -> str:
    """What reviews call a client: as the records of usage do. Raise StoreUnavailable."""
    try:
        return clients_of(settings).name(address)
    except OSError as error:
        raise StoreUnavailable(f"the key for pseudonyms: {error.strerror}") from error


def _repeat(report: Callable[[], None], stopping: threading.Event) -> None:
    """Report until told to stop, however the store and the other threads fare."""
    report()
    while not stopping.wait(REPORT_EVERY_S):
        report()


def _offers(settings: Settings) -> Mapping[str, WheelOffers]:
    """What can be offered besides what indexes offer, by remote index."""
    data_dir = Path(settings.data_dir)
    parts = PartReader(socket=data_dir / INDEXES_SOCKET, connections=MAX_WAITING)
    return {
        index.name: WheelOffers(index, parts, data_dir / "learned")
        for index in settings.indexes
        if not index.is_local
    }


def _index(
    settings: Settings,
    index: IndexSettings,
    user: WorkerUser | None,
    *,
    clock: Callable[[], datetime],
    max_waiting: int,
    observe: Observe,
) -> Index:
    if index.path is not None:
        return LocalIndex(
            index.name,
            Path(index.path),
            cache_dir=Path(settings.data_dir) / "metadata",
            stage_dir=None if user is None else Path(settings.data_dir) / "staged" / index.name,
            reader=None if user is None else Reader(user.uid, user.gid),
        )
    return RemoteIndex(
        index,
        socket=Path(settings.data_dir) / INDEXES_SOCKET,
        list_folder=Path(settings.data_dir) / "lists" / "indexes" / index.name,
        clock=clock,
        max_waiting=max_waiting,
        observe=observe,
    )
