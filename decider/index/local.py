"""A directory of distributions as an index: flat, one folder a project, or both.

Dropping a file in is publishing it; deleting it, or its project's folder, withdraws it. Read in this order: simple
repository API (PEP 503, 629, 691, 700), metadata files at an index (PEP 658, 714), wheel and sdist file names.

The directory is looked at when somebody asks, by stat; a file is read only when it is new or changed. Judging may
not be added here.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from decider.errors import IndexUnavailable
from decider.files import DistributionFile, ProjectPage
from decider.index.catalogue import Catalogue, make_catalogue
from decider.index.directory import Contents, LocalFault, has_moved, look_into
from decider.index.examined import ExaminedFiles
from decider.index.permissions import Reader
from decider.index.publishing import Publisher, Record
from decider.index.staging import Stage
from decider.names import NormalizedName

__all__ = ["COPIED", "LocalFault", "LocalIndex"]

log = logging.getLogger(__name__)

COPIED = "nginx's user cannot read it: it is copied into data_dir and served from there"
_SHARE = 10  #: scanning may take one part in so many of the time,
_URGENT_SHARE = 3  #: and one in so many while files come and go


@dataclass(frozen=True, slots=True)
class _State:
    """What the last scan found."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    unreadable: Mapping[NormalizedName, str] = field(default_factory=dict)  #: folders, and why
    faults: tuple[LocalFault, ...] = ()
    failure: str | None = None  #: why the directory could not be listed


class LocalIndex:
    """The directory `root`; safe to share between threads.

    `cache_dir` may be shared by all indexes and processes. Where nginx runs as another user, this is `reader`, and
    what it cannot read in place is copied to `stage_dir`, which belongs to this index alone. `clock` is monotonic seconds, `wall_clock` seconds since the epoch.
    """

    is_internal = True

    def __init__(
        self,
        name: str,
        root: Path,
        *,
        cache_dir: Path,
        stage_dir: Path | None = None,
        reader: Reader | None = None,
        scan_interval_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._root = root.absolute()
        self._reader = reader
        self._scan_interval_s = scan_interval_s
        self._clock = clock
        self._examined = ExaminedFiles(cache_dir.absolute(), name)
        self._stage = None if stage_dir is None else Stage(stage_dir.absolute())
        self._publisher = Publisher(
            self._root,
            examined=self._examined,
            stage=self._stage,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._lock = threading.Lock()  # held while scanning
        self._state: _State | None = None
        self._next_scan = float("-inf")
        self._next_glance = float("-inf")  # whether it is time for a scan sooner
        self._moments: Mapping[str, int] = {}
        self._records: Mapping[str, Record] = {}
        self._seen: object = None  # what the state was made of
        self._logged: frozenset[LocalFault] = frozenset()
        self._logged_copies: set[str] = set()

    def copied(self) -> tuple[str, ...]:
        """The listed files, in the order of their paths, that nginx's user cannot read where they lie."""
        return tuple(path for path, record in self._records.items() if record.file and record.file.is_staged)

    def fetch_page(self, project: NormalizedName) -> ProjectPage | None:
        """The project's page, None when neither a folder nor a file's name speaks of it.

        A project whose files are all faulty or still being written has an empty page. Raise IndexUnavailable when
        the directory or the project's folder cannot be listed.
        """
        self.scan()
        return self._page(project)

    def is_stale(self, project: NormalizedName) -> bool:  # noqa: ARG002 (the disk is never away)
        """As Index.is_stale."""
        return False

    def refresh_page(self, project: NormalizedName) -> ProjectPage | None:
        """As fetch_page, of a scan that begins now."""
        with self._lock:
            self._scan()
        return self._page(project)

    def fetch_projects(self) -> frozenset[NormalizedName]:
        """All project names; raise IndexUnavailable when the directory cannot be listed."""
        self.scan()
        state = self._usable_state()
        return frozenset(state.catalogue.pages)

    def faults(self) -> tuple[LocalFault, ...]:
        """What is left out and why, by path; raise IndexUnavailable when the directory cannot be listed."""
        self.scan()
        return self._usable_state().faults

    def scan(self) -> None:
        """Look at the directory if it is time to; where another thread is at it, its last result will do.

        The first scan is waited for.
        """
        if not self._is_time():
            return
        if self._lock.acquire(blocking=self._state is None):
            try:
                if self._is_time():
                    self._scan_or_glance()
            finally:
                self._lock.release()

    def _is_time(self) -> bool:
        return self._state is None or self._clock() >= min(self._next_scan, self._next_glance)

    def _scan_or_glance(self) -> None:
        """A scan of very many files is rare, so as not to cost much; a new name in their folder is not to wait for it."""
        now = self._clock()
        if self._state is None or now >= self._next_scan or has_moved(self._moments):
            self._scan()
        else:
            self._next_glance = now + self._scan_interval_s

    def _page(self, project: NormalizedName) -> ProjectPage | None:
        state = self._usable_state()
        if project in state.unreadable:
            raise IndexUnavailable(self.name, state.unreadable[project])
        return state.catalogue.pages.get(project)

    def _usable_state(self) -> _State:
        state = self._state or _State(failure="has not been looked at")
        if state.failure is not None:
            raise IndexUnavailable(self.name, state.failure)
        return state

    def _scan(self) -> None:
        started = self._clock()
        try:
            contents = look_into(self._root, self._reader)
        except OSError as error:
            # Not "has nothing": a directory that is not mounted must hand no name to another index.
            # Clients are told this: where it lies is for the log.
            failure = f"its directory cannot be read: {error.strerror}"
            if self._state is None or self._state.failure != failure:
                extra = {"index": self.name, "path": str(self._root), "why": error.strerror}
                log.error("index.directory_unreadable", extra=extra)  # noqa: TRY400 (its cause is told)
            self._state = _State(failure=failure)
            self._seen = None
            self._next_scan = self._next_glance = started + self._scan_interval_s
            return
        looked = self._clock()
        records = {
            candidate.path: self._publisher.publish(candidate, self._records.get(candidate.path))
            for candidate in contents.candidates
        }
        is_news = self._take(contents, records)
        self._sweep()
        # Reading what is new takes what it takes, once: the share is of what every scan costs.
        scan_s = (looked if is_news else self._clock()) - started
        self._next_scan = self._time_of_next_scan(started, scan_s)
        self._next_glance = started + max(self._scan_interval_s, _URGENT_SHARE * scan_s)
        self._moments = contents.moments

    def _take(self, contents: Contents, records: Mapping[str, Record]) -> bool:
        """Whether anything differs from the scan before."""
        seen = (records, contents.folders, contents.unreadable, contents.faults)
        is_news = seen != self._seen
        if is_news:
            before = self._state.catalogue if self._state else Catalogue()
            catalogue = make_catalogue(self.name, records.values(), contents.folders, before=before)
            faults = tuple(sorted({*contents.faults, *catalogue.faults}))
            self._state = _State(catalogue, contents.unreadable, faults)
            self._log_new(frozenset(faults))
            self._log_copied(records.values())
        self._seen = seen
        self._records = records
        return is_news

    def _log_new(self, faults: frozenset[LocalFault]) -> None:
        for path, why in sorted(faults - self._logged):
            log.warning("index.file_skipped", extra={"index": self.name, "path": path, "why": why})
        self._logged = faults

    def _log_copied(self, records: Iterable[Record]) -> None:
        """Modes that shut nginx out are most likely an oversight, and copies take room."""
        copied = {one.candidate.path for one in records if one.file is not None and one.file.is_staged}
        if news := copied - self._logged_copies:
            extra = {"index": self.name, "path": min(news), "count": len(news), "why": COPIED}
            log.warning("index.files_copied", extra=extra)
        self._logged_copies = copied

    def _sweep(self) -> None:
        now = self._clock()
        metadata_paths = (file.metadata_path for file in self._files() if file.metadata_path is not None)
        self._examined.sweep(self._records, metadata_paths, now=now)
        if self._stage is not None:
            self._stage.sweep((file.hashes["sha256"] for file in self._files() if file.is_staged), now=now)

    def _files(self) -> Iterator[DistributionFile]:
        return (record.file for record in self._records.values() if record.file is not None)

    def _time_of_next_scan(self, started: float, scan_s: float) -> float:
        """Sooner where files will have settled: they are to be served within two seconds of being dropped."""
        usual = started + max(self._scan_interval_s, _SHARE * scan_s)
        waiting = [record.settles_at for record in self._records.values() if record.is_waiting()]
        return min(usual, max(waiting)) if waiting else usual
