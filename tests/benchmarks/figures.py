"""Figures with their spread, and tables of them as Markdown and as JSON."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Cell", "Figure", "Report", "Table", "percentile", "ratio"]


def percentile(values: Iterable[float], percent: float) -> float:
    """The least value that `percent` of `values` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity, measured once or more."""

    values: tuple[float, ...]
    unit: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        middle = _digits(self.median)
        if len(self.values) == 1:
            return middle
        return f"{middle} ({_digits(min(self.values))}-{_digits(max(self.values))})"

    def as_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "median": self.median, "values": list(self.values)}


Cell = str | Figure


def ratio(above: Figure, below: Figure) -> Figure:
    """`above` to `below`, repetition by repetition: what slowed one down slowed its neighbour down too."""
    return Figure(tuple(a / b for a, b in zip(above.values, below.values, strict=True)), "ratio")


def _digits(value: float) -> str:
    """Three significant digits; whole above a hundred."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Table:
    """One part's results; the first column names what was measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def as_markdown(self) -> str:
        texts = [list(self.columns), *([str(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in texts) for column in range(len(self.columns))]
        lines = [_line(row, widths) for row in texts]
        lines.insert(1, _line(["-" * width for width in widths], widths))
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([f"## {self.title}", "", *lines, *notes, ""])

    def as_dict(self) -> dict[str, Any]:
        rows = [dict(zip(self.columns, (_plain(cell) for cell in row), strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def _plain(cell: Cell) -> object:
    return cell if isinstance(cell, str) else cell.as_dict()


@dataclass(slots=True)
class Report:
    """Everything that one run found."""

    machine: Mapping[str, str]
    tables: list[Table] = field(default_factory=list)

    def as_markdown(self) -> str:
        facts = "\n".join(f"* {name}: {value}" for name, value in self.machine.items())
        head = "# decider's benchmark\n\nMedians, with (lowest-highest) where there is more than one.\n"
        return "\n".join([head, facts, "", *(table.as_markdown() for table in self.tables)])

    def as_json(self) -> str:
        document = {"machine": dict(self.machine), "parts": [table.as_dict() for table in self.tables]}
        return json.dumps(document, indent=2) + "\n"
