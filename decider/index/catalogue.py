"""The pages of a local directory: its files by project, sorted, each name once.

Reading files may not be added here.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from decider.files import DistributionFile, ProjectPage
from decider.index.directory import LocalFault, fault
from decider.index.publishing import Record
from decider.names import NormalizedName

__all__ = ["Catalogue", "make_catalogue"]

_API_VERSION = (
    1,
    4,
)  #: size, upload-time and versions are there (PEP 700); no provenance and no status are honest


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All projects of one directory."""

    pages: Mapping[NormalizedName, ProjectPage] = field(default_factory=dict)
    faults: tuple[LocalFault, ...] = ()  #: files that are no part of a page, by path
    records: Mapping[NormalizedName, tuple[Record, ...]] = field(default_factory=dict)  #: that made each page


def make_catalogue(
    index: str, records: Iterable[Record], folders: Iterable[NormalizedName], *, before: Catalogue
) -> Catalogue:
    """The catalogue of `records`, which come by path; pages of `before` whose records are the same are kept.

    A project is there as soon as a folder or a file's name speaks of it, even if nothing can be listed: what an
    unreadable or unfinished file was meant to be must not come from another index meanwhile.
    """
    faults: list[LocalFault] = []
    projects: dict[NormalizedName, dict[str, Record]] = defaultdict(dict)
    for project in folders:
        projects[project] = {}
    for record in records:
        if record.why is not None:
            faults.append(fault(record.candidate.path, record.why))
        if record.project is None:
            continue
        listed = projects[record.project]
        if record.file is not None:
            first = listed.setdefault(record.file.filename, record)
            if first is not record:
                faults.append(fault(record.candidate.path, f"is listed already as `{first.candidate.path}`"))
    made_of = {project: _sorted(listed.values()) for project, listed in projects.items()}
    kept = {project for project, made in made_of.items() if before.records.get(project) == made}
    pages = {
        project: before.pages[project] if project in kept else _page(index, project, made)
        for project, made in made_of.items()
    }
    return Catalogue(pages, tuple(sorted(faults)), made_of)


def _sorted(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(sorted(records, key=lambda record: (record.version, record.candidate.filename)))


def _page(index: str, project: NormalizedName, records: Sequence[Record]) -> ProjectPage:
    files = tuple(record.file for record in records if record.file is not None)
    versions = tuple(dict.fromkeys(str(record.version) for record in records))
    return ProjectPage(
        index=index,
        project=project,
        files=files,
        versions=versions,
        api_version=_API_VERSION,
        digest=_digest(index, project, files),
    )


def _digest(index: str, project: NormalizedName, files: Iterable[DistributionFile]) -> str:
    """Where the bytes are is nobody's business but ours: moving a file does not change its page."""
    visible = [msgspec.structs.replace(file, path=None, metadata_path=None) for file in files]
    return hashlib.sha256(msgspec.json.encode((index, project, visible))).hexdigest()
