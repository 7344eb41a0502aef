"""What only the SQLite store has: its file, its schema, its locks."""

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from decider.errors import StoreUnavailable
from decider.store import open_store
from decider.store.sqlite import SqliteStore
from decider.store.sqlite_schema import UPGRADES
from tests.stores import AT, BLOCK, StoreKind, add, block, request, start_worker

NOBODY = 65_534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "decider.sqlite"


@pytest.fixture
def sqlite_store(file: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(file)) as store:
        yield store


def test_folder_is_made(tmp_path: Path) -> None:
    """The folder of the database is made when it is missing, blanks, signs and all."""
    folder = tmp_path / "a b" / "c%20?#d"
    with closing(open_store("sqlite", path=str(folder))) as store:
        assert store.add_rule(BLOCK, actor="ann", at=AT).id == "r0000001"
    assert (folder / "decider.sqlite").exists()


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_database_is_private(file: Path, umask: int) -> None:
    """Nobody but its owner reads the database or what SQLite puts beside it, whatever the umask says."""
    before = os.umask(umask)
    try:
        with closing(SqliteStore(file)) as store:
            add(store)
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["decider.sqlite", "decider.sqlite-wal", "decider.sqlite-shm"], 0o600)


def test_open_database_is_made_private(file: Path) -> None:
    """A database that others could read is closed to them when it is opened."""
    SqliteStore(file).close()
    file.chmod(0o644)
    SqliteStore(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_commits_are_synced(file: Path, sqlite_store: SqliteStore) -> None:
    """The database is in WAL mode, and every connection syncs each commit to disk."""
    with sqlite_store._connections.lend() as one, sqlite_store._connections.lend() as other:
        for db in (one, other):
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
            assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert file.with_name("decider.sqlite-wal").exists()


def test_durability_fault(sqlite_store: SqliteStore) -> None:
    """A connection that would not sync its commits is named as a fault."""
    assert sqlite_store.durability_fault() is None
    with sqlite_store._connections.lend() as db:
        db.execute("PRAGMA synchronous = NORMAL")
    assert sqlite_store.durability_fault() == "SQLite does not sync its commits to disk"


# -- Schema


def test_schema_is_upgraded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an older decider is brought to the present schema, with all that is in it."""
    with closing(SqliteStore(file)) as store:
        rule, review = add(store), request(store)
    monkeypatch.setattr(
        "decider.store.sqlite_schema.UPGRADES",
        [*UPGRADES, "CREATE TABLE extra (id TEXT);\nINSERT INTO extra SELECT id FROM rules;"],
    )
    with closing(SqliteStore(file)) as store:
        assert store.load_rules() == (1, (rule,))
        assert store.get_review(review.id) == review
        assert store.verify_audit() == (2, ())
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT id FROM extra").fetchall() == [(rule.id,)]
        assert db.execute("PRAGMA user_version").fetchone() == (len(UPGRADES) + 1,)


def test_first_schema_is_upgraded(file: Path) -> None:
    """A database that the first decider made is brought to the schema of a new one."""

    def schema(path: Path) -> tuple[int, set[str]]:
        with closing(sqlite3.connect(path)) as db:
            tables = db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
            return db.execute("PRAGMA user_version").fetchone()[0], {sql for (sql,) in tables}

    StoreKind("sqlite", file.parent).make_old()
    assert schema(file)[0] == 1
    SqliteStore(file).close()
    fresh = file.with_name("fresh.sqlite")
    SqliteStore(fresh).close()
    assert schema(file) == schema(fresh)


def test_failed_upgrade_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that fails halfway leaves the database as it was, for the decider that made it."""
    with closing(SqliteStore(file)) as store:
        rule = add(store)
    broken = [*UPGRADES, "CREATE TABLE extra (id TEXT);\nDROP TABLE none;"]
    with monkeypatch.context() as patch:
        patch.setattr("decider.store.sqlite_schema.UPGRADES", broken)
        with pytest.raises(StoreUnavailable, match="no such table: none"):
            SqliteStore(file)
    with closing(SqliteStore(file)) as store:
        assert store.load_rules() == (1, (rule,))
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT name FROM sqlite_schema WHERE name = 'extra'").fetchall() == []


def test_newer_schema_is_refused(file: Path) -> None:
    """A database of a newer decider is left alone: what cannot be understood cannot be kept."""
    SqliteStore(file).close()
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable, match="has schema 99, this decider knows 2"):
        SqliteStore(file)
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)


def test_processes_may_race_to_make_it(tmp_path: Path) -> None:
    """Processes that open a new database at the same moment all get to use it."""
    kind = StoreKind("sqlite", tmp_path / "new")
    workers = [start_worker(kind, "write", f"writer-{number}", "3") for number in range(6)]
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * 6
    with closing(kind.open()) as store:
        assert store.revision() == 18


def test_audit_log_is_append_only(file: Path, sqlite_store: SqliteStore) -> None:
    """The database itself refuses to change or delete audit entries."""
    add(sqlite_store)
    with closing(sqlite3.connect(file)) as db:
        for statement in ("UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


# -- What cannot be used


def test_read_only_folder() -> None:
    """A database that cannot be written is no store: opening it fails, and says why."""
    folder = Path(tempfile.mkdtemp())  # not tmp_path, whose parents only its owner may enter
    try:
        folder.chmod(0o555)
        assert "denied" in _open_unprivileged(folder)
        folder.chmod(0o755)
        SqliteStore(folder / "decider.sqlite").close()
        folder.chmod(0o555)
        (folder / "decider.sqlite").chmod(0o444)
        assert "denied" in _open_unprivileged(folder)
    finally:
        shutil.rmtree(folder)


def _open_unprivileged(folder: Path) -> str:
    """Why somebody who is not root could not open the store there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "opened"
        try:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            open_store("sqlite", path=str(folder)).close()
        except StoreUnavailable as error:
            said = str(error)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_no_folder(tmp_path: Path) -> None:
    """A path that leads through a file is no place for a store."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        open_store("sqlite", path=str(tmp_path / "file" / "var"))


def test_no_database(file: Path) -> None:
    """A file that is no database is refused, not overwritten."""
    file.write_bytes(b"something else entirely\n" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqliteStore(file)
    assert file.read_bytes().startswith(b"something else")


def test_deleted_database(file: Path, sqlite_store: SqliteStore) -> None:
    """A database that was deleted under a running decider is missing, not made anew and empty."""
    add(sqlite_store)
    file.unlink()
    for call in (sqlite_store.revision, lambda: add(sqlite_store)):
        with pytest.raises(StoreUnavailable, match="No such file"):
            call()
    assert not file.exists()


def test_moved_database(file: Path, sqlite_store: SqliteStore) -> None:
    """A database that was moved, or replaced by another, takes no change and is not read; put back, it goes on."""
    rule = add(sqlite_store)
    moved = file.with_name("moved")
    parts = ("", "-wal", "-shm")
    for part in parts:
        Path(f"{file}{part}").rename(f"{moved}{part}")
    calls = (sqlite_store.revision, sqlite_store.load_rules, sqlite_store.ping, lambda: add(sqlite_store))
    for call in calls:
        with pytest.raises(StoreUnavailable, match="No such file"):
            call()
    SqliteStore(file).close()  # as a command would that is run meanwhile: a new one, without any rule
    for call in calls:
        with pytest.raises(StoreUnavailable, match="another file has taken its place"):
            call()
    for part in parts:
        Path(f"{moved}{part}").rename(f"{file}{part}")
    assert sqlite_store.load_rules() == (1, (rule,))
    add(sqlite_store)
    assert sqlite_store.verify_audit() == (2, ())


def test_damaged_rule(file: Path, sqlite_store: SqliteStore) -> None:
    """A rule that cannot be read makes the rules unavailable: nothing is decided without it."""
    add(sqlite_store)
    rule = add(sqlite_store, block("b"))
    calls = (
        sqlite_store.load_rules,
        lambda: sqlite_store.get_rule(rule.id),
        lambda: sqlite_store.changes_since(0),
    )
    for damage in (b'{"action": "blick"}', b"", b"[]", b'{"action": "\xff"}'):
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            db.execute("UPDATE rules SET body = ? WHERE id = ?", (damage, rule.id))
        for call in calls:
            with pytest.raises(StoreUnavailable, match="a record cannot be read"):
                call()
    assert sqlite_store.revision() == 2


def test_locked_database(file: Path) -> None:
    """Who cannot get the lock in time is told so and has changed nothing; readers do not wait at all."""
    with closing(SqliteStore(file, busy_timeout_s=0.05)) as store, closing(sqlite3.connect(file)) as other:
        rule = add(store)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            add(store)
        assert store.load_rules() == (1, (rule,))
        other.rollback()
        assert add(store).id == "r0000002"


def test_full_disk(sqlite_store: SqliteStore) -> None:
    """When the disk is full a change is refused as a whole; reading goes on, and writing once there is room."""
    add(sqlite_store)
    with sqlite_store._connections.lend() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
    drafts = [block(f"p{number}") for number in range(1000)]
    with pytest.raises(StoreUnavailable, match="full"):
        sqlite_store.replace_ruleset("feed", drafts, actor="ann", at=AT)
    assert len(sqlite_store.load_rules()[1]) == 1
    assert sqlite_store.verify_audit() == (1, ())
    assert sqlite_store.replace_ruleset("feed", drafts, actor="ann", at=AT).added == 1000


def test_closed_store(file: Path) -> None:
    """A store that was closed refuses every call."""
    store = SqliteStore(file)
    add(store)
    store.close()
    for call in (store.revision, store.load_rules, store.ping, lambda: add(store)):
        with pytest.raises(StoreUnavailable, match="the store is closed"):
            call()


def test_fork(sqlite_store: SqliteStore) -> None:
    """A store that was opened before a fork serves both sides, each on connections of its own."""
    add(sqlite_store)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            add(sqlite_store, block("child"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    add(sqlite_store, block("parent"))
    assert [rule.project for rule in sqlite_store.load_rules()[1]] == ["acme", "child", "parent"]
    assert sqlite_store.verify_audit() == (3, ())
