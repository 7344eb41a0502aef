"""How commands print: aligned tables for people, JSON for programs, both to standard output."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

__all__ = ["one_line", "print_json", "print_json_line", "print_table", "time_text"]


def print_json(value: Any) -> None:
    """One JSON document, indented; times come out as RFC 3339 UTC."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_json_line(value: Any) -> None:
    """One line of NDJSON."""
    click.echo(msgspec.json.encode(value))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; nothing but the headings when there are no rows."""
    lines = [tuple(headings), *(tuple(one_line(text) or "-" for text in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def time_text(at: datetime | None) -> str:
    """To the second, UTC; "" for None."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def one_line(text: str) -> str:
    """The text without what could steer a terminal: texts come from indexes and feeds."""
    return "".join(c if c.isprintable() else "?" for c in text)
