"""Core metadata for wheels of an index that states none: offered on the page, read out of the wheel when asked for.

Metadata files at an index (PEP 658, 714), of wheels alone: a compressed tar has no directory to read it by, and what an
sdist says of itself may change when it is built (PEP 643).

Without it a resolver reads each wheel that it considers by ranges, and nginx, which caches whole files, downloads the
wheel for that: to lock one large project took 46 s and 3 GB where the index itself takes a second. So it must be there
before the first client asks, and cannot wait for wheels that somebody has downloaded; and to read the metadata of all
wheels of a page, thousands, to state their digests on it, is out of the question. What can be done is what the
standard has `true` for: metadata is offered, and its digest not stated. Two small reads out of the wheel answer a
request for it, and nginx keeps the answer; pages need not change for it. What is offered must be there (STANDARDS S37):

* an index's pages offer it only after its metadata was read out of one wheel of it, by parts that the index itself
  gave; and no longer when it stops giving parts;
* a wheel whose metadata cannot be read is remembered, and its page no longer offers it; nor does it where the index
  offers metadata that it then does not have (T84).

What was learned is kept on disk, for all processes. Judging wheels, and asking nginx, may not be added here.
"""

import fcntl
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from decider.errors import IndexError_, IndexTimeout, NoParts, UnreadableDistribution
from decider.filenames import FileType, file_type, file_version
from decider.files import DistributionFile, ProjectPage
from decider.index.folders import make_folder, write_whole
from decider.index.location import locate_remote
from decider.index.metadata import read_wheel
from decider.index.sharing import Flights, WaitingRoom
from decider.index.wheel_parts import Part, PartReader, WheelParts
from decider.names import NormalizedName
from decider.settings import IndexSettings

__all__ = ["WheelOffers"]

log = logging.getLogger(__name__)

READ_WITHIN_S = 20.0
TRY_WITHIN_S = 2.0  #: a page waits for it, once in an index's life
TRY_AGAIN_S = 3600.0  #: an index that gave no parts may have learned to
MAX_UNREADABLE = 20_000  #: wheels of one index; more are not believed
MAX_WAITING = 8  #: threads of a process that read wheels of one index
TRY_SOON_S = 60.0  #: the same, where a trial told nothing
MAX_TRIED = 5  #: wheels of a page that are looked at for one to try
_MEMO_FILES = 40_000  #: files of all pages that are kept as they are offered


class _Learned(msgspec.Struct, frozen=True):
    """What is known of an index."""

    gives_parts: bool | None = None  #: None: not tried yet
    until: float = 0.0  #: seconds since the epoch: when to try again an index that gives none
    unreadable: dict[str, list[str]] = {}  #: project → sha256 of wheels whose metadata cannot be had


_NOTHING = _Learned()


class WheelOffers:
    """The offers of one remote index; safe to share between threads, and with other processes on the same folder."""

    def __init__(
        self,
        settings: IndexSettings,
        parts: PartReader,
        folder: Path,
        *,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._file = folder / f"{settings.name}.json"
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._known: tuple[object, _Learned] = (None, _NOTHING)
        self._flights: Flights[str, bytes] = Flights()
        self._trials: Flights[None, bool] = Flights()
        self._room = WaitingRoom(MAX_WAITING, monotonic=monotonic)
        self._lock = threading.Lock()
        self._memo: OrderedDict[str, tuple[_Learned, ProjectPage]] = OrderedDict()
        self._memo_files = 0
        self._not_before = 0.0  # monotonic: when a trial that came to nothing may be made again

    # -- Pages

    def overlay(self, page: ProjectPage) -> ProjectPage:
        """The page with what is offered besides what the index offers, and without what it offers and does not have."""
        learned = self._learned()
        if not learned.gives_parts and page.project not in learned.unreadable:
            return page
        memo = self._memo.get(page.digest)
        if memo is not None and memo[0] is learned:
            return memo[1]
        offered = self._overlaid(page, learned)
        with self._lock:
            replaced = self._memo.pop(page.digest, None)
            self._memo[page.digest] = (learned, offered)
            self._memo_files += len(offered.files) - (len(replaced[1].files) if replaced else 0)
            while self._memo_files > _MEMO_FILES and len(self._memo) > 1:
                _, (_, gone) = self._memo.popitem(last=False)
                self._memo_files -= len(gone.files)
        return offered

    def untried(self, page: ProjectPage) -> Iterator[DistributionFile]:
        """Wheels of the page, newest first, by one of which it would be learned whether any can be offered."""
        learned = self._learned()
        is_due = learned.gives_parts is None or (
            not learned.gives_parts and self._wall_clock() >= learned.until
        )
        if is_due and self._monotonic() >= self._not_before:
            fitting = (file for file in reversed(page.files) if _could_be_offered(page.project, file))
            yield from islice(fitting, MAX_TRIED)

    def _overlaid(self, page: ProjectPage, learned: _Learned) -> ProjectPage:
        unreadable = frozenset(learned.unreadable.get(page.project, ()))
        files = tuple(
            _offered(page.project, file, unreadable, gives_parts=bool(learned.gives_parts))
            for file in page.files
        )
        if all(map(_is, files, page.files)):
            return page
        facts = f"{page.digest} {bool(learned.gives_parts)} {' '.join(sorted(unreadable))}"
        return msgspec.structs.replace(page, files=files, digest=sha256(facts.encode()).hexdigest())

    # -- Metadata

    def read(self, project: NormalizedName, file: DistributionFile) -> bytes:
        """The METADATA of a wheel of `project`; concurrent callers share one reading.

        Raise UnreadableDistribution, which is remembered, or NoParts, IndexUnavailable or IndexTimeout.
        """
        with self._room.place() as has_place:
            if not has_place:
                raise IndexTimeout(self._settings.name, "too many requests are waiting for it")
            deadline = time.monotonic() + READ_WITHIN_S
            return self._flights.share(
                file.sha256 or file.url,
                lambda: self._read(project, file, self._open(project, file, deadline)),
            )

    def try_out(self, project: NormalizedName, file: DistributionFile) -> None:
        """Learn by that wheel whether the index's wheels can be offered; who comes meanwhile does not wait."""

        def trial() -> bool:
            self._not_before = self._monotonic() + TRY_SOON_S
            try:
                parts = self._open(project, file, time.monotonic() + TRY_WITHIN_S)
                with suppress(UnreadableDistribution):  # which says nothing of the others
                    self._read(project, file, parts)
            except (IndexError_, UnreadableDistribution) as error:
                log.info("metadata.not_tried", extra={"index": self._settings.name, "cause": str(error)})
                return False
            if parts.are_given is not None:
                self._learn(gives_parts=parts.are_given)
            return True

        self._trials.share(None, trial, meanwhile=False)

    def _open(self, project: NormalizedName, file: DistributionFile, deadline: float) -> WheelParts:
        place = locate_remote(self._settings, file, "")
        if place is None or not _could_be_read(project, file):
            raise UnreadableDistribution("is no wheel whose metadata could be read")

        def ask(asked: str) -> Part:
            try:
                return self._parts.read(place, asked, deadline=deadline)
            except NoParts:
                self._learn(gives_parts=False)
                raise

        return WheelParts(self._settings.name, ask)

    def _read(self, project: NormalizedName, file: DistributionFile, parts: WheelParts) -> bytes:
        version = file_version(project, file.filename)
        assert version is not None  # noqa: S101 (_open has looked)
        try:
            return read_wheel(cast("BinaryIO", parts), project=project, version=version).data
        except UnreadableDistribution as error:
            log.warning(
                "metadata.unreadable",
                extra={"index": self._settings.name, "file": file.filename, "why": str(error)},
            )
            if file.sha256 is not None:
                self._learn(unreadable=(project, file.sha256))
            raise

    # -- What is learned

    def _learned(self) -> _Learned:
        """What any process has learned so far; nothing where that is damaged."""
        try:
            found = self._file.stat()
        except OSError:
            return _NOTHING
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._known[0] != stamp:
            self._known = (stamp, self._load())
        return self._known[1]

    def _load(self) -> _Learned:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Learned)
        except (OSError, msgspec.DecodeError):
            return _NOTHING

    def _learn(
        self, *, gives_parts: bool | None = None, unreadable: tuple[NormalizedName, str] | None = None
    ) -> None:
        with self._one_writer():
            learned = self._load()
            if gives_parts is not None:
                until = 0.0 if gives_parts else self._wall_clock() + TRY_AGAIN_S
                learned = msgspec.structs.replace(learned, gives_parts=gives_parts, until=until)
            if unreadable is not None and sum(map(len, learned.unreadable.values())) < MAX_UNREADABLE:
                project, digest = unreadable
                known = learned.unreadable.get(project, [])
                learned = msgspec.structs.replace(
                    learned, unreadable=learned.unreadable | {project: sorted({*known, digest})}
                )
            write_whole(self._file, msgspec.json.encode(learned))

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        make_folder(self._file.parent)
        with self._file.with_suffix(".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _could_be_offered(project: NormalizedName, file: DistributionFile) -> bool:
    # Without a digest there is nothing to remember a wheel by.
    return not file.core_metadata and file.sha256 is not None and _could_be_read(project, file)


def _could_be_read(project: NormalizedName, file: DistributionFile) -> bool:
    return file_type(file.filename) is FileType.WHEEL and file_version(project, file.filename) is not None


def _offered(
    project: NormalizedName, file: DistributionFile, unreadable: frozenset[str], *, gives_parts: bool
) -> DistributionFile:
    if file.sha256 in unreadable:
        return msgspec.structs.replace(file, core_metadata=False) if file.core_metadata else file
    if gives_parts and _could_be_offered(project, file):
        return msgspec.structs.replace(file, core_metadata=True, is_metadata_ours=True)
    return file


def _is(one: object, other: object) -> bool:
    return one is other
