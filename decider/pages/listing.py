"""What both formats have in common when read: one list of files that can be trusted to be listed and looked up.

One bad entry is left out, with the reason, and never fails the page; what makes the page itself doubtful does
(STANDARDS S25, S33-S37, S52, T42-T46, T65-T69). Formats may not be added here.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from decider.errors import UnreadablePage
from decider.filenames import (
    MAX_FILENAME,
    file_version,
    is_of_another_project,
    is_servable_filename,
    is_usual_filename,
)
from decider.files import DistributionFile, ProjectPage, ProjectStatus
from decider.names import NormalizedName
from decider.pages.links import BadLink, Links, is_secure_url

__all__ = [
    "API_VERSION",
    "MAX_FILES",
    "MAX_INTEGER",
    "BadEntry",
    "DroppedFile",
    "Listing",
    "ParsedPage",
    "Stated",
    "honest_api_version",
    "parse_api_version",
    "parse_hashes",
    "parse_status",
]

MAX_FILES = 200_000  #: on one page
MAX_INTEGER = 2**63 - 1  #: what every reader of JSON can hold
API_VERSION = (1, 4)  #: the newest that decider implements

_API_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})\Z", re.ASCII)
#: Digest lengths in hex of the algorithms that installers agree on; uv rejects a page for another length.
_DIGEST_LENGTHS = {"md5": 32, "sha256": 64, "sha384": 96, "sha512": 128, "blake2b": 64}
_HEX_DIGITS = b"0123456789abcdef"


class DroppedFile(msgspec.Struct, frozen=True):
    """An entry that was left out of a page."""

    filename: str  #: as the index has it, at most 255 characters; "" where it has none
    why: str  #: lower-case, one line


class ParsedPage(msgspec.Struct, frozen=True):
    """A page, and what was left out of it."""

    page: ProjectPage
    dropped: tuple[DroppedFile, ...]


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What a page states besides its files."""

    api_version: tuple[int, int] = (1, 0)  #: as claimed
    versions: tuple[str, ...] = ()
    status: ProjectStatus = ProjectStatus.ACTIVE
    status_reason: str | None = None
    last_serial: int | None = None


class BadEntry(Exception):
    """Why an entry is left out."""


class Listing:
    """The files of one page, gathered entry by entry."""

    def __init__(self, index: str, project: NormalizedName, links: Links) -> None:
        self.index = index
        self.project = project
        self.links = links
        self.files: dict[str, DistributionFile] = {}
        self.dropped: list[DroppedFile] = []

    def drop(self, filename: str, why: str) -> None:
        """Leave an entry out."""
        self.dropped.append(DroppedFile(filename[:MAX_FILENAME], why))

    def add(
        self,
        filename: str,
        url: str,
        *,
        hashes: Mapping[str, str] | None,
        size: int | None,
        upload_time: datetime | None,
        requires_python: str | None,
        core_metadata: bool | Mapping[str, str] | None,
        yanked: str | None,
        provenance: str | None,
    ) -> None:
        """Take an entry in, or leave it out where it cannot be trusted."""
        try:
            if filename in self.files or not is_usual_filename(self.project, filename):
                self._require_fitting(filename)
            self.files[filename] = DistributionFile(
                filename=filename,
                url=self.links.resolve(url),
                hashes=parse_hashes(hashes) if hashes else {},
                size=size if size is not None and 0 <= size <= MAX_INTEGER else None,
                upload_time=upload_time
                if upload_time is None or upload_time.tzinfo is UTC
                else _in_utc(upload_time),
                requires_python=requires_python or None,
                core_metadata=_parse_core_metadata(core_metadata) if core_metadata else False,
                yanked=yanked,
                provenance=provenance if provenance and is_secure_url(provenance) else None,
            )
        except (BadEntry, BadLink) as error:
            self.drop(filename, str(error))

    def _require_fitting(self, filename: str) -> None:
        if filename in self.files:
            raise BadEntry("the page lists this file name twice; the first counts")
        if not is_servable_filename(filename):
            raise BadEntry("its file name cannot be part of a URL of its own")
        if is_of_another_project(self.project, filename):
            raise BadEntry("its file name is another project's")

    def page(self, stated: Stated, *, digest: str) -> ParsedPage:
        """The page of all files so far."""
        if stated.status is ProjectStatus.QUARANTINED:
            # PEP 792: nothing may be offered, whatever the page goes on to list.
            for filename in self.files:
                self.drop(filename, "the index quarantined the project")
            self.files = {}
        page = ProjectPage(
            index=self.index,
            project=self.project,
            files=tuple(self.files.values()),
            versions=stated.versions,
            api_version=stated.api_version,
            status=stated.status,
            status_reason=stated.status_reason,
            digest=digest,
            last_serial=stated.last_serial,
        )
        page = msgspec.structs.replace(page, api_version=honest_api_version(page))
        return ParsedPage(page, tuple(self.dropped))


def honest_api_version(page: ProjectPage) -> tuple[int, int]:
    """The newest api-version that `page` can be rendered under: never above what it states or decider implements.

    From 1.1 on each file must have a size, and `versions` hold the version of each (PEP 700): a page without sizes,
    such as one read from HTML, is 1.0. Where the index states no versions they are taken from the file names, which
    is as good where each tells one (STANDARDS S25, T44).
    """
    if any(file.size is None for file in page.files):
        return (1, 0)
    if not page.versions and any(file_version(page.project, file.filename) is None for file in page.files):
        return (1, 0)
    return min(page.api_version, API_VERSION)


def parse_api_version(text: object, index: str) -> tuple[int, int]:
    """The version that a page claims, (1, 0) for None; raise UnreadablePage unless its major version is 1 (S20)."""
    if text is None:
        return (1, 0)
    # Some servers write a number.
    found = _API_VERSION.match(str(text)) if isinstance(text, str | float) else None
    if found is None:
        raise UnreadablePage(index, "its api-version cannot be read")
    if found[1] != "1":
        raise UnreadablePage(index, f"its api-version is {found[0]}, only 1 is known")
    return (1, int(found[2]))


def parse_status(status: object, reason: object) -> tuple[ProjectStatus, str | None]:
    """A PEP 792 status and its reason; a status that PEP 792 does not know counts as none."""
    if not isinstance(status, str) or status not in set(ProjectStatus):
        return ProjectStatus.ACTIVE, None
    return ProjectStatus(status), reason if isinstance(reason, str) and reason else None


def parse_hashes(hashes: Mapping[str, str]) -> Mapping[str, str]:
    """The digests that installers can check, in lower case; raise BadEntry where sha256 is no sha256.

    sha1, sha224 and what nobody knows is left out: in HTML they make uv reject the page (STANDARDS C55, T44).
    """
    sha256 = hashes.get("sha256")
    if sha256 and len(sha256) == 64 and len(hashes) == 1 and not sha256.encode().translate(None, _HEX_DIGITS):
        return hashes
    usable = {name.lower(): digest.lower() for name, digest in hashes.items() if digest}
    if "sha256" in usable and not _is_digest(usable["sha256"], "sha256"):
        # To list it without would take away the one check that a client makes of the bytes.
        raise BadEntry("its sha256 is no SHA-256 digest")
    return {name: digest for name, digest in usable.items() if _is_digest(digest, name)}


def _is_digest(text: str, algorithm: str) -> bool:
    return len(text) == _DIGEST_LENGTHS.get(algorithm) and not text.encode().translate(None, _HEX_DIGITS)


def _parse_core_metadata(value: bool | Mapping[str, str]) -> bool | Mapping[str, str]:
    if isinstance(value, bool):
        return value
    try:
        return parse_hashes(value) or True
    except BadEntry:
        return False


def _in_utc(time: datetime) -> datetime | None:
    """The same moment in UTC, which is also what a time without zone means (PEP 700); None beyond the calendar."""
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return None
