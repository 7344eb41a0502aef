"""What is recorded of a request: the columns, as they are stored and as they are told.

Reading nginx's lines is in `lines`, where records are kept in `staging` and `parts`.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from decider.decision import Verdict

__all__ = ["COLUMNS", "Column", "Installer", "Kind", "Row", "UsageRecord", "from_micros", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The moment, UTC."""
    return _EPOCH + timedelta(microseconds=micros)


class Kind(StrEnum):
    """What was asked for."""

    FILE = "file"
    METADATA = "metadata"  #: or another companion of a file
    PAGE = "page"


class Installer(msgspec.Struct, frozen=True, kw_only=True):
    """What an installer says of itself in its User-Agent: its own words, not verified."""

    name: str | None = None
    version: str | None = None
    python: str | None = None
    system: str | None = None
    ci: bool | None = None  #: None: it does not say


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as the API tells it."""

    at: datetime
    kind: Kind
    client: str  #: an address, or `p-…` where clients are pseudonymised
    user: str | None
    installer: Installer | None
    repository: str
    project: str
    version: str | None
    filename: str | None  #: None for pages
    sha256: str | None  #: of the file, also for its metadata
    verdict: Verdict | None  #: None for pages, and where no decision was made
    rule: str | None
    status: int
    bytes: int
    cache: str | None  #: HIT, MISS …; None: no cache was asked


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request, as it is stored; the fields are COLUMNS but for `id` and `node`."""

    at: int  #: microseconds since 1970
    kind: str
    method: str
    client: str
    user: str | None
    installer: str | None
    installer_version: str | None
    python: str | None
    system: str | None
    ci: bool | None
    repository: str
    project: str
    version: str | None
    filename: str | None
    sha256: str | None
    verdict: str | None
    rule: str | None
    status: int
    bytes: int
    cache: str | None
    index: str | None
    uploaded: int | None  #: microseconds since 1970: when the index says that the file was uploaded
    attested: bool
    taken: bool  #: whether the client now has the file, or part of it


class Column(NamedTuple):
    """How one column is spelled where records are kept."""

    name: str
    staged: str  #: SQLite
    typed: str  #: of the values that come out of SQLite, as DuckDB reads them
    stored: str  #: in the columnar files


_TEXT = ("TEXT", "VARCHAR", "VARCHAR")
_TRUTH = ("INTEGER", "TINYINT", "BOOLEAN")
_TYPES: dict[str, tuple[str, str, str]] = {
    "at": ("INTEGER", "BIGINT", "TIMESTAMP WITH TIME ZONE"),
    "uploaded": ("INTEGER", "BIGINT", "TIMESTAMP WITH TIME ZONE"),
    "ci": _TRUTH,
    "attested": _TRUTH,
    "taken": _TRUTH,
    "status": ("INTEGER", "SMALLINT", "SMALLINT"),
    "bytes": ("INTEGER", "BIGINT", "BIGINT"),
    "id": ("INTEGER", "BIGINT", "BIGINT"),
}

COLUMNS = tuple(
    Column(name, *_TYPES.get(name, _TEXT)) for name in (*Row.__struct_fields__, "node", "id")
)  #: `node` and `id`: the machine that recorded it, and the record's number there
