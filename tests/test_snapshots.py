"""How one process keeps step with the store: at once, without asking too often, and for a while without it."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from decider.errors import StoreUnavailable
from decider.rules import Action, Rule, RuleDraft
from decider.snapshots import LOADING_LAG_S, MAX_LAG_S, RETRY_S, REVISION_CHECK_S, SnapshotKeeper
from decider.store import open_store
from decider.store.sqlite import SqliteStore

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
MAX_POLICY_AGE_S = 3600


class Faulty(SqliteStore):
    """A store that can be away, slow, or without a memory of changes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_away = False
        self.forgets = False
        self.asked = 0
        self.loaded = 0
        self.reached = threading.Semaphore(0)
        self.released = threading.Event()
        self.released.set()
        self.may_load = threading.Event()
        self.may_load.set()

    def _answer(self) -> None:
        self.reached.release()
        assert self.released.wait(10)
        if self.is_away:
            raise StoreUnavailable("the store cannot be reached")

    def revision(self) -> int:
        self.asked += 1
        self._answer()
        return super().revision()

    def changes_since(self, revision: int) -> tuple[int, tuple[Rule, ...], frozenset[str]] | None:
        assert self.may_load.wait(10)
        return None if self.forgets else super().changes_since(revision)

    def load_rules(self) -> tuple[int, tuple[Rule, ...]]:
        self.loaded += 1
        self._answer()
        return super().load_rules()


class Time:
    """Monotonic time, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Faulty]:
    made = Faulty(tmp_path / "decider.sqlite")
    yield made
    made.released.set()
    made.may_load.set()
    made.close()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def keeper(store: Faulty, time: Time) -> SnapshotKeeper:
    return SnapshotKeeper(store, max_policy_age_s=MAX_POLICY_AGE_S, patience_s=30, monotonic=time)


@pytest.fixture
def hasty(store: Faulty, time: Time) -> SnapshotKeeper:
    """One that waits for no load that it need not wait for."""
    return SnapshotKeeper(store, max_policy_age_s=MAX_POLICY_AGE_S, patience_s=0, monotonic=time)


def block(store: SqliteStore, project: str) -> Rule:
    draft = RuleDraft(action=Action.BLOCK, project=project, reason="because")
    return store.add_rule(draft, actor="tester", at=AT)


def projects(keeper: SnapshotKeeper) -> list[str]:
    return sorted(rule.project for rule in keeper.current())


def test_change_is_seen(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """A change is seen by the first decision after the check interval, added, changed or removed."""
    first = block(store, "one")
    assert projects(keeper) == ["one"]
    block(store, "two")
    time.now += 2 * REVISION_CHECK_S
    assert projects(keeper) == ["one", "two"]
    store.remove_rule(first.id, actor="tester", at=AT)
    time.now += 2 * REVISION_CHECK_S
    assert projects(keeper) == ["two"]
    assert store.loaded == 1


def test_change_by_another_process(keeper: SnapshotKeeper, time: Time, tmp_path: Path) -> None:
    """What another process changes is seen as well."""
    assert projects(keeper) == []
    other = open_store("sqlite", path=str(tmp_path))
    other.add_rule(RuleDraft(action=Action.BLOCK, project="one", reason="because"), actor="tester", at=AT)
    other.close()
    time.now += 2 * REVISION_CHECK_S
    assert projects(keeper) == ["one"]


def test_not_asked_for_each_decision(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """Decisions in quick succession ask the store once, and unchanged rules stay the same value."""
    first = keeper.current()
    for _ in range(100):
        assert keeper.current() is first
    assert store.asked == 0
    time.now += 2 * REVISION_CHECK_S
    assert keeper.current() is first
    assert (store.asked, store.loaded) == (1, 1)


def test_everything_is_loaded_where_the_changes_are_not_known(
    store: Faulty, keeper: SnapshotKeeper, time: Time
) -> None:
    """A store that no longer knows what changed since is read as a whole."""
    block(store, "one")
    keeper.current()
    store.forgets = True
    block(store, "two")
    time.now += 2 * REVISION_CHECK_S
    assert projects(keeper) == ["one", "two"]
    assert store.loaded == 2


def test_refresh_sees_what_was_just_changed(store: Faulty, keeper: SnapshotKeeper) -> None:
    """A refresh asks at once."""
    keeper.current()
    block(store, "one")
    assert [rule.project for rule in keeper.refresh()] == ["one"]


def test_refresh_right_after_the_store_came_back(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """A refresh asks although the store was away a moment ago: the change that it is about was acknowledged."""
    keeper.current()
    store.is_away = True
    time.now += 1
    keeper.current()
    assert keeper.is_degraded
    store.is_away = False
    block(store, "one")
    assert [rule.project for rule in keeper.refresh()] == ["one"]
    assert not keeper.is_degraded


def test_store_away(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """While the store is away the last rules go on, and it is asked now and then, not for each decision."""
    block(store, "one")
    keeper.current()
    store.is_away = True
    time.now += 10
    asked = store.asked
    for _ in range(100):
        assert projects(keeper) == ["one"]
        assert keeper.is_degraded
    assert store.asked == asked + 1
    time.now += RETRY_S
    keeper.current()
    assert store.asked == asked + 2


def test_store_comes_back(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """Once the store is back its changes are seen, and nothing is degraded any more."""
    keeper.current()
    store.is_away = True
    time.now += 10
    keeper.current()
    store.is_away = False
    block(store, "one")
    time.now += RETRY_S
    assert projects(keeper) == ["one"]
    assert not keeper.is_degraded


def test_outage_is_logged_once(
    store: Faulty, keeper: SnapshotKeeper, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is two lines in the log, whatever its length."""
    caplog.set_level(logging.WARNING, logger="decider")
    keeper.current()
    store.is_away = True
    for _ in range(10):
        time.now += 10
        keeper.current()
    store.is_away = False
    time.now += 10
    keeper.current()
    assert [record.message for record in caplog.records] == ["store.unavailable", "store.back"]


def test_no_rules_yet(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """Before any rules were loaded nothing is decided; the store is asked again soon."""
    store.is_away = True
    for _ in range(10):
        with pytest.raises(StoreUnavailable, match="no rules were loaded"):
            keeper.current()
    assert store.loaded == 1
    store.is_away = False
    time.now += RETRY_S
    assert projects(keeper) == []


def test_rules_too_old(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """Rules older than max_policy_age decide nothing, until the store is back."""
    keeper.current()
    store.is_away = True
    time.now += MAX_POLICY_AGE_S
    keeper.current()
    time.now += 1
    for ask in (keeper.current, keeper.refresh):
        with pytest.raises(StoreUnavailable, match="too old"):
            ask()
    store.is_away = False
    time.now += RETRY_S
    assert projects(keeper) == []


def test_idle_for_longer_than_max_policy_age(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """Nothing is too old merely because nobody asked: the next request asks the store, and so do those beside it."""
    keeper.current()
    time.now += 10 * MAX_POLICY_AGE_S
    store.released.clear()
    while store.reached.acquire(blocking=False):
        pass
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(keeper.current) for _ in range(4)]
        assert store.reached.acquire(timeout=10)
        store.released.set()
        assert len({id(one.result(10)) for one in waiting}) == 1


def test_nobody_decides_by_rules_of_an_hour_ago(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """While one thread asks the store, another waits rather than decide by rules that may have changed long ago."""
    keeper.current()
    block(store, "one")
    time.now += 1800
    store.released.clear()
    while store.reached.acquire(blocking=False):
        pass
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(projects, keeper)
        assert store.reached.acquire(timeout=10)
        second = threads.submit(projects, keeper)
        with pytest.raises(TimeoutError):
            second.result(0.1)
        store.released.set()
        assert (first.result(10), second.result(10)) == (["one"], ["one"])


def test_slow_store_holds_up_one_thread(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """Rules that were in force a moment ago decide while another thread asks."""
    keeper.current()
    time.now += MAX_LAG_S - 0.01
    store.released.clear()
    while store.reached.acquire(blocking=False):
        pass
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(keeper.current)
        assert store.reached.acquire(timeout=10)
        assert projects(keeper) == []
        store.released.set()
        asking.result(10)


def test_hanging_store_holds_up_one_thread(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """Once the store is known to be away, only the thread that tries it again waits."""
    keeper.current()
    store.is_away = True
    time.now += 10
    keeper.current()
    time.now += RETRY_S
    store.released.clear()
    while store.reached.acquire(blocking=False):
        pass
    with ThreadPoolExecutor(1) as threads:
        trying = threads.submit(keeper.current)
        assert store.reached.acquire(timeout=10)
        assert projects(keeper) == []
        store.released.set()
        trying.result(10)


def test_change_during_the_question(store: Faulty, keeper: SnapshotKeeper, time: Time) -> None:
    """What is acknowledged while the store is being asked is not lost: the answer counts from when it was asked for."""
    keeper.current()
    original = store.revision

    def revision() -> int:
        found = original()
        block(store, "one")
        time.now += 60
        store.revision = original  # type: ignore[method-assign]
        return found

    store.revision = revision  # type: ignore[method-assign]
    time.now += 2 * REVISION_CHECK_S
    assert projects(keeper) == []
    assert projects(keeper) == ["one"]


def test_decisions_go_on_while_rules_are_loaded(store: Faulty, hasty: SnapshotKeeper, time: Time) -> None:
    """While new rules are being loaded the old ones decide, as long as the promise allows; then decisions wait."""
    hasty.current()
    confirmed = time.now
    store.may_load.clear()
    block(store, "one")
    for lag in (2 * REVISION_CHECK_S, MAX_LAG_S + 0.1, LOADING_LAG_S - 0.01):
        time.now = confirmed + lag
        assert projects(hasty) == []
    assert store.asked == 1
    time.now = confirmed + LOADING_LAG_S + 0.01
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(projects, hasty) for _ in range(2)]
        for one in waiting:
            with pytest.raises(TimeoutError):
                one.result(0.1)
        store.may_load.set()
        assert [one.result(10) for one in waiting] == [["one"], ["one"]]


def test_idle_and_then_much_to_load(store: Faulty, hasty: SnapshotKeeper, time: Time) -> None:
    """Whoever comes after an idle hour waits for the rules that were made meanwhile, however long they load."""
    hasty.current()
    block(store, "one")
    store.may_load.clear()
    time.now += 3000
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(projects, hasty)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        store.may_load.set()
        assert waiting.result(10) == ["one"]


def test_catch_up(store: Faulty, hasty: SnapshotKeeper, time: Time) -> None:
    """Catching up ends when what was in the store before it began decides, whatever was being loaded then."""
    hasty.current()
    store.may_load.clear()
    block(store, "one")
    time.now += 2 * REVISION_CHECK_S
    assert projects(hasty) == []
    block(store, "two")
    with ThreadPoolExecutor(1) as threads:
        catching_up = threads.submit(hasty.catch_up)
        with pytest.raises(TimeoutError):
            catching_up.result(0.1)
        store.may_load.set()
        catching_up.result(10)
    assert projects(hasty) == ["one", "two"]


def test_catch_up_without_a_store(store: Faulty, hasty: SnapshotKeeper, time: Time) -> None:
    """Catching up with a store that is away fails nothing: the change that it is about is made."""
    store.is_away = True
    hasty.catch_up()
    assert hasty.is_degraded
    time.now += RETRY_S
    store.is_away = False
    assert projects(hasty) == []


def test_rules_that_cannot_be_compiled(
    store: Faulty, keeper: SnapshotKeeper, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault while loading is as a store that is away: the old rules go on for a while, degraded, and then nothing."""
    keeper.current()
    block(store, "one")

    def changes_since(revision: int) -> None:
        raise ArithmeticError(revision)

    monkeypatch.setattr(store, "changes_since", changes_since)
    time.now += 2 * REVISION_CHECK_S
    assert projects(keeper) == []
    assert keeper.is_degraded
    time.now += MAX_POLICY_AGE_S
    with pytest.raises(StoreUnavailable, match="too old"):
        keeper.current()
