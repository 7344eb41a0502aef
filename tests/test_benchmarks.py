"""The benchmark still runs: every part once, on a made-up index, as little of it as can be."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import APART, PARTS, main
from tests.benchmarks.figures import Figure, Table, percentile, ratio


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_smoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part measures something, tells it, and writes it as Markdown and as JSON."""
    usual = [part for part in PARTS if part not in APART]
    assert main(["--smoke", "--output", str(tmp_path), *usual, "soak"]) == 0
    document = json.loads((tmp_path / "benchmark.json").read_text())
    assert len(document["parts"]) == len(usual) + 1
    for part in document["parts"]:
        assert part["rows"], part["title"]
        figures = [cell for row in part["rows"] for cell in row.values() if isinstance(cell, dict)]
        assert figures
        assert all(figure["values"] for figure in figures)
    written = (tmp_path / "benchmark.md").read_text()
    printed = capsys.readouterr().out
    for part in document["parts"]:
        assert f"## {part['title']}\n" in written
        assert f"## {part['title']}\n" in printed


def test_unknown_part() -> None:
    """A part that does not exist is refused before anything starts."""
    with pytest.raises(SystemExit):
        main(["pages", "no-such-part"])


def test_ratio() -> None:
    """Ratios are taken repetition by repetition, so that what slows both down drops out."""
    found = ratio(Figure((50.0, 10.0)), Figure((100.0, 20.0)))
    assert found.values == (0.5, 0.5)


@pytest.mark.parametrize(
    ("values", "text"),
    [((1234.5,), "1,234"), ((0.98765,), "0.988"), ((3.0, 1.0, 200.0), "3 (1-200)")],
)
def test_figure(values: tuple[float, ...], text: str) -> None:
    """A figure is its median, with the spread where there is one."""
    assert str(Figure(values)) == text


def test_percentile() -> None:
    """The nearest rank: a value that was measured, the largest for a hundred."""
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50.0, 99.0, 100.0)


def test_table() -> None:
    """A table reads as Markdown, its columns aligned."""
    table = Table("Pages", ["", "ms"], [["cold", Figure((2.0, 4.0))]], ["one client"])
    expected = "## Pages\n\n|      | ms      |\n| ---- | ------- |\n| cold | 3 (2-4) |\n\none client\n"
    assert table.as_markdown() == expected
