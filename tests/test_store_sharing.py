"""The store, whichever it is: many threads, many processes, changes that fail."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from decider.errors import InvalidRequest
from decider.store import Role
from decider.store.transactional import TransactionalStore
from tests.stores import (
    AT,
    FULL,
    StoreKind,
    add,
    block,
    identity,
    replace_feed,
    request,
    start_worker,
)


def test_processes_see_each_other_at_once(store: TransactionalStore, store_kind: StoreKind) -> None:
    """What one process has acknowledged is the present revision of every other one."""
    with start_worker(store_kind, "answer") as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None

        def tell(line: str) -> int:
            worker.stdin.write(f"{line}\n")  # type: ignore[union-attr]
            worker.stdin.flush()  # type: ignore[union-attr]
            return int(worker.stdout.readline())  # type: ignore[union-attr]

        for number in range(20):
            mine = add(store, block(f"mine-{number}")).revision
            assert tell("revision") == mine
            theirs = tell(f"add theirs-{number}")
            assert theirs == store.revision() == mine + 1
            changes = store.changes_since(mine)
            assert changes is not None
            assert [rule.project for rule in changes[1]] == [f"theirs-{number}"]
        worker.stdin.close()
        assert worker.wait() == 0


def test_many_processes_write(
    store: TransactionalStore, store_kind: StoreKind, writers: tuple[int, int]
) -> None:
    """Processes that write all at once lose nothing, share no id, and leave one whole audit chain."""
    processes, changes = writers
    workers = [
        start_worker(store_kind, "write", f"writer-{number}", str(changes)) for number in range(processes)
    ]
    said = [worker.communicate()[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * processes
    total = processes * changes
    assert [len(ids) for ids in said] == [changes] * processes
    revision, rules = store.load_rules()
    assert revision == total
    assert {rule.id for rule in rules} == {rule_id for ids in said for rule_id in ids}
    assert {rule.project for rule in rules} == {
        f"writer-{p}-{c}" for p in range(processes) for c in range(changes)
    }
    assert sorted(rule.revision for rule in rules) == list(range(1, total + 1))
    assert store.verify_audit() == (total, ())
    assert store.get_ruleset("manual")[0].rules == total


def test_many_threads_write(store: TransactionalStore) -> None:
    """Threads may share a store: nothing is lost between them, and readers see whole states."""
    failures: list[BaseException] = []
    done = threading.Event()

    def write(name: str) -> None:
        try:
            for number in range(15):
                add(store, block(f"{name}-{number}"))
        except BaseException as error:  # noqa: BLE001 (reported below)
            failures.append(error)

    def read() -> None:
        try:
            while not done.is_set():
                revision, rules = store.load_rules()
                assert len(rules) == revision
        except BaseException as error:  # noqa: BLE001 (reported below)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(6)]
    reader = threading.Thread(target=read)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert failures == []
    assert store.revision() == 90
    assert store.verify_audit() == (90, ())


def test_two_feeds_at_once(store: TransactionalStore, store_kind: StoreKind) -> None:
    """Two who replace one ruleset at once never interleave: it always holds what one of them sent, whole."""
    sets = {name: [block(f"{name}-{number}") for number in range(20)] for name in ("one", "other")}
    failures: list[BaseException] = []
    done = threading.Event()

    def write(name: str) -> None:
        try:
            with closing(store_kind.open()) as own:
                while not done.is_set():
                    own.replace_ruleset("feed", sets[name], actor=name, at=AT)
        except BaseException as error:  # noqa: BLE001 (reported below)
            failures.append(error)

    store.replace_ruleset("feed", sets["one"], actor="one", at=AT)
    threads = [threading.Thread(target=write, args=(name,)) for name in sets]
    for thread in threads:
        thread.start()
    seen: list[str] = []
    try:
        while not failures and (len(seen) < 50 or set(seen) != set(sets)):
            info, rules = store.get_ruleset("feed")
            assert info.rules == len(rules) == 20
            (name,) = {rule.project.partition("-")[0] for rule in rules}
            assert {rule.created_by for rule in rules} == {name}
            seen.append(name)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert store.verify_audit()[1] == ()


def test_walk_the_audit_log_while_writing(store: TransactionalStore) -> None:
    """Whoever walks the log holds up nobody, and may stop halfway."""
    for name in "abc":
        add(store, block(name))
    walk = store.iterate_audit()
    assert next(walk).id == 1
    add(store, block("d"))
    assert next(walk).id == 2
    walk.close()  # type: ignore[attr-defined]
    assert [entry.id for entry in store.iterate_audit()] == [1, 2, 3, 4]


def test_everything_is_there_after_reopening(store_kind: StoreKind) -> None:
    """What was acknowledged is there for whoever opens the store next."""
    with closing(store_kind.open()) as store:
        rule = add(store, FULL)
        token = store.add_token("ci", Role.READER, "hash", actor="ann", at=AT)
        review = request(store)
        store.note_first_seen("public", "acme", [identity("a.whl")], at=AT)
    with closing(store_kind.open()) as store:
        assert store.load_rules() == (1, (rule,))
        assert store.find_token("hash") == token
        assert store.get_review(review.id) == review
        assert store.first_seen("public", "acme") == {identity("a.whl"): AT}
        assert store.verify_audit() == (3, ())


def test_failed_change_leaves_nothing(store: TransactionalStore) -> None:
    """A change that fails halfway leaves no part of itself, and the store goes on."""

    class BreakOffError(Exception):
        pass

    def break_off(tx: Any) -> None:
        tx.drop_rules([rule], tx.state.raise_revision())
        raise BreakOffError

    rule = add(store)
    with pytest.raises(BreakOffError):
        store.write(break_off)
    assert store.load_rules() == (1, (rule,))
    assert add(store).revision == 2
    assert store.verify_audit() == (2, ())


def test_times_need_a_zone(store: TransactionalStore) -> None:
    """A time without zone is a mistake of the caller and is never stored."""
    with pytest.raises(TypeError):
        store.note_first_seen("public", "acme", [identity("a.whl")], at=AT.replace(tzinfo=None))
    assert store.first_seen("public", "acme") == {}


def test_text_that_is_none(store: TransactionalStore) -> None:
    """Half a surrogate pair is refused as the caller's mistake, and nothing is stored."""
    half = "\ud800"
    calls: list[Callable[[], object]] = [
        lambda: add(store, block("acme", reason=half)),
        lambda: add(store, actor=half),
        lambda: add(store, ruleset=half),
        lambda: store.get_rule(half),
        lambda: store.list_rules(at=AT, project=half),
        lambda: store.list_audit(actor=half),
        lambda: store.find_token(half),
        lambda: store.note_first_seen("public", "acme", [identity(half)], at=AT),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest):
            call()
    assert store.verify_audit() == (0, ())
    assert store.load_rules() == (0, ())


def test_revision_is_cheap(store: TransactionalStore) -> None:
    """Asking for the revision costs far less than a decision, with however many rules."""
    replace_feed(store, *(block(f"p{n}") for n in range(2000)))
    best = min(timed(store.revision) for _ in range(200))
    assert best < 0.0005


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@pytest.fixture
def writers() -> tuple[int, int]:
    """How many processes write how many rules each: DECIDER_TEST_WRITERS=8x200 for a thorough run."""
    processes, _, changes = os.environ.get("DECIDER_TEST_WRITERS", "4x25").partition("x")
    return int(processes), int(changes)


def test_close_twice(store_kind: StoreKind) -> None:
    """Closing a store lets go of everything, and may be done twice."""
    store = store_kind.open()
    add(store)
    store.close()
    store.close()
