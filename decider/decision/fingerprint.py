"""What a page depends on, as one digest, and when time alone will change it.

Judging may not be added here: files are only looked at where a rule asks for their age.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from decider.decision.judging import owner_rule
from decider.decision.matching import later
from decider.files import ProjectPage
from decider.rules import Action, Rule, Snapshot, parse_duration

__all__ = ["fingerprint_of", "page_fingerprint", "rules_for_pages"]


def page_fingerprint(
    pages: Sequence[ProjectPage],
    snapshot: Snapshot,
    *,
    repository: str,
    at: datetime,
    first_seen: Mapping[str, datetime] | None = None,
    variant: str = "",
) -> tuple[str, datetime | None]:
    """The fingerprint and `until` of decide_page, without judging a file.

    Same fingerprint, same filtered page. `variant` is whatever else the page is rendered by. `until` is no later than
    the moment when time alone changes the page, and earlier only where a rule expires, or a file comes of age, that
    other rules outrank; None: never, or not before a file's first sight is noted.
    """
    return fingerprint_of(
        pages,
        rules_for_pages(pages, snapshot, repository=repository),
        repository=repository,
        at=at,
        first_seen=first_seen or {},
        variant=variant,
    )


def rules_for_pages(pages: Sequence[ProjectPage], snapshot: Snapshot, *, repository: str) -> tuple[Rule, ...]:
    """Every rule that can touch the files of `pages`, oldest first."""
    digests: frozenset[str] = frozenset()
    if snapshot.names_digests:
        first, *others = (page.sha256s for page in pages)
        digests = first.union(*others) if others else first  # a union of one would be a copy
    return snapshot.rules_for(pages[0].project, repository, sha256=digests)


def fingerprint_of(
    pages: Sequence[ProjectPage],
    rules: Sequence[Rule],
    *,
    repository: str,
    at: datetime,
    first_seen: Mapping[str, datetime],
    variant: str,
) -> tuple[str, datetime | None]:
    """As page_fingerprint, by rules already found."""
    ages = _ages(
        pages, [rule for rule in rules if _asks_for_age(rule, pages, at)], at=at, first_seen=first_seen
    )
    moments = [*_expiries(rules, at=at), *ages.moments]
    until = min(moments, default=None)
    # Which rules are active need not be said: between two moments of change they are the same ones.
    facts = (
        repository,
        variant,
        sorted((rule.id, rule.revision) for rule in rules),
        [(page.index, page.digest) for page in pages],
        ages.undated,
        until,
    )
    return sha256(msgspec.json.encode(facts)).hexdigest(), until


class _Ages(NamedTuple):
    moments: list[datetime]  #: when a file comes of age next, one for each rule that waits for it
    undated: list[tuple[str, datetime | None]]  #: files that no page dates, and when they were first seen


def _expiries(rules: Sequence[Rule], *, at: datetime) -> Iterable[datetime]:
    owner = owner_rule(rules, at=at)
    for rule in rules:
        if (
            rule.expires_at is not None
            and rule.is_active(at)
            and (rule.action is not Action.OWN or rule is owner)
        ):
            yield rule.expires_at


def _asks_for_age(rule: Rule, pages: Sequence[ProjectPage], at: datetime) -> bool:
    return (
        (rule.younger_than is not None or rule.uploaded_after is not None)
        and rule.is_active(at)
        and (rule.index is None or any(page.index == rule.index for page in pages))
    )


def _ages(
    pages: Sequence[ProjectPage], rules: Sequence[Rule], *, at: datetime, first_seen: Mapping[str, datetime]
) -> _Ages:
    """What `rules` that ask for a file's age make of the files; old files and pages without such rules cost nothing."""
    if not rules:
        return _Ages([], [])
    oldest = min(_threshold(rule, at) for rule in rules)  # older files are out of every such rule, for good
    clocks: list[datetime] = []
    undated: list[tuple[str, datetime | None]] = []
    for page in pages:
        clocks += page.upload_times[bisect_right(page.upload_times, oldest) :]
        for file in page.undated:
            seen = first_seen.get(file.filename)
            if seen is None:
                undated.append((file.filename, None))
            elif seen > oldest:
                undated.append((file.filename, seen))
                clocks.append(seen)
    clocks.sort()
    return _Ages(
        [moment for rule in rules if (moment := _comes_of_age(rule, clocks, at)) is not None], undated
    )


def _threshold(rule: Rule, at: datetime) -> datetime:
    """The rule matches only files dated after this."""
    lines = [] if rule.uploaded_after is None else [rule.uploaded_after]
    if rule.younger_than is not None:
        lines.append(at - parse_duration(rule.younger_than))
    return max(lines)


def _comes_of_age(rule: Rule, clocks: Sequence[datetime], at: datetime) -> datetime | None:
    """When the oldest of the files that are too young for `rule` will not be any more."""
    if rule.younger_than is None:
        return None
    first = bisect_right(clocks, _threshold(rule, at))
    return later(clocks[first], parse_duration(rule.younger_than)) if first < len(clocks) else None
