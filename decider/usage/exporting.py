"""Records as texts that other tools read: lines of JSON, and CSV (RFC 4180)."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from decider.usage.records import Installer

__all__ = ["csv_lines", "json_lines"]

#: What spreadsheets take for a formula when a cell begins with it.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def json_lines(items: Iterable[msgspec.Struct]) -> Iterator[bytes]:
    """One JSON object a line."""
    for item in items:
        yield msgspec.json.encode(item) + b"\n"


def csv_lines(items: Iterable[msgspec.Struct], kind: type[msgspec.Struct]) -> Iterator[bytes]:
    """A line of headings, then one for each item, all of `kind`; what an installer says in columns of its own."""
    yield _line(_headings(kind))
    for item in items:
        values: dict[str, Any] = msgspec.to_builtins(item)
        installer = values.pop("installer") or {}
        values |= {f"installer_{name}": installer.get(name) for name in Installer.__struct_fields__}
        yield _line([_cell(values[name]) for name in _headings(kind)])


def _headings(kind: type[msgspec.Struct]) -> list[str]:
    names: list[str] = []
    for name in kind.__struct_fields__:
        names += (
            [f"installer_{part}" for part in Installer.__struct_fields__] if name == "installer" else [name]
        )
    return names


def _cell(value: object) -> str:
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    # Names of files and installers are strangers' words, and opened with a double click.
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _line(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()
