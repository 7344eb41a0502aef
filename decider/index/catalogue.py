"""The pages of a local directory: its files by project, sorted, each name once.

Reading files may not be added here.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from packaging.version import Version

from decider.files import DistributionFile, ProjectPage
from decider.index.directory import LocalFault, fault
from decider.index.publishing import Record
from decider.names import NormalizedName

__all__ = ["Catalogue", "Listed", "make_catalogue"]

_API_VERSION = (
    1,
    4,
)  #: size, upload-time and versions are stated (PEP 700); nothing is yanked or attested


class Listed(NamedTuple):
    """One file of a page; sorts as pages are sorted, since no page has a name twice."""

    version: Version
    filename: str
    file: DistributionFile
    found_at: str  #: below the root


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All projects of one directory."""

    pages: Mapping[NormalizedName, ProjectPage] = field(default_factory=dict)
    faults: tuple[LocalFault, ...] = ()  #: files that are no part of a page
    made_of: Mapping[NormalizedName, Sequence[Listed]] = field(default_factory=dict)  #: what is in each page


def make_catalogue(
    index: str, records: Iterable[Record], folders: Iterable[NormalizedName], *, before: Catalogue
) -> Catalogue:
    """The catalogue of `records`, which come by path; pages of `before` that would be made of the same are kept.

    A project is there as soon as a folder or a file's name speaks of it, even if nothing can be listed: what an
    unreadable or unfinished file was meant to be must not come from another index meanwhile.
    """
    faults: list[LocalFault] = []
    projects: dict[NormalizedName, dict[str, Listed]] = {project: {} for project in folders}
    for record in records:
        path = record.candidate.path
        if record.why is not None:
            faults.append(fault(path, record.why))
        if record.identity is None:
            continue
        project, version = record.identity
        listed = projects.setdefault(project, {})
        if record.file is not None:
            first = listed.setdefault(
                record.file.filename, Listed(version, record.file.filename, record.file, path)
            )
            if first.found_at != path:
                faults.append(fault(path, f"is listed already as `{first.found_at}`"))
    made_of = {project: sorted(listed.values()) for project, listed in projects.items()}
    pages = {
        project: before.pages[project]
        if before.made_of.get(project) == listed
        else _page(index, project, listed)
        for project, listed in made_of.items()
    }
    return Catalogue(pages, tuple(faults), made_of)


def _page(index: str, project: NormalizedName, listed: Sequence[Listed]) -> ProjectPage:
    files = tuple(entry.file for entry in listed)
    return ProjectPage(
        index=index,
        project=project,
        files=files,
        versions=tuple(dict.fromkeys(str(entry.version) for entry in listed)),
        api_version=_API_VERSION,
        digest=_digest(index, project, files),
    )


def _digest(index: str, project: NormalizedName, files: Iterable[DistributionFile]) -> str:
    """Where the bytes are is nobody's business but ours: moving a file does not change its page."""
    visible = [
        msgspec.structs.replace(file, path=None, is_staged=False, metadata_path=None) for file in files
    ]
    return hashlib.sha256(msgspec.json.encode((index, project, visible))).hexdigest()
