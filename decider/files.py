"""Distribution files and the project pages that list them, as decider sees them whatever the wire format.

Read in this order: simple repository API (PEP 503, 629, 691, 700, 714, 740, 792), yanking (PEP 592), binary
distribution format (PEP 427), source distribution format (PEP 625), version specifiers (PEP 440).

A file's project and version come from the page that lists it, never from its name alone. Bytes, HTML and JSON
may not be added here.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

import msgspec
from packaging.version import InvalidVersion, Version

from decider.names import NormalizedName

__all__ = [
    "MAX_FILENAME",
    "DistributionFile",
    "FileType",
    "ProjectPage",
    "ProjectStatus",
    "file_type",
    "file_version",
    "is_servable_filename",
]

MAX_FILENAME = 255  #: characters

#: Longest first, so that `.tar.gz` is taken off as a whole.
_SDIST_SUFFIXES = (
    ".tar.bz2", ".tar.lzma", ".tar.gz", ".tar.lz", ".tar.xz", ".tar.z", ".tar.zst", ".tgz", ".tbz", ".txz", ".tlz",
    ".tar", ".zip",
)  # fmt: skip
# A separator would leave the project's folder; a control character would leave its header or log line.
_SERVABLE = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}\Z")


class FileType(StrEnum):
    """What a rule's `file_type` may name."""

    WHEEL = "wheel"
    SDIST = "sdist"
    OTHER = "other"


class ProjectStatus(StrEnum):
    """PEP 792 status markers."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"


class DistributionFile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sdist or wheel (or older thing) that a page lists."""

    filename: str
    url: str  #: absolute http(s) URL without fragment; "" for a file of a local directory
    hashes: Mapping[str, str] = {}  #: algorithm → lower-case hex; {} when the index states none
    size: int | None = None  #: bytes; None when the index does not say
    upload_time: datetime | None = None  #: aware, UTC; None when the index does not say
    requires_python: str | None = None  #: raw specifier; None when absent
    core_metadata: bool | Mapping[str, str] = False  #: hashes, or True; False when no `.metadata` is offered
    yanked: str | None = None  #: PEP 592 reason; "" when yanked without one, None when not yanked
    provenance: str | None = None  #: absolute URL (PEP 740); None when there is none
    path: str | None = None  #: local files only: where the bytes are, below the index's root
    metadata_path: str | None = None  #: local files only: where extracted metadata is, below the metadata folder

    @property
    def sha256(self) -> str | None:
        """Lower-case hex, or None when the index states no sha256."""
        return self.hashes.get("sha256")


class ProjectPage(msgspec.Struct, frozen=True, kw_only=True):
    """What one index says about one project."""

    index: str
    project: NormalizedName
    files: tuple[DistributionFile, ...]  #: in the index's order
    versions: tuple[str, ...] = ()  #: as the index states them (PEP 700); () when it does not
    api_version: tuple[int, int] = (1, 0)  #: the newest that the files honour, never above (1, 4)
    status: ProjectStatus = ProjectStatus.ACTIVE
    status_reason: str | None = None
    digest: str  #: hex digest of everything above: two pages with the same digest render alike
    last_serial: int | None = None  #: the index's `_last-serial`; None when not stated

    def find(self, filename: str) -> DistributionFile | None:
        """The listed file of that exact name, or None."""
        raise NotImplementedError


def is_servable_filename(name: str) -> bool:
    """Whether `name` can be the last component of one of our URLs, and of nothing else."""
    return _SERVABLE.match(name) is not None and name not in {".", ".."}


def file_type(filename: str) -> FileType:
    """What kind of file its name says it is; `.zip`, `.tar.*` and `.tgz` are sdists."""
    raise NotImplementedError


@lru_cache(maxsize=65_536)
def file_version(project: NormalizedName, filename: str) -> Version | None:
    """The release that `filename` belongs to on `project`'s page; None where the name does not tell.

    The project is known, so `foo-1.0-2.tar.gz` on the page of `foo` is 1.0.post2 and not a file of `foo-1-0`
    (STANDARDS S54, T63). A name that begins with another project's name has no version here.
    """
    raise NotImplementedError
