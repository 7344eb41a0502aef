"""Writes that a decision causes: nothing is lost, counted twice, unbounded, or kept from being written by another."""

import fcntl
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from decider.decision import FileDecision, Verdict
from decider.errors import Conflict, RecordNotFound, StoreUnavailable
from decider.files import ProjectPage
from decider.names import NormalizedName
from decider.rules import Action, Rule, RuleDraft
from decider.store import Review
from decider.store.sqlite import SqliteStore
from decider.writes import CLAIMS, PendingWrites, claims, first_seen, reviews
from tests.samples import AT, DEMO, make_file, make_page, make_rule
from tests.stack import eventually
from tests.stores import StoreKind, identity

ACME, OTHER = NormalizedName("acme"), NormalizedName("other")


class Faulty(SqliteStore):
    """A store whose calls fail as a test wants them to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.faults: dict[str, Callable[[], None]] = {}  #: by method: raises, or does something in between

    def fail(self, error: Exception, *methods: str) -> None:
        """Raise it from each of these, until told otherwise."""

        def fault() -> None:
            raise error

        self.faults |= dict.fromkeys(methods, fault)

    def __getattribute__(self, name: str) -> Any:
        fault = (
            None
            if name == "faults"
            else object.__getattribute__(self, "__dict__").get("faults", {}).get(name)
        )
        if fault is not None:
            fault()
        return super().__getattribute__(name)


AWAY = StoreUnavailable("the store cannot be reached")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Faulty]:
    made = Faulty(tmp_path / "decider.sqlite")
    yield made
    made.faults.clear()
    made.close()


class Clock:
    now = AT

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writes(store: Faulty, clock: Clock) -> PendingWrites:
    return PendingWrites(store, clock=clock)


def own(store: SqliteStore, project: str = "demo", **fields: Any) -> Rule:
    draft = RuleDraft(action=Action.OWN, project=project, reason="ours", **{"index": "corp", **fields})
    return store.add_rule(draft, actor="ops", at=AT)


def claimed(store: SqliteStore) -> dict[str, tuple[str | None, tuple[str, ...] | None]]:
    """Project → index and repositories of the claims."""
    try:
        _, rules = store.get_ruleset(CLAIMS)
    except RecordNotFound:
        return {}
    return {rule.project: (rule.index, rule.repositories) for rule in rules if rule.is_active(AT)}


# Claims


def test_claim(store: Faulty, writes: PendingWrites) -> None:
    """A name seen in an internal index becomes that index's, by a rule that says why."""
    writes.claim("internal", [DEMO, ACME])
    writes.flush()
    _, rules = store.get_ruleset(CLAIMS)
    assert [(rule.project, rule.index, rule.action) for rule in rules] == [
        ("demo", "internal", Action.OWN),
        ("acme", "internal", Action.OWN),
    ]
    assert {rule.created_by for rule in rules} == {"decider"}
    assert rules[0].reason == "first seen in index internal"


def test_claims_add_up(store: Faulty, writes: PendingWrites) -> None:
    """Later claims leave earlier ones as they are, and a claim made again changes nothing."""
    writes.claim("internal", [DEMO])
    writes.flush()
    first = store.get_ruleset(CLAIMS)
    writes.claim("internal", [DEMO])
    writes.flush()
    assert store.get_ruleset(CLAIMS) == first
    writes.claim("internal", [ACME])
    writes.flush()
    assert store.get_ruleset(CLAIMS)[1][0] == first[1][0]
    assert claimed(store) == {"demo": ("internal", None), "acme": ("internal", None)}


def test_first_claim_counts(store: Faulty, writes: PendingWrites) -> None:
    """Of two internal indexes that have a name, the one seen first owns it, now and later."""
    writes.claim("internal", [DEMO])
    writes.claim("corp", [DEMO])
    writes.flush()
    writes.claim("corp", [DEMO])
    writes.flush()
    assert claimed(store) == {"demo": ("internal", None)}


def test_claim_of_a_name_owned_by_hand(store: Faulty, writes: PendingWrites) -> None:
    """What an operator said of a name stands, and hinders no claim of another name."""
    own(store)
    writes.claim("internal", [DEMO, ACME])
    writes.flush()
    assert claimed(store) == {"acme": ("internal", None)}


def test_claim_of_a_name_once_owned_by_hand(store: Faulty, writes: PendingWrites, clock: Clock) -> None:
    """An `own` rule that is over keeps nobody from claiming the name."""
    own(store, expires_at=AT + timedelta(days=1))
    clock.now += timedelta(days=2)
    writes.claim("internal", [DEMO])
    writes.flush()
    assert claimed(store) == {"demo": ("internal", None)}


def test_claim_that_was_ended(store: Faulty, writes: PendingWrites, clock: Clock) -> None:
    """A claim that somebody gave an end holds again while the project is there."""
    writes.claim("internal", [DEMO])
    writes.flush()
    (rule,) = store.get_ruleset(CLAIMS)[1]
    draft = RuleDraft(
        action=Action.OWN, project="demo", reason="x", index="internal", key="demo", expires_at=AT
    )
    store.change_rule(rule.id, draft, actor="ops", at=AT)
    clock.now += timedelta(seconds=1)
    assert claimed(store) == {}
    writes.claim("internal", [DEMO])
    writes.flush()
    assert claimed(store) == {"demo": ("internal", None)}


def test_claim_beside_a_rule_for_one_repository(store: Faulty, writes: PendingWrites) -> None:
    """A name that is owned by hand in one repository is claimed in the others, and only there."""
    own(store, repositories=("lab",))
    writes.claim("internal", [DEMO], repositories=["default"])
    writes.claim("internal", [ACME], repositories=["default"])
    writes.flush()
    assert claimed(store) == {"demo": ("internal", ("default",)), "acme": ("internal", ("default",))}
    writes.claim("internal", [DEMO], repositories=["new"])
    writes.claim("internal", [ACME])
    writes.flush()
    assert claimed(store) == {"demo": ("internal", ("default", "new")), "acme": ("internal", None)}


def test_claim_that_contradicts_a_rule_made_meanwhile(store: Faulty, writes: PendingWrites) -> None:
    """A rule made by hand after the claim was queued wins over it."""
    writes.claim("internal", [DEMO, ACME])
    own(store, repositories=("lab",))
    writes.flush()
    assert claimed(store) == {"acme": ("internal", None)}


def test_pending_claim_counts(store: Faulty, writes: PendingWrites) -> None:
    """A claim counts from the moment it is queued, where it is for, until the store has it."""
    store.fail(AWAY, "replace_ruleset")
    writes.claim("internal", [DEMO])
    writes.claim("internal", [ACME], repositories=["default"])
    with pytest.raises(StoreUnavailable):
        writes.flush()
    assert writes.claimant(DEMO, "lab") == "internal"
    assert (writes.claimant(ACME, "default"), writes.claimant(ACME, "lab")) == ("internal", None)
    assert writes.claimant(OTHER, "default") is None
    store.faults.clear()
    writes.flush()
    assert writes.claimant(DEMO, "lab") is None
    assert set(claimed(store)) == {"demo", "acme"}


def test_claims_of_two_machines(store: Faulty, writes: PendingWrites, tmp_path: Path) -> None:
    """Claims made by another machine between reading and writing are not undone: this one tries again."""
    other = SqliteStore(tmp_path / "decider.sqlite")

    def overtake() -> None:
        store.faults.clear()
        PendingWrites(other, clock=lambda: AT).claim("corp", [ACME])
        rival = PendingWrites(other, clock=lambda: AT)
        rival.claim("corp", [ACME])
        rival.flush()

    store.faults["replace_ruleset"] = overtake
    writes.claim("internal", [DEMO])
    with pytest.raises(StoreUnavailable, match="another machine"):
        writes.flush()
    writes.flush()
    assert claimed(store) == {"acme": ("corp", None), "demo": ("internal", None)}
    other.close()


def test_conflicting_claim_is_told(
    store: Faulty, writes: PendingWrites, caplog: pytest.LogCaptureFixture
) -> None:
    """A claim that the store refuses is logged, and stands in no later claim's way."""
    store.fail(Conflict("`demo` is owned by r7"), "replace_ruleset")
    writes.claim("internal", [DEMO])
    writes.flush()
    assert "claims.conflict" in caplog.text
    store.faults.clear()
    writes.claim("internal", [ACME])
    writes.flush()
    assert claimed(store) == {"acme": ("internal", None)}


def test_one_process_claims_at_a_time(store: Faulty, tmp_path: Path) -> None:
    """While another process of the machine writes claims, these wait, and hold up nothing."""
    lock_file = tmp_path / "claims.lock"
    writes = PendingWrites(store, clock=lambda: AT, lock_file=lock_file)
    writes.claim("internal", [DEMO])
    with lock_file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        writes.flush()
        assert claimed(store) == {}
        assert writes.claimant(DEMO, "default") == "internal"
    writes.flush()
    assert claimed(store) == {"demo": ("internal", None)}


def test_claims_are_bounded(store: Faulty, writes: PendingWrites, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of names fills no memory; those left out are claimed when they are seen again."""
    monkeypatch.setattr(claims, "MAX_PENDING", 3)
    names = [NormalizedName(f"p{number}") for number in range(5)]
    writes.claim("internal", names)
    writes.flush()
    assert list(claimed(store)) == names[:3]
    writes.claim("internal", names[3:])
    writes.flush()
    assert list(claimed(store)) == names


def test_many_rules_owned_by_hand(store: Faulty, writes: PendingWrites) -> None:
    """All `own` rules are looked at, however many there are."""
    drafts = [
        RuleDraft(action=Action.OWN, project=f"p{number}", reason="ours", index="corp")
        for number in range(1500)
    ]
    store.replace_ruleset("owned", drafts, actor="ops", at=AT)
    writes.claim("internal", [NormalizedName("p0"), NormalizedName("p1499"), DEMO])
    writes.flush()
    assert list(claimed(store)) == ["demo"]


# Reviews


def held(filename: str = "demo-1.0-py3-none-any.whl") -> FileDecision:
    return FileDecision(
        file=make_file(filename), version="1.0", verdict=Verdict.HOLD, rules=(make_rule(1, "hold"),)
    )


def ask(writes: PendingWrites, *clients: str | None, decision: FileDecision | None = None) -> None:
    for client in clients:
        writes.request_review(decision or held(), project="demo", repository="default", client=client, at=AT)


def found(store: SqliteStore) -> list[Review]:
    return list(store.list_reviews().items)


def test_review(store: Faulty, writes: PendingWrites) -> None:
    """Each request for a held file counts once, under the address that made it."""
    ask(writes, "10.0.0.1", "10.0.0.2", "10.0.0.1", None)
    writes.flush()
    ask(writes, "10.0.0.3")
    writes.flush()
    writes.flush()
    (review,) = found(store)
    assert (review.requests, review.requested_by) == (5, ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    assert (review.project, review.version, review.filename, review.repository, review.rule) == (
        "demo",
        "1.0",
        "demo-1.0-py3-none-any.whl",
        "default",
        "r1",
    )


def test_review_of_nobody(store: Faulty, writes: PendingWrites) -> None:
    """A request whose address is not known counts all the same."""
    ask(writes, None, None)
    writes.flush()
    (review,) = found(store)
    assert (review.requests, review.requested_by) == (2, ())


def test_review_of_many(store: Faulty, writes: PendingWrites) -> None:
    """Of very many clients some are named and all are counted."""
    ask(writes, *(f"10.0.0.{number}" for number in range(reviews.MAX_CLIENTS + 20)))
    writes.flush()
    (review,) = found(store)
    assert (review.requests, len(review.requested_by)) == (reviews.MAX_CLIENTS + 20, reviews.MAX_CLIENTS)


def test_review_while_the_store_is_away(store: Faulty, writes: PendingWrites) -> None:
    """Requests made while the store is away are counted once it is back, together with those since."""
    store.fail(AWAY, "request_review")
    ask(writes, "10.0.0.1")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            writes.flush()
    ask(writes, "10.0.0.2")
    store.faults.clear()
    writes.flush()
    (review,) = found(store)
    assert (review.requests, set(review.requested_by)) == (2, {"10.0.0.1", "10.0.0.2"})


def test_request_during_a_failing_write(store: Faulty, writes: PendingWrites) -> None:
    """A request that comes while the same review is failing to be written loses neither."""

    def fault() -> None:
        ask(writes, "10.0.0.9")
        raise AWAY

    store.faults["request_review"] = fault
    ask(writes, "10.0.0.1", "10.0.0.2")
    with pytest.raises(StoreUnavailable):
        writes.flush()
    store.faults.clear()
    writes.flush()
    (review,) = found(store)
    assert (review.requests, set(review.requested_by)) == (3, {"10.0.0.1", "10.0.0.2", "10.0.0.9"})


def test_store_away_between_two_clients(store: Faulty, writes: PendingWrites) -> None:
    """Where the store goes away amid one review, what it took is not counted again."""
    calls = []

    def fault() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise AWAY

    store.faults["request_review"] = fault
    ask(writes, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    with pytest.raises(StoreUnavailable):
        writes.flush()
    writes.flush()
    (review,) = found(store)
    assert (review.requests, len(review.requested_by)) == (3, 3)


def test_review_that_cannot_be_written(
    store: Faulty, writes: PendingWrites, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that the store can never take is dropped with a log line; the others are written."""

    def fault() -> None:
        store.faults.clear()
        raise ValueError("surrogates not allowed")

    store.faults["request_review"] = fault
    ask(writes, "10.0.0.1", decision=held("demo-1.0.zip"))
    ask(writes, "10.0.0.1")
    writes.flush()
    assert [review.filename for review in found(store)] == ["demo-1.0-py3-none-any.whl"]
    assert "review.dropped" in caplog.text


def test_reviews_are_bounded(
    store: Faulty,
    writes: PendingWrites,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A flood of held files fills no memory: the first are kept and counted on, the rest is told."""
    monkeypatch.setattr(reviews, "MAX_PENDING", 2)
    for number in range(4):
        ask(writes, "10.0.0.1", decision=held(f"demo-1.{number}.zip"))
    ask(writes, "10.0.0.1", decision=held("demo-1.0.zip"))
    writes.flush()
    assert {review.filename: review.requests for review in found(store)} == {
        "demo-1.0.zip": 2,
        "demo-1.1.zip": 1,
    }
    assert caplog.text.count("review.dropped") == 2


# First-seen times


def test_first_seen(store: Faulty, writes: PendingWrites, clock: Clock) -> None:
    """A file without upload time counts from when it was first looked at, however often that happens."""
    page = make_page("demo-1.0.zip", make_file("demo-2.0.zip", upload_time=AT))
    assert writes.first_seen([page]) == {}
    clock.now += timedelta(hours=1)
    assert writes.first_seen([page]) == {}
    writes.flush()
    clock.now += timedelta(hours=1)
    assert writes.first_seen([page]) == {"demo-1.0.zip": AT}
    assert store.first_seen("public", "demo") == {identity("demo-1.0.zip"): AT}


def test_first_seen_of_a_changed_page(writes: PendingWrites, clock: Clock) -> None:
    """A new file on a page counts from now, and the others stay as old as they are."""
    writes.first_seen([make_page("demo-1.0.zip")])
    writes.flush()
    clock.now += timedelta(days=1)
    grown = make_page("demo-1.0.zip", "demo-2.0.zip")
    assert writes.first_seen([grown]) == {"demo-1.0.zip": AT}
    writes.flush()
    assert writes.first_seen([grown]) == {"demo-1.0.zip": AT, "demo-2.0.zip": clock.now}


def test_first_seen_in_two_indexes(writes: PendingWrites, clock: Clock) -> None:
    """Where two indexes list a file name, the time is that of the one whose file is taken."""
    ours, theirs = make_page("demo-1.0.zip", index="internal"), make_page("demo-1.0.zip")
    writes.first_seen([theirs])
    writes.flush()
    clock.now += timedelta(days=1)
    writes.first_seen([ours, theirs])
    writes.flush()
    assert writes.first_seen([ours, theirs]) == {"demo-1.0.zip": clock.now}


def test_first_seen_of_another_upload(writes: PendingWrites, clock: Clock) -> None:
    """Other bytes under the name of an old file are new; the bytes of before, come back, are as old as they were."""
    first, other = (make_page(make_file("demo-1.0.zip", hashes={"sha256": digest})) for digest in "ab")
    for page, expected in ((first, AT), (other, AT + timedelta(days=30)), (first, AT)):
        writes.first_seen([page])
        writes.flush()
        assert writes.first_seen([page]) == {"demo-1.0.zip": expected}
        clock.now = AT + timedelta(days=30)


def test_first_seen_without_digest(writes: PendingWrites, clock: Clock) -> None:
    """A file whose index states no digest goes by its name alone, until the index states one: then it is new."""
    for fields in ({}, {"size": 7}, {"yanked": ""}):
        writes.first_seen([page := make_page(make_file("demo-1.0.zip", **fields))])
        writes.flush()
        assert writes.first_seen([page]) == {"demo-1.0.zip": AT}
        clock.now += timedelta(days=30)
    assert writes.first_seen([make_page(make_file("demo-1.0.zip", hashes={"md5": "0"}))]) == {}


def test_first_seen_of_a_file_that_another_hides(writes: PendingWrites, clock: Clock) -> None:
    """A new file does not get the time of the old one of its name in an index that comes after."""
    theirs = make_page("demo-1.0.zip", "demo-1.1.zip")
    writes.first_seen([theirs])
    writes.flush()
    clock.now += timedelta(days=1)
    for ours in (
        make_page("demo-1.0.zip", index="internal"),
        make_page(make_file("demo-1.0.zip", upload_time=AT), index="internal"),
    ):
        assert writes.first_seen([ours, theirs]) == {"demo-1.1.zip": AT}


@pytest.fixture
def old_store(tmp_path: Path) -> Iterator[Faulty]:
    """A store with times of the first decider, by file name."""
    (tmp_path / "old").mkdir()
    StoreKind("sqlite", tmp_path / "old").make_old()
    made = Faulty(tmp_path / "old" / "decider.sqlite")
    yield made
    made.faults.clear()
    made.close()


OLD_NAME = "demo-1.0-py3-none-any.whl"


def old_page(digest: str, *others: str) -> ProjectPage:
    return make_page(make_file(OLD_NAME, hashes={"sha256": digest}), *others)


def test_first_seen_by_an_older_decider(old_store: Faulty, clock: Clock) -> None:
    """What is listed at the first look after the upgrade is as old as it was, at once; what replaces it then is new."""
    writes, elsewhere = (PendingWrites(old_store, clock=clock) for _ in range(2))
    assert writes.first_seen([old_page("a", "demo-9.zip")]).keys() == {OLD_NAME, "demo-9.zip"}
    assert writes.lengths["first_seen"] == 0
    assert elsewhere.first_seen([old_page("b")]) == {}
    assert elsewhere.first_seen([old_page("a")])[OLD_NAME] < AT - timedelta(days=365)


def test_first_seen_by_an_older_decider_on_an_emptied_page(old_store: Faulty, clock: Clock) -> None:
    """What was not listed at the first look after the upgrade is new when it comes back."""
    writes = PendingWrites(old_store, clock=clock)
    assert writes.first_seen([make_page()]) == {}
    assert writes.first_seen([old_page("a")]) == {}


@pytest.mark.parametrize("method", ["note_first_seen", "first_seen"])
def test_first_seen_by_an_older_decider_while_the_store_is_away(
    old_store: Faulty, clock: Clock, method: str
) -> None:
    """Until the store has settled what its old times are of they are nobody's, and every file is new."""
    writes = PendingWrites(old_store, clock=clock)
    old_store.fail(AWAY, method)
    assert writes.first_seen([old_page("a")]) == {}
    old_store.faults.clear()
    assert writes.first_seen([old_page("b")]).keys() == {OLD_NAME}
    assert writes.first_seen([old_page("a")]) == {}


def test_first_seen_is_remembered(store: Faulty, writes: PendingWrites) -> None:
    """Once all files of a page have a time the store is not asked again for that page."""
    page = make_page("demo-1.0.zip")
    writes.first_seen([page])
    writes.flush()
    writes.first_seen([page])
    store.fail(AWAY, "first_seen")
    assert writes.first_seen([page]) == {"demo-1.0.zip": AT}
    assert writes.first_seen([make_page("demo-1.0.zip", "demo-2.0.zip")]) == {}


def test_first_seen_while_the_store_is_away(store: Faulty, writes: PendingWrites, clock: Clock) -> None:
    """A sight that cannot be written now is written later, with the time that it had."""
    page = make_page("demo-1.0.zip")
    writes.first_seen([page])
    store.fail(AWAY, "note_first_seen")
    clock.now += timedelta(hours=1)
    with pytest.raises(StoreUnavailable):
        writes.flush()
    store.faults.clear()
    writes.flush()
    assert writes.first_seen([page]) == {"demo-1.0.zip": AT}


def test_first_seen_that_cannot_be_written(
    store: Faulty, writes: PendingWrites, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that the store can never take keeps no other from being written."""

    def fault() -> None:
        store.faults.clear()
        raise ValueError("surrogates not allowed")

    store.faults["note_first_seen"] = fault
    writes.first_seen([make_page("demo-1.0.zip")])
    writes.first_seen([make_page("acme-1.0.zip", project=ACME)])
    ask(writes, "10.0.0.1")
    writes.flush()
    assert store.first_seen("public", "acme") == {identity("acme-1.0.zip"): AT}
    assert len(found(store)) == 1
    assert "first_seen.dropped" in caplog.text


def test_first_seen_is_bounded(store: Faulty, writes: PendingWrites, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages with very many undated files fill no memory, neither before they are written nor after."""
    monkeypatch.setattr(first_seen, "MAX_FILES", 10)
    pages = [
        make_page(
            *(f"p{number}-{version}.0.zip" for version in range(6)), project=NormalizedName(f"p{number}")
        )
        for number in range(4)
    ]
    for page in pages:
        writes.first_seen([page])
    queue = writes._first_seen
    assert (len(queue._unseen), queue._unseen_files) == (2, 12)
    writes.flush()
    assert (queue._unseen, queue._unseen_files) == ({}, 0)
    for _ in range(2):
        for page in pages:
            writes.first_seen([page])
        writes.flush()
    assert (list(queue._seen), queue._seen_files) == ([("public", "p3")], 7)
    assert len(store.first_seen("public", "p3")) == 6


# The thread


@pytest.fixture
def running(writes: PendingWrites, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Start the thread; it has to end when it is told to."""
    monkeypatch.setattr("decider.writes.queues.IDLE_S", 0.01)
    monkeypatch.setattr("decider.writes.queues.RETRY_S", 0.01)
    stopping = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        started = []

        def start(periodic: Callable[[], None] | None = None) -> None:
            started.append(threads.submit(writes.run, stopping, periodic=periodic))

        try:
            yield start
        finally:
            stopping.set()
        for one in started:
            one.result(10)


def test_thread_writes(store: Faulty, writes: PendingWrites, running: Callable[..., None]) -> None:
    """What is queued is written without anybody waiting for it."""
    running()
    ask(writes, "10.0.0.1")
    writes.claim("internal", [DEMO])
    eventually(lambda: found(store) and claimed(store), within_s=10)


def test_thread_outlives_everything(
    store: Faulty,
    writes: PendingWrites,
    running: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever goes wrong with one kind of writes, the others are written, and it is told once as long as it lasts."""
    looked: list[int] = []

    def look() -> None:
        looked.append(1)
        raise OSError("the directory is not mounted")

    caplog.set_level(logging.WARNING, logger="decider")
    store.fail(RuntimeError("a bug"), "get_ruleset")
    running(look)
    writes.claim("internal", [DEMO])
    ask(writes, "10.0.0.1")
    eventually(lambda: found(store), within_s=10)
    eventually(lambda: len(looked) > 5, within_s=10)
    assert caplog.text.count("write.delayed") == 2
    store.faults.clear()
    eventually(lambda: claimed(store), within_s=10)
