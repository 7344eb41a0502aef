"""The pages of an owner and of the indexes that it extends: as one page, and cut down to one release.

PEP 700 (versions), PEP 792 (status). Judging may not be added here.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

from decider.filenames import file_version, normalize_version
from decider.files import DistributionFile, ProjectPage, ProjectStatus

__all__ = ["file_sources", "find_listed", "merge_pages", "release_pages"]

#: From the harmless to the grave.
_GRAVITY = (ProjectStatus.ACTIVE, ProjectStatus.DEPRECATED, ProjectStatus.ARCHIVED)


def merge_pages(pages: Sequence[ProjectPage]) -> ProjectPage:
    """The files of `pages` on one page of the first, the owner's; of one file name the earlier page's file.

    It claims no more than the least of them honours. A quarantined project offers no file, whatever its page lists
    (PEP 792). The owner answers for the name: where it quarantines the project nobody's files are offered. Where an
    extended index does, only its own files are left out, and the status reason says so: a public index must not be
    able to take away files of ours. Of other statuses the gravest is shown.
    """
    owner = pages[0]
    if len(pages) == 1 and (owner.status is not ProjectStatus.QUARANTINED or not owner.files):
        return owner
    offering = _offering(pages)
    files: dict[str, DistributionFile] = {}
    for page in offering:
        for file in page.files:
            files.setdefault(file.filename, file)
    status, status_reason = _merge_status(pages, offering)
    return msgspec.structs.replace(
        owner,
        files=tuple(files.values()),
        versions=_merge_versions(offering or (owner,)),
        api_version=min(page.api_version for page in (owner, *offering)),
        status=status,
        status_reason=status_reason,
        digest=_merge_digests(pages),
        last_serial=None,  # a serial counts the changes of one index
    )


def find_listed(pages: Sequence[ProjectPage], filename: str) -> tuple[ProjectPage, DistributionFile] | None:
    """The page that merge_pages takes the file of that exact name from, and the file; None when not listed."""
    for page in _offering(pages):
        if (file := page.find(filename)) is not None:
            return page, file
    return None


def file_sources(pages: Sequence[ProjectPage]) -> dict[str, str]:
    """File name → index, for those files of merge_pages that are not the owner's."""
    sources: dict[str, str] = {}
    if len(pages) > 1:
        for page in _offering(pages):
            for file in page.files:
                sources.setdefault(file.filename, page.index)
    return sources


def release_pages(pages: Sequence[ProjectPage], version: str) -> tuple[ProjectPage, ...]:
    """`pages` with the files of one release alone; () where merge_pages knows no such release.

    `version` is any spelling of it. `versions` of each is the one spelling that stands for it in merge_pages. The other
    releases are not looked at.
    """
    offering = _offering(pages)
    answering = offering or pages[:1]
    known = [release for page in answering if (release := page.release(version)) is not None]
    spellings = [release.stated for release in known if release.stated and _state_versions(answering)]
    if not spellings and offering:
        spellings = sorted(release.named for release in known if release.named)
    return tuple(_release_page(page, spellings[0]) for page in pages) if spellings else ()


def _release_page(page: ProjectPage, version: str) -> ProjectPage:
    if normalize_version(version) is None:
        # No file's name tells such a version, but as a part of itself (list_page).
        nameless = (file for file in page.files if file_version(page.project, file.filename) is None)
        files = tuple(file for file in nameless if version in file.filename)
    else:
        release = page.release(version)
        files = () if release is None else release.files
    digest = sha256(f"{page.digest} {version}".encode()).hexdigest()
    return msgspec.structs.replace(page, files=files, versions=(version,), digest=digest)


def _offering(pages: Sequence[ProjectPage]) -> tuple[ProjectPage, ...]:
    if pages[0].status is ProjectStatus.QUARANTINED:
        return ()
    return tuple(page for page in pages if page.status is not ProjectStatus.QUARANTINED)


def _merge_versions(pages: Sequence[ProjectPage]) -> tuple[str, ...]:
    """All versions stated; () where a page with files states none, for half a list would be a false one."""
    if not _state_versions(pages):
        return ()
    return tuple(dict.fromkeys(version for page in pages for version in page.versions))


def _state_versions(pages: Iterable[ProjectPage]) -> bool:
    """Whether each page that has files states versions."""
    return all(page.versions or not page.files for page in pages)


def _merge_status(
    pages: Sequence[ProjectPage], offering: Sequence[ProjectPage]
) -> tuple[ProjectStatus, str | None]:
    if not offering:
        return pages[0].status, pages[0].status_reason
    gravest = max(offering, key=lambda page: _GRAVITY.index(page.status))
    notes = [
        f"index {page.index} has quarantined this project: its files are left out"
        for page in pages
        if page not in offering
    ]
    reason = "; ".join(filter(None, (gravest.status_reason, *notes)))
    return gravest.status, reason or None


def _merge_digests(pages: Sequence[ProjectPage]) -> str:
    return sha256("\n".join(f"{page.index} {page.digest}" for page in pages).encode()).hexdigest()
