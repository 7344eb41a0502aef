"""Reading, validating and compiling rules."""

import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from decider.errors import InvalidRule
from decider.filenames import FileType
from decider.names import NormalizedName, parse_pattern
from decider.rules import (
    Action,
    Rule,
    RuleDraft,
    Snapshot,
    apply_patch,
    draft_fields,
    format_moment,
    parse_draft,
    parse_duration,
    parse_moment,
)
from tests.samples import AT, DEMO, make_rule

INDEXES = ("internal", "public")
REPOSITORIES = ("default", "mirror")
SHA256 = "0123456789abcdef" * 4


def read(**fields: Any) -> RuleDraft:
    required = {"action": "block", "project": "demo", "reason": "malware"}
    return parse_draft({**required, **fields}, at=AT, indexes=INDEXES, repositories=REPOSITORIES)


def faults_of(fields: object) -> dict[str, str]:
    with pytest.raises(InvalidRule) as caught:
        parse_draft(fields, at=AT, indexes=INDEXES, repositories=REPOSITORIES)
    return {fault.field: fault.detail for fault in caught.value.faults}


def test_draft_minimal() -> None:
    """Action, project and reason make a rule; everything else matches everything."""
    assert read() == RuleDraft(action=Action.BLOCK, project="demo", reason="malware")


def test_draft_full() -> None:
    """Names are normalized, digests lower-case, times in UTC, surrounding blanks gone."""
    draft = read(
        action="allow",
        project="Acme._*",
        reason=" looked at\r\nby \x1b[1méva ",
        versions=" >=1,<2 ",
        filename="acme-*.whl",
        sha256=SHA256.upper(),
        file_type="wheel",
        index="public",
        younger_than="7d",
        uploaded_after="2026-11-01T01:30:00+01:00",
        attested=False,
        repositories=["mirror", "default", "mirror"],
        lifts=["r1", "r2"],
        reference="https://advisories.example/1",
        expires_at=datetime(2026, 12, 1, 5, tzinfo=timezone(timedelta(hours=5))),
        key="feed-1",
    )
    assert draft == RuleDraft(
        action=Action.ALLOW,
        project="acme-*",
        reason="looked at\r\nby \x1b[1méva",
        versions=">=1,<2",
        filename="acme-*.whl",
        sha256=SHA256,
        file_type=FileType.WHEEL,
        index="public",
        younger_than="7d",
        uploaded_after=datetime(2026, 11, 1, 0, 30, tzinfo=UTC),
        attested=False,
        repositories=("mirror", "default"),
        lifts=("r1", "r2"),
        reference="https://advisories.example/1",
        expires_at=datetime(2026, 12, 1, tzinfo=UTC),
        key="feed-1",
    )


def test_draft_all_faults() -> None:
    """Every fault is reported at once, in the order of the fields, unknown fields last."""
    faults = faults_of(
        {
            "colour": "red",
            "action": "blok",
            "project": "demo.",
            "versions": "2.0",
            "sha256": "abc",
            "index": "nowhere",
            "attested": True,
            "repositories": ["default", "attic"],
            "expires_at": "2026-11-22T12:00:00Z",
        }
    )
    assert faults == {
        "action": "must be one of `own`, `block`, `hold`, `yank`, `allow`",
        "project": "`demo.` is no valid project name",
        "reason": "is required",
        "versions": "`2.0` is no PEP 440 specifier set, as in `>=1.0,<2` or `==1.2.3`",
        "sha256": "must be 64 hexadecimal digits",
        "index": "no index `nowhere` is configured",
        "attested": "only `false` can be asked for: files without provenance",
        "repositories": "no repository `attic` is configured",
        "expires_at": "lies in the past",
        "colour": "is no field of a rule",
    }
    assert list(faults)[-1] == "colour"


@pytest.mark.parametrize("fields", [[], "block demo", None, 1])
def test_draft_no_object(fields: object) -> None:
    """What is no object of fields is no rule."""
    assert faults_of(fields) == {"": "a rule must be an object of fields"}


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("action", ["block"], "must be one of"),
        ("action", True, "must be one of"),
        ("project", "", "must not be empty"),
        ("project", "d\u00e9mo", "no valid project name"),
        ("project", "\u212aeras", "no valid project name"),
        ("project", "*demo", "no valid project name"),
        ("project", "-*", "no valid project name or pattern"),
        ("project", ["demo"], "must be text"),
        ("project", "a" * 201, "no valid project name"),
        ("reason", " \n", "must not be empty"),
        ("reason", "x" * 10_001, "is longer than 10000 characters"),
        ("reason", "half \ud83d a character", "is no valid Unicode text"),
        ("reason", 5, "must be text"),
        ("versions", "", "must not be empty"),
        ("versions", ",", "`,` names no version: leave it out to mean all"),
        ("versions", "1.0 or so", "is no PEP 440 specifier set"),
        ("versions", ">=1,<2" * 400, "is longer than 2000 characters"),
        ("filename", "../*.whl", "no file name has a `/`"),
        ("filename", "x" * 256, "is longer than 255 characters"),
        ("filename", "a\x00b", "has control characters"),
        ("sha256", f"{SHA256}0", "must be 64 hexadecimal digits"),
        ("sha256", f"sha256:{SHA256}", "must be 64 hexadecimal digits"),
        ("file_type", "egg", "must be one of `wheel`, `sdist`, `other`"),
        ("index", 1, "must be text"),
        ("younger_than", "7", "is no duration"),
        ("younger_than", "0d", "is not between a second and a hundred years"),
        ("younger_than", "36501d", "is not between a second and a hundred years"),
        ("younger_than", 7, "must be text"),
        ("uploaded_after", "2026-11-01", "is no RFC 3339 time with a zone"),
        ("uploaded_after", "2026-11-01T00:00:00", "is no RFC 3339 time with a zone"),
        ("uploaded_after", "2026-02-30T00:00:00Z", "names no moment of the calendar"),
        ("uploaded_after", "0001-01-01T00:00:00+23:00", "names no moment of the calendar"),
        ("uploaded_after", datetime(2026, 11, 1), "has no zone"),  # noqa: DTZ001 (as TOML gives it)
        ("uploaded_after", 1_700_000_000, "must be text"),
        ("attested", "false", "must be true or false"),
        ("repositories", "default", "must be a list of text"),
        ("repositories", [], "must not be empty"),
        ("repositories", [None], "must be text"),
        ("lifts", ["r1", "r 2"], "`r 2` is no rule id"),
        ("lifts", [f"r{number}" for number in range(1_001)], "has more than 1000 entries"),
        ("final", "yes", "must be true or false"),
        ("final", 1, "must be true or false"),
        ("reference", "x\ny", "has control characters"),
        ("expires_at", "2026-11-22T11:59:59Z", "lies in the past"),
        ("key", "k" * 201, "is longer than 200 characters"),
        ("id", "r1", "is no field of a rule"),
        ("created_by", "me", "is no field of a rule"),
    ],
)
def test_draft_fault(field: str, value: object, detail: str) -> None:
    """A value that a field cannot have is a fault of that field, and of no other."""
    action = "allow" if field == "lifts" else "block"
    faults = faults_of({"action": action, "project": "demo", "reason": "malware", field: value})
    assert list(faults) == [field]
    assert detail in faults[field]


@pytest.mark.parametrize("action", ["own", "block", "hold", "yank", "allow"])
@pytest.mark.parametrize(
    ("field", "value", "fitting"),
    [
        ("extends", ["public"], {"own"}),
        ("lifts", ["r1"], {"allow"}),
        ("final", True, {"block", "hold"}),
        ("final", False, {"own", "block", "hold", "yank", "allow"}),
        ("versions", "<2", {"block", "hold", "yank", "allow"}),
        ("filename", "*", {"block", "hold", "yank", "allow"}),
        ("sha256", SHA256, {"block", "hold", "yank", "allow"}),
        ("file_type", "sdist", {"block", "hold", "yank", "allow"}),
        ("younger_than", "7d", {"block", "hold", "yank", "allow"}),
        ("uploaded_after", "2026-11-01T00:00:00Z", {"block", "hold", "yank", "allow"}),
        ("attested", False, {"block", "hold", "yank", "allow"}),
        ("repositories", ["default"], {"own", "block", "hold", "yank", "allow"}),
        ("expires_at", "2026-12-01T00:00:00Z", {"own", "block", "hold", "yank", "allow"}),
    ],
)
def test_draft_fit(action: str, field: str, value: object, fitting: set[str]) -> None:
    """A field that the action would ignore is refused, so that nobody relies on it."""
    fields = {"action": action, "project": "demo", "reason": "x", "index": "internal", field: value}
    if action in fitting:
        assert getattr(read(**fields), field) is not None
    else:
        assert list(faults_of(fields)) == [field]


def test_draft_own() -> None:
    """An `own` rule names the owner, which it cannot extend by itself."""
    assert faults_of({"action": "own", "project": "acme-*", "reason": "ours"}) == {
        "index": "is required: the index that owns the name"
    }
    fields = {"action": "own", "project": "acme-*", "reason": "ours", "index": "internal"}
    assert faults_of({**fields, "extends": ["public", "internal"]}) == {
        "extends": "names the owner `internal` itself"
    }
    assert read(**fields, extends=["public"]).extends == ("public",)


def test_draft_names_unknown() -> None:
    """Where the configured names are not known they are not checked."""
    fields = {"action": "block", "project": "*", "reason": "x", "index": "any", "repositories": ["some"]}
    draft = parse_draft(fields, at=AT, indexes=None, repositories=None)
    assert (draft.index, draft.repositories) == ("any", ("some",))


def test_draft_fields() -> None:
    """The fields of a draft are JSON values, without defaults, and read back the same."""
    draft = read(
        versions="<2",
        attested=False,
        final=True,
        repositories=["default"],
        uploaded_after="2026-11-01T00:00:00.5Z",
    )
    fields = draft_fields(draft)
    assert fields == {
        "action": "block",
        "project": "demo",
        "reason": "malware",
        "versions": "<2",
        "uploaded_after": "2026-11-01T00:00:00.500000Z",
        "attested": False,
        "repositories": ["default"],
        "final": True,
    }
    assert parse_draft(fields, at=AT, indexes=None, repositories=None) == draft
    assert draft_fields(read()) == {"action": "block", "project": "demo", "reason": "malware"}


def test_draft_fields_of_rule() -> None:
    """What the store keeps of a rule is no part of its draft."""
    assert draft_fields(make_rule(1, "hold")) == {"action": "hold", "project": "demo", "reason": "reason 1"}


def test_patch() -> None:
    """A patch replaces the fields it names, and null removes one (RFC 7396)."""
    draft = read(versions="<2", final=True, reference="CVE-2026-1")
    patched = apply_patch(draft, {"versions": "<3", "final": False, "reference": None, "key": None})
    assert patched == {
        "action": "block",
        "project": "demo",
        "reason": "malware",
        "versions": "<3",
        "final": False,
    }
    assert read(**patched) == read(versions="<3")


def test_patch_required_field() -> None:
    """Removing a required field is a fault, not a default."""
    assert faults_of(apply_patch(read(), {"reason": None})) == {"reason": "is required"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("5m", 300), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600), ("0s", 0)],
)
def test_duration(text: str, seconds: int) -> None:
    """A duration is a whole number and a unit."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 d", "-7d", "1.5d", "7D", "7dd", "7d\n", "\u0667d", "999999999w"]
)
def test_duration_invalid(text: str) -> None:
    """Anything else is no duration."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T12:00:00Z", datetime(2026, 11, 22, 12, tzinfo=UTC)),
        ("2026-11-22t12:00:00z", datetime(2026, 11, 22, 12, tzinfo=UTC)),
        ("2026-11-22 12:00:00.25-05:30", datetime(2026, 11, 22, 17, 30, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_moment(text: str, moment: datetime) -> None:
    """A moment is any RFC 3339 spelling of it."""
    assert parse_moment(text) == moment
    assert parse_moment(format_moment(moment)) == moment


@pytest.mark.parametrize(
    "text", ["2026-W47-7T12:00:00Z", "20261122T120000Z", "2026-11-22T12:00Z", "tomorrow", ""]
)
def test_moment_invalid(text: str) -> None:
    """Other ISO 8601 forms are refused: not everything that reads a rule knows them."""
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_moment(text)


def test_active() -> None:
    """A rule is in force until the moment it expires, and not at that moment."""
    rule = make_rule(1, "block", expires_at=AT)
    assert rule.is_active(AT - timedelta(microseconds=1))
    assert not rule.is_active(AT)
    assert make_rule(1, "block").is_active(AT)


def ids(rules: tuple[Rule, ...]) -> list[str]:
    return [rule.id for rule in rules]


PATTERNS = (
    "*",
    "demo",
    "demo-*",
    "demo*",
    "dem*",
    "d*",
    "demo-x",
    "demo-x-*",
    "demo-x*",
    "demon*",
    "other",
    "demon",
    "de-*",
)


@pytest.mark.parametrize(
    "name", ["demo", "demo-x", "demo-x-y", "demo-xy", "demon", "demon-x", "d", "de", "x", "other"]
)
def test_snapshot_finds(name: str) -> None:
    """The snapshot finds exactly the rules whose pattern matches the name, each once."""
    project = NormalizedName(name)
    rules = [make_rule(number, "block", pattern) for number, pattern in enumerate(PATTERNS, 1)]
    expected = [rule.id for rule in rules if parse_pattern(rule.project).matches(project)]
    assert ids(Snapshot(1, rules).rules_for(project, "default")) == expected
    assert ids(Snapshot(1, reversed(rules)).rules_for(project, "default")) == expected


def test_snapshot_repository() -> None:
    """A rule for named repositories is in force there only."""
    rules = [make_rule(1, "block", repositories=("mirror",)), make_rule(2, "block", "*")]
    snapshot = Snapshot(1, rules)
    assert ids(snapshot.rules_for(DEMO, "mirror")) == ["r1", "r2"]
    assert ids(snapshot.rules_for(DEMO, "default")) == ["r2"]


def test_snapshot_digests() -> None:
    """Rules about every project that name a digest are found by it; without digests they are all there."""
    rules = [
        make_rule(1, "block", "*", sha256="a" * 64),
        make_rule(2, "block", "*", sha256="b" * 64),
        make_rule(3, "block", "*", sha256="a" * 64, versions="<2"),
        make_rule(4, "block", "demo", sha256="b" * 64),
        make_rule(5, "block", "*"),
    ]
    snapshot = Snapshot(1, rules)
    assert ids(snapshot.rules_for(DEMO, "default")) == ["r1", "r2", "r3", "r4", "r5"]
    assert ids(snapshot.rules_for(DEMO, "default", sha256={"a" * 64, "c" * 64})) == ["r1", "r3", "r4", "r5"]
    assert ids(snapshot.rules_for(DEMO, "default", sha256=frozenset())) == ["r4", "r5"]
    assert snapshot.names_digests
    assert not snapshot.updated(2, [], ["r1", "r2", "r3"]).names_digests


def test_snapshot_by_id() -> None:
    """Rules are found by id, too, and counted."""
    rule = make_rule(1, "block")
    snapshot = Snapshot(7, [rule])
    assert (snapshot.revision, len(snapshot), list(snapshot)) == (7, 1, [rule])
    assert snapshot.rule("r1") is rule
    assert snapshot.rule("r2") is None


#: How many rules about other projects there are: a small change of many is made in place, others compile anew.
BESIDES = pytest.mark.parametrize(
    "besides", [[], [make_rule(number, "block", f"besides-{number}") for number in range(1000, 1100)]]
)


@BESIDES
def test_snapshot_own_rules(besides: list[Rule]) -> None:
    """The `own` rules are at hand, oldest first, without the others."""
    rules = [
        make_rule(2, "own", "acme-*", index="internal"),
        make_rule(1, "own", index="internal"),
        make_rule(3, "hold"),
        *besides,
    ]
    snapshot = Snapshot(1, rules)
    assert ids(snapshot.own_rules()) == ["r1", "r2"]
    changed = msgspec.structs.replace(rules[1], action=Action.BLOCK)
    assert ids(snapshot.updated(2, [changed], ["r2"]).own_rules()) == []
    assert ids(snapshot.own_rules()) == ["r1", "r2"]


PROBES = tuple(map(NormalizedName, ("demo", "demo-x", "demon", "other", "zzz")))


def answers(snapshot: Snapshot) -> list[tuple[Rule, ...]]:
    return [
        snapshot.rules_for(name, "default", sha256=digests)
        for name in PROBES
        for digests in (None, {"a" * 64})
    ]


@BESIDES
def test_snapshot_updated(besides: list[Rule]) -> None:
    """An updated snapshot answers as one compiled afresh, and the old one as before."""
    rules = [make_rule(number, "block", pattern) for number, pattern in enumerate(PATTERNS, 1)] + besides
    rules.append(make_rule(99, "block", "*", sha256="a" * 64))
    old = Snapshot(1, rules)
    before = answers(old)
    moved = msgspec.structs.replace(rules[1], project="zzz", revision=100)
    freed = msgspec.structs.replace(rules[-1], sha256=None, revision=101)
    bound = msgspec.structs.replace(rules[0], sha256="a" * 64, revision=102)
    added = make_rule(103, "allow", "demo-and-a-longer-pref*")
    new = old.updated(2, [moved, freed, bound, added], ["r3", "r4", "never-was"])
    kept = {rule.id: rule for rule in [*rules, moved, freed, bound, added] if rule.id not in {"r3", "r4"}}
    assert answers(new) == answers(Snapshot(2, kept.values()))
    assert (new.revision, len(new)) == (2, len(rules) - 1)
    assert set(new) == set(kept.values())
    long_name = NormalizedName("demo-and-a-longer-prefix")
    assert "r103" in ids(new.rules_for(long_name, "default"))
    assert answers(old) == before
    assert old.rule("r103") is None


@BESIDES
def test_snapshot_removed_wins(besides: list[Rule]) -> None:
    """A rule said to be changed and removed at once is gone."""
    rule = make_rule(1, "block")
    assert Snapshot(1, [rule, *besides]).updated(2, [rule], ["r1"]).rule("r1") is None


def test_snapshot_age_order() -> None:
    """Rules come oldest first whatever bucket they are from, by id where they are of one age."""
    same = make_rule(1, "block").created_at
    rules = [
        make_rule(number, "block", pattern, created_at=same)
        for number, pattern in zip((3, 1, 2), ("*", "demo*", "demo"), strict=True)
    ]
    for order in itertools.permutations(rules):
        assert ids(Snapshot(1, order).rules_for(DEMO, "default")) == ["r1", "r2", "r3"]
