"""What a rule is: its fields as data, and how its durations and moments are spelled.

Moments: RFC 3339. Validation is in `drafts`, finding in `snapshot`; evaluating a file may not be added here.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from decider.filenames import FileType

__all__ = [
    "FILE_CONDITIONS",
    "Action",
    "Rule",
    "RuleDraft",
    "format_moment",
    "parse_duration",
    "parse_moment",
]

#: The fields that tell files of one project at one index apart; a rule without them speaks of all its files.
FILE_CONDITIONS = (
    "versions", "filename", "sha256", "file_type", "younger_than", "uploaded_after", "attested",
)  # fmt: skip

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# datetime.fromisoformat also takes week dates and compact forms, which RFC 3339 does not know.
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)


class Action(StrEnum):
    """What a rule does."""

    OWN = "own"
    BLOCK = "block"
    HOLD = "hold"
    YANK = "yank"
    ALLOW = "allow"


# gc=False: a rule holds no reference cycle, and 100,000 tracked objects would make every full collection a pause.
class RuleDraft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False, gc=False):
    """What a person or a feed says of a rule; every match field that is None matches everything."""

    action: Action
    project: str  #: canonical spelling of a names.ProjectPattern
    reason: str  #: shown to clients
    versions: str | None = None  #: PEP 440 specifier set
    filename: str | None = None  #: case-sensitive glob
    sha256: str | None = None  #: lower-case hex
    file_type: FileType | None = None
    index: str | None = None  #: only files from that index; for `own`, the owner
    younger_than: str | None = None  #: duration as given, e.g. "7d"
    uploaded_after: datetime | None = None  #: aware, UTC
    attested: bool | None = None  #: False: files without provenance; True is refused
    repositories: tuple[str, ...] | None = None  #: None: all
    extends: tuple[str, ...] | None = None  #: `own` only: indexes merged in after the owner
    lifts: tuple[str, ...] | None = None  #: `allow` only: rule ids; None: every liftable rule that it matches
    final: bool = False  #: `block`, `hold`: only an `allow` that names it lifts it
    reference: str | None = None  #: URL or advisory id
    expires_at: datetime | None = None  #: aware, UTC; inert from that moment on
    key: str | None = (
        None  #: identity inside its ruleset, given by the feed; None: all fields but reason, reference, expiry
    )


class Rule(RuleDraft, frozen=True, kw_only=True, gc=False):
    """A stored rule: the draft, and what the store keeps."""

    id: str  #: given by the store: short, sortable by age, never reused
    ruleset: str = "manual"
    created_by: str
    created_at: datetime  #: aware, UTC
    updated_by: str
    updated_at: datetime  #: aware, UTC
    revision: int  #: the store's revision that last changed this rule; its ETag

    def is_active(self, at: datetime) -> bool:
        """Whether the rule is in force at `at`."""
        return self.expires_at is None or at < self.expires_at

    @property
    def is_project_level(self) -> bool:
        """Whether the rule says the same of every file of a project, whatever file and index."""
        return self.index is None and all(getattr(self, name) is None for name in FILE_CONDITIONS)

    @property
    def digest_anywhere(self) -> str | None:
        """The sha256 that a rule about every project names; None for other rules.

        Such a rule can touch only files of that digest, so it is found by it: a feed of bad digests costs nothing.
        """
        return self.sha256 if self.project == "*" else None


def parse_duration(text: str) -> timedelta:
    """A whole number and one of `s` `m` `h` `d` `w`; raise ValueError otherwise."""
    found = _DURATION.match(text)
    if not found:
        raise ValueError(
            f"`{text[:80]}` is no duration: write a whole number and s, m, h, d or w, as in `7d`"
        )
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise ValueError(f"`{text}` is too long a duration") from None


def parse_moment(text: str) -> datetime:
    """The moment that an RFC 3339 `text` names, in UTC; raise ValueError otherwise, also without a zone."""
    if not _MOMENT.match(text):
        raise ValueError(f"`{text[:80]}` is no RFC 3339 time with a zone, as in `2026-12-31T00:00:00Z`")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"`{text}` names no moment of the calendar") from None


def format_moment(moment: datetime) -> str:
    """The RFC 3339 spelling of an aware `moment`, in UTC."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
