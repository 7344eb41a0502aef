"""One table of a configuration, read key by key: every fault is noted under its dotted key, none stops the reading.

Values that come from the environment are text whatever the key wants, and are converted; those of a file must have
the right type. Which keys there are is for `settings` to say.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from decider.errors import Fault
from decider.rules import parse_duration

__all__ = ["EnvironmentText", "Table", "printable", "suggestion"]

T = TypeVar("T")

_SIZE = re.compile(r"([1-9][0-9]{0,8})([kmgtKMGT])\Z")

_TRUTHS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class EnvironmentText(str):
    """The value of an environment variable, which remembers the variable's name."""

    __slots__ = ("variable",)
    variable: str

    @classmethod
    def of(cls, variable: str, value: str) -> "EnvironmentText":
        """The value of `variable`."""
        made = cls(value)
        made.variable = variable
        return made


def suggestion(unknown: str, known: list[str]) -> str:
    """What may have been meant, as the end of a sentence; "" when nothing is close."""
    close = get_close_matches(unknown, known, n=1)
    return f": did you mean `{close[0]}`?" if close else ""


def printable(key: str) -> str:
    """A key or name from outside, fit for one line of text."""
    return "".join(c if c.isprintable() else "?" for c in key[:80])


class Table:
    """One table; `path` is its dotted key, "" for the whole file."""

    def __init__(self, path: str, values: Mapping[str, object], faults: list[Fault]) -> None:
        self.path = path
        self._values = values
        self._faults = faults
        self._asked: list[str] = []

    def add_fault(self, key: str, detail: str) -> None:
        """Note what is wrong with `key`, and the environment variable where one set it."""
        value = self._values.get(key)
        if isinstance(value, EnvironmentText):
            detail = f"{detail} (set by {value.variable})"
        shown = printable(key)
        self._faults.append(Fault(f"{self.path}.{shown}" if self.path else shown, detail))

    def has(self, key: str) -> bool:
        """Whether the key is set."""
        return key in self._values

    def is_from_environment(self, key: str) -> bool:
        """Whether an environment variable sets the key."""
        return isinstance(self._values.get(key), EnvironmentText)

    def text(self, key: str) -> str | None:
        """A text that is not empty; None when it is not set, or faulty."""
        return self._typed(key, str, "a text")

    def parsed(self, key: str, parse: Callable[[str], T], default: T) -> T:
        """What `parse` makes of a text; the ValueErrors it raises are faults."""
        text = self.text(key)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.add_fault(key, str(error))
            return default

    def duration_s(self, key: str, default: int) -> int:
        """A duration such as "5m", in seconds."""

        def parse(text: str) -> int:
            try:
                return int(parse_duration(text).total_seconds())
            except (ValueError, OverflowError):
                raise ValueError(
                    'must be a duration: a whole number and one of s m h d w, such as "5m"'
                ) from None

        if self.has(key) and not isinstance(self._values[key], str):
            self._asked.append(key)
            self.add_fault(key, 'must be a duration in quotes, such as "5m"')
            return default
        return self.parsed(key, parse, default)

    def size_bytes(self, key: str, default: int) -> int:
        """A size such as "50g", in bytes."""

        def parse(text: str) -> int:
            found = _SIZE.match(text)
            if found is None:
                raise ValueError('must be a size: a whole number and one of k m g t, such as "50g"')
            return int(found[1]) << 10 * " kmgt".index(found[2].lower())

        if self.has(key) and not isinstance(self._values[key], str):
            self._asked.append(key)
            self.add_fault(key, 'must be a size in quotes, such as "50g"')
            return default
        return self.parsed(key, parse, default)

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        wanted = f"must be a whole number from {low} to {high}"
        value = self._ask(key)
        if value is None:
            return default
        if isinstance(value, EnvironmentText) and value.isascii() and value.isdecimal() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.add_fault(key, wanted)
            return default
        return value

    def truth(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._ask(key)
        if value is None:
            return default
        if isinstance(value, EnvironmentText):
            value = _TRUTHS.get(value.lower())
        if not isinstance(value, bool):
            self.add_fault(key, "must be true or false")
            return default
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of `choices`, of which the first is the default."""
        text = self.text(key)
        if text is not None and text not in choices:
            self.add_fault(key, "must be " + " or ".join(f'"{choice}"' for choice in choices))
        return text if text in choices else choices[0]

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts; None when it is not set, or faulty. From the environment: separated by commas."""
        value = self._ask(key)
        if value is None:
            return None
        if isinstance(value, EnvironmentText):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.add_fault(key, "must be a list of texts")
            return None
        if len(set(value)) < len(value):
            self.add_fault(key, "names one twice")
            return None
        return tuple(value)

    def tables(self, key: str) -> dict[str, "Table"]:
        """The tables below `key`, by name, in the order of the file; {} when it is not set, or faulty."""
        value = self._ask(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.add_fault(key, f"must be a table: [{key}.<name>]")
            return {}
        found = {}
        for name, inner in value.items():
            path = f"{key}.{printable(name)}"
            if isinstance(inner, dict):
                found[name] = Table(path, inner, self._faults)
            else:
                self._faults.append(Fault(path, f"must be a table: [{path}]"))
        return found

    def table(self, key: str) -> "Table | None":
        """The table at `key`; None when it is not set, or faulty."""
        value = self._ask(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.add_fault(key, f"must be a table: [{key}]")
            return None
        return Table(f"{self.path}.{key}" if self.path else key, value, self._faults)

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                self.add_fault(key, f"unknown key{suggestion(key, self._asked)}")

    def _ask(self, key: str) -> object:
        self._asked.append(key)
        return self._values.get(key)

    def _typed(self, key: str, kind: type[T], what: str) -> T | None:
        value = self._ask(key)
        if value is None:
            return None
        if not isinstance(value, kind) or value == "":
            self.add_fault(key, f"must be {what}")
            return None
        return value
