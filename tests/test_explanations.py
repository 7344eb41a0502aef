"""The JSON of explain."""

import pytest
from packaging.specifiers import SpecifierSet

from decider.decision import decide_page
from decider.explanations import explanation, explanation_unavailable
from decider.rules import Snapshot
from tests.samples import AT, days, make_page, make_rule

ONE, TWO, ODD = "demo-1.0.tar.gz", "demo-2.0rc1.tar.gz", "demo-soon.tar.gz"


RULE = make_rule(1, "block", versions=">=2.0.dev0", expires_at=AT + days(1))
PAGE = decide_page([make_page(ONE, TWO, ODD)], Snapshot(1, [RULE]), repository="default", at=AT, trace=True)


def test_explanation() -> None:
    """Each file has its verdict, deciding rules, reason, until when, and what was considered."""
    answer = explanation(PAGE)
    assert [one["filename"] for one in answer["files"]] == [ONE, TWO, ODD]
    assert answer["files"][1] == {
        "filename": TWO,
        "version": "2.0rc1",
        "verdict": "block",
        "rules": ["r1"],
        "reason": "reason 1",
        "until": "2026-11-23T12:00:00Z",
        "considered": [{"id": "r1", "applied": True, "why": "version 2.0rc1 is in `>=2.0.dev0`"}],
    }
    assert {**answer, "files": []} == {
        "project": "demo",
        "repository": "default",
        "index": "public",
        "files": [],
        "missing": [],
    }
    assert (answer["files"][0]["reason"], answer["files"][0]["until"]) == (None, None)


@pytest.mark.parametrize(
    ("specifier", "filenames", "expected", "missing"),
    [
        ("==1", (), [ONE], []),
        (">=1", (), [ONE, TWO], []),
        ("<1", (), [], []),
        (None, (TWO, "x.whl"), [TWO], ["x.whl"]),
        ("==1", (ODD,), [ODD], []),
    ],
)
def test_choice(
    specifier: str | None, filenames: tuple[str, ...], expected: list[str], missing: list[str]
) -> None:
    """A specifier chooses by version, prereleases included; names choose files, and tell which are not listed."""
    chosen = SpecifierSet(specifier) if specifier else None
    answer = explanation(PAGE, specifier=chosen, filenames=filenames)
    assert ([one["filename"] for one in answer["files"]], answer["missing"]) == (expected, missing)


def test_unavailable() -> None:
    """A project that could not be decided has the problem instead of files."""
    assert explanation_unavailable("demo", repository="default", problem={"status": 404}) == {
        "project": "demo",
        "repository": "default",
        "index": None,
        "files": [],
        "missing": [],
        "problem": {"status": 404},
    }
