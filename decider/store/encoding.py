"""How values are written down: JSON for whole records, microseconds since 1970 (UTC) for times that are compared.

Both stores write the same forms. What a form means is said where its type is defined.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain

import msgspec

from decider.errors import Fault, InvalidRequest, StoreUnavailable
from decider.files import FileIdentity
from decider.rules import Rule
from decider.store import Review, RulesetInfo, Token

__all__ = [
    "SeenFiles",
    "StoredReview",
    "StoredToken",
    "coding_errors",
    "decode_review",
    "decode_rule",
    "decode_rules",
    "decode_ruleset",
    "decode_token",
    "encode",
    "from_micros",
    "to_micros",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class StoredReview(msgspec.Struct, frozen=True):
    """A review and what the store must remember of it besides."""

    review: Review
    decision: str | None = None  #: id of the rule that closed it


class StoredToken(msgspec.Struct, frozen=True):
    """A token and what it is found by."""

    token: Token
    secret_hash: str


class SeenFiles(msgspec.Struct, frozen=True):
    """When files of a project were first seen on an index."""

    index: str
    project: str
    times: Mapping[FileIdentity, datetime]  #: aware, UTC


encode = msgspec.json.Encoder().encode
decode_rule = msgspec.json.Decoder(Rule).decode
decode_ruleset = msgspec.json.Decoder(RulesetInfo).decode
decode_review = msgspec.json.Decoder(StoredReview).decode
decode_token = msgspec.json.Decoder(Token).decode
_decode_rules = msgspec.json.Decoder(tuple[Rule, ...]).decode
_CHUNK = 1000  # rules decoded at a time


@contextmanager
def coding_errors(place: str) -> Iterator[None]:
    """Raise StoreUnavailable for a stored record that cannot be read, InvalidRequest for text that cannot be stored."""
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"{place}: a record cannot be read: {error}") from error
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell
        raise InvalidRequest([Fault("", f"holds a character that is none: {error.reason}")]) from error


def decode_rules(bodies: list[bytes]) -> tuple[Rule, ...]:
    """The rules of many bodies, in their order.

    One call for many is twice as fast as one for each; one for all would keep other threads waiting meanwhile.
    """
    chunks = (bodies[start : start + _CHUNK] for start in range(0, len(bodies), _CHUNK))
    return tuple(chain.from_iterable(_decode_rules(b"[" + b",".join(chunk) + b"]") for chunk in chunks))


def to_micros(at: datetime) -> int:
    """Microseconds since 1970; raise TypeError for a time without zone."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The time, aware, UTC."""
    return _EPOCH + timedelta(microseconds=micros)
