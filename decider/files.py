"""Distribution files and the project pages that list them, as decider sees them whatever the wire format.

Read in this order: simple repository API (PEP 503, 629, 691, 700, 714, 740, 792), yanking (PEP 592).

A file's project and version come from the page that lists it, never from its name alone. Bytes, HTML and JSON
may not be added here.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import msgspec
from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version

from decider.filenames import normalize_version, version_key, version_texts
from decider.names import NormalizedName

__all__ = [
    "ANY_DIGEST",
    "DIGESTS",
    "DistributionFile",
    "FileIdentity",
    "ProjectPage",
    "ProjectStatus",
    "Release",
    "strongest_digest",
]

#: The algorithms whose digests are kept of a page: the one that all installers check, then from strong to weak.
DIGESTS = ("sha256", "sha512", "sha384", "blake2b", "md5")
#: In place of a digest: any file of that name. Stands only in records of a decider that kept names without digests.
ANY_DIGEST = "*"


class ProjectStatus(StrEnum):
    """PEP 792 status markers."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"


class FileIdentity(NamedTuple):
    """What makes a file of a project the same file later: other bytes under its name are another file."""

    filename: str
    digest: str  #: of the first of DIGESTS that is stated, as `sha256:<hex>`; "" when the index states none


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
    is_staged: bool = (
        False  #: local files only: `path` is below the index's folder of copies for nginx's user
    )
    metadata_path: str | None = None  #: local files only: extracted metadata, below its folder
    is_metadata_ours: bool = (
        False  #: remote wheels only: the index has none, decider reads it out of the wheel
    )

    @property
    def sha256(self) -> str | None:
        """Lower-case hex, or None when the index states no sha256."""
        return self.hashes.get("sha256")

    @property
    def identity(self) -> FileIdentity:
        """Its name and its digest."""
        return FileIdentity(self.filename, ":".join(strongest_digest(self.hashes) or ()))


class Release(msgspec.Struct, frozen=True, gc=False):
    """One version of a project, as a page knows it; one that PEP 440 does not know has no files."""

    stated: str  #: how the index spells it (PEP 700), normalized; "" where it does not state it
    named: str  #: how its files' names spell it, normalized; "" where there are none
    files: tuple[DistributionFile, ...]  #: in page order

    @property
    def version(self) -> str:
        """The spelling that stands for all others."""
        return self.stated or self.named


class ProjectPage(msgspec.Struct, frozen=True, kw_only=True, dict=True):
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
        return self._by_name.get(filename)

    @cached_property
    def _by_name(self) -> Mapping[str, DistributionFile]:
        # Reversed: of two files of one name the first counts.
        return {file.filename: file for file in reversed(self.files)}

    @cached_property
    def sha256s(self) -> frozenset[str]:
        """Every sha256 that the index states."""
        return frozenset(digest for file in self.files if (digest := file.sha256) is not None)

    @cached_property
    def upload_times(self) -> tuple[datetime, ...]:
        """Every upload time that the index states, oldest first."""
        return tuple(sorted(file.upload_time for file in self.files if file.upload_time is not None))

    @cached_property
    def undated(self) -> tuple[FileIdentity, ...]:
        """The files that the index states no upload time of, in page order."""
        return tuple(file.identity for file in self.files if file.upload_time is None)

    def known_versions(self) -> tuple[str, ...]:
        """Every version that the index states or that a file belongs to, normalized, without duplicates (PEP 700).

        The stated ones come first, in the index's order, those that are no PEP 440 version as they are; then the
        others, oldest first.
        """
        stated = self._stated_versions()
        texts = set(version_texts(self.project, (file.filename for file in self.files))) - stated.keys()
        found = {normalize_version(text) for text in texts if text} - {None, *stated}
        return (*stated, *sorted((text for text in found if text), key=lambda text: (Version(text), text)))

    def _stated_versions(self) -> dict[str, None]:
        return dict.fromkeys(normalize_version(text) or text for text in self.versions)

    def release(self, version: str) -> Release | None:
        """The release that `version` means in any spelling (`1.0.0` is 1.0); None where there is none."""
        try:
            key = canonicalize_version(Version(version))
        except InvalidVersion:
            key = version
        return self.releases.get(key)

    @cached_property
    def releases(self) -> Mapping[str, Release]:
        """Every release, in the order of known_versions; of two spellings of one version the first stands for both.

        The keys are what all spellings of a version have in common.
        """
        texts = list(version_texts(self.project, (file.filename for file in self.files)))
        keys = {text: text and version_key(text) for text in set(texts)}
        files: dict[str, list[DistributionFile]] = {}
        for file, text in zip(self.files, texts, strict=True):
            if key := keys[text]:
                files.setdefault(key, []).append(file)
        named: dict[str, str] = {}
        for text, key in keys.items():
            if text and key:
                spelling = normalize_version(text) or text
                named[key] = min(spelling, named.get(key, spelling))
        stated: dict[str, str] = {}
        for version in self._stated_versions():
            stated.setdefault(version_key(version) or version, version)
        others = sorted(named.keys() - stated.keys(), key=Version)
        return {
            key: Release(stated.get(key, ""), named.get(key, ""), tuple(files.get(key, ())))
            for key in (*stated, *others)
        }


def strongest_digest(hashes: Mapping[str, str]) -> tuple[str, str] | None:
    """The algorithm and lower-case hex by which a file is held to what its page states; None where it states none."""
    return next(((name, hashes[name].lower()) for name in DIGESTS if name in hashes), None)
