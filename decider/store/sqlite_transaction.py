# ruff: noqa: D102 (what the methods mean is said once, in `Transaction`)
"""One change of the SQLite store; see `transaction` for what each method means."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

import msgspec

from decider.files import FileIdentity
from decider.rules import Action, Rule
from decider.store import AuditEntry, RulesetInfo, Token
from decider.store.audit import Head, encode_entry, rules_of
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
from decider.store.transaction import MAX_TOMBSTONES, ReviewSubject, State

__all__ = ["SqliteTransaction", "read_first_seen", "read_token"]


_ADD_RULE = (
    "INSERT INTO rules (id, ruleset, action, project, expires_at, revision, body)"
    " VALUES (:id, :ruleset, :action, :project, :expires_at, :revision, :body)"
)
_CHANGE_RULE = (
    "UPDATE rules SET action = :action, project = :project, expires_at = :expires_at, revision = :revision,"
    " body = :body WHERE id = :id"
)


def _rule_row(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "ruleset": rule.ruleset,
        "action": rule.action,
        "project": rule.project,
        "expires_at": to_micros(rule.expires_at) if rule.expires_at else None,
        "revision": rule.revision,
        "body": encode(rule),
    }


def read_token(row: Sequence[Any]) -> Token:
    """The token of a row (body, last_used_at)."""
    body, used = row
    token = decode_token(body)
    return token if used is None else msgspec.structs.replace(token, last_used_at=from_micros(used))


def read_first_seen(db: sqlite3.Connection, index: str, project: str) -> dict[FileIdentity, datetime]:
    """See Store.first_seen."""
    query = "SELECT filename, digest, at FROM first_seen WHERE index_name = ? AND project = ?"
    rows = db.execute(query, (index, project))
    return {FileIdentity(filename, digest): from_micros(at) for filename, digest, at in rows}


class SqliteTransaction:
    """Implements Transaction on a connection inside BEGIN; `store_state` comes last."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        row = self._one("SELECT revision, floor, rule, review, token, audit_id, audit_hash FROM state")
        self.state, self._stored = State(*row), State(*row)

    def store_state(self) -> None:
        """Write the state back where it changed."""
        if self.state != self._stored:
            self._db.execute(
                "UPDATE state SET"
                " revision = ?, floor = ?, rule = ?, review = ?, token = ?, audit_id = ?, audit_hash = ?",
                astuple(self.state),
            )

    def find_rule(self, rule_id: str) -> Rule | None:
        row = self._one("SELECT body FROM rules WHERE id = ?", rule_id)
        return decode_rule(row[0]) if row else None

    def rules_in(self, ruleset: str) -> Sequence[Rule]:
        return decode_rules(self._column("SELECT body FROM rules WHERE ruleset = ? ORDER BY id", ruleset))

    def own_rules(self, project: str | None) -> Sequence[Rule]:
        if project is None:
            return decode_rules(
                self._column("SELECT body FROM rules WHERE action = ? ORDER BY id", Action.OWN)
            )
        query = "SELECT body FROM rules WHERE project = ? AND action = ? ORDER BY id"
        return decode_rules(self._column(query, project, Action.OWN))

    def put_rules(self, rules: Iterable[Rule], *, before: Sequence[Rule] = ()) -> None:
        stored = {rule.id for rule in before}
        rules = list(rules)
        # Updated in place: less work than to take a rule out of all indexes and put it in again.
        self._db.executemany(_CHANGE_RULE, (_rule_row(rule) for rule in rules if rule.id in stored))
        self._db.executemany(_ADD_RULE, (_rule_row(rule) for rule in rules if rule.id not in stored))

    def drop_rules(self, rules: Sequence[Rule], revision: int) -> None:
        self._db.executemany("DELETE FROM rules WHERE id = ?", ((rule.id,) for rule in rules))
        if len(rules) > MAX_TOMBSTONES:
            self._db.execute("DELETE FROM removed_rules")
            self.state.floor = revision
            return
        self._db.executemany(
            "INSERT INTO removed_rules VALUES (?, ?)", ((rule.id, revision) for rule in rules)
        )
        oldest = self._one(
            "SELECT revision FROM removed_rules ORDER BY revision DESC LIMIT 1 OFFSET ?", MAX_TOMBSTONES
        )
        if oldest:
            self._db.execute("DELETE FROM removed_rules WHERE revision <= ?", oldest)
            self.state.floor = oldest[0]

    def find_ruleset(self, name: str) -> RulesetInfo | None:
        row = self._one("SELECT body FROM rulesets WHERE name = ?", name)
        return decode_ruleset(row[0]) if row else None

    def put_ruleset(self, info: RulesetInfo) -> None:
        self._db.execute(
            "INSERT INTO rulesets VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
            (info.name, encode(info)),
        )

    def drop_ruleset(self, name: str) -> None:
        self._db.execute("DELETE FROM rulesets WHERE name = ?", (name,))

    def tokens(self) -> Sequence[Token]:
        return [
            read_token(row) for row in self._db.execute("SELECT body, last_used_at FROM tokens ORDER BY id")
        ]

    def has_secret(self, secret_hash: str) -> bool:
        return self._one("SELECT 1 FROM tokens WHERE secret_hash = ?", secret_hash) is not None

    def put_token(self, token: Token, secret_hash: str | None = None) -> None:
        if secret_hash is None:
            self._db.execute("UPDATE tokens SET body = ? WHERE id = ?", (encode(token), token.id))
        else:
            self._db.execute(
                "INSERT INTO tokens (id, secret_hash, body) VALUES (?, ?, ?)",
                (token.id, secret_hash, encode(token)),
            )

    def find_review(self, review_id: str) -> StoredReview | None:
        row = self._one("SELECT body FROM reviews WHERE id = ?", review_id)
        return decode_review(row[0]) if row else None

    def review_of(self, subject: ReviewSubject) -> StoredReview | None:
        row = self._one(
            "SELECT body FROM reviews WHERE project = ? AND filename = ? AND repository = ? AND rule = ?"
            " ORDER BY id DESC LIMIT 1",
            *subject,
        )
        return decode_review(row[0]) if row else None

    def put_review(self, stored: StoredReview, before: StoredReview | None) -> None:
        review = stored.review
        if before is None:
            self._db.execute(
                "INSERT INTO reviews (id, state, project, filename, repository, rule, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    review.id,
                    review.state,
                    review.project,
                    review.filename,
                    review.repository,
                    review.rule,
                    encode(stored),
                ),
            )
        else:
            self._db.execute(
                "UPDATE reviews SET state = ?, body = ? WHERE id = ?",
                (review.state, encode(stored), review.id),
            )

    def append_audit(self, entry: AuditEntry) -> None:
        self._db.execute(
            "INSERT INTO audit (id, at, actor, entry) VALUES (?, ?, ?, ?)",
            (entry.id, to_micros(entry.at), entry.actor, encode_entry(entry)),
        )
        self._db.executemany(
            "INSERT INTO audit_rules VALUES (?, ?)", ((rule, entry.id) for rule in rules_of(entry))
        )
        self.state.audit_head = Head(entry.id, entry.hash)

    def first_seen(self, index: str, project: str) -> Mapping[FileIdentity, datetime]:
        return read_first_seen(self._db, index, project)

    def put_first_seen(self, seen: SeenFiles) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO first_seen (index_name, project, filename, digest, at) VALUES (?, ?, ?, ?, ?)",
            ((seen.index, seen.project, *file, to_micros(at)) for file, at in seen.times.items()),
        )

    def drop_first_seen(self, index: str, project: str, files: Iterable[FileIdentity]) -> None:
        self._db.executemany(
            "DELETE FROM first_seen WHERE index_name = ? AND project = ? AND filename = ? AND digest = ?",
            ((index, project, *file) for file in files),
        )

    def _one(self, query: str, *values: object) -> Any:
        return self._db.execute(query, values).fetchone()

    def _column(self, query: str, *values: object) -> list[bytes]:
        return [body for (body,) in self._db.execute(query, values)]
