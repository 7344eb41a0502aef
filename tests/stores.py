"""Stores to test: how to open, fill, break into and share them with other processes."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import redis

from decider.errors import StoreUnavailable
from decider.files import FileIdentity
from decider.rules import Action, Rule, RuleDraft
from decider.store import AuditEntry, Page, Review, open_store
from decider.store.audit import START, decode_entry, make_entry
from decider.store.encoding import to_micros
from decider.store.redis_keys import audit_members, padded
from decider.store.transactional import TransactionalStore

__all__ = [
    "AT",
    "BLOCK",
    "FULL",
    "LATER",
    "OWN",
    "AuditRows",
    "StoreKind",
    "actions",
    "add",
    "all_of",
    "block",
    "identity",
    "replace",
    "replace_feed",
    "request",
    "start_worker",
]

ROOT = Path(__file__).parents[1]
OLD_STORES = (
    ROOT / "tests" / "old_stores"
)  #: what deciders of before left: all in it, as SQL and as Redis commands
AuditRows = list[tuple[int, bytes]]

AT = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
BLOCK = RuleDraft(action=Action.BLOCK, project="acme", reason="malicious")
OWN = RuleDraft(action=Action.OWN, project="acme-*", reason="ours", index="internal")
FULL = RuleDraft(
    action=Action.ALLOW,
    project="acme*",
    reason="needed until the fix — <see> \N{SNOWMAN}",
    versions=">=1,<2",
    filename="acme-*.whl",
    sha256="0" * 64,
    index="public",
    younger_than="7d",
    uploaded_after=AT,
    attested=False,
    repositories=("default", "strict"),
    lifts=("r0000001",),
    reference="https://advisories.example/1",
    expires_at=LATER,
    key="feed-1",
)
replace = msgspec.structs.replace


@dataclass(frozen=True)
class StoreKind:
    """Where a store is kept; everyone who opens it sees the same."""

    url: str
    folder: Path

    def open(self) -> TransactionalStore:
        store = open_store(self.url, path=str(self.folder))
        assert isinstance(store, TransactionalStore)
        return store

    def make_old(self) -> None:
        """Be a store that the first decider made: schema 1, layout 1. Both hold the same."""
        if self.url == "sqlite":
            with closing(sqlite3.connect(self.folder / "decider.sqlite")) as db:
                db.executescript((OLD_STORES / "schema-1.sql").read_text())
        else:
            with redis.Redis.from_url(self.url) as client:
                for command in json.loads((OLD_STORES / "layout-1.json").read_text()):
                    client.execute_command(*command)

    def tamper(self, change: Callable[[AuditRows], AuditRows]) -> None:
        """Replace the audit log behind the store's back, as somebody with access to the disk could."""
        tamper = _tamper_sqlite if self.url == "sqlite" else _tamper_redis
        tamper(self, change)

    def misfile(self, what: str) -> None:
        """Leave audit entry 2 as it is, and let nobody find it by its `actor`, `time` or `rule`."""
        misfile = _misfile_sqlite if self.url == "sqlite" else _misfile_redis
        misfile(self, what)


def block(project: str, **fields: Any) -> RuleDraft:
    return replace(BLOCK, project=project, **fields)


def identity(filename: str, digest: str = "") -> FileIdentity:
    return FileIdentity(filename, digest)


def add(store: TransactionalStore, draft: RuleDraft = BLOCK, **fields: Any) -> Rule:
    return store.add_rule(draft, **{"actor": "ann", "at": AT, **fields})


def request(store: TransactionalStore, filename: str = "acme-1.0.tar.gz", **fields: Any) -> Review:
    asked: dict[str, Any] = {
        "project": "acme",
        "version": "1.0",
        "repository": "default",
        "rule": "r0000001",
        "client": "10.0.0.1",
    }
    return store.request_review(**{**asked, "filename": filename, "at": AT, **fields})


def actions(store: TransactionalStore) -> list[str]:
    return [entry.action for entry in store.iterate_audit()]


def all_of(listing: Callable[..., Page[Any]], **arguments: Any) -> list[Any]:
    """What all pages of a listing hold together."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = listing(cursor=cursor, **arguments)
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


def replace_feed(
    store: TransactionalStore, *drafts: RuleDraft, **fields: Any
) -> tuple[int, int, int, int, int]:
    """How many rules of `feed` were added, removed, changed and unchanged, and the revision then."""
    change = store.replace_ruleset("feed", drafts, **{"actor": "feed", "at": AT, **fields})
    return change.added, change.removed, change.changed, change.unchanged, change.revision


def start_worker(kind: StoreKind, task: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that does one of the tasks of store_worker."""
    command: Sequence[str] = [
        sys.executable,
        "-m",
        "tests.store_worker",
        kind.url,
        str(kind.folder),
        task,
        *arguments,
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)


def _tamper_sqlite(kind: StoreKind, change: Callable[[AuditRows], AuditRows]) -> None:
    with closing(sqlite3.connect(kind.folder / "decider.sqlite", isolation_level=None)) as db:
        rows = change(db.execute("SELECT id, entry FROM audit ORDER BY id").fetchall())
        db.execute("DROP TRIGGER audit_undeleted")
        db.execute("DELETE FROM audit")
        db.executemany(
            "INSERT INTO audit (id, at, actor, entry) VALUES (?, ?, ?, ?)",
            ((row_id, to_micros(entry.at), entry.actor, stored) for row_id, stored, entry in _read(rows)),
        )


def _tamper_redis(kind: StoreKind, change: Callable[[AuditRows], AuditRows]) -> None:
    with redis.Redis.from_url(kind.url, protocol=2) as client:
        found = client.execute_command("XRANGE", "decider:audit", "-", "+")
        rows = change([(int(stream_id.partition(b"-")[0]), fields[b"entry"]) for stream_id, fields in found])
        client.delete("decider:audit")
        for entry_id, stored, entry in _read(rows):
            client.execute_command("XADD", "decider:audit", f"{entry_id}-0", "entry", stored)
            client.zadd("decider:audit:times", {padded(entry_id): to_micros(entry.at)})
            client.zadd("decider:audit:index", dict.fromkeys(audit_members(entry), 0))


def _read(rows: AuditRows) -> Iterator[tuple[int, bytes, AuditEntry]]:
    """The rows with what they say, for whoever hides an edit knows where else to make it."""
    anything = make_entry(START, at=AT, actor="", action="")
    for row_id, stored in rows:
        try:
            entry, _ = decode_entry(stored)
        except StoreUnavailable:
            entry = anything
        yield row_id, stored, entry


def _misfile_sqlite(kind: StoreKind, what: str) -> None:
    changes = {
        "actor": "UPDATE audit SET actor = 'nobody' WHERE id = 2",
        "time": "UPDATE audit SET at = at - 1 WHERE id = 2",
        "rule": "DELETE FROM audit_rules WHERE audit_id = 2",
    }
    with closing(sqlite3.connect(kind.folder / "decider.sqlite", isolation_level=None)) as db:
        db.execute("DROP TRIGGER audit_unchanged")
        db.execute(changes[what])


def _misfile_redis(kind: StoreKind, what: str) -> None:
    with redis.Redis.from_url(kind.url, protocol=2) as client:
        if what == "time":
            client.zincrby("decider:audit:times", -1, padded(2))
        else:
            members = client.zrange("decider:audit:index", 0, -1)
            end = f" {padded(2)}".encode()
            for member in members:
                if member.startswith(what.encode()) and member.endswith(end):
                    client.zrem("decider:audit:index", member)
