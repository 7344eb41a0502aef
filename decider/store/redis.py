# ruff: noqa: D102 (what the methods promise is said once, in `Store`)
"""The store of several machines: one Redis, with an append-only file that is synced before each reply.

A change reads what it needs while it watches the head, and takes effect in one MULTI/EXEC, which fails when another
change came first; then it is made anew. Only a server set up as in deploy/redis.conf makes "acknowledged" mean "on
disk": see `durability_fault`.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

from redis.exceptions import ResponseError

from decider.errors import StoreUnavailable
from decider.files import FileIdentity
from decider.rules import Action, Rule
from decider.store import AuditEntry, AuditFault, Page, Review, ReviewState, RulesetInfo, Token
from decider.store.audit import START, Head, decode_entry, verify_chain
from decider.store.cursors import decode_audit_cursor, decode_cursor, make_audit_page, make_page
from decider.store.encoding import (
    SeenFiles,
    StoredToken,
    decode_review,
    decode_rule,
    decode_rules,
    decode_ruleset,
    to_micros,
)
from decider.store.redis_address import RedisAddress
from decider.store.redis_audit import entries, indexed_entries, is_filed_in, last_before
from decider.store.redis_changes import Changes
from decider.store.redis_keys import (
    AUDIT,
    HEAD,
    REVIEW_INDEX,
    REVIEWS,
    RULE_INDEX,
    RULES,
    RULESETS,
    SECRETS,
    SEEN,
    TOKENS,
    USED,
    parse_seen_key,
    seen_key,
)
from decider.store.redis_session import CHUNK, Session, Sessions, indexed_ids, pairs
from decider.store.redis_transaction import RedisTransaction, read_first_seen, read_together, read_token
from decider.store.transaction import TOUCH_EVERY, Record, Transaction
from decider.store.transactional import TransactionalStore

__all__ = ["RedisStore"]

T = TypeVar("T")

_READ_TIMEOUT_S = 1.0  # decisions wait for reads, and have a snapshot to go on with
_WRITE_TIMEOUT_S = 10.0  # a feed of 100,000 rules is written and synced as a whole
_ALL = ("all", "")  # the value of an index that every record has
_DURABLE = {"appendonly": "yes", "appendfsync": "always"}


class RedisStore(TransactionalStore):
    """See `Store`; connects when first used."""

    def __init__(self, address: RedisAddress) -> None:
        self._reading = Sessions(address, timeout_s=_READ_TIMEOUT_S)
        self._writing = Sessions(address, timeout_s=_WRITE_TIMEOUT_S)
        self._changes = Changes(reading=self._reading, writing=self._writing)

    def close(self) -> None:
        self._reading.close()
        self._writing.close()

    def ping(self) -> None:
        self.read(lambda tx: tx.state)

    def durability_fault(self) -> str | None:
        for name, wanted in _DURABLE.items():
            found = self._setting(name)
            if found is None:
                return (
                    f"Redis does not tell its `{name}`, so nobody knows whether it syncs each change to disk"
                )
            if found != wanted:
                return f"Redis runs with `{name} {found}` and may lose changes: `{name} {wanted}` is needed"
        return None

    def revision(self) -> int:
        with self._reading.open() as session:
            return int(session.call("HGET", HEAD, "revision") or 0)

    def load_rules(self) -> tuple[int, tuple[Rule, ...]]:
        self.revision()  # a server that hangs shows at once; one that answers may take its time over many rules
        with self._writing.open() as session:
            revision, bodies = read_together(session, [("HGET", HEAD, "revision"), ("HVALS", RULES)])
            return int(revision or 0), tuple(sorted(decode_rules(bodies), key=lambda rule: rule.id))

    def changes_since(self, revision: int) -> tuple[int, tuple[Rule, ...], frozenset[str]] | None:
        return self._changes.ask(lambda tx: tx.changes_since(revision))

    def list_rules(
        self,
        *,
        at: datetime,
        project: str | None = None,
        action: Action | None = None,
        ruleset: str | None = None,
        active: bool | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Rule]:
        after = decode_cursor("rules", cursor)
        wanted = {"project": project, "ruleset": ruleset, "action": action}
        with self._reading.open() as session:
            rules = map(decode_rule, _indexed(session, RULE_INDEX, RULES, _narrowest(wanted), after))
            found = (
                rule for rule in rules if _matches(rule, wanted) and active in {None, rule.is_active(at)}
            )
            return make_page("rules", found, limit, lambda rule: rule.id)

    def list_rulesets(self, *, limit: int = 100, cursor: str | None = None) -> Page[RulesetInfo]:
        after = decode_cursor("rulesets", cursor)
        with self._reading.open() as session:
            infos = sorted(map(decode_ruleset, session.call("HVALS", RULESETS)), key=lambda info: info.name)
        found = (info for info in infos if info.name > after)
        return make_page("rulesets", found, limit, lambda info: info.name)

    def find_token(self, secret_hash: str) -> Token | None:
        with self._reading.open() as session:
            token_id = session.call("HGET", SECRETS, secret_hash)
            if token_id is None:
                return None
            body, used = session.call_all([("HGET", TOKENS, token_id), ("HGET", USED, token_id)])
            return read_token(body, used)

    def touch_token(self, token_id: str, *, at: datetime) -> None:
        with self._reading.open() as session:
            known, used = session.call_all([("HEXISTS", TOKENS, token_id), ("HGET", USED, token_id)])
            if known and (used is None or int(used) <= to_micros(at - TOUCH_EVERY)):
                session.call("HSET", USED, token_id, to_micros(at))

    def list_reviews(
        self,
        *,
        state: ReviewState | None = None,
        project: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Review]:
        after = decode_cursor("reviews", cursor)
        wanted = {"project": project, "state": state}
        with self._reading.open() as session:
            bodies = _indexed(session, REVIEW_INDEX, REVIEWS, _narrowest(wanted), after)
            reviews = (decode_review(body).review for body in bodies)
            found = (review for review in reviews if _matches(review, wanted))
            return make_page("reviews", found, limit, lambda review: review.id)

    def first_seen(self, index: str, project: str) -> Mapping[FileIdentity, datetime]:
        with self._reading.open() as session:
            return read_first_seen(session, seen_key(index, project))

    def list_audit(
        self,
        *,
        since: datetime | None = None,
        actor: str | None = None,
        rule: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[AuditEntry]:
        after = decode_audit_cursor(cursor)
        with self._reading.open() as session:
            if since is not None:
                after = max(after, last_before(session, since))
            if rule is None and actor is None:
                rows = entries(session, after)
            else:
                rows = indexed_entries(session, _narrowest({"rule": rule, "actor": actor}), after)
            decoded = (decode_entry(stored) for _, stored in rows)
            found = (
                (entry, size)
                for entry, size in decoded
                if (since is None or entry.at >= since) and actor in {None, entry.actor}
            )
            return make_audit_page(found, limit)

    def iterate_audit(self) -> Iterator[AuditEntry]:
        with self._reading.open() as session:
            for _, stored in entries(session, 0):
                yield decode_entry(stored)[0]

    def verify_audit(self) -> tuple[int, tuple[AuditFault, ...]]:
        with self._reading.open() as session:
            head, newest = read_together(
                session,
                [("HMGET", HEAD, "audit_id", "audit_hash"), ("XREVRANGE", AUDIT, "+", "-", "COUNT", 1)],
            )
            last = newest[0][0].decode() if newest else "0"
            known = Head(int(head[0]), head[1].decode()) if head[0] else START
            return verify_chain(entries(session, 0, last), known, is_filed=is_filed_in(session))

    def write(self, change: Callable[[Transaction], T]) -> T:
        return self._changes.run(change)

    def read(self, question: Callable[[Transaction], T]) -> T:
        return self._changes.ask(question)

    def dump(self) -> Iterator[Record]:
        with self._reading.open() as session:
            tx = RedisTransaction(session)
            yield tx.state
            yield from map(decode_ruleset, session.call("HVALS", RULESETS))
            yield from map(decode_rule, _indexed(session, RULE_INDEX, RULES, _ALL, ""))
            by_id = {token.id: token for token in tx.tokens()}
            for secret_hash, token_id in pairs(session.call("HGETALL", SECRETS)).items():
                yield StoredToken(by_id[token_id.decode()], secret_hash.decode())
            yield from map(decode_review, _indexed(session, REVIEW_INDEX, REVIEWS, _ALL, ""))
            for key in _seen_keys(session):
                index, project = parse_seen_key(key.decode())
                yield SeenFiles(index, project, read_first_seen(session, key))
            yield from (decode_entry(stored)[0] for _, stored in entries(session, 0))
            if int(session.call("HGET", HEAD, "changes") or 0) != tx.changes:
                raise StoreUnavailable(
                    "the store changed while it was copied: stop those who write to it first"
                )

    def _setting(self, name: str) -> str | None:
        with self._reading.open() as session:
            try:
                reply = session.call("CONFIG", "GET", name)
            except ResponseError:
                return None  # not permitted, or renamed
            return reply[1].decode() if reply else None


def _indexed(
    session: Session, index: str, records: str, wanted: tuple[str, str], after: str
) -> Iterator[bytes]:
    """The records of one value of an index, oldest first, those after the id `after`."""
    for ids in indexed_ids(session, index, wanted, after):
        yield from (body for body in session.call("HMGET", records, *ids) if body is not None)


def _seen_keys(session: Session) -> Iterator[bytes]:
    cursor = b"0"
    while True:
        cursor, keys = session.call("SCAN", cursor, "MATCH", f"{SEEN}*", "COUNT", CHUNK)
        yield from keys
        if cursor == b"0":
            return


def _narrowest(wanted: Mapping[str, str | None]) -> tuple[str, str]:
    """The first condition, which the index answers: they are ordered by how few they match."""
    return next(((name, value) for name, value in wanted.items() if value is not None), _ALL)


def _matches(record: Rule | Review, wanted: Mapping[str, str | None]) -> bool:
    return all(value is None or value == getattr(record, name) for name, value in wanted.items())
