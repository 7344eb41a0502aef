"""Verdicts and decisions, as data."""

from datetime import datetime
from enum import StrEnum

import msgspec

from decider.files import DistributionFile
from decider.rules import Rule

__all__ = ["Considered", "FileDecision", "Verdict"]


class Verdict(StrEnum):
    """The answer for one file; a project has one only when all its files are refused whole."""

    ALLOW = "allow"
    YANK = "yank"
    HOLD = "hold"
    BLOCK = "block"

    @property
    def is_refusal(self) -> bool:
        """Whether the bytes are not served."""
        return self in {Verdict.HOLD, Verdict.BLOCK}


class Considered(msgspec.Struct, frozen=True):
    """One rule that was looked at, for `explain`."""

    id: str
    applied: bool
    why: str  #: lower-case, one line: which field matched or did not, or who lifted it


class FileDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision for one file."""

    file: DistributionFile
    index: str = ""  #: the index whose page lists the file
    version: str | None  #: normalized PEP 440; None where the page and name do not tell
    verdict: Verdict
    rules: tuple[Rule, ...] = ()  #: the deciding ones: final ones first, then by age; () for a plain allow
    reasons: tuple[str, ...] = ()  #: one for each of `rules`: its reason, and what had to be assumed
    reason: str = ""  #: all reasons, joined; "" for a plain allow
    until: datetime | None = (
        None  #: when time alone will next change this decision; None: never, or not known yet
    )
    considered: tuple[Considered, ...] = ()  #: filled only when a trace was asked for

    @property
    def first_reason(self) -> str:
        """The reason of the first deciding rule, for texts that name one rule."""
        return self.reasons[0] if self.reasons else self.reason
