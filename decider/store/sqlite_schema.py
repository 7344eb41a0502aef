"""The SQLite schema, step by step: a database is brought to the newest step when it is opened.

Records are whole in `body` (JSON); the other columns are those that are looked up, ordered or counted. Times are
microseconds since 1970.
"""

import sqlite3

from decider.errors import StoreUnavailable

__all__ = ["UPGRADES", "upgrade"]

_FIRST = """
CREATE TABLE state (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  revision INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  rule INTEGER NOT NULL,
  review INTEGER NOT NULL,
  token INTEGER NOT NULL,
  audit_id INTEGER NOT NULL,
  audit_hash TEXT NOT NULL
);
CREATE TABLE rulesets (name TEXT PRIMARY KEY, body BLOB NOT NULL CHECK (typeof(body) = 'blob'));
CREATE TABLE rules (
  id TEXT PRIMARY KEY,
  ruleset TEXT NOT NULL REFERENCES rulesets (name) DEFERRABLE INITIALLY DEFERRED,
  action TEXT NOT NULL,
  project TEXT NOT NULL,
  expires_at INTEGER,
  revision INTEGER NOT NULL,
  body BLOB NOT NULL CHECK (typeof(body) = 'blob')
);
CREATE INDEX rules_by_ruleset ON rules (ruleset, id);
CREATE INDEX rules_by_action ON rules (action, id);
CREATE INDEX rules_by_project ON rules (project, id);
CREATE INDEX rules_by_revision ON rules (revision);
CREATE TABLE removed_rules (id TEXT PRIMARY KEY, revision INTEGER NOT NULL);
CREATE INDEX removed_rules_by_revision ON removed_rules (revision);
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  secret_hash TEXT NOT NULL UNIQUE,
  last_used_at INTEGER,
  body BLOB NOT NULL CHECK (typeof(body) = 'blob')
);
CREATE TABLE reviews (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  project TEXT NOT NULL,
  filename TEXT NOT NULL,
  repository TEXT NOT NULL,
  rule TEXT NOT NULL,
  body BLOB NOT NULL CHECK (typeof(body) = 'blob')
);
CREATE INDEX reviews_by_state ON reviews (state, id);
CREATE INDEX reviews_by_subject ON reviews (project, filename, repository, rule, id);
CREATE TABLE first_seen (
  index_name TEXT NOT NULL,
  project TEXT NOT NULL,
  filename TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (index_name, project, filename)
) WITHOUT ROWID;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  entry BLOB NOT NULL CHECK (typeof(entry) = 'blob')
);
CREATE INDEX audit_by_time ON audit (at, id);
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE TABLE audit_rules (
  rule TEXT NOT NULL,
  audit_id INTEGER NOT NULL,
  PRIMARY KEY (rule, audit_id)
) WITHOUT ROWID;
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
  BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_undeleted BEFORE DELETE ON audit
  BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;
INSERT INTO state VALUES (1, 0, 0, 0, 0, 0, 0,
  '0000000000000000000000000000000000000000000000000000000000000000');
"""

#: First-seen times are of a file name and a digest. Of those of before only the name is known: ANY_DIGEST.
_DIGESTS_OF_FIRST_SEEN = """
ALTER TABLE first_seen RENAME TO first_seen_by_name;
CREATE TABLE first_seen (
  index_name TEXT NOT NULL,
  project TEXT NOT NULL,
  filename TEXT NOT NULL,
  digest TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (index_name, project, filename, digest)
) WITHOUT ROWID;
INSERT INTO first_seen SELECT index_name, project, filename, '*', at FROM first_seen_by_name;
DROP TABLE first_seen_by_name;
"""

#: The script at position n makes schema n + 1 of schema n; scripts that were released are never edited.
UPGRADES: list[str] = [_FIRST, _DIGESTS_OF_FIRST_SEEN]


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest step, all steps or none; raise StoreUnavailable for one newer than that."""
    if _version(connection) == len(UPGRADES):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have upgraded while we waited for the lock.
        version = _version(connection)
        if version > len(UPGRADES):
            raise StoreUnavailable(
                f"the database has schema {version}, this decider knows {len(UPGRADES)}: it was written by a newer one"
            )
        for script in UPGRADES[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(UPGRADES)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _statements(script: str) -> list[str]:
    # executescript() would commit the transaction first.
    statements, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements
