"""Who answers for a name, and what may be had of it: one pure function of (file, rules, now).

Page, file, explain and dry run all call it; so they agree. Order of evaluation: DESIGN section 5. I/O and wire
formats may not be added here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from decider.files import DistributionFile, ProjectPage
from decider.names import NormalizedName
from decider.rules import Rule, Snapshot

__all__ = ["Considered", "FileDecision", "PageDecision", "Verdict", "decide_file", "decide_page", "owner_rule"]


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
    version: str | None  #: normalized PEP 440; None where the page and name do not tell
    verdict: Verdict
    rules: tuple[Rule, ...] = ()  #: the deciding ones: final ones first, then by age; () for a plain allow
    reason: str = ""  #: all reasons, joined; "" for a plain allow
    until: datetime | None = None  #: when time alone will next change this decision; None: never
    considered: tuple[Considered, ...] = ()  #: filled only when a trace was asked for


class PageDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions for all files of a project in one repository, in page order."""

    project: NormalizedName
    repository: str
    page: ProjectPage  #: the owner's page, with files of `extends` merged in
    files: tuple[FileDecision, ...]
    revision: int  #: of the snapshot that decided
    fingerprint: str  #: hex: same fingerprint, same filtered page
    until: datetime | None  #: when time alone will next change the page; None: never

    def find(self, filename: str) -> FileDecision | None:
        """The decision for the listed file of that exact name, or None."""
        raise NotImplementedError


def owner_rule(rules: Sequence[Rule], *, at: datetime) -> Rule | None:
    """The active `own` rule that fixes which index answers: the most specific pattern, then the oldest."""
    raise NotImplementedError


def decide_file(
    file: DistributionFile,
    *,
    project: NormalizedName,
    index: str,
    rules: Sequence[Rule],
    at: datetime,
    first_seen: datetime | None = None,
    trace: bool = False,
) -> FileDecision:
    """The decision for one file of `project`, listed by `index`.

    `rules` are those of Snapshot.rules_for, in any order. `first_seen` is when decider first saw the file, used
    for cooldowns where the index states no upload time; None: not known, which counts as seen just now.
    """
    raise NotImplementedError


def decide_page(
    pages: Sequence[ProjectPage],
    snapshot: Snapshot,
    *,
    repository: str,
    at: datetime,
    first_seen: Mapping[str, datetime] | None = None,
    trace: bool = False,
) -> PageDecision:
    """The decisions for a project: `pages` holds the owner's page first, then those its `extends` merges in.

    From the same file name the earlier page's file is taken. `first_seen` maps file names to when decider first
    saw them.
    """
    raise NotImplementedError
