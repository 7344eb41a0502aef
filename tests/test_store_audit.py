"""The store, whichever it is: the audit log and its chain."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decider.store import AuditEntry, AuditFault, Page, Role
from decider.store.audit import canonical_json, decode_entry, encode_entry, entry_hash
from decider.store.transactional import TransactionalStore
from tests.stores import (
    AT,
    BLOCK,
    FULL,
    LATER,
    AuditRows,
    StoreKind,
    add,
    all_of,
    block,
    replace,
    replace_feed,
)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
        ),
    )
)
def test_canonical_json(value: Any) -> None:
    """The JSON that is hashed is what any JSON library writes, with sorted keys and no blanks."""
    written = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert canonical_json(value) == written.encode()


def test_hash_can_be_recomputed(store: TransactionalStore) -> None:
    """Whoever gets the entries as JSON can follow the chain with nothing but SHA-256."""
    add(store, FULL)
    store.replace_ruleset("feed", [block("ü")], actor="josé", at=LATER)
    listed = json.loads(msgspec.json.encode(store.list_audit().items))
    previous = "0" * 64
    for entry in listed:
        claimed = entry.pop("hash")
        text = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == claimed
        assert entry["previous_hash"] == previous
        previous = claimed


def test_audit_entries(store: TransactionalStore) -> None:
    """Every change leaves one entry that says who did what to which rule, before and after, and why."""
    rule = add(store)
    worse = store.change_rule(rule.id, replace(BLOCK, reason="worse"), actor="bob", at=LATER)
    store.remove_rule(rule.id, actor="cid", at=LATER, reason="mistake")
    found = list(store.iterate_audit())
    stored = [msgspec.to_builtins(each) for each in (rule, worse)]
    assert [
        (e.id, e.at, e.actor, e.action, e.rule, e.ruleset, e.before, e.after, e.reason) for e in found
    ] == [
        (1, AT, "ann", "rule.add", rule.id, "manual", None, stored[0], "malicious"),
        (2, LATER, "bob", "rule.change", rule.id, "manual", stored[0], stored[1], "worse"),
        (3, LATER, "cid", "rule.remove", rule.id, "manual", stored[1], None, "mistake"),
    ]
    assert [entry.previous_hash for entry in found] == ["0" * 64, found[0].hash, found[1].hash]
    assert [entry.hash for entry in found] == [entry_hash(entry) for entry in found]


def test_ruleset_audit_entries(store: TransactionalStore) -> None:
    """A replaced ruleset leaves one entry with counts, and what was added, removed and changed."""
    replace_feed(store, block("a"), block("b"))
    replace_feed(store, block("b", reason="worse"), block("c"))
    store.remove_ruleset("feed", actor="ann", at=AT)
    _, changed, removed = store.iterate_audit()
    common = {"action": "block", "reason": "malicious"}
    assert (changed.action, changed.ruleset, changed.actor) == ("ruleset.replace", "feed", "feed")
    assert changed.before == {
        "removed": [{"id": "r0000001", "project": "a", **common}],
        "changed": [{"id": "r0000002", "project": "b", **common}],
    }
    assert changed.after == {
        "counts": {"added": 1, "removed": 1, "changed": 1, "unchanged": 0},
        "added": [{"id": "r0000003", "project": "c", **common}],
        "changed": [{"id": "r0000002", "project": "b", **common, "reason": "worse"}],
    }
    assert removed.action == "ruleset.remove"
    assert [rule["id"] for rule in removed.before["removed"]] == ["r0000002", "r0000003"]


def test_list_audit(store: TransactionalStore) -> None:
    """The audit log is listed oldest first, by time, actor and rule; rules of a ruleset are found too."""
    rule = add(store)
    replace_feed(store, block("a"), at=LATER)
    store.change_rule("r0000002", block("b"), actor="ann", at=AT)
    store.remove_rule(rule.id, actor="bob", at=LATER)
    one, two, three, four = store.iterate_audit()
    listed: list[tuple[dict[str, Any], tuple[AuditEntry, ...]]] = [
        ({}, (one, two, three, four)),
        ({"since": AT}, (one, two, three, four)),
        ({"since": AT + timedelta(microseconds=1)}, (two, four)),
        ({"since": LATER + timedelta(1)}, ()),
        ({"actor": "ann"}, (one, three)),
        ({"actor": "an"}, ()),
        ({"rule": rule.id}, (one, four)),
        ({"rule": "r0000002"}, (two, three)),
        ({"rule": "r000000"}, ()),
        ({"rule": rule.id, "actor": "bob"}, (four,)),
        ({"rule": "r0000002", "since": LATER}, (two,)),
    ]
    for filters, expected in listed:
        assert store.list_audit(**filters) == Page(expected), filters
        assert tuple(all_of(store.list_audit, limit=1, **filters)) == expected, filters
    assert store.verify_audit() == (4, ())  # though the clock went back


def test_audit_pages_fit_in_memory(store: TransactionalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long entries make short pages; none is left out, and none is too long to be listed."""
    monkeypatch.setattr("decider.store.cursors._MAX_PAGE_BYTES", 100_000)
    for number in range(6):
        store.replace_ruleset("feed", [block(f"{number}-{n}") for n in range(500)], actor="ann", at=AT)
    page = store.list_audit()
    assert 0 < len(page.items) < 6
    assert [entry.id for entry in all_of(store.list_audit)] == [1, 2, 3, 4, 5, 6]


def test_audit_is_walked_in_order(store: TransactionalStore) -> None:
    """However long the log, walking it meets every entry once, oldest first."""
    for number in range(130):
        store.add_token(f"t{number}", Role.READER, f"hash-{number}", actor="ann", at=AT)
    assert [entry.id for entry in store.iterate_audit()] == list(range(1, 131))
    for filters in ({}, {"actor": "ann"}, {"since": AT}):
        assert [entry.id for entry in all_of(store.list_audit, limit=60, **filters)] == list(range(1, 131))
    assert store.verify_audit() == (130, ())


def edited(stored: bytes, *, with_hash: bool = False, **fields: Any) -> bytes:
    entry = replace(decode_entry(stored)[0], **fields)
    return encode_entry(replace(entry, hash=entry_hash(entry)) if with_hash else entry)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (lambda rows: rows, ()),
        (
            lambda rows: [*rows[:1], (2, edited(rows[1][1], actor="nobody")), *rows[2:]],
            (AuditFault(2, "does not match its hash"),),
        ),
        (
            lambda rows: [*rows[:1], (2, edited(rows[1][1], actor="nobody", with_hash=True)), *rows[2:]],
            (AuditFault(3, "does not carry the hash of the entry before"),),
        ),
        (lambda rows: [*rows[:1], *rows[2:]], (AuditFault(2, "is missing"),)),
        (lambda rows: rows[3:], (AuditFault(1, "and all up to 3 are missing"),)),
        (lambda rows: rows[:3], (AuditFault(4, "and all up to 5 are missing"),)),
        (lambda rows: rows[:0], (AuditFault(1, "and all up to 5 are missing"),)),
        (
            lambda rows: [*rows[:4], (5, edited(rows[4][1], reason="harmless", with_hash=True))],
            (AuditFault(5, "is not the entry that was written last"),),
        ),
        (
            lambda rows: [
                *rows,
                (6, edited(rows[4][1], id=6, previous_hash=decode_entry(rows[4][1])[0].hash)),
            ],
            (
                AuditFault(6, "does not match its hash"),
                AuditFault(6, "was not written by decider: the log ends before it"),
            ),
        ),
        (lambda rows: [*rows[:2], (3, b"{"), *rows[3:]], (AuditFault(3, "cannot be read"),)),
        (lambda rows: [*rows[:2], (3, b"\xff"), *rows[3:]], (AuditFault(3, "cannot be read"),)),
        (
            lambda rows: [*rows[:2], (3, rows[1][1]), *rows[3:]],
            (
                AuditFault(3, "says that it is entry 2"),
                AuditFault(3, "does not carry the hash of the entry before"),
                AuditFault(4, "does not carry the hash of the entry before"),
            ),
        ),
    ],
)
def test_verify_audit(
    store: TransactionalStore,
    store_kind: StoreKind,
    change: Callable[[AuditRows], AuditRows],
    faults: tuple[AuditFault, ...],
) -> None:
    """An audit log that was edited, cut or added to behind decider's back shows where."""
    for name in "abcde":
        add(store, block(name))
    rows_left = 0

    def tampered(rows: AuditRows) -> AuditRows:
        nonlocal rows_left
        left = change(rows)
        rows_left = len(left)
        return left

    store_kind.tamper(tampered)
    assert store.verify_audit() == (rows_left, faults)


@pytest.mark.parametrize("what", ["actor", "time", "rule"])
def test_verify_finds_what_listings_leave_out(
    store: TransactionalStore, store_kind: StoreKind, what: str
) -> None:
    """An entry that is whole, but that nobody finds any more who asks for its actor, time or rule, is a fault."""
    for name in "abc":
        add(store, block(name))
    store_kind.misfile(what)
    assert store.verify_audit() == (3, (AuditFault(2, "is filed under another time, actor or rule"),))
