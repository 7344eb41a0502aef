"""The last bytes of a file wait until all of it has been seen to be right."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decider.egress.held_back import HELD_BYTES, Expected, HeldBack
from decider.errors import FetchFailed

DATA = bytes(range(256)) * 1000
NOTHING = Expected(digest=None, size=None)


def stated(data: bytes, algorithm: str = "sha256") -> Expected:
    return Expected(digest=(algorithm, hashlib.new(algorithm, data).hexdigest()), size=len(data))


def fed(held: HeldBack, data: bytes, step: int) -> bytes:
    """What goes on of `data`, given in such steps."""
    return b"".join(
        bytes(part) for start in range(0, len(data), step) for part in held.feed(data[start : start + step])
    )


@pytest.mark.parametrize("is_length_known", [True, False])
@given(lengths=st.lists(st.integers(0, 200_000), max_size=12))
def test_all_of_it_in_order(lengths: list[int], *, is_length_known: bool) -> None:
    """However it comes, all goes on in order, the last 64 kB at the end, and what is held is little more than these."""
    data = b"".join(bytes([number % 256]) * length for number, length in enumerate(lengths))
    expected = stated(data)
    if not is_length_known:
        expected = Expected(digest=expected.digest, size=None)
    held, given_on, start = HeldBack(expected, max_bytes=len(data)), b"", 0
    for length in lengths:
        for part in held.feed(data[start : start + length]):
            given_on += part
        start += length
        end = len(data) if is_length_known else start
        assert len(given_on) <= max(end - HELD_BYTES, 0)
        assert start - len(given_on) < HELD_BYTES + max(lengths)
    assert given_on + b"".join(held.finish()) == data
    assert held.received == len(data)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "blake2b", "sha384", "md5"])
@pytest.mark.parametrize("place", [0, 100_000, len(DATA) - 1])
def test_wrong_digest(algorithm: str, place: int) -> None:
    """One wrong byte, wherever it is, and the last ones do not go on; the error names both digests."""
    wrong = bytearray(DATA)
    wrong[place] ^= 1
    held = HeldBack(stated(DATA, algorithm), max_bytes=0)
    assert len(DATA) - HELD_BYTES - 10_000 < len(fed(held, bytes(wrong), 10_000)) <= len(DATA) - HELD_BYTES
    with pytest.raises(FetchFailed) as caught:
        held.finish()
    assert caught.value.kind == "mismatch"
    for data in (DATA, bytes(wrong)):
        assert hashlib.new(algorithm, data).hexdigest() in caught.value.cause


@pytest.mark.parametrize("step", [1, 10_000, len(DATA) + 1])
def test_too_long(step: int) -> None:
    """What is longer than its page states ends at once, however much of it comes; its bytes beyond go nowhere."""
    data = DATA if step > 1 else DATA[:100]
    for limit, held in (
        (len(data), HeldBack(stated(data), max_bytes=10**9)),
        (len(data), HeldBack(NOTHING, max_bytes=len(data))),
    ):
        with pytest.raises(FetchFailed, match=f"longer than {limit} bytes") as caught:
            fed(held, data + b"x", step)
        assert caught.value.kind == "mismatch"


def test_too_short() -> None:
    """What is shorter than its page states is not what it says, with and without a digest."""
    for expected in (stated(DATA), Expected(digest=None, size=len(DATA))):
        held = HeldBack(expected, max_bytes=0)
        fed(held, DATA[:-1], 10_000)
        with pytest.raises(FetchFailed, match=f"it has {len(DATA) - 1} bytes, its page states {len(DATA)}"):
            held.finish()


def test_nothing_is_stated() -> None:
    """A file of which nothing is stated goes on whole, up to the limit."""
    held = HeldBack(NOTHING, max_bytes=len(DATA))
    assert fed(held, DATA, 10_000) + b"".join(held.finish()) == DATA


def test_empty() -> None:
    """Nothing is nothing."""
    assert HeldBack(NOTHING, max_bytes=0).finish() == []
    assert HeldBack(stated(b""), max_bytes=0).finish() == []
    with pytest.raises(FetchFailed, match="its page states 5"):
        HeldBack(Expected(digest=None, size=5), max_bytes=0).finish()
