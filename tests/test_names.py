"""Project names, and which of two patterns is more specific."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decider.errors import InvalidName
from decider.names import (
    MAX_PROJECT_NAME,
    Kind,
    NormalizedName,
    ProjectPattern,
    is_normalized,
    parse_pattern,
    parse_project_name,
)

VALID_NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("raw", "normalized"),
    [
        ("demo", "demo"),
        ("Foo.Bar_baz", "foo-bar-baz"),
        ("foo--bar", "foo-bar"),
        ("FrIeNdLy-._.-bArD", "friendly-bard"),
        ("zope.interface", "zope-interface"),
        ("0", "0"),
        ("1-2-3", "1-2-3"),
        ("a" * MAX_PROJECT_NAME, "a" * MAX_PROJECT_NAME),
    ],
)
def test_spellings(raw: str, normalized: str) -> None:
    """Letter case and runs of `_`, `.` and `-` make no difference."""
    assert parse_project_name(raw) == normalized


@pytest.mark.parametrize(
    "raw",
    [
        "", " ", ".", "-", "_", "demo.", "demo-", "demo_", "-demo", "_demo", "demo\n", "\ndemo", "de mo", " demo",
        "demo\x00", "demo;x=1", "demo/..", "../demo", "a%2Fb", "a\\b", "démo", "\uff44emo", "\u212aeras", "\u017fix",
        "demo*", "<script>", "a" * (MAX_PROJECT_NAME + 1), "a" * 9000,
    ],
)  # fmt: skip
def test_invalid(raw: str) -> None:
    """What no specification allows is refused before it is normalized, Unicode aliases of ASCII letters too."""
    with pytest.raises(InvalidName, match="is no valid project name"):
        parse_project_name(raw)
    assert not is_normalized(raw)


def test_invalid_text() -> None:
    """The error is one line, whatever the name holds."""
    with pytest.raises(InvalidName) as caught:
        parse_project_name("demo\r\nX-Evil: 1\x1b[0m")
    assert str(caught.value).isprintable()


@given(VALID_NAMES)
def test_normalizing_twice(raw: str) -> None:
    """A normalized name is normalized, and normalizing it again changes nothing."""
    name = parse_project_name(raw)
    assert is_normalized(name)
    assert parse_project_name(name) == name


@given(st.text(alphabet=string.ascii_letters + string.digits + "._-\n é", max_size=12))
def test_is_normalized(text: str) -> None:
    """A text is normalized if and only if it is a valid name that normalizing does not change."""
    try:
        expected = parse_project_name(text) == text
    except InvalidName:
        expected = False
    assert is_normalized(text) is expected


@pytest.mark.parametrize(
    ("raw", "pattern", "canonical"),
    [
        ("*", ProjectPattern(Kind.ANY, ""), "*"),
        ("Acme_Utils", ProjectPattern(Kind.EXACT, "acme-utils"), "acme-utils"),
        ("acme-*", ProjectPattern(Kind.NAMESPACE, "acme"), "acme-*"),
        ("Acme_*", ProjectPattern(Kind.NAMESPACE, "acme"), "acme-*"),
        ("acme.-_*", ProjectPattern(Kind.NAMESPACE, "acme"), "acme-*"),
        ("acme*", ProjectPattern(Kind.PREFIX, "acme"), "acme*"),
        ("Acme.U*", ProjectPattern(Kind.PREFIX, "acme-u"), "acme-u*"),
    ],
)
def test_patterns(raw: str, pattern: ProjectPattern, canonical: str) -> None:
    """A name, a namespace, a prefix or `*`, in any spelling, has one canonical spelling that means the same."""
    assert parse_pattern(raw) == pattern
    assert str(pattern) == canonical
    assert parse_pattern(canonical) == pattern


@pytest.mark.parametrize(
    "raw", ["", "**", "-*", ".*", "acme**", "ac*me", "*acme", " *", "acme *", "-acme*", "ac me-*", "é*"]
)
def test_invalid_patterns(raw: str) -> None:
    """What cannot begin a name is no pattern, and a star stands at the end alone."""
    with pytest.raises(InvalidName):
        parse_pattern(raw)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*", ["a", "acme"], []),
        ("acme", ["acme"], ["acme-utils", "acm", "acmes"]),
        ("acme-*", ["acme", "acme-utils", "acme-utils-more"], ["acmes", "acm", "the-acme"]),
        ("acme*", ["acme", "acme-utils", "acmes"], ["acm", "the-acme"]),
    ],
)
def test_matches(pattern: str, matching: list[str], other: list[str]) -> None:
    """A namespace has its own name and what follows a dash; a prefix has whatever begins with it."""
    parsed = parse_pattern(pattern)
    assert [name for name in (*matching, *other) if parsed.matches(NormalizedName(name))] == matching


def test_specificity() -> None:
    """Of patterns that match one name the exact one comes first, then the longer, then the namespace."""
    ordered = ["acme-utils", "acme-utils-*", "acme-utils*", "acme-u*", "acme-*", "acme*", "a*", "*"]
    parsed = [parse_pattern(text) for text in ordered]
    assert all(pattern.matches(NormalizedName("acme-utils")) for pattern in parsed)
    assert sorted(parsed, key=lambda pattern: pattern.specificity, reverse=True) == parsed
    assert len({pattern.specificity for pattern in parsed}) == len(parsed)


@given(VALID_NAMES, VALID_NAMES)
def test_equal_spelling(one: str, other: str) -> None:
    """Two patterns are the same if and only if their canonical spellings are."""
    for left, right in (
        (f"{one}*", f"{other}*"),
        (f"{one}-*", f"{other}.*"),
        (one, other),
        (f"{one}*", other),
    ):
        assert (parse_pattern(left) == parse_pattern(right)) is (
            str(parse_pattern(left)) == str(parse_pattern(right))
        )
