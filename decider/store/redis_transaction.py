# ruff: noqa: D102 (what the methods mean is said once, in `Transaction`)
"""One change of the Redis store; see `transaction` for what each method means.

Reads go to Redis at once, while the head is watched; writes are gathered and sent together at the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import msgspec

from decider.errors import StoreUnavailable
from decider.files import FileIdentity
from decider.rules import Action, Rule
from decider.store import AuditEntry, RulesetInfo, Token
from decider.store.audit import Head, encode_entry
from decider.store.encoding import (
    SeenFiles,
    StoredReview,
    decode_review,
    decode_rule,
    decode_rules,
    decode_ruleset,
    decode_token,
    encode,
    from_micros,
    to_micros,
)
from decider.store.redis_keys import (
    AUDIT,
    AUDIT_INDEX,
    AUDIT_TIMES,
    HEAD,
    LAYOUT,
    REMOVED,
    REVIEW_INDEX,
    REVIEW_SUBJECTS,
    REVIEWS,
    RULE_INDEX,
    RULE_REVISIONS,
    RULES,
    RULESETS,
    SECRETS,
    TOKENS,
    USED,
    audit_members,
    index_range,
    padded,
    parse_seen_field,
    review_members,
    rule_members,
    seen_field,
    seen_key,
)
from decider.store.redis_session import Command, Session, pairs
from decider.store.transaction import MAX_TOMBSTONES, ReviewSubject, State

__all__ = ["RedisTransaction", "read_first_seen", "read_together", "read_token"]

_Value = str | bytes | int
_READS = 50  # that may find the store changed under them
_CHANGES: Command = ("HGET", HEAD, "changes")
_MANY = 1000  # values of one command: more would make the server buffer without being any faster


class RedisTransaction:
    """Implements Transaction in a session; `commands` is what is to take effect."""

    def __init__(self, session: Session) -> None:
        self._session = session
        head = pairs(session.call("HGETALL", HEAD))
        layout = int(head.get(b"layout", LAYOUT))
        if layout > LAYOUT:
            raise StoreUnavailable(
                f"the data in Redis has layout {layout}, this decider knows {LAYOUT}: it was written by a newer one"
            )
        self.changes = int(head.get(b"changes", 0))
        self.state, self._stored = _read_state(head), _read_state(head)
        self._latest = int(head.get(b"latest", 0))
        self._commands: list[Command] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written."""
        return not self._commands and self.state == self._stored

    def commands(self) -> list[Command]:
        """Everything that is to take effect together."""
        state = [part for pair in asdict(self.state).items() for part in pair]
        # First a command that Redis refuses when its memory is full: then it refuses all.
        head: Command = (
            "HSET",
            HEAD,
            "layout",
            LAYOUT,
            "changes",
            self.changes + 1,
            "latest",
            self._latest,
            *state,
        )
        return [head, *self._commands]

    def changes_since(self, revision: int) -> tuple[int, tuple[Rule, ...], frozenset[str]] | None:
        """See Store.changes_since."""
        if not self.state.floor <= revision <= self.state.revision:
            return None
        if revision == self.state.revision:
            return revision, (), frozenset()
        newer = (f"({revision}", "+inf")
        changed, removed = self._session.call_all(
            [("ZRANGEBYSCORE", RULE_REVISIONS, *newer), ("ZRANGEBYSCORE", REMOVED, *newer)]
        )
        rules = self._rules(sorted(changed))
        return self.state.revision, rules, frozenset(rule_id.decode() for rule_id in removed)

    def find_rule(self, rule_id: str) -> Rule | None:
        body = self._session.call("HGET", RULES, rule_id)
        return None if body is None else decode_rule(body)

    def rules_in(self, ruleset: str) -> Sequence[Rule]:
        return self._indexed_rules("ruleset", ruleset)

    def own_rules(self, project: str | None) -> Sequence[Rule]:
        if project is None:
            return self._indexed_rules("action", Action.OWN)
        return [rule for rule in self._indexed_rules("project", project) if rule.action is Action.OWN]

    def put_rules(self, rules: Iterable[Rule], *, before: Sequence[Rule] = ()) -> None:
        self._many(("ZREM", RULE_INDEX), (member for rule in before for member in rule_members(rule)))
        bodies: list[_Value] = []
        revisions: list[_Value] = []
        members: list[_Value] = []
        for rule in rules:
            bodies += [rule.id, encode(rule)]
            revisions += [rule.revision, rule.id]
            members += [part for member in rule_members(rule) for part in (0, member)]
        self._many(("HSET", RULES), bodies)
        self._many(("ZADD", RULE_REVISIONS), revisions)
        self._many(("ZADD", RULE_INDEX), members)

    def drop_rules(self, rules: Sequence[Rule], revision: int) -> None:
        ids = [rule.id for rule in rules]
        self._many(("HDEL", RULES), ids)
        self._many(("ZREM", RULE_REVISIONS), ids)
        self._many(("ZREM", RULE_INDEX), (member for rule in rules for member in rule_members(rule)))
        if len(rules) > MAX_TOMBSTONES:
            self._commands.append(("DEL", REMOVED))
            self.state.floor = revision
            return
        oldest = self._session.call("ZREVRANGE", REMOVED, MAX_TOMBSTONES, MAX_TOMBSTONES, "WITHSCORES")
        if oldest:
            self.state.floor = int(oldest[1])
            self._commands.append(("ZREMRANGEBYSCORE", REMOVED, "-inf", self.state.floor))
        self._many(("ZADD", REMOVED), (part for rule_id in ids for part in (revision, rule_id)))

    def find_ruleset(self, name: str) -> RulesetInfo | None:
        body = self._session.call("HGET", RULESETS, name)
        return None if body is None else decode_ruleset(body)

    def put_ruleset(self, info: RulesetInfo) -> None:
        self._commands.append(("HSET", RULESETS, info.name, encode(info)))

    def drop_ruleset(self, name: str) -> None:
        self._commands.append(("HDEL", RULESETS, name))

    def tokens(self) -> Sequence[Token]:
        bodies, used = self._session.call_all([("HGETALL", TOKENS), ("HGETALL", USED)])
        times = pairs(used)
        return [read_token(body, times.get(token_id)) for token_id, body in sorted(pairs(bodies).items())]

    def has_secret(self, secret_hash: str) -> bool:
        return bool(self._session.call("HEXISTS", SECRETS, secret_hash))

    def put_token(self, token: Token, secret_hash: str | None = None) -> None:
        self._commands.append(("HSET", TOKENS, token.id, encode(token)))
        if secret_hash is not None:
            self._commands.append(("HSET", SECRETS, secret_hash, token.id))

    def find_review(self, review_id: str) -> StoredReview | None:
        body = self._session.call("HGET", REVIEWS, review_id)
        return None if body is None else decode_review(body)

    def review_of(self, subject: ReviewSubject) -> StoredReview | None:
        review_id = self._session.call("HGET", REVIEW_SUBJECTS, encode(subject))
        return None if review_id is None else self.find_review(review_id.decode())

    def put_review(self, stored: StoredReview, before: StoredReview | None) -> None:
        review = stored.review
        if before is None:
            subject = ReviewSubject(review.project, review.filename, review.repository, review.rule)
            self._commands.append(("HSET", REVIEW_SUBJECTS, encode(subject), review.id))
        else:
            self._many(("ZREM", REVIEW_INDEX), review_members(before))
        self._commands.append(("HSET", REVIEWS, review.id, encode(stored)))
        self._many(
            ("ZADD", REVIEW_INDEX), (part for member in review_members(stored) for part in (0, member))
        )

    def append_audit(self, entry: AuditEntry) -> None:
        self._latest = max(self._latest, to_micros(entry.at))
        self._commands.append(("XADD", AUDIT, f"{entry.id}-0", "entry", encode_entry(entry)))
        self._commands.append(("ZADD", AUDIT_TIMES, self._latest, padded(entry.id)))
        self._many(("ZADD", AUDIT_INDEX), (part for member in audit_members(entry) for part in (0, member)))
        self.state.audit_head = Head(entry.id, entry.hash)

    def first_seen(self, index: str, project: str) -> Mapping[FileIdentity, datetime]:
        return read_first_seen(self._session, seen_key(index, project))

    def put_first_seen(self, seen: SeenFiles) -> None:
        key = seen_key(seen.index, seen.project)
        self._commands += [
            ("HSETNX", key, seen_field(file), to_micros(at)) for file, at in seen.times.items()
        ]

    def drop_first_seen(self, index: str, project: str, files: Iterable[FileIdentity]) -> None:
        self._many(("HDEL", seen_key(index, project)), map(seen_field, files))

    def _indexed_rules(self, field: str, value: str) -> Sequence[Rule]:
        members = self._session.call("ZRANGEBYLEX", RULE_INDEX, *index_range(field, value, ""))
        return self._rules([member.rpartition(b" ")[2] for member in members])

    def _rules(self, ids: Sequence[bytes]) -> tuple[Rule, ...]:
        chunks = self._session.call_all(
            [("HMGET", RULES, *ids[start : start + _MANY]) for start in range(0, len(ids), _MANY)]
        )
        return decode_rules([body for chunk in chunks for body in chunk if body is not None])

    def _many(self, command: Command, values: Iterable[_Value]) -> None:
        rest = list(values)
        self._commands += [(*command, *rest[start : start + _MANY]) for start in range(0, len(rest), _MANY)]


def read_together(session: Session, commands: Sequence[Command]) -> list[Any]:
    """The replies to reads, all of one moment.

    Not by MULTI, which Redis refuses when its memory is full, even for reads: decisions go on then. Commands that
    are sent together are as good as never parted, and where they are, it shows.
    """
    for _ in range(_READS):
        before, *replies, after = session.call_all([_CHANGES, *commands, _CHANGES])
        if before == after:
            return replies
    raise StoreUnavailable("the store changes faster than it can be read")


def read_first_seen(session: Session, key: str | bytes) -> dict[FileIdentity, datetime]:
    """The times under one seen_key."""
    times = pairs(session.call("HGETALL", key))
    return {parse_seen_field(field.decode()): from_micros(int(at)) for field, at in times.items()}


def read_token(body: bytes, used: bytes | None) -> Token:
    """The token of its body and of when it was last used."""
    token = decode_token(body)
    return token if used is None else msgspec.structs.replace(token, last_used_at=from_micros(int(used)))


def _read_state(head: Mapping[bytes, bytes]) -> State:
    stored: dict[str, Any] = {}
    for field in fields(State):
        value = head.get(field.name.encode())
        if value is not None:
            stored[field.name] = value.decode() if field.type is str else int(value)
    return State(**stored)
