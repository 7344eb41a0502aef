"""Identifiers that the store gives: short, sortable by age, never reused.

Each kind counts on its own, in the store, and its counter never goes back. Storage may not be added here.
"""

import re
from typing import Literal

from decider.errors import StoreUnavailable

__all__ = ["Kind", "is_token_id", "make_id"]

Kind = Literal["rule", "review", "token"]

# Rules may outgrow their letter and go on with the next one, so the other kinds have letters before it.
_LETTERS: dict[Kind, str] = {"rule": "r", "review": "q", "token": "k"}
_PER_LETTER = 10_000_000
_TOKEN = re.compile(r"[a-z][0-9]{7}\Z", re.ASCII)


def make_id(kind: Kind, number: int) -> str:
    """The id of the `number`th of its kind: r0000001 … r9999999, s0000000 …; raise StoreUnavailable past `z`."""
    letter = chr(ord(_LETTERS[kind]) + number // _PER_LETTER)
    if letter > "z" or (kind != "rule" and number >= _PER_LETTER):
        raise StoreUnavailable(f"all {kind} ids are used up")
    return f"{letter}{number % _PER_LETTER:07}"


def is_token_id(name: str) -> bool:
    """Whether `name` reads as an id, so that it could not be told from one."""
    return _TOKEN.match(name) is not None
