"""The audit log in Redis: a stream of entries, and what finds those of an actor, a rule or a time.

What an entry says, and how entries are chained, may not be added here.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from decider.store import AuditEntry
from decider.store.encoding import to_micros
from decider.store.redis_keys import (
    AUDIT,
    AUDIT_INDEX,
    AUDIT_TIMES,
    audit_members,
    padded,
)
from decider.store.redis_session import Session, indexed_ids

__all__ = ["NO_ENTRY", "entries", "indexed_entries", "is_filed_in", "last_before"]

_CHUNK = 50  # entries read at a time: they may be long
NO_ENTRY = 10**18  #: an audit id past all others


def entries(session: Session, after: int, last: str = "+") -> Iterator[tuple[int, bytes]]:
    """(id, stored form) of the audit entries after one, oldest first, up to the stream's id `last`."""
    start = f"{after + 1}"
    while rows := session.call("XRANGE", AUDIT, start, last, "COUNT", _CHUNK):
        yield from map(_entry, rows)
        time, _, sequence = rows[-1][0].decode().partition("-")
        start = f"{time}-{int(sequence) + 1}"


def indexed_entries(session: Session, wanted: tuple[str, str], after: int) -> Iterator[tuple[int, bytes]]:
    """As entries, of those that the index has under a field and its value."""
    for ids in indexed_ids(session, AUDIT_INDEX, wanted, padded(after)):
        for start in range(0, len(ids), _CHUNK):
            numbers = [int(entry_id) for entry_id in ids[start : start + _CHUNK]]
            found = session.call_all([("XRANGE", AUDIT, number, number) for number in numbers])
            yield from (_entry(row) for rows in found for row in rows)


def last_before(session: Session, since: datetime) -> int:
    """The last entry up to which all are older than `since`: where to begin."""
    later = session.call("ZRANGEBYSCORE", AUDIT_TIMES, to_micros(since), "+inf", "LIMIT", 0, 1)
    return int(later[0]) - 1 if later else NO_ENTRY


def is_filed_in(session: Session) -> Callable[[AuditEntry], bool]:
    """Whether the indexes lead to an entry; to be asked about all, oldest first."""
    latest = 0

    def is_filed(entry: AuditEntry) -> bool:
        nonlocal latest
        latest = max(latest, to_micros(entry.at))
        wanted = [("ZSCORE", AUDIT_INDEX, member) for member in audit_members(entry)]
        (time,) = session.call_all([("ZSCORE", AUDIT_TIMES, padded(entry.id))])
        return time is not None and int(time) == latest and None not in session.call_all(wanted)

    return is_filed


def _entry(row: tuple[bytes, tuple[bytes, bytes]]) -> tuple[int, bytes]:
    stream_id, (_, stored) = row
    return int(stream_id.partition(b"-")[0]), stored
