"""The store, whichever it is: tokens, reviews, first-seen times."""

from datetime import timedelta

import msgspec
import pytest

from decider.errors import Conflict, RecordNotFound
from decider.store import ReviewState, Role
from decider.store.transactional import TransactionalStore
from tests.stores import AT, BLOCK, FULL, LATER, actions, all_of, replace, request

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


def test_first_seen(store: TransactionalStore) -> None:
    """The first time stays; files, projects and indexes do not get mixed up."""
    store.note_first_seen("public", "acme", ["a.whl", "ü b.whl"], at=AT)
    store.note_first_seen("public", "acme", ["a.whl", "c.whl"], at=LATER)
    store.note_first_seen("public", "acme-x", ["a.whl"], at=LATER)
    store.note_first_seen("other:public", "acme", iter(["d.whl"]), at=LATER)
    store.note_first_seen("public", "none", [], at=LATER)
    assert store.first_seen("public", "acme") == {"a.whl": AT, "ü b.whl": AT, "c.whl": LATER}
    assert store.first_seen("public", "acme-x") == {"a.whl": LATER}
    assert store.first_seen("other:public", "acme") == {"d.whl": LATER}
    assert store.first_seen("other", "public:acme") == {}
    assert store.first_seen("public", "none") == {}
    assert actions(store) == []
