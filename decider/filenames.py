"""What the name of a distribution file says: what kind of file it is, of which release, and whether of another project.

Binary distribution format (PEP 427), source distribution format (PEP 625), version specifiers (PEP 440). Of which project
a file is says the page that lists it: its name alone may not be asked.
"""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version

from decider.names import NormalizedName

__all__ = [
    "MAX_FILENAME",
    "FileType",
    "file_type",
    "file_version",
    "is_of_another_project",
    "is_servable_filename",
    "is_usual_filename",
    "normalize_version",
    "version_key",
    "version_texts",
]

MAX_FILENAME = 255  #: characters

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


def version_texts(project: NormalizedName, filenames: Iterable[str]) -> Iterator[str | None]:
    """What stands in the version's place of each name; None where the name is not of `project`."""
    wheel, sdist = _usual_patterns(project)
    for filename in filenames:
        is_wheel = filename.endswith(".whl")
        usual = (wheel if is_wheel else sdist).match(filename)
        is_whole = usual is not None and (not is_wheel or filename.count("-", usual.end(1)) in _WHEEL_TAGS)
        yield usual[1] if usual is not None and is_whole else _version_text(project, filename)


def version_key(text: str) -> str | None:
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
