"""The audit chain: each entry carries the hash of the one before, so an edit, a gap or a cut shows.

An entry's hash is the SHA-256 of its canonical JSON without the field `hash`: UTF-8, keys sorted, no blanks,
times in RFC 3339. Anyone can recompute it with a few lines of any language. Pure: storage may not be added here.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from decider.errors import StoreUnavailable
from decider.store import AuditEntry, AuditFault

__all__ = [
    "START",
    "Head",
    "canonical_json",
    "decode_entry",
    "encode_entry",
    "entry_hash",
    "make_entry",
    "rules_of",
    "verify_chain",
]

# A replaced feed of 100,000 rules makes an entry of some 20 MB, which shrinks to a tenth.
_COMPRESS_BYTES = 16_384
_PLAIN = b"{"

_decode = msgspec.json.Decoder(AuditEntry).decode


class Head(NamedTuple):
    """Which entry is the last one."""

    id: int
    hash: str


START = Head(0, "0" * 64)  #: before the first entry


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value that hashes are taken of."""
    return msgspec.json.encode(value, order="sorted")


def entry_hash(entry: AuditEntry) -> str:
    """Hex SHA-256 of the canonical JSON of all fields but `hash`."""
    fields = msgspec.structs.asdict(entry)
    del fields["hash"]
    return hashlib.sha256(canonical_json(fields)).hexdigest()


def make_entry(
    head: Head,
    *,
    at: datetime,
    actor: str,
    action: str,
    rule: str | None = None,
    ruleset: str | None = None,
    before: Any = None,
    after: Any = None,
    reason: str | None = None,
) -> AuditEntry:
    """The entry that follows `head`; `before` and `after` are JSON values."""
    entry = AuditEntry(
        id=head.id + 1,
        at=at.astimezone(UTC),
        actor=actor,
        action=action,
        rule=rule,
        ruleset=ruleset,
        before=before,
        after=after,
        reason=reason,
        previous_hash=head.hash,
        hash="",
    )
    return msgspec.structs.replace(entry, hash=entry_hash(entry))


def rules_of(entry: AuditEntry) -> frozenset[str]:
    """The ids of all rules that the entry is about: one, or those of a ruleset that changed."""
    ids = set() if entry.rule is None else {entry.rule}
    if entry.action.startswith("ruleset."):
        for side in (entry.before, entry.after):
            for part in ("added", "removed", "changed"):
                ids.update(rule["id"] for rule in (side or {}).get(part, ()))
    return frozenset(ids)


def encode_entry(entry: AuditEntry) -> bytes:
    """The entry as it is stored: JSON, compressed when it is long."""
    body = msgspec.json.encode(entry)
    return body if len(body) < _COMPRESS_BYTES else zlib.compress(body, 1)


def decode_entry(stored: bytes) -> tuple[AuditEntry, int]:
    """The entry and the length of its JSON in bytes; raise StoreUnavailable when it cannot be read."""
    try:
        body = stored if stored.startswith(_PLAIN) else zlib.decompress(stored)
        return _decode(body), len(body)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"an audit entry cannot be read: {error}") from error


def verify_chain(
    rows: Iterable[tuple[int, bytes]], head: Head, *, is_filed: Callable[[AuditEntry], bool]
) -> tuple[int, tuple[AuditFault, ...]]:
    """How many entries there are, and every fault of the chain; `rows` are (id, stored form), oldest first.

    `head` is what the store noted as its last entry: it shows when the end was cut off or replaced. `is_filed` tells
    whether who asks for an entry's actor, time or rules would find it: what a listing leaves out is a gap, too.
    """
    count = 0
    faults: list[AuditFault] = []
    last_id, last_hash = START.id, START.hash  # the hash is "" where it is not known
    for row_id, stored in rows:
        count += 1
        if row_id <= last_id:
            faults.append(AuditFault(row_id, "is there twice"))
        elif row_id != last_id + 1:
            faults.append(_missing(last_id + 1, row_id - 1))
            last_hash = ""
        found, last_hash = _verify_entry(row_id, stored, last_hash, is_filed)
        faults += found
        last_id = row_id
    if last_id < head.id:
        faults.append(_missing(last_id + 1, head.id))
    elif last_id > head.id:
        faults.append(AuditFault(head.id + 1, "was not written by decider: the log ends before it"))
    elif last_hash not in {"", head.hash}:
        faults.append(AuditFault(last_id, "is not the entry that was written last"))
    return count, tuple(faults)


def _verify_entry(
    row_id: int, stored: bytes, last_hash: str, is_filed: Callable[[AuditEntry], bool]
) -> tuple[list[AuditFault], str]:
    try:
        entry, _ = decode_entry(stored)
    except StoreUnavailable:
        return [AuditFault(row_id, "cannot be read")], ""
    faults = []
    if entry.id != row_id:
        faults.append(AuditFault(row_id, f"says that it is entry {entry.id}"))
    if entry.hash != entry_hash(entry):
        faults.append(AuditFault(row_id, "does not match its hash"))
    elif entry.id == row_id and not is_filed(entry):
        faults.append(AuditFault(row_id, "is filed under another time, actor or rule"))
    if last_hash not in {"", entry.previous_hash}:
        faults.append(AuditFault(row_id, "does not carry the hash of the entry before"))
    return faults, entry.hash


def _missing(first: int, last: int) -> AuditFault:
    return AuditFault(first, "is missing" if first == last else f"and all up to {last} are missing")
