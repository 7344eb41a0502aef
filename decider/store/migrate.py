"""Moving everything from one store to another: rules with their ids, tokens, reviews, first-seen times, the audit chain.

Nobody may write to either store meanwhile. Ids, revisions and ETags stay as they are, and so does every hash.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from decider.errors import Conflict
from decider.rules import Rule
from decider.store import AuditEntry, RulesetInfo
from decider.store.audit import START
from decider.store.encoding import SeenFiles, StoredReview, StoredToken
from decider.store.transaction import Record, State, Transaction
from decider.store.transactional import TransactionalStore

__all__ = ["copy_store"]

_BATCH = 500
_KINDS: dict[type[Record], str] = {
    RulesetInfo: "rulesets",
    Rule: "rules",
    StoredToken: "tokens",
    StoredReview: "reviews",
    SeenFiles: "projects with first-seen times",
    AuditEntry: "audit entries",
}


def copy_store(source: TransactionalStore, target: TransactionalStore) -> Mapping[str, int]:
    """Copy all of `source` into the empty `target`; how many records of each kind there were.

    Raise Conflict, with nothing copied, where the target is not empty or the source's audit chain has a fault.
    A copy that breaks off leaves a target that is not empty: remove it before the next try.
    """
    if target.read(lambda tx: tx.state) != State():
        raise Conflict("the store to copy to is not empty")
    entries, faults = source.verify_audit()
    if faults:
        raise Conflict(f"the audit log to copy has faults: entry {faults[0].id} {faults[0].detail}")
    counts = Counter(dict.fromkeys(_KINDS.values(), 0))
    for batch in _batches(source.dump()):
        target.write(lambda tx, batch=batch: _put(tx, batch))  # type: ignore[misc]
        counts.update(_KINDS[type(record)] for record in batch if not isinstance(record, State))
    if target.verify_audit() != (entries, ()):
        raise Conflict("the source changed while it was copied, or the target did")
    return dict(counts)


def _put(tx: Transaction, records: Sequence[Record]) -> None:
    for record in records:
        match record:
            case State():
                # Removals are not copied, so whoever asks what changed since is told to load all.
                tx.state = replace(record, floor=record.revision, audit_id=START.id, audit_hash=START.hash)
            case RulesetInfo():
                tx.put_ruleset(record)
            case Rule():
                tx.put_rules([record])
            case StoredToken(token=token, secret_hash=secret_hash):
                tx.put_token(token, secret_hash)
            case StoredReview():
                tx.put_review(record, None)
            case SeenFiles():
                tx.put_first_seen(record)
            case AuditEntry():
                tx.append_audit(record)


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        # The entry of a replaced ruleset may hold a whole feed: many of them would fill the memory.
        if len(batch) == _BATCH or (isinstance(record, AuditEntry) and record.action.startswith("ruleset.")):
            yield batch
            batch = []
    yield batch
