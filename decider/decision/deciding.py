"""The entrance: one file, one file of a page, one release, a whole page."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property

import msgspec

from decider.decision.fingerprint import fingerprint_of, rules_for_pages
from decider.decision.judging import Judge
from decider.decision.merging import file_sources, find_listed, merge_pages
from decider.decision.model import FileDecision
from decider.files import DistributionFile, ProjectPage
from decider.names import NormalizedName
from decider.rules import Rule, Snapshot

__all__ = ["PageDecision", "decide_file", "decide_one", "decide_page"]


class PageDecision(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The decisions for all files of a project in one repository; files are judged when they are asked for."""

    project: NormalizedName
    repository: str
    page: ProjectPage  #: the owner's page, with files of `extends` merged in
    judge: Judge
    revision: int  #: of the snapshot that decided
    fingerprint: str  #: hex: same fingerprint, same filtered page
    until: datetime | None  #: no later than when time alone will next change the page; None: never

    @cached_property
    def files(self) -> tuple[FileDecision, ...]:
        """One decision for each file, in page order."""
        return tuple(map(self.judge.decide, self.page.files))

    @cached_property
    def restricted(self) -> Mapping[str, FileDecision]:
        """File name → decision, of those files that some block, hold or yank matches, lifted or not."""
        if self.judge.is_idle:
            return {}
        decisions = map(self.judge.decide_restricted, self.page.files)
        return {decision.file.filename: decision for decision in decisions if decision is not None}

    def find(self, filename: str) -> FileDecision | None:
        """The decision for the listed file of that exact name, or None."""
        file = self.page.find(filename)
        return None if file is None else self.judge.decide(file)


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
    seen = {} if first_seen is None else {file.filename: first_seen}
    judge = Judge(rules, project=project, index=index, at=at, first_seen=seen, trace=trace)
    return judge.decide(file)


def decide_one(
    pages: Sequence[ProjectPage],
    filename: str,
    snapshot: Snapshot,
    *,
    repository: str,
    at: datetime,
    first_seen: Mapping[str, datetime] | None = None,
    trace: bool = False,
) -> FileDecision | None:
    """The decision for the file of that exact name, as decide_page makes it, judging no other; None when not listed."""
    found = find_listed(pages, filename)
    if found is None:
        return None
    page, file = found
    project = pages[0].project
    digests = frozenset(() if file.sha256 is None else (file.sha256,))
    return decide_file(
        file,
        project=project,
        index=page.index,
        rules=snapshot.rules_for(project, repository, sha256=digests),
        at=at,
        first_seen=(first_seen or {}).get(filename),
        trace=trace,
    )


def decide_page(
    pages: Sequence[ProjectPage],
    snapshot: Snapshot,
    *,
    repository: str,
    at: datetime,
    first_seen: Mapping[str, datetime] | None = None,
    trace: bool = False,
    variant: str = "",
    whole: Sequence[ProjectPage] = (),
) -> PageDecision:
    """The decisions for a project: `pages` holds the owner's page first, then those its `extends` merges in.

    From the same file name the earlier page's file is taken. `first_seen` maps file names to when decider first
    saw them; it must not change as long as the decision is used. `variant` is whatever else the page is rendered by.
    Where `pages` are one release (release_pages), `whole` are those that it is of: fingerprint and `until` are the
    project's then, and are asked for once whatever its releases.
    """
    seen = first_seen or {}
    page = merge_pages(pages)
    rules = rules_for_pages(pages, snapshot, repository=repository)
    fingerprint, until = fingerprint_of(
        whole or pages,
        rules_for_pages(whole, snapshot, repository=repository) if whole else rules,
        repository=repository,
        at=at,
        first_seen=seen,
        variant=variant,
    )
    judge = Judge(
        rules,
        project=page.project,
        index=page.index,
        at=at,
        first_seen=seen,
        trace=trace,
        merged=file_sources(pages),
    )
    return PageDecision(
        project=page.project,
        repository=repository,
        page=page,
        judge=judge,
        revision=snapshot.revision,
        fingerprint=fingerprint,
        until=until,
    )
