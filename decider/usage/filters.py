"""Which records are meant, as a condition that SQLite and DuckDB both read.

Every value is a parameter, every name is ours: nothing that a person typed becomes SQL.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from packaging.version import Version

from decider.decision import Verdict
from decider.filenames import normalize_version
from decider.names import Kind as PatternKind
from decider.names import ProjectPattern, parse_pattern
from decider.rules import Rule, parse_duration
from decider.usage.clients import Clients
from decider.usage.records import Kind, to_micros

__all__ = ["EVERYTHING", "Condition", "UsageFilter", "condition_of", "pattern_condition", "rule_condition"]

_MAX_PATTERNS = 200
_MAX_SEGMENTS = 20  #: of a release that is looked for with more zeros at its end: nobody writes longer ones
_TRAILING_ZEROS = re.compile(r"(?:\.0)+\Z")


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are meant; None: all."""

    kind: Kind | None = Kind.FILE
    project: str | None = None  #: normalized
    version: str | None = None  #: as PEP 440's == reads it
    filename: str | None = None
    client: str | None = None  #: an address or a pseudonym
    user: str | None = None
    verdict: Verdict | None = None
    since: datetime | None = None
    until: datetime | None = None  #: exclusive
    taken: bool = False  #: only what clients now have


class Condition(NamedTuple):
    """An SQL condition and its parameters."""

    text: str
    parameters: tuple[object, ...]

    def __and__(self, other: "Condition") -> "Condition":
        """Both."""
        return Condition(f"{self.text} AND {other.text}", self.parameters + other.parameters)


EVERYTHING = Condition("1 = 1", ())


def condition_of(wanted: UsageFilter, clients: Clients) -> Condition:
    """The condition for `wanted`."""
    texts = ["1 = 1"]
    parameters: list[object] = []
    equal = {
        "kind": wanted.kind,
        "project": wanted.project,
        "filename": wanted.filename,
        "user": wanted.user,
        "verdict": wanted.verdict,
    }
    for name, value in equal.items():
        if value is not None:
            texts.append(f'"{name}" = ?')
            parameters.append(str(value))
    if wanted.version is not None:
        version = _version_condition(wanted.version)
        texts.append(version.text)
        parameters += version.parameters
    if wanted.client is not None:
        names = clients.names_of(wanted.client)
        texts.append(f'"client" IN ({", ".join("?" * len(names))})')
        parameters += names
    for name, moment in ((">=", wanted.since), ("<", wanted.until)):
        if moment is not None:
            texts.append(f'"at" {name} ?')
            parameters.append(to_micros(moment))
    if wanted.taken:
        texts.append('"taken"')
    return Condition(" AND ".join(texts), tuple(parameters))


def pattern_condition(patterns: Sequence[str]) -> Condition:
    """Records of projects that some of these rule patterns match; of all projects, where there are many patterns."""
    distinct = dict.fromkeys(patterns)
    if len(distinct) > _MAX_PATTERNS:
        return EVERYTHING
    parts = [_one_pattern(parse_pattern(pattern)) for pattern in distinct]
    return Condition(
        "(" + " OR ".join(part.text for part in parts) + ")" if parts else "1 = 0",
        tuple(value for part in parts for value in part.parameters),
    )


def rule_condition(rule: Rule, *, at: datetime) -> Condition:
    """What files that the rule refuses have in common, for queries.FILES: there may be others among them.

    So that of a rule about every project only those files are judged that it can mean.
    """
    texts = ["1 = 1"]
    parameters: list[object] = []
    if rule.repositories is not None:
        texts.append(f'"repository" IN ({", ".join("?" * len(rule.repositories))})')
        parameters += rule.repositories
    if rule.sha256 is not None:
        texts.append('("sha256" = ? OR "sha256" IS NULL)')
        parameters.append(rule.sha256)
    if rule.index is not None:
        texts.append("facts['index'] = ?")
        parameters.append(rule.index)
    if rule.attested is False:
        texts.append("NOT facts['attested']")
    lines = [
        rule.uploaded_after,
        None if rule.younger_than is None else at - parse_duration(rule.younger_than),
    ]
    for line in lines:
        if line is not None:
            texts.append("(facts['uploaded'] > ? OR facts['uploaded'] IS NULL)")
            parameters.append(to_micros(line))
    return Condition(" AND ".join(texts), tuple(parameters))


def _version_condition(text: str) -> Condition:
    """Records of the versions that `== text` matches (PEP 440): `3.1.0` is `3.1`, and `1.0` has `1.0+cpu`, too.

    Records hold normalized versions, so all spellings of one differ in trailing zeros only.
    """
    normalized = normalize_version(text)
    if normalized is None:
        return Condition('"version" = ?', (text,))
    version = Version(normalized)
    stem = _TRAILING_ZEROS.sub("", version.base_version)
    ending = normalized.removeprefix(version.base_version)
    lengths = range(max(_MAX_SEGMENTS - stem.count("."), 1))
    equal = tuple(dict.fromkeys((normalized, *(f"{stem}{'.0' * zeros}{ending}" for zeros in lengths))))
    listed = Condition(f'"version" IN ({", ".join("?" * len(equal))})', equal)
    if version.local is not None:
        return listed
    local = " OR ".join(['("version" >= ? AND "version" < ?)'] * len(equal))
    ends = tuple(end for one in equal for end in (f"{one}+", f"{one},"))  # a comma comes right behind a plus
    return Condition(f"({listed.text} OR {local})", equal + ends)


def _one_pattern(pattern: ProjectPattern) -> Condition:
    """As ranges: the columnar files are sorted by project, so most of them need not be read."""
    if pattern.kind is PatternKind.ANY:
        return EVERYTHING
    stem = pattern.stem
    if pattern.kind is PatternKind.EXACT:
        return Condition('"project" = ?', (stem,))
    if pattern.kind is PatternKind.NAMESPACE:
        return Condition(
            '("project" = ? OR ("project" >= ? AND "project" < ?))', (stem, f"{stem}-", f"{stem}.")
        )
    return Condition('("project" >= ? AND "project" < ?)', (stem, stem[:-1] + chr(ord(stem[-1]) + 1)))
