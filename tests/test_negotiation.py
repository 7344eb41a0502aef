"""Which format a client gets (STANDARDS T20-T33)."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decider.errors import NotAcceptable
from decider.pages import PageFormat, negotiate

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
LATEST_JSON = "application/vnd.pypi.simple.latest+json"
LATEST_HTML = "application/vnd.pypi.simple.latest+html"
TEXT = "text/html"

PIP = f"{JSON}, {HTML}; q=0.1, {TEXT}; q=0.01"
UV = f"{JSON}, {HTML};q=0.2, {TEXT};q=0.01"
POETRY = f"{JSON}, */*;q=0.1"
PYPI_SIMPLE = f"{JSON}, {HTML}, {TEXT};q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        # T20
        (None, PageFormat.TEXT),
        ("", PageFormat.TEXT),
        (" \t", PageFormat.TEXT),
        ("*/*", PageFormat.TEXT),
        # T21, T22
        (PIP, PageFormat.JSON),
        (UV, PageFormat.JSON),
        (POETRY, PageFormat.JSON),
        (PYPI_SIMPLE, PageFormat.JSON),
        (f"{TEXT}, {HTML}, {JSON}", PageFormat.JSON),
        (f"{JSON}, */*", PageFormat.JSON),
        (f"*/*, {HTML}", PageFormat.HTML),
        # T23, T24
        (TEXT, PageFormat.TEXT),
        (HTML, PageFormat.HTML),
        (f"{JSON};q=0.1, {TEXT}", PageFormat.TEXT),
        (f"{JSON};q=0.1, {HTML};q=0.2", PageFormat.HTML),
        # T25
        (LATEST_JSON, PageFormat.JSON),
        (LATEST_HTML, PageFormat.HTML),
        # T26: what is not offered does not matter beside what is
        (f"application/vnd.pypi.simple.v2+json, {JSON};q=0.5", PageFormat.JSON),
        # T27, T28
        (f"{JSON};q=0, */*", PageFormat.TEXT),
        (f"{TEXT};q=0, */*", PageFormat.HTML),
        (f"{TEXT};q=0, {HTML};q=0, */*;q=0.1", PageFormat.JSON),
        ("application/*", PageFormat.JSON),
        (f"application/*, {JSON};q=0", PageFormat.HTML),
        ("text/*", PageFormat.TEXT),
        ("application/*;q=0.5, text/*", PageFormat.TEXT),
        # T29
        (BROWSER, PageFormat.TEXT),
        # T30
        (JSON.upper(), PageFormat.JSON),
        ("TEXT/HTML;Q=0.5", PageFormat.TEXT),
        (f"  {JSON} ;  q=0.2 ,,\t{TEXT}  ; q=0.1 ", PageFormat.JSON),
        (f"{JSON};q=1.000, {TEXT};q=0.999", PageFormat.JSON),
        (f"{JSON};q=.5, {TEXT};q=1.", PageFormat.TEXT),
        (f"{JSON};q=7", PageFormat.JSON),
        (f"{JSON};q=abc", PageFormat.JSON),
        (f"{JSON};q=-1", PageFormat.JSON),
        (f"{JSON};q=nan", PageFormat.JSON),
        (f"{JSON};charset=utf-8;q=0.1, {TEXT};q=0.05", PageFormat.JSON),
        (f"{HTML},{JSON}", PageFormat.JSON),
        (f"{'x' * 5000}/y, {'*/*;q=0.1,' * 500} {JSON}", PageFormat.JSON),
    ],
)
def test_negotiate(accept: str | None, expected: PageFormat) -> None:
    """The client's weights decide, then how closely it names a type; JSON before HTML, HTML for who takes anything."""
    assert negotiate(accept, None) is expected


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.pypi.simple.v2+json",
        "image/png",
        "application/json",
        "garbage",
        "*",
        "text",
        f"{JSON};q=0",
        "*/*;q=0",
        f"{JSON};q=0.0, {TEXT};q=0, application/*;q=0, text/*;q=0",
        ",,;q=1",
    ],
)
def test_not_acceptable(accept: str) -> None:
    """A client that takes none of the types gets told which there are."""
    with pytest.raises(NotAcceptable, match=JSON.replace("+", "[+]")):
        negotiate(accept, None)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (JSON, PageFormat.JSON),
        (JSON.replace("+", " "), PageFormat.JSON),
        (HTML, PageFormat.HTML),
        (LATEST_JSON, PageFormat.JSON),
        (TEXT, PageFormat.TEXT),
        ("TEXT/HTML", PageFormat.TEXT),
    ],
)
def test_format_argument(argument: str, expected: PageFormat) -> None:
    """`?format=` wins over Accept, with its plus sign quoted or not."""
    for accept in (None, TEXT, PIP, "image/png", f"{JSON};q=0"):
        assert negotiate(accept, argument) is expected


@pytest.mark.parametrize(
    "argument", ["json", "*/*", f"{JSON};q=1", f"{JSON},{TEXT}", "application/json", " "]
)
def test_unknown_format_argument(argument: str) -> None:
    """`?format=` takes one of the types, without wildcards and weights."""
    with pytest.raises(NotAcceptable, match="must be one of"):
        negotiate(TEXT, argument)


def test_empty_format_argument() -> None:
    """An empty `?format=` is none."""
    assert negotiate(PIP, "") is PageFormat.JSON


def test_media_types() -> None:
    """Content types are exactly the registered ones: installers compare them to the letter."""
    assert [page_format.media_type for page_format in PageFormat] == [JSON, HTML, TEXT]


@given(st.text(alphabet=string.printable + "é", max_size=80))
def test_any_header(accept: str) -> None:
    """Whatever the header holds, the answer is a format or that there is none."""
    with suppress(NotAcceptable):
        assert negotiate(accept, None) in PageFormat


@given(st.permutations([f"{JSON};q=0.3", f"{HTML};q=0.6", f"{TEXT};q=0.1", "*/*;q=0.2", "image/png"]))
def test_order_means_nothing(ranges: list[str]) -> None:
    """The order of ranges does not matter, nor on how many lines they came."""
    assert negotiate(", ".join(ranges), None) is PageFormat.HTML
