"""From a file that lies in a directory to one that a page may list: settled, identified, read once, staged.

Grouping files into pages may not be added here.
"""

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from decider.errors import InvalidName, UnreadableDistribution
from decider.filenames import FileType, file_type, file_version, is_servable_filename
from decider.files import DistributionFile
from decider.index.directory import Candidate, Readers
from decider.index.examined import Examined, ExaminedFiles
from decider.index.metadata import CoreMetadata, read_sdist, read_wheel
from decider.index.staging import Stage
from decider.names import NormalizedName, parse_project_name

__all__ = ["SETTLE_S", "Identity", "Publisher", "Record"]

SETTLE_S = 0.5  #: a file that was written to more recently may still be written to
_RETRY_S = 5.0  #: how soon a file is tried again that the system would not let us read, cache or stage
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Identity(NamedTuple):
    """What a file's place and name say that it is."""

    project: NormalizedName
    version: Version


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What is known of one file of the directory."""

    candidate: Candidate
    settles_at: float  #: monotonic; not read before
    identity: Identity | None = None  #: None: place and name give none
    file: DistributionFile | None = None  #: as listed; None: not yet, or never
    why: str | None = None  #: what is wrong with it
    retry_at: float = math.inf  #: monotonic; when to look again at what is wrong

    def is_waiting(self) -> bool:
        """Whether it may be listed once it has settled."""
        return self.file is None and self.why is None

    def is_due(self, now: float) -> bool:
        """Whether it must be read now."""
        return now >= self.settles_at if self.is_waiting() else self.file is None and now >= self.retry_at


class Publisher:
    """Makes records; `clock` is monotonic seconds, `wall_clock` seconds since the epoch."""

    def __init__(
        self,
        root: Path,
        *,
        examined: ExaminedFiles,
        stage: Stage | None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._examined = examined
        self._stage = stage
        self._clock = clock
        self._wall_clock = wall_clock

    def publish(self, candidate: Candidate, before: Record | None) -> Record:
        """The record of `candidate`, the very one of the look before where nothing is new."""
        now = self._clock()
        if before is not None and before.candidate == candidate:
            record = before
        else:
            record = self._first_record(candidate, now, is_new=before is None)
        if record.identity is None or not record.is_due(now):
            return record
        return self._read(record, record.identity, now)

    def _first_record(self, candidate: Candidate, now: float, *, is_new: bool) -> Record:
        record = Record(candidate, now + self._settling_time(candidate, is_new=is_new))
        try:
            record = replace(record, identity=_identify(candidate))
        except UnreadableDistribution as error:
            return replace(record, why=candidate.why or str(error))
        if candidate.why is not None:
            return replace(record, why=candidate.why)
        if candidate.readers is Readers.NOBODY:
            return replace(record, why="cannot be read: its mode lets nobody")
        return record

    def _settling_time(self, candidate: Candidate, *, is_new: bool) -> float:
        """Seconds; a file that changed before our eyes waits even if its writer sets the clock back."""
        age = self._wall_clock() - candidate.mtime_ns / 1e9
        if 0 <= age <= SETTLE_S:
            return SETTLE_S - age
        return 0.0 if is_new and age > 0 else SETTLE_S

    def _read(self, record: Record, identity: Identity, now: float) -> Record:
        try:
            file = self._listed(record.candidate, identity)
        except UnreadableDistribution as error:
            return replace(record, why=str(error), retry_at=math.inf)
        except FileNotFoundError:
            file = None  # gone again: the next look will tell
        except OSError as error:
            return replace(record, why=f"cannot be read or kept: {error.strerror}", retry_at=now + _RETRY_S)
        if file is None:
            return replace(record, settles_at=now + SETTLE_S, why=None)
        return replace(record, file=file, why=None)

    def _listed(self, candidate: Candidate, identity: Identity) -> DistributionFile | None:
        """None when the file changed while it was read."""
        source = self._root / candidate.served
        examined = self._examined.load(candidate) or self._examine(candidate, identity, source)
        if examined is None:
            return None
        path = candidate.served
        is_staged = self._stage is not None and candidate.readers is Readers.OURSELVES
        if self._stage is not None and is_staged:
            path = self._stage.place(source, candidate, sha256=examined.sha256)
        has_metadata = examined.metadata_sha256 is not None
        return DistributionFile(
            filename=candidate.filename,
            url="",
            hashes={"sha256": examined.sha256},
            size=candidate.size,
            upload_time=_upload_time(candidate),
            requires_python=examined.requires_python,
            core_metadata={"sha256": examined.metadata_sha256} if examined.metadata_sha256 else False,
            path=path,
            is_staged=is_staged,
            metadata_path=self._examined.metadata_path(examined) if has_metadata else None,
        )

    def _examine(self, candidate: Candidate, identity: Identity, source: Path) -> Examined | None:
        with source.open("rb") as file:
            if not candidate.is_still(os.fstat(file.fileno())):
                return None
            metadata = _core_metadata(file, candidate.filename, identity)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if not candidate.is_still(os.fstat(file.fileno())):
                return None
        offered = metadata.data if metadata is not None and metadata.is_static else None
        examined = Examined(
            size=candidate.size,
            mtime_ns=candidate.mtime_ns,
            inode=candidate.inode,
            sha256=sha256,
            requires_python=None if metadata is None else metadata.requires_python,
            metadata_sha256=None if offered is None else hashlib.sha256(offered).hexdigest(),
        )
        self._examined.save(candidate, examined, offered)
        return examined


def _identify(candidate: Candidate) -> Identity:
    """Raise UnreadableDistribution when place and name give none."""
    filename = candidate.filename
    if not _is_servable(candidate.path) or not _is_servable(candidate.served):
        raise UnreadableDistribution("has a name that cannot be served")
    kind = file_type(filename)
    if kind is FileType.OTHER:
        raise UnreadableDistribution("is neither a wheel nor an sdist")
    project = candidate.folder
    if kind is FileType.WHEEL:
        named = _wheel_project(filename)
        if project is not None and project != named:
            raise UnreadableDistribution(f"is a wheel of `{named}` in the folder of `{project}`")
        project = named
    elif project is None:
        project = _sdist_project(filename)
    version = file_version(project, filename)
    if version is None:
        raise UnreadableDistribution(f"has a name that gives no version of `{project}`")
    return Identity(project, version)


def _wheel_project(filename: str) -> NormalizedName:
    try:
        return parse_project_name(parse_wheel_filename(filename)[0])
    except (InvalidWheelFilename, InvalidName) as error:
        raise UnreadableDistribution("has a name that no wheel may have (PEP 427)") from error


def _sdist_project(filename: str) -> NormalizedName:
    """All before the last hyphen (PEP 625); names of old may be ambiguous, and want a folder (STANDARDS S54)."""
    try:
        return parse_project_name(filename.rpartition("-")[0])
    except InvalidName as error:
        raise UnreadableDistribution("has a name that no sdist may have (PEP 625)") from error


def _is_servable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return all(map(is_servable_filename, path.split("/")))


def _core_metadata(file: BinaryIO, filename: str, identity: Identity) -> CoreMetadata | None:
    if file_type(filename) is FileType.WHEEL:
        return read_wheel(file, project=identity.project, version=identity.version)
    return read_sdist(file, filename, project=identity.project, version=identity.version)


def _upload_time(candidate: Candidate) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=candidate.mtime_ns // 1000)
    except OverflowError as error:
        raise UnreadableDistribution("has a modification time beyond the year 9999") from error
