"""Identifiers that the store gives."""

import pytest

from decider.errors import StoreUnavailable
from decider.store.ids import Kind, is_token_id, make_id


@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        ("rule", 1, "r0000001"),
        ("rule", 9_999_999, "r9999999"),
        ("rule", 10_000_000, "s0000000"),
        ("rule", 10_000_001, "s0000001"),
        ("rule", 89_999_999, "z9999999"),
        ("review", 1, "q0000001"),
        ("token", 9_999_999, "k9999999"),
    ],
)
def test_make_id(kind: Kind, number: int, expected: str) -> None:
    """An id is a letter and seven digits; rules go on with the next letter."""
    assert make_id(kind, number) == expected


@pytest.mark.parametrize(
    ("kind", "number"), [("rule", 90_000_000), ("review", 10_000_000), ("token", 10_000_000)]
)
def test_ids_are_used_up(kind: Kind, number: int) -> None:
    """Rather than giving an id twice, or one of another kind, the store stops giving any."""
    with pytest.raises(StoreUnavailable, match="used up"):
        make_id(kind, number)


def test_ids_sort_by_age() -> None:
    """Ids sort as text in the order in which they were given."""
    ids = [
        make_id("rule", number)
        for number in (1, 9, 10, 99, 100, 9_999_999, 10_000_000, 19_999_999, 20_000_000)
    ]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("k0000001", True),
        ("r9999999", True),
        ("k000001", False),
        ("ci", False),
        ("k0000001\n", False),
        ("K0000001", False),
    ],
)
def test_is_token_id(name: str, expected: bool) -> None:
    """A name that could be taken for an id is told from others."""
    assert is_token_id(name) is expected
