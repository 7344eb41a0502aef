"""A rule, its validation, and the compiled, immutable snapshot that finds the rules for a name.

Namespaces: PEP 752. Versions: PEP 440 specifier sets, prereleases included. Evaluating a file and I/O may not be
added here.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from decider.files import FileType
from decider.names import NormalizedName

__all__ = [
    "Action",
    "Rule",
    "RuleDraft",
    "Snapshot",
    "parse_draft",
    "parse_duration",
]


class Action(StrEnum):
    """What a rule does."""

    OWN = "own"
    BLOCK = "block"
    HOLD = "hold"
    YANK = "yank"
    ALLOW = "allow"


class RuleDraft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
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
    key: str | None = None  #: identity inside its ruleset, given by the feed; None: all fields but reason, reference, expiry


class Rule(RuleDraft, frozen=True, kw_only=True):
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


def parse_duration(text: str) -> timedelta:
    """A whole number and one of `s` `m` `h` `d` `w`; raise ValueError otherwise."""
    raise NotImplementedError


def parse_draft(
    fields: Mapping[str, Any], *, at: datetime, indexes: Iterable[str] | None, repositories: Iterable[str] | None
) -> RuleDraft:
    """The draft that `fields` (decoded JSON or TOML) spells; raise InvalidRule with every fault, by field.

    `indexes` and `repositories` are the configured names, None where they are not known (then not checked).
    Unknown fields are faults. `expires_at` must lie after `at`.
    """
    raise NotImplementedError


class Snapshot:
    """All rules of one store revision, compiled; immutable, shared by threads."""

    revision: int

    def __init__(self, revision: int, rules: Iterable[Rule]) -> None:
        raise NotImplementedError

    def rules_for(self, project: NormalizedName, repository: str) -> tuple[Rule, ...]:
        """Every rule, expired ones too, that can touch `project` in `repository`, oldest first.

        The cost depends on the number of rules about `project` and on the number of different prefix lengths,
        not on the number of rules about other projects.
        """
        raise NotImplementedError

    def rule(self, rule_id: str) -> Rule | None:
        """The rule of that id, or None."""
        raise NotImplementedError
