"""Project names and the patterns that match them (PEP 503, PEP 752; packaging guide, name normalization).

Validate first, normalize after: `demo.` would normalize to `demo-`, which is no valid name.
Files and versions may not be added here.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

from decider.errors import InvalidName

__all__ = [
    "MAX_PROJECT_NAME",
    "Kind",
    "NormalizedName",
    "ProjectPattern",
    "is_normalized",
    "parse_pattern",
    "parse_project_name",
]

NormalizedName = NewType("NormalizedName", str)

MAX_PROJECT_NAME = 200  #: characters

# re.ASCII: with IGNORECASE alone [A-Z] matches U+212A KELVIN SIGN and U+017F LONG S, aliases of k and s.
# \Z: `$` would admit a trailing newline.
_VALID = re.compile(r"(?:[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])\Z", re.IGNORECASE | re.ASCII)
_NORMALIZED = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z", re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")


def is_normalized(name: str) -> bool:
    """Whether `name` is a valid name already in its PEP 503 spelling."""
    return len(name) <= MAX_PROJECT_NAME and _NORMALIZED.match(name) is not None


def parse_project_name(raw: str) -> NormalizedName:
    """The PEP 503 spelling of `raw`; raise InvalidName unless it is a valid name of at most 200 characters."""
    if len(raw) > MAX_PROJECT_NAME or not _VALID.match(raw):
        raise InvalidName(raw)
    return NormalizedName(_SEPARATORS.sub("-", raw).lower())


class Kind(IntEnum):
    """How a pattern matches; a greater one is more specific than a smaller one."""

    ANY = 0  #: `*`
    PREFIX = 1  #: `acme*`: a plain prefix
    NAMESPACE = 2  #: `acme-*`: `acme` and all that begin with `acme-` (PEP 752)
    EXACT = 3  #: `acme`


@dataclass(frozen=True, slots=True)
class ProjectPattern:
    """Which project names a rule is about."""

    kind: Kind
    stem: str  #: the normalized name or prefix, without `*` and, for a namespace, without its `-`; "" for ANY

    def matches(self, project: NormalizedName) -> bool:
        """Whether `project` is one of the names meant."""
        if self.kind is Kind.EXACT:
            return project == self.stem
        if self.kind is Kind.NAMESPACE:
            return project == self.stem or project.startswith(f"{self.stem}-")
        return project.startswith(self.stem)

    @property
    def specificity(self) -> tuple[bool, int, Kind]:
        """Sorts patterns that match one name: an exact name first, then the longer stem, then the kind."""
        return (self.kind is Kind.EXACT, len(self.stem) + (self.kind is Kind.NAMESPACE), self.kind)

    def __str__(self) -> str:
        """The canonical spelling: two patterns are the same if and only if these are equal."""
        return self.stem + {Kind.ANY: "*", Kind.PREFIX: "*", Kind.NAMESPACE: "-*", Kind.EXACT: ""}[self.kind]


def parse_pattern(raw: str) -> ProjectPattern:
    """The pattern that `raw` spells; raise InvalidName where the part before `*` cannot begin a name."""
    if raw == "*":
        return ProjectPattern(Kind.ANY, "")
    if not raw.endswith("*"):
        return ProjectPattern(Kind.EXACT, parse_project_name(raw))
    stem = raw[:-1]
    try:
        if stem[-1:] in {"-", "_", "."}:
            return ProjectPattern(Kind.NAMESPACE, parse_project_name(stem.rstrip("-_.")))
        return ProjectPattern(Kind.PREFIX, parse_project_name(stem))
    except InvalidName:
        raise InvalidName(raw, "project name or pattern") from None
