"""Moving everything from one store to another."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from decider.errors import Conflict, StoreUnavailable
from decider.files import ANY_DIGEST
from decider.rules import Rule, RuleDraft
from decider.store import ReviewState, Role
from decider.store.migrate import copy_store
from decider.store.transaction import Transaction
from decider.store.transactional import TransactionalStore
from tests.redis_server import RedisServer
from tests.stores import AT, BLOCK, FULL, LATER, OWN, StoreKind, add, block, identity, replace, request

T = TypeVar("T")


@pytest.fixture(params=["sqlite to redis", "redis to sqlite", "sqlite to sqlite"])
def kinds(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path
) -> tuple[StoreKind, StoreKind]:
    redis_server.flush()
    urls = {"sqlite": "sqlite", "redis": redis_server.url}
    source, _, target = request.param.partition(" to ")
    return StoreKind(urls[source], tmp_path / "source"), StoreKind(urls[target], tmp_path / "target")


@pytest.fixture
def source(kinds: tuple[StoreKind, StoreKind]) -> Iterator[TransactionalStore]:
    with closing(kinds[0].open()) as store:
        yield store


@pytest.fixture
def target(kinds: tuple[StoreKind, StoreKind]) -> Iterator[TransactionalStore]:
    with closing(kinds[1].open()) as store:
        yield store


def fill(store: TransactionalStore) -> None:
    """Put something of everything into a store."""
    for draft in (BLOCK, OWN, FULL):
        add(store, draft)
    gone = add(store, ruleset="gone")
    store.remove_rule(gone.id, actor="bob", at=LATER, reason="mistake")
    feed: list[RuleDraft] = [block(f"p{number}", key=str(number)) for number in range(1200)]
    store.replace_ruleset("feed", feed, actor="feed", at=AT)
    store.replace_ruleset("feed", [replace(feed[0], reason="worse"), *feed[2:]], actor="feed", at=LATER)
    store.replace_ruleset("empty", [], actor="feed", at=AT)
    store.add_token("ci", Role.READER, "hash-1", actor="ann", at=AT, expires_at=LATER)
    store.touch_token("k0000001", at=LATER)
    store.revoke_token("ci", actor="ann", at=LATER)
    store.add_token("ci", Role.ADMIN, "hash-2", actor="ann", at=AT)
    review = request(store)
    store.decide_review(
        review.id, ReviewState.APPROVED, replace(FULL, key="x"), reason="ok", actor="ann", at=AT
    )
    request(store, "other.whl", client="10.0.0.9", count=7)
    files = [identity(f"{number}.whl", f"sha256:{number:064x}") for number in range(700)]
    store.note_first_seen("public", "acme", files, at=AT)
    store.note_first_seen("public", "acme", [identity("ü:%.whl"), identity("1.whl", "md5:1")], at=LATER)
    store.note_first_seen("a:b", "acme-x", [identity("1.whl")], at=LATER)


def everything(store: TransactionalStore) -> list[object]:
    return [
        store.load_rules(),
        store.list_rules(at=AT, project="acme", limit=1000),
        store.list_rules(at=AT, ruleset="feed", limit=2000),
        store.list_rulesets(),
        store.list_tokens(),
        [store.find_token(secret_hash) for secret_hash in ("hash-1", "hash-2", "hash-3")],
        store.list_reviews(),
        store.list_reviews(state=ReviewState.OPEN),
        store.first_seen("public", "acme"),
        store.first_seen("a:b", "acme-x"),
        list(store.iterate_audit()),
        store.list_audit(actor="bob"),
        store.list_audit(rule="r0000004"),
        store.list_audit(since=AT + timedelta(seconds=1)),
        store.verify_audit(),
        store.read(lambda tx: (tx.state.revision, tx.state.rule, tx.state.review, tx.state.token)),
    ]


def test_copy_store(source: TransactionalStore, target: TransactionalStore) -> None:
    """Everything arrives: ids, revisions, tokens, reviews, times, and every hash of the audit log."""
    fill(source)
    before = everything(source)
    assert copy_store(source, target) == {
        "rules": 1203,
        "rulesets": 4,
        "tokens": 2,
        "reviews": 2,
        "projects with first-seen times": 2,
        "audit entries": 15,
    }
    assert everything(target) == before
    assert everything(source) == before


def test_copy_of_an_old_store(kinds: tuple[StoreKind, StoreKind], target: TransactionalStore) -> None:
    """First-seen times of which only the file name is known arrive as such, and are settled where they arrive."""
    kinds[0].folder.mkdir(exist_ok=True)
    kinds[0].make_old()
    name = "demo-1.0-py3-none-any.whl"
    with closing(kinds[0].open()) as source:
        copy_store(source, target)
        for index, project in (("public", "demo"), ("a:b", "acme-x")):
            assert target.first_seen(index, project) == source.first_seen(index, project)
    since = target.first_seen("public", "demo")[identity(name, ANY_DIGEST)]
    target.note_first_seen("public", "demo", [identity(name, "sha256:1")], at=AT)
    assert target.first_seen("public", "demo") == {identity(name, "sha256:1"): since}


def test_life_goes_on(source: TransactionalStore, target: TransactionalStore) -> None:
    """The copy is used like the original: counters, reviews and the audit chain go on where they were."""
    fill(source)
    copy_store(source, target)
    revision = source.revision()
    for store in (source, target):
        assert store.changes_since(revision) == (revision, (), frozenset())
        rule = add(store, block("new"))
        assert store.changes_since(revision) == (revision + 1, (rule,), frozenset())
        assert request(store, "other.whl").requests == 8
        assert request(store).state is ReviewState.APPROVED
        store.add_token("new", Role.READER, "hash-3", actor="ann", at=AT)
        store.remove_ruleset("feed", actor="ann", at=AT)
    assert target.changes_since(revision - 1) is None
    assert everything(target) == everything(source)


def test_copy_of_nothing(source: TransactionalStore, target: TransactionalStore) -> None:
    """An empty store is copied too, and nothing is counted."""
    assert set(copy_store(source, target).values()) == {0}
    assert target.load_rules() == (0, ())
    assert add(target).id == "r0000001"


def test_target_in_use(source: TransactionalStore, target: TransactionalStore) -> None:
    """A store that holds anything is not copied to."""
    add(source)
    target.add_token("ci", Role.READER, "hash", actor="ann", at=AT)
    with pytest.raises(Conflict, match="not empty"):
        copy_store(source, target)
    assert target.load_rules() == (0, ())


def test_broken_chain(
    source: TransactionalStore, target: TransactionalStore, kinds: tuple[StoreKind, StoreKind]
) -> None:
    """An audit log with a fault is not carried on in silence: nothing is copied."""
    add(source)
    add(source)
    kinds[0].tamper(lambda rows: rows[1:])
    with pytest.raises(Conflict, match="the audit log to copy has faults: entry 1 is missing"):
        copy_store(source, target)
    assert target.verify_audit() == (0, ())


def test_source_changes(
    source: TransactionalStore,
    target: TransactionalStore,
    kinds: tuple[StoreKind, StoreKind],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever writes to the source while it is copied is noticed, or not part of the copy at all."""
    fill(source)
    before = source.revision()
    write = target.write
    added: list[Rule] = []

    def write_and_disturb(change: Callable[[Transaction], T]) -> T:
        if not added:
            with closing(kinds[0].open()) as other:
                added.append(add(other))
        return write(change)

    monkeypatch.setattr(target, "write", write_and_disturb)
    if kinds[0].url == "sqlite":  # a copy of the moment when it began
        copy_store(source, target)
        assert target.revision() == before
        assert target.verify_audit()[1] == ()
    else:
        with pytest.raises(StoreUnavailable, match="changed while it was copied"):
            copy_store(source, target)
