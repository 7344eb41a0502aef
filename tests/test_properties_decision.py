"""What holds of decisions whatever the rules, the files and the hour."""

import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from decider.decision import (
    Verdict,
    decide_one,
    decide_page,
    list_page,
    owner_rule,
    page_fingerprint,
    release_pages,
)
from decider.filenames import FileType
from decider.files import DistributionFile, ProjectPage, ProjectStatus
from decider.names import NormalizedName, ProjectPattern, parse_pattern
from decider.pages import render_project_json
from decider.rules import Action, Rule, Snapshot, draft_fields, parse_draft
from tests.samples import AT, make_file, make_page, make_rule

PROJECT = NormalizedName("demo-kit")
FILENAMES = (
    "demo_kit-1.0-py3-none-any.whl",
    "demo_kit-1.0.tar.gz",
    "demo_kit-2.0rc1.tar.gz",
    "demo_kit-2.0-py3-none-any.whl",
    "demo-kit-2.0-1.zip",
    "demo-kit-legacy.zip",
    "other-2.0-py3-none-any.whl",
    "demo_kit-2.0-py2.7.egg",
)
PATTERNS = ("demo-kit", "demo-*", "demo*", "demo-k*", "demo-kit-*", "*", "demo-kit-2", "dome-*")
SPELLINGS = {"demo-kit": "Demo__Kit", "demo-*": "DEMO._*", "demo*": "Demo*", "demo-k*": "demo.K*", "*": "*"}
DIGESTS = ("a" * 64, "b" * 64)
SEVERITY = (Verdict.ALLOW, Verdict.YANK, Verdict.HOLD, Verdict.BLOCK)

moments = st.integers(-12, 12).map(lambda count: AT + timedelta(hours=12 * count))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def rules(draw: st.DrawFn, number: int, actions: Sequence[Action] = tuple(Action)) -> Rule:
    action = draw(st.sampled_from(actions))
    fields: dict[str, Any] = {
        "index": draw(maybe(st.sampled_from(("public", "internal")))),
        "repositories": draw(maybe(st.sampled_from((("default",), ("mirror",))))),
        "expires_at": draw(maybe(moments)),
    }
    if action is Action.OWN:
        fields |= {
            "index": draw(st.sampled_from(("public", "internal"))),
            "extends": draw(maybe(st.just(("partner",)))),
        }
    else:
        fields |= draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "versions": st.sampled_from(("<2", ">=2.0a0", "==1.0", "!=2.0", "===1.0")),
                    "filename": st.sampled_from(("demo_kit-*", "*.whl", "*-[!1]*", "DEMO*")),
                    "sha256": st.sampled_from(DIGESTS),
                    "file_type": st.sampled_from(FileType),
                    "younger_than": st.sampled_from(("1d", "36h", "5d")),
                    "uploaded_after": moments,
                    "attested": st.just(False),
                },
            )
        )
    if action in {Action.BLOCK, Action.HOLD}:
        fields["final"] = draw(st.booleans())
    if action is Action.ALLOW:
        fields["lifts"] = draw(
            maybe(st.sets(st.integers(0, 7), min_size=1).map(lambda ns: tuple(f"r{n}" for n in ns)))
        )
    return make_rule(number, action, draw(st.sampled_from(PATTERNS)), **fields)


rule_sets = st.integers(0, 7).flatmap(lambda count: st.tuples(*(rules(number) for number in range(count))))


@st.composite
def files(draw: st.DrawFn, filename: str) -> DistributionFile:
    digest = draw(maybe(st.sampled_from(DIGESTS)))
    return make_file(
        filename,
        hashes={"sha256": digest} if digest else {},
        upload_time=draw(maybe(moments)),
        provenance=draw(maybe(st.just("https://public.example/provenance"))),
        yanked=draw(maybe(st.sampled_from(("", "theirs")))),
    )


@st.composite
def one_page(draw: st.DrawFn, index: str) -> ProjectPage:
    names = draw(st.lists(st.sampled_from(FILENAMES), unique=True))
    return make_page(*(draw(files(name)) for name in names), index=index, project=PROJECT)


pages = st.tuples(one_page("internal")) | st.tuples(one_page("internal"), one_page("public"))
sights = st.dictionaries(st.sampled_from(FILENAMES), moments)
Situation = tuple[tuple[ProjectPage, ...], tuple[Rule, ...], dict[str, datetime], datetime]
situations: st.SearchStrategy[Situation] = st.tuples(pages, rule_sets, sights, moments)


def verdicts(situation: Situation, *more: Rule) -> dict[str, int]:
    """File name → severity."""
    found, rule_set, first_seen, at = situation
    snapshot = Snapshot(1, [*rule_set, *more])
    decision = decide_page(found, snapshot, repository="default", at=at, first_seen=first_seen)
    return {one.file.filename: SEVERITY.index(one.verdict) for one in decision.files}


def shown(situation: Situation, *, hide_refused: bool = False) -> tuple[tuple[DistributionFile, ...], object]:
    """What clients read of a page, but for the revision."""
    found, rule_set, first_seen, at = situation
    decision = decide_page(found, Snapshot(1, rule_set), repository="default", at=at, first_seen=first_seen)
    page, metadata = list_page(decision, hide_refused=hide_refused)
    return page.files, metadata["refused"]


@given(situations)
def test_page_and_file_agree(situation: Situation) -> None:
    """What a page lists without refusal is served, what it refuses is denied, alike in every detail."""
    found, rule_set, first_seen, at = situation
    snapshot = Snapshot(1, rule_set)
    context: dict[str, Any] = {"repository": "default", "at": at, "first_seen": first_seen, "trace": True}
    whole = decide_page(found, snapshot, **context)
    listed, metadata = list_page(whole, hide_refused=False)
    refused = metadata["refused"]
    assert isinstance(refused, list)
    for file, on_page in zip(listed.files, whole.files, strict=True):
        alone = decide_one(found, file.filename, snapshot, **context)
        assert alone == on_page == whole.find(file.filename)
        entries = [entry for entry in refused if entry["filename"] == file.filename]
        assert [entry["verdict"] for entry in entries] == [on_page.verdict] * on_page.verdict.is_refusal
        assert (file.yanked or "").startswith(("Blocked: ", "Held: ")) == on_page.verdict.is_refusal
    hidden, _ = list_page(whole, hide_refused=True)
    assert {file.filename for file in hidden.files} == {
        one.file.filename for one in whole.files if not one.verdict.is_refusal
    }


@st.composite
def stating(draw: st.DrawFn) -> Situation:
    """The same with indexes that state versions, not always as their files spell them, and that quarantine."""
    found, rule_set, first_seen, at = draw(situations)
    versions = st.lists(st.sampled_from(("1.0", "1.0.0", "2", "2.0", "3.0", "legacy")), unique=True)
    statuses = st.sampled_from((*[ProjectStatus.ACTIVE] * 4, ProjectStatus.QUARANTINED))
    told = tuple(
        msgspec.structs.replace(page, versions=tuple(draw(versions)), status=draw(statuses)) for page in found
    )
    return told, rule_set, first_seen, at


def json_of(page: ProjectPage, version: str, refused: object) -> dict[str, Any]:
    """The JSON of that release, however its version is spelt."""
    assert isinstance(refused, list)
    names = {entry["filename"] for entry in refused}
    found: dict[str, Any] = msgspec.json.decode(
        render_project_json(page, version, file_base="", refused=names)
    )
    with suppress(InvalidVersion):
        found["info"]["version"] = Version(found["info"]["version"])
    return found


@given(stating(), st.sampled_from(("1.0", "1", "v1.0.0", "2.0rc1", "2.0.0", "3", "legacy")), st.booleans())
def test_release_as_its_page(situation: Situation, version: str, hide_refused: bool) -> None:
    """A release that is judged alone is the one of the page that is judged whole, or neither is there."""
    found, rule_set, first_seen, at = situation
    snapshot = Snapshot(1, rule_set)
    context: dict[str, Any] = {"repository": "default", "at": at, "first_seen": first_seen, "variant": ""}
    whole = decide_page(found, snapshot, **context)
    listed, metadata = list_page(whole, hide_refused=hide_refused)
    release = release_pages(found, version)
    if not release:
        assert whole.page.release(version) is None
        return
    alone = decide_page(release, snapshot, whole=found, **context)
    assert (alone.fingerprint, alone.until) == (whole.fingerprint, whole.until)
    assert (spelt := whole.page.release(version)) is not None
    assert alone.page.versions == (spelt.version,)
    part, part_metadata = list_page(alone, hide_refused=hide_refused)
    assert bool(part.versions) == (listed.release(version) is not None)
    if part.versions:
        assert json_of(part, version, part_metadata["refused"]) == json_of(
            listed, version, metadata["refused"]
        )


@given(situations, rules(50, (Action.BLOCK, Action.HOLD, Action.YANK)))
def test_restriction_restricts(situation: Situation, rule: Rule) -> None:
    """One block, hold or yank more never makes anything more permitted."""
    before, after = verdicts(situation), verdicts(situation, rule)
    assert all(after[name] >= severity for name, severity in before.items())


@given(situations, rules(50, (Action.ALLOW,)))
def test_allow_allows(situation: Situation, rule: Rule) -> None:
    """One allow more never makes anything less permitted, and leaves yanks alone."""
    before, after = verdicts(situation), verdicts(situation, rule)
    assert all(after[name] <= severity for name, severity in before.items())
    yanked = SEVERITY.index(Verdict.YANK)
    assert all(after[name] == yanked for name, severity in before.items() if severity == yanked)


@given(rule_sets, rules(50, (Action.ALLOW, Action.BLOCK, Action.HOLD, Action.YANK)), moments)
def test_ownership_is_apart(rule_set: tuple[Rule, ...], rule: Rule, at: datetime) -> None:
    """No allow, and no refusal either, ever touches ownership."""
    rules_before = Snapshot(1, rule_set).rules_for(PROJECT, "default")
    rules_after = Snapshot(1, [*rule_set, rule]).rules_for(PROJECT, "default")
    assert owner_rule(rules_before, at=at) == owner_rule(rules_after, at=at)


@given(situations, st.randoms())
def test_order_does_not_matter(situation: Situation, shuffler: random.Random) -> None:
    """Decisions, traces and fingerprints do not depend on the order in which rules are loaded."""
    found, rule_set, first_seen, at = situation
    shuffled = list(rule_set)
    shuffler.shuffle(shuffled)
    one, other = (
        decide_page(found, Snapshot(1, one), repository="default", at=at, first_seen=first_seen, trace=True)
        for one in (rule_set, shuffled)
    )
    assert one.files == other.files
    assert (one.fingerprint, one.until) == (other.fingerprint, other.until)


@given(situations)
def test_expired_rules_are_inert(situation: Situation) -> None:
    """Without its expired rules a rule set comes to the same."""
    found, rule_set, first_seen, at = situation
    active = tuple(rule for rule in rule_set if rule.is_active(at))
    assert shown(situation) == shown((found, active, first_seen, at))
    assert owner_rule(rule_set, at=at) == owner_rule(active, at=at)


@given(situations)
def test_spelling_does_not_matter(situation: Situation) -> None:
    """A rule about a name in another spelling is the same rule."""
    found, rule_set, first_seen, at = situation
    respelled = []
    for rule in rule_set:
        fields = draft_fields(rule) | {"project": SPELLINGS.get(rule.project, rule.project.upper())}
        draft = parse_draft(fields, at=AT - timedelta(days=30), indexes=None, repositories=None)
        respelled.append(msgspec.structs.replace(rule, **msgspec.structs.asdict(draft)))
    assert tuple(respelled) == rule_set
    assert shown(situation) == shown((found, tuple(respelled), first_seen, at))


@given(situations, st.booleans())
def test_never_unyanked(situation: Situation, hide_refused: bool) -> None:
    """Whatever its index yanked stays yanked, with the index's own reason, and whatever we refuse is yanked."""
    own: dict[str, DistributionFile] = {}
    for page in situation[0]:
        for file in page.files:
            own.setdefault(file.filename, file)
    refused = {name for name, severity in verdicts(situation).items() if SEVERITY[severity].is_refusal}
    for file in shown(situation, hide_refused=hide_refused)[0]:
        yanked = own[file.filename].yanked
        assert file.yanked is not None or (yanked is None and file.filename not in refused)
        assert (yanked or "") in (file.yanked or "")


@given(situations, moments)
def test_fingerprint_tells_pages_apart(situation: Situation, later: datetime) -> None:
    """Where the fingerprint is the same at another moment, so is what clients read."""
    found, rule_set, first_seen, at = situation
    snapshot = Snapshot(1, rule_set)
    marks = {
        page_fingerprint(found, snapshot, repository="default", at=moment, first_seen=first_seen)
        for moment in (at, later)
    }
    if len(marks) == 1:
        assert shown(situation) == shown((found, rule_set, first_seen, later))


@given(pages, rule_sets, sights, sights, moments)
def test_fingerprint_knows_sights(
    found: tuple[ProjectPage, ...],
    rule_set: tuple[Rule, ...],
    seen: dict[str, datetime],
    others: dict[str, datetime],
    at: datetime,
) -> None:
    """Where the fingerprint is the same although files were first seen at other times, so is what clients read."""
    snapshot = Snapshot(1, rule_set)
    marks = {
        page_fingerprint(found, snapshot, repository="default", at=at, first_seen=sight)
        for sight in (seen, others)
    }
    if len(marks) == 1:
        assert shown((found, rule_set, seen, at)) == shown((found, rule_set, others, at))


@given(situations, st.integers(0, 100))
def test_nothing_changes_before_until(situation: Situation, percent: int) -> None:
    """Up to the moment of the next change the fingerprint and the page stay, and each file's decision up to its own."""
    found, rule_set, first_seen, at = situation
    snapshot = Snapshot(1, rule_set)
    decision = decide_page(found, snapshot, repository="default", at=at, first_seen=first_seen)
    end = decision.until or at + timedelta(days=400)
    between = at + (end - at - timedelta(microseconds=1)) * percent / 100
    later = page_fingerprint(found, snapshot, repository="default", at=between, first_seen=first_seen)
    assert later == (decision.fingerprint, decision.until)
    assert shown(situation) == shown((found, rule_set, first_seen, between))
    for one in decision.files:
        assert decision.until is None or one.until is None or decision.until <= one.until
        if one.until is not None:
            context: dict[str, Any] = {"repository": "default", "first_seen": first_seen}
            before = decide_one(
                found, one.file.filename, snapshot, at=one.until - timedelta(microseconds=1), **context
            )
            after = decide_one(found, one.file.filename, snapshot, at=one.until, **context)
            assert before == one
            assert after is not None
            assert (after.verdict, after.rules) != (one.verdict, one.rules)


@given(rule_sets, rule_sets, st.sets(st.integers(0, 9)))
def test_updates_add_up(first: tuple[Rule, ...], second: tuple[Rule, ...], removed: set[int]) -> None:
    """A snapshot brought up to date answers as one compiled afresh."""
    gone = {f"r{number}" for number in removed}
    kept = {rule.id: rule for rule in (*first, *second) if rule.id not in gone}
    updated, fresh = Snapshot(1, first).updated(2, second, gone), Snapshot(2, kept.values())
    for name in ("demo-kit", "demo", "demo-kit-2", "dome-x"):
        for digests in (None, DIGESTS[:1]):
            asked = (NormalizedName(name), "default")
            assert updated.rules_for(*asked, sha256=digests) == fresh.rules_for(*asked, sha256=digests)
    assert updated.own_rules() == fresh.own_rules()


@settings(max_examples=300)
@given(
    st.lists(st.from_regex(r"[a-c](-?[a-c])*\*?|[a-c]-\*|\*", fullmatch=True), max_size=20),
    st.from_regex(r"[a-c](-?[a-c])*", fullmatch=True),
)
def test_snapshot_as_patterns(spellings: list[str], name: str) -> None:
    """The snapshot finds a rule exactly where its pattern matches."""
    project = NormalizedName(name)
    patterns: list[ProjectPattern] = [parse_pattern(spelling) for spelling in spellings]
    snapshot = Snapshot(
        1, [make_rule(number, "block", str(pattern)) for number, pattern in enumerate(patterns)]
    )
    expected = [f"r{number}" for number, pattern in enumerate(patterns) if pattern.matches(project)]
    assert [rule.id for rule in snapshot.rules_for(project, "default")] == expected
