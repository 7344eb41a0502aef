"""The store, whichever it is: rules, who owns a name, listings."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from decider.errors import Conflict, InvalidRequest, PreconditionFailed, RecordNotFound
from decider.rules import Action, Rule, RuleDraft
from decider.store import Page, ReviewState, Role
from decider.store.transactional import TransactionalStore
from tests.stores import AT, BLOCK, FULL, LATER, OWN, actions, add, all_of, block, identity, replace, request

# -- Rules


def test_empty(store: TransactionalStore) -> None:
    """A new store is at revision 0, has nothing, and says so."""
    assert store.revision() == 0
    assert store.load_rules() == (0, ())
    assert store.changes_since(0) == (0, (), frozenset())
    assert store.list_rules(at=AT) == Page(())
    assert store.list_rulesets() == Page(())
    assert store.list_tokens() == ()
    assert store.list_reviews() == Page(())
    assert store.list_audit() == Page(())
    assert store.verify_audit() == (0, ())
    assert store.durability_fault() is None
    store.ping()


@pytest.mark.parametrize("draft", [BLOCK, OWN, FULL])
def test_add_rule(store: TransactionalStore, draft: RuleDraft) -> None:
    """An added rule says what its draft said, and who added it, when, at which revision."""
    rule = add(store, draft, ruleset="feed")
    fields = {name: getattr(draft, name) for name in RuleDraft.__struct_fields__}
    kept = Rule(
        **fields,
        id="r0000001",
        ruleset="feed",
        created_by="ann",
        created_at=AT,
        updated_by="ann",
        updated_at=AT,
        revision=1,
    )
    assert rule == kept
    assert store.get_rule("r0000001") == rule
    assert store.load_rules() == (1, (rule,))


def test_revision_counts_changes(store: TransactionalStore) -> None:
    """Every change of rules raises the revision by one; nothing else does."""
    rule = add(store)
    assert store.revision() == 1
    store.change_rule(rule.id, replace(BLOCK, reason="worse"), actor="ann", at=AT)
    assert store.revision() == 2
    store.remove_rule(rule.id, actor="ann", at=AT)
    assert store.revision() == 3
    store.replace_ruleset("feed", [block("a"), block("b")], actor="ann", at=AT)
    assert store.revision() == 4
    store.remove_ruleset("feed", actor="ann", at=AT)
    assert store.revision() == 5
    store.add_token("ci", Role.READER, "hash", actor="ann", at=AT)
    request(store)
    store.note_first_seen("public", "acme", [identity("acme-1.0.tar.gz")], at=AT)
    assert store.revision() == 5


def test_ids_are_never_reused(store: TransactionalStore) -> None:
    """The id of a removed rule is not given again."""
    first = add(store)
    store.remove_rule(first.id, actor="ann", at=AT)
    assert add(store).id == "r0000002"
    store.remove_ruleset("manual", actor="ann", at=AT)
    assert add(store).id == "r0000003"


def test_ids_go_on_after_the_letter_is_used_up(store: TransactionalStore) -> None:
    """After r9999999 comes s0000000, and listings keep the order of age."""
    store.write(lambda tx: tx.state.take_numbers("rule", 9_999_998))
    rules = (add(store), add(store), add(store))
    assert [rule.id for rule in rules] == ["r9999999", "s0000000", "s0000001"]
    assert store.load_rules() == (3, rules)
    assert tuple(all_of(store.list_rules, at=AT, limit=1)) == rules


def test_get_rule_unknown(store: TransactionalStore) -> None:
    """A rule that is not there is not found, by whatever id."""
    for rule_id in ("r0000001", "", "r", "' OR 1=1 --", "\x00"):
        with pytest.raises(RecordNotFound, match="no rule"):
            store.get_rule(rule_id)


def test_change_rule(store: TransactionalStore) -> None:
    """A changed rule keeps its id, ruleset and origin, and says who changed it when."""
    before = add(store, ruleset="feed")
    after = store.change_rule(before.id, FULL, actor="bob", at=LATER, if_revision=1)
    fields = {name: getattr(FULL, name) for name in RuleDraft.__struct_fields__}
    assert after == replace(before, **fields, updated_by="bob", updated_at=LATER, revision=2)
    assert store.load_rules() == (2, (after,))
    assert store.list_rules(at=AT, project="acme").items == ()
    assert store.list_rules(at=AT, project="acme*").items == (after,)
    assert store.list_rules(at=AT, action=Action.BLOCK).items == ()
    assert store.list_rules(at=AT, action=Action.ALLOW).items == (after,)


def test_change_rule_to_the_same(store: TransactionalStore) -> None:
    """A change that changes nothing leaves rule, revision and audit log as they are."""
    rule = add(store)
    assert store.change_rule(rule.id, BLOCK, actor="bob", at=LATER) == rule
    assert store.revision() == 1
    assert actions(store) == ["rule.add"]


def test_if_revision(store: TransactionalStore) -> None:
    """A change meant for another state of the rule is refused, and changes nothing."""
    rule = add(store)
    with pytest.raises(PreconditionFailed, match="at revision 1, not 7"):
        store.change_rule(rule.id, FULL, actor="bob", at=AT, if_revision=7)
    with pytest.raises(PreconditionFailed):
        store.remove_rule(rule.id, actor="bob", at=AT, if_revision=0)
    with pytest.raises(RecordNotFound):
        store.remove_rule("r9", actor="bob", at=AT, if_revision=1)
    assert store.load_rules() == (1, (rule,))
    assert actions(store) == ["rule.add"]
    store.remove_rule(rule.id, actor="bob", at=AT, if_revision=1)
    assert store.load_rules() == (2, ())


def test_changes_since(store: TransactionalStore) -> None:
    """What changed since a revision: rules added and changed, ids removed, each once."""
    kept, changed, removed = (add(store, block(name)) for name in ("a", "b", "c"))
    changed = store.change_rule(changed.id, FULL, actor="ann", at=AT)
    store.remove_rule(removed.id, actor="ann", at=AT)
    gone = frozenset({removed.id})
    assert store.changes_since(0) == (5, (kept, changed), gone)
    assert store.changes_since(3) == (5, (changed,), gone)
    assert store.changes_since(4) == (5, (), gone)
    assert store.changes_since(5) == (5, (), frozenset())
    assert store.changes_since(6) is None
    assert store.changes_since(-1) is None


def forget_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for kind in ("sqlite", "redis"):
        monkeypatch.setattr(f"decider.store.{kind}_transaction.MAX_TOMBSTONES", count)


def test_changes_since_too_long_ago(store: TransactionalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for what changed before removals were forgotten is told to load all."""
    forget_after(monkeypatch, 3)
    for number in range(8):
        store.remove_rule(add(store, block(f"p{number}")).id, actor="ann", at=AT)
    assert store.changes_since(0) is None
    assert store.changes_since(15) == (16, (), frozenset({"r0000008"}))
    store.replace_ruleset("feed", [block(f"p{number}") for number in range(4)], actor="ann", at=AT)
    assert store.changes_since(16) is not None
    store.remove_ruleset("feed", actor="ann", at=AT)
    assert store.changes_since(17) is None
    assert store.changes_since(18) == (18, (), frozenset())


def test_changes_add_up(store: TransactionalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following the changes from any revision on leads to the same rules as loading all of them."""
    forget_after(monkeypatch, 6)
    chance = random.Random(20261122)
    known: list[tuple[int, dict[str, Rule]]] = []
    told_to_load = 0
    for number in range(60):
        revision, rules = store.load_rules()
        known.append((revision, {rule.id: rule for rule in rules}))
        kind = chance.choice(["add", "add", "change", "remove", "replace"])
        rule_id = chance.choice(rules).id if rules else ""
        if kind == "change" and rules:
            store.change_rule(rule_id, block(f"changed-{number}"), actor="ann", at=AT)
        elif kind == "remove" and rules:
            store.remove_rule(rule_id, actor="ann", at=AT)
        elif kind == "replace":
            names = chance.sample(range(20), chance.randrange(12))
            store.replace_ruleset("feed", [block(f"feed-{name}") for name in names], actor="ann", at=AT)
        else:
            add(store, block(f"added-{number}"))
    present, rules = store.load_rules()
    for revision, then in known:
        changes = store.changes_since(revision)
        if changes is None:
            told_to_load += 1
            continue
        now, changed, removed = changes
        merged = {**then, **{rule.id: rule for rule in changed}}
        assert now == present
        assert removed <= merged.keys() | removed
        assert {rule_id: rule for rule_id, rule in merged.items() if rule_id not in removed} == {
            rule.id: rule for rule in rules
        }
    assert 0 < told_to_load < len(known)


# -- Ownership


@pytest.mark.parametrize(
    ("fields", "is_conflict"),
    [
        ({"index": "public"}, True),
        ({"index": "public", "reason": "another"}, True),
        ({"index": "public", "repositories": ("default",)}, True),
        ({"index": "internal"}, False),
        ({"index": "public", "project": "acme"}, False),
        ({"index": "public", "expires_at": AT}, False),
        ({"index": "public", "expires_at": LATER}, True),
        ({"index": "public", "action": Action.BLOCK}, False),
    ],
)
def test_ownership_conflicts(store: TransactionalStore, fields: dict[str, Any], is_conflict: bool) -> None:
    """Two active owners of one pattern are refused, whichever way the second one comes; nothing is changed then."""
    add(store, OWN)
    other = add(store, block("other"))
    review = request(store)
    draft = replace(OWN, **fields)
    ways: list[Callable[[], object]] = [
        lambda: add(store, draft),
        lambda: store.change_rule(other.id, draft, actor="ann", at=AT),
        lambda: store.replace_ruleset("feed", [BLOCK, draft], actor="ann", at=AT),
        lambda: store.decide_review(review.id, ReviewState.DENIED, draft, reason="no", actor="ann", at=AT),
    ]
    if not is_conflict:
        for way in ways:
            way()
        return
    before = (store.load_rules(), store.get_review(review.id), actions(store))
    for way in ways:
        with pytest.raises(Conflict, match=r"`acme-\*` is owned by index `internal` \(rule `r0000001`\)"):
            way()
    assert (store.load_rules(), store.get_review(review.id), actions(store)) == before


def test_ownership_by_repository(store: TransactionalStore) -> None:
    """Two indexes may own a name in repositories that do not overlap."""
    add(store, replace(OWN, repositories=("one", "two")))
    add(store, replace(OWN, repositories=("three",), index="public"))
    with pytest.raises(Conflict):
        add(store, replace(OWN, repositories=("four", "two"), index="public"))


def test_ownership_of_oneself(store: TransactionalStore) -> None:
    """A rule does not stand in its own way: an owner can be changed, alone or with its ruleset."""
    rule = add(store, OWN)
    changed = store.change_rule(rule.id, replace(OWN, index="public"), actor="ann", at=AT)
    assert changed.index == "public"
    store.replace_ruleset("manual", [OWN], actor="ann", at=AT)
    assert [rule.index for rule in store.load_rules()[1]] == ["internal"]


def test_ownership_inside_a_ruleset(store: TransactionalStore) -> None:
    """Drafts of one ruleset may not contradict each other."""
    with pytest.raises(Conflict, match="is owned by index `internal`"):
        store.replace_ruleset("feed", [OWN, replace(OWN, index="public")], actor="ann", at=AT)
    assert store.list_rulesets() == Page(())


def test_expired_owner_gives_way(store: TransactionalStore) -> None:
    """A rule that has expired owns nothing any more."""
    add(store, replace(OWN, expires_at=LATER))
    with pytest.raises(Conflict):
        add(store, replace(OWN, index="public"), at=LATER - timedelta(microseconds=1))
    add(store, replace(OWN, index="public"), at=LATER)


# -- Listings


def test_list_rules_filters(store: TransactionalStore) -> None:
    """Listings hold what all their filters let through, oldest first."""
    a = add(store, block("acme"))
    b = add(store, block("acme-*"), ruleset="feed")
    c = add(store, replace(FULL, project="acme"), ruleset="feed")
    d = add(store, OWN)
    listed: list[tuple[dict[str, Any], tuple[Rule, ...]]] = [
        ({}, (a, b, c, d)),
        ({"project": "acme"}, (a, c)),
        ({"project": "acme-*"}, (b, d)),
        ({"project": "acm"}, ()),
        ({"action": Action.BLOCK}, (a, b)),
        ({"action": Action.YANK}, ()),
        ({"ruleset": "feed"}, (b, c)),
        ({"ruleset": "fee"}, ()),
        ({"project": "acme", "action": Action.BLOCK}, (a,)),
        ({"project": "acme", "ruleset": "feed", "action": Action.ALLOW}, (c,)),
        ({"active": True}, (a, b, c, d)),
        ({"active": False}, ()),
    ]
    for filters, expected in listed:
        assert store.list_rules(at=AT, **filters) == Page(expected), filters
    assert store.list_rules(at=LATER, active=True).items == (a, b, d)
    assert store.list_rules(at=LATER, active=False).items == (c,)
    assert store.list_rules(at=LATER).items == (a, b, c, d)


def test_names_do_not_run_into_each_other(store: TransactionalStore) -> None:
    """A ruleset whose name begins with another's, blanks and all, keeps its rules to itself."""
    names = ["a", "a b", "a%20b", "a=", "ä", "a\x00"]
    rules = {name: add(store, block(f"p{number}"), ruleset=name) for number, name in enumerate(names)}
    for name, rule in rules.items():
        assert store.list_rules(at=AT, ruleset=name).items == (rule,)
        assert store.get_ruleset(name)[1] == (rule,)


def test_paging(store: TransactionalStore) -> None:
    """Pages follow each other without gap or repetition, and the last one says that it is the last."""
    rules = store.replace_ruleset("feed", [block(f"p{n}") for n in range(7)], actor="ann", at=AT).added_rules
    first = store.list_rules(at=AT, limit=3)
    assert first.items == rules[:3]
    second = store.list_rules(at=AT, limit=4, cursor=first.next)
    assert second == Page(rules[3:], None)
    assert store.list_rules(at=AT, limit=7) == Page(rules, None)
    assert all_of(store.list_rules, at=AT, limit=1, action=Action.BLOCK, ruleset="feed") == list(rules)


def test_paging_while_others_write(store: TransactionalStore) -> None:
    """What was there all along is listed once, whatever comes and goes between two pages."""
    rules = store.replace_ruleset("feed", [block(f"p{n}") for n in range(6)], actor="ann", at=AT).added_rules
    first = store.list_rules(at=AT, limit=3)
    for gone in (rules[0], rules[2], rules[4]):  # the last item of the page among them
        store.remove_rule(gone.id, actor="ann", at=AT)
    new = add(store)
    assert store.list_rules(at=AT, limit=3, cursor=first.next).items == (rules[3], rules[5], new)


def test_cursors_are_not_made_up(store: TransactionalStore) -> None:
    """A cursor that this listing did not give is refused, not guessed at."""
    for number in range(3):
        add(store, ruleset=f"feed-{number}")
        request(store, f"acme-{number}.tar.gz")
    listings: list[Callable[..., Page[Any]]] = [
        lambda **arguments: store.list_rules(at=AT, **arguments),
        store.list_rulesets,
        store.list_reviews,
        store.list_audit,
    ]
    cursors = [listing(limit=1).next for listing in listings]
    for number, listing in enumerate(listings):
        own = cursors[number]
        assert own is not None
        foreign = [cursor for cursor in cursors if cursor != own]
        for cursor in [
            "",
            "x",
            "r0000001",
            "é",
            "%00",
            own[:-1],
            own + "A",
            own[::-1],
            own.swapcase(),
            *foreign,
        ]:
            with pytest.raises(InvalidRequest, match="cursor"):
                listing(cursor=cursor)
        with pytest.raises(InvalidRequest, match="limit"):
            listing(limit=0)
