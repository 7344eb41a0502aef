"""Distribution files and the project pages that list them, as decider sees them whatever the wire format.

Read in this order: simple repository API (PEP 503, 629, 691, 700, 714, 740, 792), yanking (PEP 592), binary
distribution format (PEP 427), source distribution format (PEP 625), version specifiers (PEP 440).

A file's project and version come from the page that lists it, never from its name alone. Bytes, HTML and JSON
may not be added here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import NamedTuple

import msgspec
from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version

from decider.names import NormalizedName

__all__ = [
    "ANY_DIGEST",
    "DIGESTS",
    "MAX_FILENAME",
    "DistributionFile",
    "FileIdentity",
    "FileType",
    "ProjectPage",
    "ProjectStatus",
    "Release",
    "file_type",
    "file_version",
    "is_of_another_project",
    "is_servable_filename",
    "is_usual_filename",
    "normalize_version",
    "strongest_digest",
]

MAX_FILENAME = 255  #: characters
#: The algorithms whose digests are kept of a page: the one that all installers check, then from strong to weak.
DIGESTS = ("sha256", "sha512", "sha384", "blake2b", "md5")
#: In place of a digest: any file of that name. Stands only in records of a decider that kept names without digests.
ANY_DIGEST = "*"

_ARCHIVE = re.compile(r"\.(?:tar(?:\.[a-z0-9]+)?|tgz|tbz2?|txz|tlz|zip)\Z", re.IGNORECASE | re.ASCII)
# A separator would leave the project's folder; a control character or line separator would leave its header or log
# line; `%`, `?` and `#`, which no build tool writes, mean something else when decoded once too often or too rarely.
# U+FFFD stands where bytes were no text.
_SERVABLE = re.compile(r"[^/\\%?#\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffd]{1,255}\Z")
#: Endings of URLs that we ourselves make of a file's.
_COMPANIONS = (".metadata", ".provenance")
# What eggs, Windows installers, RPMs and bdist_dumb archives write behind the version.
_BUILT_FOR = re.compile(
    r"(?:-py[0-9](?:\.[0-9]+)?(?:-.*)?|[.-](?:win32|win-amd64|win-arm64|linux|macosx)\b.*"
    r"|-[0-9]+\.(?:noarch|src|x86_64|i[3-6]86|aarch64))\Z",
    re.IGNORECASE | re.ASCII,
)
#: Behind a wheel's version: three tags, perhaps a build tag before and a variant label (PEP 825) after them.
_WHEEL_TAGS = range(3, 6)
_LONGEST_VERSION = 4  #: parts between dashes that a version and what follows it are looked for in
#: Versions that are normalized as they stand.
_NORMAL_RELEASE = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z", re.ASCII)
_TRAILING_ZEROS = re.compile(r"(?:\.0)+\Z", re.ASCII)


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
        texts = set(_version_texts(self.project, self.files)) - stated.keys()
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
        texts = list(_version_texts(self.project, self.files))
        keys = {text: text and _version_key(text) for text in set(texts)}
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
            stated.setdefault(_version_key(version) or version, version)
        others = sorted(named.keys() - stated.keys(), key=Version)
        return {
            key: Release(stated.get(key, ""), named.get(key, ""), tuple(files.get(key, ())))
            for key in (*stated, *others)
        }


def strongest_digest(hashes: Mapping[str, str]) -> tuple[str, str] | None:
    """The algorithm and lower-case hex by which a file is held to what its page states; None where it states none."""
    return next(((name, hashes[name].lower()) for name in DIGESTS if name in hashes), None)


def is_servable_filename(name: str) -> bool:
    """Whether `name` can be the last component of one of our URLs, and of nothing else."""
    return (
        _SERVABLE.match(name) is not None
        and name not in {".", ".."}
        and not name.lower().endswith(_COMPANIONS)
    )


def is_usual_filename(project: NormalizedName, filename: str) -> bool:
    """Whether `filename` names a wheel or sdist of `project` as build tools spell it.

    Then it is servable and of no other project; otherwise nothing is known. It is much faster than asking.
    """
    wheel, sdist = _usual_patterns(project)
    pattern = wheel if filename.endswith(".whl") else sdist
    return pattern.match(filename) is not None and len(filename) <= MAX_FILENAME


def file_type(filename: str) -> FileType:
    """What kind of file its name says it is; `.zip`, `.tar.*` and `.tgz` are sdists."""
    if _is_wheel(filename):
        return FileType.WHEEL
    return FileType.SDIST if _ARCHIVE.search(filename) else FileType.OTHER


@lru_cache(maxsize=65_536)
def file_version(project: NormalizedName, filename: str) -> Version | None:
    """The release that `filename` belongs to on `project`'s page; None where the name does not tell.

    The project is known, so `foo-1.0-2.tar.gz` on the page of `foo` is 1.0.post2 and not a file of `foo-1-0`
    (PEP 625 and PEP 440, "Implicit post releases"). A name that begins with another project's name has no version here.
    """
    text = _version_text(project, filename)
    return None if text is None or len(text) > MAX_FILENAME else _parse_version(text)


def normalize_version(text: str) -> str | None:
    """The PEP 440 spelling of a version, None when it is none."""
    # Nobody writes such versions, and Python refuses to read numbers of thousands of digits.
    if len(text) > MAX_FILENAME:
        return None
    if _NORMAL_RELEASE.match(text):
        return text
    version = _parse_version(text)
    return None if version is None else str(version)


def is_of_another_project(project: NormalizedName, filename: str) -> bool:
    """Whether the name plainly says that the file belongs to another project: installers would not take it either.

    A wheel's first component names its project (PEP 427). Other names count only where some part of the name reads
    as a name and a version, and none as a name of `project`; the rest are ambiguous.
    """
    if _own_part(project, filename):
        return False
    if _is_wheel(filename):
        return True
    parts = _stem(filename).split("-")
    endings = ("-".join(parts[-count:]) for count in range(1, min(len(parts), _LONGEST_VERSION + 1)))
    return any(normalize_version(ending) is not None for ending in endings)


def _is_wheel(filename: str) -> bool:
    return filename.endswith(".whl") or filename[-4:].lower() == ".whl"


def _stem(filename: str) -> str:
    """The name without what says how it is packed."""
    if filename.endswith(".tar.gz"):
        return filename[:-7]
    archive = _ARCHIVE.search(filename)
    return filename[: archive.start()] if archive else filename.rpartition(".")[0]


@lru_cache(maxsize=2_048)
def _usual_patterns(project: NormalizedName) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Match the usual spellings of its wheels and sdists; the group is the version."""
    words = project.split("-")
    version = "-([A-Za-z0-9.!+_]+)"
    wheel = f"(?i:{'[_.]+'.join(words)}){version}-[A-Za-z0-9_.-]+[.]whl"
    sdist = f"(?i:{'[-_.]+'.join(words)}){version}[.]tar[.]gz"
    return re.compile(rf"{wheel}\Z", re.ASCII), re.compile(rf"{sdist}\Z", re.ASCII)


@lru_cache(maxsize=2_048)
def _own_pattern(project: NormalizedName, separators: str) -> re.Pattern[str]:
    """Matches every spelling of `project` and the dash behind it."""
    return re.compile(f"{separators}+".join(project.split("-")) + "-", re.IGNORECASE | re.ASCII)


def _own_part(project: NormalizedName, filename: str) -> re.Match[str] | None:
    """The project's name at the beginning, with the dash behind it; in a wheel the name itself has no dash."""
    return _own_pattern(project, "[_.]" if _is_wheel(filename) else "[-_.]").match(filename)


def _version_text(project: NormalizedName, filename: str) -> str | None:
    """What stands in the version's place; None where the name is not of `project`."""
    own = _own_part(project, filename)
    if own is None:
        return None
    if not _is_wheel(filename):
        return _stem(filename)[own.end() :]
    version, *tags = filename[own.end() : -4].split("-")
    return version if len(tags) in _WHEEL_TAGS else None


def _version_texts(project: NormalizedName, files: Iterable[DistributionFile]) -> Iterator[str | None]:
    """What stands in the version's place of each file's name; as _version_text, and faster."""
    wheel, sdist = _usual_patterns(project)
    for file in files:
        filename = file.filename
        is_wheel = filename.endswith(".whl")
        usual = (wheel if is_wheel else sdist).match(filename)
        is_whole = usual is not None and (not is_wheel or filename.count("-", usual.end(1)) in _WHEEL_TAGS)
        yield usual[1] if usual is not None and is_whole else _version_text(project, filename)


def _version_key(text: str) -> str | None:
    """What all spellings of a version have in common (`1` of 1.0.0 and v1); None where PEP 440 knows no such version."""
    normal = normalize_version(text)
    if normal is None:
        return None
    if _NORMAL_RELEASE.match(normal):
        return _TRAILING_ZEROS.sub("", normal)  # most; canonicalize_version would parse it again
    return canonicalize_version(normal)


@lru_cache(maxsize=32_768)
def _parse_version(text: str) -> Version | None:
    # Wheels of old write `-` as `_`: 1.0_1 is 1.0-1, a post release.
    for candidate in (text, text.replace("_", "-"), _BUILT_FOR.sub("", text)):
        try:
            return Version(candidate)
        except InvalidVersion:
            continue
    return None
