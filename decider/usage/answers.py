"""What is told of records: lists, counts, exposure; and how rows of the queries become that."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from decider.usage.records import Installer, Kind, UsageRecord, from_micros

__all__ = [
    "DIMENSIONS",
    "Exposure",
    "SeenFile",
    "UsageCount",
    "UsageTotal",
    "as_count",
    "as_exposure",
    "as_record",
    "as_seen_file",
]

#: What counts may be grouped by.
DIMENSIONS = (
    "project", "version", "filename", "sha256", "repository", "client", "user", "installer", "installer_version",
    "python", "system", "ci", "verdict", "rule", "status", "cache", "kind", "day",
)  # fmt: skip

_TOLD = (
    "kind", "client", "user", "installer", "installer_version", "python", "system", "ci", "repository", "project",
    "version", "filename", "sha256", "verdict", "rule", "status", "bytes", "cache",
)  # fmt: skip


class UsageCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many records have these values."""

    group: dict[str, str | int | bool | None]
    count: int
    clients: int  #: different ones
    bytes: int
    first_at: datetime
    last_at: datetime


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """One client that took one file; what is not of all its downloads is of the last."""

    kind: Kind
    client: str
    user: str | None
    installer: Installer | None
    repository: str
    project: str
    version: str | None
    filename: str
    sha256: str | None
    verdict: str | None  #: then, not now
    rule: str | None
    status: int
    bytes: int
    cache: str | None
    first_at: datetime
    last_at: datetime
    count: int


class SeenFile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One file that was asked for, with what is needed to judge it anew: as its index had it then."""

    project: str
    repository: str
    filename: str
    sha256: str | None
    taken: bool  #: whether this counts downloads, or requests that were refused
    version: str | None
    index: str | None
    uploaded: datetime | None
    attested: bool
    requests: int
    clients: int
    first_at: datetime
    last_at: datetime


class UsageTotal(msgspec.Struct, frozen=True, kw_only=True):
    """How much was downloaded, by how many clients, since when."""

    since: datetime
    downloads: int
    clients: int


def as_record(row: Sequence[Any]) -> UsageRecord:
    """From a row of queries.LIST."""
    at, _, _, *told = row
    return UsageRecord(at=from_micros(at), **_told(dict(zip(_TOLD, told, strict=True))))


def as_count(by: Sequence[str], row: Sequence[Any]) -> UsageCount:
    """From a row of queries.COUNTS."""
    *group, count, clients, size, first_at, last_at = row
    return UsageCount(
        group=dict(zip(by, group, strict=True)),
        count=count,
        clients=clients,
        bytes=size,
        first_at=from_micros(first_at),
        last_at=from_micros(last_at),
    )


def as_exposure(row: Sequence[Any]) -> Exposure:
    """From a row of queries.EXPOSURE."""
    *_, last, first_at, last_at, count = row
    return Exposure(**_told(last), first_at=from_micros(first_at), last_at=from_micros(last_at), count=count)


def as_seen_file(row: Sequence[Any]) -> SeenFile:
    """From a row of queries.FILES."""
    project, repository, filename, sha256, taken, facts, requests, clients, first_at, last_at = row
    uploaded = facts["uploaded"]
    return SeenFile(
        project=project,
        repository=repository,
        filename=filename,
        sha256=sha256,
        taken=taken,
        version=facts["version"],
        index=facts["index"],
        uploaded=None if uploaded is None else from_micros(uploaded),
        attested=facts["attested"],
        requests=requests,
        clients=clients,
        first_at=from_micros(first_at),
        last_at=from_micros(last_at),
    )


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that records and exposure share."""
    told = dict(values)
    told["kind"] = Kind(told["kind"])
    installer = Installer(
        name=told["installer"],
        version=told.pop("installer_version"),
        python=told.pop("python"),
        system=told.pop("system"),
        ci=told.pop("ci"),
    )
    told["installer"] = None if installer == Installer() else installer
    return told
