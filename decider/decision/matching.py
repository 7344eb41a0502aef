"""Does one rule match one file, and until when.

A condition holds, does not hold, or cannot be judged. What cannot be judged counts against the file: `block`, `hold`
and `yank` then match, `allow` does not. A file never comes to match with time (it only grows older, a rule only
expires), so a match is over at one moment, and a miss is for good.

Versions: PEP 440, prereleases included. Combining rules may not be added here.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from fnmatch import translate
from functools import lru_cache
from typing import Any

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from decider.filenames import FileType, file_type, file_version
from decider.files import DistributionFile
from decider.names import NormalizedName
from decider.rules import Action, Rule, format_moment, parse_duration

__all__ = ["Facts", "Match", "Matcher", "sentence"]

#: A template and its arguments, put together only when somebody asks why: most files are asked nothing.
Text = tuple[str, *tuple[object, ...]]


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What one condition says of a file."""

    holds: bool | None  #: None: cannot be judged
    why: Text
    ends: datetime | None = None  #: when it ceases to hold by itself; None: never
    is_telling: bool = False  #: whether the reason given to clients should say it too


class Match(msgspec.Struct, frozen=True, gc=False):
    """What one rule says of a file."""

    rule: Rule
    applies: bool
    why: tuple[Text, ...]  #: every condition that holds, or the one that does not
    ends: datetime | None = None  #: when the match is over; None: never
    telling: tuple[Text, ...] = ()  #: what the reason must say besides the rule's own words

    def reason(self) -> str:
        """The rule's reason, with the clock that was used and all that could not be judged."""
        return "; ".join((self.rule.reason, *map(sentence, self.telling)))


class Facts:
    """What is known of a file that a page lists."""

    __slots__ = ("at", "clock", "file", "index", "project")

    def __init__(
        self,
        file: DistributionFile,
        *,
        project: NormalizedName,
        index: str,
        at: datetime,
        first_seen: datetime | None,
    ) -> None:
        self.file = file
        self.project = project
        self.index = index
        self.at = at
        #: Where the file's age counts from: what the index states, else when decider first saw the file.
        self.clock = file.upload_time or first_seen

    @property
    def version(self) -> Version | None:
        """The release, or None where the name does not tell."""
        return file_version(self.project, self.file.filename)

    @property
    def dated(self) -> str:
        """How texts say what that clock shows."""
        clock = "uploaded" if self.file.upload_time else "its index states no upload time, first seen"
        return f"{clock} {_words(self.clock)}"


class Matcher:
    """One rule, made ready to be asked about many files."""

    __slots__ = ("_conditions", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._conditions = tuple(
            (condition, value)
            for name, condition in _CONDITIONS
            if (value := getattr(rule, name)) is not None
        )

    @property
    def asks_version_only(self) -> bool:
        """Whether files of one version are all the same to the rule."""
        return all(condition is _versions for condition, _ in self._conditions)

    def match(self, facts: Facts) -> Match:
        """What the rule says of the file at `facts.at`."""
        rule = self.rule
        if not rule.is_active(facts.at):
            return Match(rule, False, (("expired since {}", rule.expires_at),))
        findings = []
        for condition, value in self._conditions:
            finding = condition(value, facts, rule)
            if finding.holds is False or (finding.holds is None and rule.action is Action.ALLOW):
                return Match(rule, False, (finding.why,))
            findings.append(finding)
        return Match(
            rule,
            True,
            tuple([finding.why for finding in findings]),
            min(
                (ends for ends in (rule.expires_at, *(one.ends for one in findings)) if ends is not None),
                default=None,
            ),
            tuple([one.why for one in findings if one.is_telling or one.holds is None]),
        )


def sentence(text: Text) -> str:
    """The words of `text`, its moments to the second."""
    template, *arguments = text
    return str(template).format(*map(_words, arguments))


def _words(argument: object) -> object:
    return format_moment(argument.replace(microsecond=0)) if isinstance(argument, datetime) else argument


def _index(index: str, facts: Facts, _rule: Rule) -> Finding:
    if facts.index == index:
        return Finding(True, ("comes from index `{}`", index))
    return Finding(False, ("comes from index `{}`, not `{}`", facts.index, index))


def _file_type(wanted: FileType, facts: Facts, _rule: Rule) -> Finding:
    found = file_type(facts.file.filename)
    if found is wanted:
        return Finding(True, ("file type is {}", found))
    return Finding(False, ("file type is {}, not {}", found, wanted))


def _attested(_wanted: bool, facts: Facts, _rule: Rule) -> Finding:
    if facts.file.provenance is None:
        return Finding(True, ("no provenance is known",))
    return Finding(False, ("has provenance",))


def _sha256(digest: str, facts: Facts, rule: Rule) -> Finding:
    found = facts.file.sha256
    if found == digest:
        return Finding(True, ("sha256 is the one named",))
    if found is None and rule.project != "*":
        return Finding(None, ("its index states no sha256, which counts against the file",))
    # Of a rule about every project: a file without sha256 would fall under each digest that any feed ever named.
    return Finding(False, ("sha256 is another",))


def _filename(glob: str, facts: Facts, _rule: Rule) -> Finding:
    if _compiled(glob).match(facts.file.filename):
        return Finding(True, ("file name matches `{}`", glob))
    return Finding(False, ("file name does not match `{}`", glob))


def _uploaded_after(line: datetime, facts: Facts, _rule: Rule) -> Finding:
    clock = facts.clock
    if clock is None:
        return _NO_CLOCK
    if clock > line:
        return Finding(True, ("{0.dated}, after {1}", facts, line), is_telling=True)
    return Finding(False, ("{0.dated}, not after {1}", facts, line))


def _younger_than(duration: str, facts: Facts, _rule: Rule) -> Finding:
    clock = facts.clock
    if clock is None:
        return _NO_CLOCK
    age = _timedelta(duration)
    if facts.at - clock >= age:
        return Finding(False, ("{0.dated}, which is {1} ago or longer", facts, duration))
    ends = later(clock, age)
    return Finding(True, ("{0.dated}, younger than {1} until {2}", facts, duration, ends), ends, True)


def _versions(specifiers: str, facts: Facts, _rule: Rule) -> Finding:
    version = facts.version
    if version is None:
        return Finding(None, ("no version can be read from the file name, which counts against the file",))
    if _contains(specifiers, version):
        return Finding(True, ("version {} is in `{}`", version, specifiers))
    return Finding(False, ("version {} is not in `{}`", version, specifiers))


_NO_CLOCK = Finding(
    None,
    ("its index states no upload time and no time of first sight is known, which counts against the file",),
)

#: Cheap ones first; `versions` last.
_CONDITIONS: tuple[tuple[str, Callable[[Any, Facts, Rule], Finding]], ...] = (
    ("index", _index),
    ("file_type", _file_type),
    ("attested", _attested),
    ("sha256", _sha256),
    ("filename", _filename),
    ("uploaded_after", _uploaded_after),
    ("younger_than", _younger_than),
    ("versions", _versions),
)


def later(moment: datetime, duration: timedelta) -> datetime | None:
    """`moment` and `duration` on top; None past the end of the calendar, where hostile upload times may lie."""
    try:
        return moment + duration
    except OverflowError:
        return None


@lru_cache(maxsize=1_024)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))  # case-sensitive and anchored, as fnmatchcase


@lru_cache(maxsize=256)
def _timedelta(duration: str) -> timedelta:
    return parse_duration(duration)


@lru_cache(maxsize=4_096)
def _specifier_set(specifiers: str) -> SpecifierSet:
    return SpecifierSet(specifiers)


@lru_cache(maxsize=32_768)
def _contains(specifiers: str, version: Version) -> bool:
    return _specifier_set(specifiers).contains(version, prereleases=True)
