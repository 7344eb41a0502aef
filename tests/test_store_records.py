"""The store, whichever it is: tokens, reviews, first-seen times."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from decider.errors import Conflict, RecordNotFound
from decider.files import ANY_DIGEST
from decider.store import ReviewState, Role
from decider.store.transactional import TransactionalStore
from tests.stores import (
    AT,
    BLOCK,
    FULL,
    LATER,
    StoreKind,
    actions,
    all_of,
    identity,
    replace,
    request,
    start_worker,
)

# -- Tokens


def test_tokens(store: TransactionalStore) -> None:
    """A token is found by the hash of its secret, and listed without it."""
    ci = store.add_token("ci", Role.READER, "hash-1", actor="ann", at=AT)
    ops = store.add_token("ops", Role.ADMIN, "hash-2", actor="ann", at=AT, expires_at=LATER)
    assert (ci.name, ci.role, ci.created_by, ci.created_at, ci.expires_at) == (
        "ci",
        Role.READER,
        "ann",
        AT,
        None,
    )
    assert ops.expires_at == LATER
    assert store.find_token("hash-1") == ci
    assert store.find_token("hash-2") == ops
    assert store.find_token("hash-3") is None
    assert store.find_token("") is None
    assert store.list_tokens() == (ci, ops)


def test_token_conflicts(store: TransactionalStore) -> None:
    """Names in use, secrets in use and names that read as ids are refused."""
    token = store.add_token("ci", Role.READER, "hash-1", actor="ann", at=AT, expires_at=AT)
    for name, secret_hash in (
        ("ci", "hash-2"),
        ("other", "hash-1"),
        (token.id, "hash-2"),
        ("k9999999", "hash-2"),
    ):
        with pytest.raises(Conflict):
            store.add_token(name, Role.READER, secret_hash, actor="ann", at=AT)
    assert store.list_tokens() == (token,)
    assert actions(store) == ["token.add"]


def test_revoke_token(store: TransactionalStore) -> None:
    """A revoked token stays known as such, and its name is free again."""
    first = store.add_token("ci", Role.READER, "hash-1", actor="ann", at=AT)
    revoked = store.revoke_token("ci", actor="bob", at=LATER)
    assert revoked == replace(first, revoked_at=LATER)
    assert store.find_token("hash-1") == revoked
    second = store.add_token("ci", Role.EDITOR, "hash-2", actor="ann", at=LATER)
    assert store.revoke_token(second.id, actor="bob", at=LATER).revoked_at == LATER
    assert store.revoke_token(first.id, actor="bob", at=LATER + timedelta(1)) == revoked
    for name in ("ci", "nobody", "k0000009"):
        with pytest.raises(RecordNotFound, match="no token"):
            store.revoke_token(name, actor="bob", at=LATER)
    assert actions(store) == ["token.add", "token.revoke", "token.add", "token.revoke"]


def test_touch_token(store: TransactionalStore) -> None:
    """A token says when it was last used, to the minute; that is no change that anyone audits."""
    token = store.add_token("ci", Role.READER, "hash-1", actor="ann", at=AT)
    store.touch_token(token.id, at=LATER)
    assert store.list_tokens() == (replace(token, last_used_at=LATER),)
    store.touch_token(token.id, at=LATER + timedelta(seconds=59))
    store.touch_token(token.id, at=LATER - timedelta(hours=1))
    store.touch_token("k9999999", at=LATER)
    assert store.find_token("hash-1") == replace(token, last_used_at=LATER)
    store.touch_token(token.id, at=LATER + timedelta(seconds=60))
    assert store.list_tokens() == (replace(token, last_used_at=LATER + timedelta(seconds=60)),)
    assert store.revoke_token("ci", actor="ann", at=LATER).last_used_at == LATER + timedelta(seconds=60)
    assert actions(store) == ["token.add", "token.revoke"]


def test_secret_hash_stays_out_of_the_audit_log(store: TransactionalStore) -> None:
    """Neither adding nor revoking a token writes its secret's hash where readers can see it."""
    store.add_token("ci", Role.READER, "5ec4e7", actor="ann", at=AT)
    store.revoke_token("ci", actor="ann", at=AT)
    assert b"5ec4e7" not in msgspec.json.encode([*store.iterate_audit(), *store.list_tokens()])


# -- Reviews


def test_request_review(store: TransactionalStore) -> None:
    """The first refused request opens a review; more of them are counted, clients noted once."""
    opened = request(store)
    assert (opened.state, opened.requests, opened.requested_by) == (ReviewState.OPEN, 1, ("10.0.0.1",))
    again = request(store, at=LATER, client="10.0.0.2", count=3)
    early = request(store, at=AT - timedelta(hours=1), client=None)
    assert again == replace(opened, requests=4, requested_by=("10.0.0.1", "10.0.0.2"), last_at=LATER)
    assert early == replace(again, requests=5, first_at=AT - timedelta(hours=1))
    assert store.get_review(opened.id) == early
    assert actions(store) == ["review.open"]


def test_reviews_are_apart(store: TransactionalStore) -> None:
    """Each file, repository and rule has a review of its own."""
    fields = [
        {},
        {"filename": "x.whl"},
        {"repository": "strict"},
        {"rule": "r0000002"},
        {"project": "acme-x"},
    ]
    reviews = [request(store, **each) for each in fields]
    assert len({review.id for review in reviews}) == len(fields)
    assert all_of(store.list_reviews, limit=2) == reviews


def test_review_notes_fifty_clients(store: TransactionalStore) -> None:
    """However many clients ask, a review names the first fifty."""
    for number in range(60):
        review = request(store, client=f"10.0.0.{number}")
    assert review.requests == 60
    assert review.requested_by == tuple(f"10.0.0.{number}" for number in range(50))


def test_list_reviews(store: TransactionalStore) -> None:
    """Reviews are listed oldest first, by state and project."""
    a, b = request(store), request(store, "acme_x-1.0.tar.gz", project="acme-x")
    denied, _ = store.decide_review(a.id, ReviewState.DENIED, BLOCK, reason="no", actor="ann", at=AT)
    assert store.list_reviews().items == (denied, b)
    assert store.list_reviews(state=ReviewState.OPEN).items == (b,)
    assert store.list_reviews(state=ReviewState.DENIED).items == (denied,)
    assert store.list_reviews(state=ReviewState.APPROVED).items == ()
    assert store.list_reviews(project="acme-x").items == (b,)
    assert store.list_reviews(project="acme", state=ReviewState.OPEN).items == ()


@pytest.mark.parametrize(
    ("state", "action"), [(ReviewState.APPROVED, "review.approve"), (ReviewState.DENIED, "review.deny")]
)
def test_decide_review(store: TransactionalStore, state: ReviewState, action: str) -> None:
    """Deciding closes the review and adds its rule at once, both on record."""
    opened = request(store)
    review, rule = store.decide_review(opened.id, state, FULL, reason="checked", actor="ann", at=LATER)
    assert review == replace(opened, state=state, decided_by="ann", decided_at=LATER, reason="checked")
    assert store.get_review(opened.id) == review
    assert store.load_rules() == (1, (rule,))
    assert (rule.ruleset, rule.created_by, rule.lifts) == ("manual", "ann", FULL.lifts)
    assert actions(store) == ["review.open", "rule.add", action]
    last = list(store.iterate_audit())[-1]
    assert (last.rule, last.reason, last.before["state"], last.after["state"]) == (
        rule.id,
        "checked",
        "open",
        state,
    )


def test_decide_review_once(store: TransactionalStore) -> None:
    """A review is decided once, as approved or denied; what is not there cannot be."""
    opened = request(store)
    with pytest.raises(Conflict, match="approved or denied"):
        store.decide_review(opened.id, ReviewState.OPEN, BLOCK, reason="?", actor="ann", at=AT)
    store.decide_review(opened.id, ReviewState.DENIED, BLOCK, reason="no", actor="ann", at=AT)
    with pytest.raises(Conflict, match="is denied already"):
        store.decide_review(opened.id, ReviewState.APPROVED, FULL, reason="yes", actor="bob", at=AT)
    with pytest.raises(RecordNotFound, match="no review `q9`"):
        store.decide_review("q9", ReviewState.DENIED, BLOCK, reason="no", actor="ann", at=AT)
    with pytest.raises(RecordNotFound):
        store.get_review("q9")
    assert store.revision() == 1


def test_review_is_opened_anew(store: TransactionalStore) -> None:
    """Requests count for a decision while its rule is in force; after that somebody is asked again."""
    opened = request(store)
    _, rule = store.decide_review(opened.id, ReviewState.APPROVED, FULL, reason="ok", actor="ann", at=AT)
    late = request(store, at=LATER - timedelta(seconds=1))
    assert (late.id, late.state, late.requests) == (opened.id, ReviewState.APPROVED, 2)
    anew = request(store, at=LATER)
    assert (anew.state, anew.requests) == (ReviewState.OPEN, 1)
    assert anew.id > opened.id
    _, rule = store.decide_review(anew.id, ReviewState.DENIED, BLOCK, reason="no", actor="ann", at=LATER)
    assert request(store, at=LATER).id == anew.id
    store.remove_rule(rule.id, actor="ann", at=LATER)
    assert request(store, at=LATER).id > anew.id


# -- First-seen times


DEMO = [f"demo-1.{number}-py3-none-any.whl" for number in (0, 1)]
GONE = ["demo-1.2.tar.gz", "demo-ü b.zip"]
OLD = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)  #: of the files of `public` and `demo` in old stores
LESS_OLD = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)  #: of the last of them, and of another project's


@pytest.fixture
def old_store(store_kind: StoreKind) -> Iterator[TransactionalStore]:
    """A store that the first decider made, with times by file name."""
    store_kind.make_old()
    with closing(store_kind.open()) as opened:
        yield opened


def test_first_seen(store: TransactionalStore) -> None:
    """The first time stays; files, projects and indexes do not get mixed up."""
    a, b, c, d = (identity(name) for name in ("a.whl", "ü b.whl", "c.whl", "d.whl"))
    store.note_first_seen("public", "acme", [a, b], at=AT)
    store.note_first_seen("public", "acme", [a, c], at=LATER)
    store.note_first_seen("public", "acme-x", [a], at=LATER)
    store.note_first_seen("other:public", "acme", iter([d]), at=LATER)
    store.note_first_seen("public", "none", [], at=LATER)
    assert store.first_seen("public", "acme") == {a: AT, b: AT, c: LATER}
    assert store.first_seen("public", "acme-x") == {a: LATER}
    assert store.first_seen("other:public", "acme") == {d: LATER}
    assert store.first_seen("other", "public:acme") == {}
    assert store.first_seen("public", "none") == {}
    assert actions(store) == []


def test_first_seen_by_digest(store: TransactionalStore) -> None:
    """Files of one name and different digests, or of none, have times of their own."""
    files = [identity("a.whl", digest) for digest in ("sha256:1", "sha256:2", "md5:1", "")]
    times = {file: AT + timedelta(hours=number) for number, file in enumerate(files)}
    for file, at in times.items():
        store.note_first_seen("public", "acme", [file], at=at)
    store.note_first_seen("public", "acme", files, at=AT - timedelta(days=1))
    assert store.first_seen("public", "acme") == times


def test_old_store_keeps_everything(old_store: TransactionalStore) -> None:
    """A store of the first decider is taken over with all that is in it; first-seen times are of names only."""
    revision, rules = old_store.load_rules()
    assert (revision, [(rule.project, rule.younger_than) for rule in rules]) == (
        2,
        [("demo", "7d"), ("evil", None)],
    )
    assert [token.name for token in old_store.list_tokens()] == ["ci"]
    assert [review.filename for review in old_store.list_reviews().items] == [DEMO[1]]
    times = dict.fromkeys((*DEMO, GONE[0]), OLD) | {GONE[1]: LESS_OLD}
    assert old_store.first_seen("public", "demo") == {
        identity(name, ANY_DIGEST): at for name, at in times.items()
    }
    assert old_store.first_seen("a:b", "acme-x") == {identity("acme_x-1.0.tar.gz", ANY_DIGEST): LESS_OLD}
    request(old_store)
    assert old_store.verify_audit() == (5, ())


@pytest.mark.parametrize("digest", ["sha256:1", "md5:1", ""])
def test_old_times_are_settled(old_store: TransactionalStore, store_kind: StoreKind, digest: str) -> None:
    """Times by name are those of the files that are listed first; what comes later under their names is new."""
    listed = [identity(name, digest) for name in DEMO]
    new = identity("demo-2.0.tar.gz", digest)
    old_store.note_first_seen("public", "demo", [*listed, new], at=AT)
    settled = {listed[0]: OLD, listed[1]: OLD, new: AT}
    assert old_store.first_seen("public", "demo") == settled
    late = [identity(name, "sha256:2") for name in (*DEMO, *GONE)]
    old_store.note_first_seen("public", "demo", [*listed, *late], at=LATER)
    settled |= dict.fromkeys(late, LATER)
    assert old_store.first_seen("public", "demo") == settled
    with closing(store_kind.open()) as other:
        assert other.first_seen("public", "demo") == settled
        assert len(other.first_seen("a:b", "acme-x")) == 1


def test_old_times_of_files_that_are_gone(old_store: TransactionalStore) -> None:
    """Where nothing without upload time is listed at the first look, what is uploaded later is new, whatever its name."""
    old_store.note_first_seen("public", "demo", [], at=AT)
    assert old_store.first_seen("public", "demo") == {}


def test_old_times_are_settled_once(old_store: TransactionalStore, store_kind: StoreKind) -> None:
    """Of processes that see other bytes under the same names at the same moment, one gets all the old times."""
    count = 4
    workers = [
        start_worker(store_kind, "note", "public", "demo", f"sha256:{number}", *DEMO)
        for number in range(count)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * count
    times = old_store.first_seen("public", "demo")
    assert len(times) == count * len(DEMO)
    old = [file for file, at in times.items() if at == OLD]
    assert {file.filename for file in old} == set(DEMO)
    assert len({file.digest for file in old}) == 1
