"""Cursors and pages."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decider.errors import InvalidRequest
from decider.store import Page
from decider.store.cursors import _check, decode_audit_cursor, decode_cursor, encode_cursor, make_page


@given(st.text())
def test_round_trip(key: str) -> None:
    """A cursor leads back to the key it was made of, whatever that is."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return
    assert decode_cursor("rules", encode_cursor("rules", key)) == key


@given(st.text())
def test_cursors_made_up(cursor: str) -> None:
    """Text that is no cursor is InvalidRequest, never another error."""
    with pytest.raises(InvalidRequest, match="cursor: is not one that this listing gave"):
        decode_cursor("rules", cursor)


def test_cursor_is_opaque_and_safe_in_urls() -> None:
    """A cursor can stand in a URL as it is, and does not show its key."""
    cursor = encode_cursor("rules", "r0000001 ü/?&=+#")
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert "r0000001" not in cursor


@pytest.mark.parametrize("key", ["x", "-1", "1.5", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 19])
def test_forged_audit_cursor(key: str) -> None:
    """Even a well-made cursor is refused where its key is none."""
    with pytest.raises(InvalidRequest):
        decode_audit_cursor(encode_cursor("audit", key))


def test_truncated_base64() -> None:
    """A cursor is known by its exact spelling."""
    text = b"rules r0000001"
    padded = urlsafe_b64encode(_check(text) + text).decode()
    assert decode_cursor("rules", padded.rstrip("=")) == "r0000001"
    for spelling in (padded + "=", f" {padded}", padded.rstrip("=") + "\n"):
        with pytest.raises(InvalidRequest):
            decode_cursor("rules", spelling)


def test_make_page() -> None:
    """A page has a cursor exactly when there is more, and reads no further than it must to know."""
    items = iter("abcdef")
    page = make_page("rules", items, 2, str)
    assert page == Page(("a", "b"), encode_cursor("rules", "b"))
    assert list(items) == ["d", "e", "f"]
    assert make_page("rules", "ab", 2, str) == Page(("a", "b"), None)
    assert make_page("rules", "", 2, str) == Page((), None)
