"""What is told of a request; how it is stored is in `columns`."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from decider.decision import Verdict

__all__ = ["Installer", "Kind", "UsageRecord", "from_micros", "to_micros"]

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
