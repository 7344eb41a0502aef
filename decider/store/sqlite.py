# ruff: noqa: D102 (what the methods promise is said once, in `Store`)
"""The embedded store: one SQLite database in WAL mode, for any number of processes of one machine.

A call returns only when its change is synced to disk. Readers never wait for writers; writers wait for each other.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from decider.errors import StoreUnavailable
from decider.files import FileIdentity
from decider.rules import Action, Rule
from decider.store import AuditEntry, AuditFault, Page, Review, ReviewState, RulesetInfo, Token
from decider.store.audit import Head, decode_entry, rules_of, verify_chain
from decider.store.cursors import decode_audit_cursor, decode_cursor, make_audit_page, make_page
from decider.store.encoding import (
    SeenFiles,
    StoredToken,
    decode_review,
    decode_rule,
    decode_rules,
    decode_ruleset,
    from_micros,
    to_micros,
)
from decider.store.sqlite_connections import Connections
from decider.store.sqlite_transaction import SqliteTransaction, read_first_seen, read_token
from decider.store.transaction import TOUCH_EVERY, Record, Transaction
from decider.store.transactional import TransactionalStore

__all__ = ["SqliteStore"]

T = TypeVar("T")

_READ = "BEGIN"
_WRITE = "BEGIN IMMEDIATE"  # a deferred one could fail at its first write, after having read


class SqliteStore(TransactionalStore):
    """See `Store`; `file` is made when missing, readable by its owner only."""

    def __init__(self, file: Path, *, busy_timeout_s: float = 15) -> None:
        self._connections = Connections(file, busy_timeout_s=busy_timeout_s)
        self._busy_timeout_s = busy_timeout_s
        self._turn = threading.Lock()  # hands over at once, where SQLite's own lock is polled

    def close(self) -> None:
        self._connections.close()

    def ping(self) -> None:
        self.revision()

    def durability_fault(self) -> str | None:
        with self._connections.lend() as db:
            (synchronous,) = db.execute("PRAGMA synchronous").fetchone()
        return None if synchronous >= 2 else "SQLite does not sync its commits to disk"

    def revision(self) -> int:
        with self._connections.lend() as db:
            revision: int = db.execute("SELECT revision FROM state").fetchone()[0]
            return revision

    def load_rules(self) -> tuple[int, tuple[Rule, ...]]:
        with self._connections.transaction(_READ) as db:
            (revision,) = db.execute("SELECT revision FROM state").fetchone()
            return revision, decode_rules(
                [body for (body,) in db.execute("SELECT body FROM rules ORDER BY id")]
            )

    def changes_since(self, revision: int) -> tuple[int, tuple[Rule, ...], frozenset[str]] | None:
        with self._connections.transaction(_READ) as db:
            present, floor = db.execute("SELECT revision, floor FROM state").fetchone()
            if not floor <= revision <= present:
                return None
            changed = db.execute("SELECT body FROM rules WHERE revision > ? ORDER BY id", (revision,))
            removed = db.execute("SELECT id FROM removed_rules WHERE revision > ?", (revision,))
            return (
                present,
                decode_rules([body for (body,) in changed]),
                frozenset(rule_id for (rule_id,) in removed),
            )

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
        conditions: dict[str, object] = {"id > ?": decode_cursor("rules", cursor)}
        if project is not None:
            conditions["project = ?"] = project
        if action is not None:
            conditions["action = ?"] = action
        if ruleset is not None:
            conditions["ruleset = ?"] = ruleset
        if active is not None:
            conditions[_ACTIVE if active else f"NOT {_ACTIVE}"] = to_micros(at)
        with self._select("SELECT body FROM rules", conditions, limit) as rows:
            return make_page("rules", (decode_rule(body) for (body,) in rows), limit, lambda rule: rule.id)

    def list_rulesets(self, *, limit: int = 100, cursor: str | None = None) -> Page[RulesetInfo]:
        conditions = {"name > ?": decode_cursor("rulesets", cursor)}
        with self._select("SELECT body FROM rulesets", conditions, limit, order="name") as rows:
            return make_page(
                "rulesets", (decode_ruleset(body) for (body,) in rows), limit, lambda info: info.name
            )

    def find_token(self, secret_hash: str) -> Token | None:
        with self._connections.lend() as db:
            row = db.execute(
                "SELECT body, last_used_at FROM tokens WHERE secret_hash = ?", (secret_hash,)
            ).fetchone()
            return read_token(row) if row else None

    def touch_token(self, token_id: str, *, at: datetime) -> None:
        stale = to_micros(at - TOUCH_EVERY)
        query = "SELECT 1 FROM tokens WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)"
        with self._connections.lend() as db:
            if db.execute(query, (token_id, stale)).fetchone() is None:
                return
        with self._writing() as db:
            db.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (to_micros(at), token_id))

    def list_reviews(
        self,
        *,
        state: ReviewState | None = None,
        project: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Review]:
        conditions: dict[str, object] = {"id > ?": decode_cursor("reviews", cursor)}
        if state is not None:
            conditions["state = ?"] = state
        if project is not None:
            conditions["project = ?"] = project
        with self._select("SELECT body FROM reviews", conditions, limit) as rows:
            return make_page(
                "reviews", (decode_review(body).review for (body,) in rows), limit, lambda found: found.id
            )

    def first_seen(self, index: str, project: str) -> Mapping[FileIdentity, datetime]:
        with self._connections.lend() as db:
            return read_first_seen(db, index, project)

    def list_audit(
        self,
        *,
        since: datetime | None = None,
        actor: str | None = None,
        rule: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[AuditEntry]:
        conditions: dict[str, object] = {"id > ?": decode_audit_cursor(cursor)}
        if since is not None:
            conditions["at >= ?"] = to_micros(since)
        if actor is not None:
            conditions["actor = ?"] = actor
        if rule is not None:
            conditions["id IN (SELECT audit_id FROM audit_rules WHERE rule = ?)"] = rule
        with self._select("SELECT entry FROM audit", conditions, limit) as rows:
            return make_audit_page((decode_entry(stored) for (stored,) in rows), limit)

    def iterate_audit(self) -> Iterator[AuditEntry]:
        with self._audit() as (_, _, rows):
            for _, stored in rows:
                yield decode_entry(stored)[0]

    def verify_audit(self) -> tuple[int, tuple[AuditFault, ...]]:
        with self._audit() as (db, head, rows):
            return verify_chain(rows, head, is_filed=partial(_is_filed, db))

    def write(self, change: Callable[[Transaction], T]) -> T:
        with self._writing() as db:
            tx = SqliteTransaction(db)
            result = change(tx)
            tx.store_state()
            return result

    def read(self, question: Callable[[Transaction], T]) -> T:
        with self._connections.transaction(_READ) as db:
            return question(SqliteTransaction(db))

    def dump(self) -> Iterator[Record]:
        with self._connections.transaction(_READ) as db:
            yield SqliteTransaction(db).state
            yield from (
                decode_ruleset(body) for (body,) in db.execute("SELECT body FROM rulesets ORDER BY name")
            )
            yield from (decode_rule(body) for (body,) in db.execute("SELECT body FROM rules ORDER BY id"))
            for secret_hash, *row in db.execute(
                "SELECT secret_hash, body, last_used_at FROM tokens ORDER BY id"
            ):
                yield StoredToken(read_token(row), secret_hash)
            yield from (decode_review(body) for (body,) in db.execute("SELECT body FROM reviews ORDER BY id"))
            seen = db.execute(
                "SELECT index_name, project, filename, digest, at FROM first_seen ORDER BY index_name, project"
            )
            for (index, project), rows in groupby(seen, key=itemgetter(0, 1)):
                times = {
                    FileIdentity(filename, digest): from_micros(at) for _, _, filename, digest, at in rows
                }
                yield SeenFiles(index, project, times)
            yield from (
                decode_entry(stored)[0] for (stored,) in db.execute("SELECT entry FROM audit ORDER BY id")
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self._turn.acquire(timeout=self._busy_timeout_s):
            raise StoreUnavailable("the database is busy with other changes")
        try:
            with self._connections.transaction(_WRITE) as db:
                yield db
        finally:
            self._turn.release()

    @contextmanager
    def _select(
        self, query: str, conditions: Mapping[str, object], limit: int, *, order: str = "id"
    ) -> Iterator[sqlite3.Cursor]:
        # The parts are constants of this module; what comes from outside is bound.
        statement = f"{query} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
        with (
            self._connections.lend() as db,
            closing(db.execute(statement, (*conditions.values(), limit + 1))) as rows,
        ):
            yield rows

    @contextmanager
    def _audit(self) -> Iterator[tuple[sqlite3.Connection, Head, Iterator[tuple[int, bytes]]]]:
        with self._connections.transaction(_READ) as db:
            head = Head(*db.execute("SELECT audit_id, audit_hash FROM state").fetchone())
            with closing(db.execute("SELECT id, entry FROM audit ORDER BY id")) as rows:
                yield db, head, rows


_ACTIVE = "(expires_at IS NULL OR expires_at > ?)"


def _is_filed(db: sqlite3.Connection, entry: AuditEntry) -> bool:
    """Whether the columns by which entries are found say what the entry says."""
    of_entry = "SELECT count(*) FROM audit WHERE id = ? AND at = ? AND actor = ?"
    of_rules = (
        "SELECT count(*) FROM json_each(?) AS named"
        " JOIN audit_rules ON audit_rules.rule = named.value AND audit_rules.audit_id = ?"
    )
    rules = sorted(rules_of(entry))
    (found,) = db.execute(of_entry, (entry.id, to_micros(entry.at), entry.actor)).fetchone()
    (named,) = db.execute(of_rules, (json.dumps(rules), entry.id)).fetchone()
    return bool(found == 1 and named == len(rules))
