"""Ownership, verdicts, pages as clients see them, fingerprints; tests/cases has the verdicts as a table."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from decider.decision import (
    Considered,
    FileDecision,
    PageDecision,
    Verdict,
    decide_file,
    decide_one,
    decide_page,
    list_page,
    merge_pages,
    owner_rule,
    page_fingerprint,
    refusal_phrase,
    refused_whole,
    release_pages,
)
from decider.filenames import FileType
from decider.files import DistributionFile, ProjectPage, ProjectStatus
from decider.names import NormalizedName
from decider.rules import Rule, Snapshot
from tests.samples import AT, DEMO, days, make_file, make_page, make_rule

WHEEL = "demo-1.0-py3-none-any.whl"


def decide(file: DistributionFile, *rules: Rule, **options: Any) -> FileDecision:
    return decide_file(file, **{"project": DEMO, "index": "public", "rules": rules, "at": AT, **options})


def page_decision(page: ProjectPage, *rules: Rule, **options: Any) -> PageDecision:
    return decide_page([page], Snapshot(9, rules), **{"repository": "default", "at": AT, **options})


def listed(page: ProjectPage, *rules: Rule, hide_refused: bool = False) -> dict[str, str | None]:
    shown, _ = list_page(page_decision(page, *rules), hide_refused=hide_refused)
    return {file.filename: file.yanked for file in shown.files}


# Ownership


def test_owner_most_specific() -> None:
    """The most specific active `own` rule names the owner: a name before a namespace before a prefix before all."""
    rules = [
        make_rule(1, "own", "*", index="a"),
        make_rule(2, "own", "dem*", index="b"),
        make_rule(3, "own", "demo*", index="c"),
        make_rule(4, "own", "demo-*", index="d"),
        make_rule(5, "own", "demo", index="e"),
    ]
    for count in range(1, 6):
        assert owner_rule(rules[:count], at=AT) is rules[count - 1]
        assert owner_rule(rules[:count][::-1], at=AT) is rules[count - 1]


def test_owner_oldest() -> None:
    """Of two rules for one pattern the older owns, until it expires."""
    first = make_rule(1, "own", index="a", expires_at=AT + days(1))
    second = make_rule(2, "own", index="b")
    assert owner_rule([second, first], at=AT) is first
    assert owner_rule([second, first], at=AT + days(1)) is second


def test_owner_none() -> None:
    """No active `own` rule, no owner; other actions never make one."""
    expired = make_rule(1, "own", index="a", expires_at=AT)
    assert (
        owner_rule([expired, make_rule(2, "allow", index="b"), make_rule(3, "block", index="c")], at=AT)
        is None
    )
    assert owner_rule([], at=AT) is None


# One file


def test_plain_allow() -> None:
    """A file that no rule speaks of is allowed, for no reason, forever."""
    file = make_file()
    assert decide(file) == FileDecision(file=file, index="public", version="1.0", verdict=Verdict.ALLOW)


def test_several_deciding_rules() -> None:
    """Of several blocks the final ones come first, then the older; the reason is that of all."""
    rules = [
        make_rule(3, "block", final=True),
        make_rule(2, "block"),
        make_rule(1, "block"),
        make_rule(0, "hold"),
    ]
    decision = decide(make_file(), *rules)
    assert [rule.id for rule in decision.rules] == ["r3", "r1", "r2"]
    assert decision.reasons == ("reason 3", "reason 1", "reason 2")
    assert decision.reason == "reason 3; reason 1; reason 2"
    assert decision.first_reason == "reason 3"


def test_until_lifted() -> None:
    """A waiver's end counts where it lifts something, and no other rule's end does."""
    block = make_rule(1, "block")
    waiver = make_rule(2, "allow", expires_at=AT + days(3))
    idle = make_rule(3, "yank", versions="==9", expires_at=AT + days(1))
    outranked = make_rule(4, "hold", expires_at=AT + days(2))
    assert decide(make_file(), block, waiver, idle, outranked).until == AT + days(3)
    assert decide(make_file(), block, idle, outranked).until is None
    assert decide(make_file(), waiver, idle).until is None


def test_until_second_moment() -> None:
    """A moment at which the verdict stays is passed over for the one at which it changes."""
    hold = make_rule(1, "hold", younger_than="7d")
    block = make_rule(2, "block", expires_at=AT + days(2))
    other = make_rule(3, "hold", expires_at=AT + days(1))
    assert decide(make_file(upload_time=AT), hold, block, other).until == AT + days(2)
    assert decide(make_file(upload_time=AT), hold, block, other, at=AT + days(2)).until == AT + days(7)


def test_until_fewer_reasons() -> None:
    """A verdict that stays for fewer reasons is another decision: the reason given to clients changes."""
    rules = [make_rule(1, "block"), make_rule(2, "block", expires_at=AT + days(1))]
    assert decide(make_file(), *rules).until == AT + days(1)
    assert decide(make_file(), *rules, at=AT + days(1)).reason == "reason 1"


def test_upload_time_past_calendar() -> None:
    """An index that claims an upload at the end of time makes its file wait for ever, and nothing fail."""
    decision = decide(
        make_file(upload_time=datetime(9999, 12, 31, tzinfo=UTC)), make_rule(1, "hold", younger_than="7d")
    )
    assert (decision.verdict, decision.until) == (Verdict.HOLD, None)


def test_first_seen_only_without_upload_time() -> None:
    """What the index states comes before what we saw."""
    hold = make_rule(1, "hold", younger_than="7d")
    assert decide(make_file(upload_time=AT - days(8)), hold, first_seen=AT).verdict is Verdict.ALLOW
    assert decide(make_file(upload_time=AT), hold, first_seen=AT - days(8)).verdict is Verdict.HOLD
    assert decide(make_file(), hold, first_seen=AT - days(8)).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("filename", "fields"),
    [
        ("demo-weird.zip", {"versions": "<2"}),
        (WHEEL, {"sha256": "a" * 64}),
        (WHEEL, {"younger_than": "7d"}),
        (WHEEL, {"uploaded_after": AT - days(1)}),
    ],
)
def test_unjudged_both_ways(filename: str, fields: dict[str, Any]) -> None:
    """What cannot be judged is blocked, held, yanked, and not allowed; the reason says so."""
    for action in ("block", "hold", "yank"):
        decision = decide(
            make_file(filename), make_rule(1, action, **fields), make_rule(2, "allow", **fields)
        )
        assert decision.verdict == action
        assert decision.reason.endswith("which counts against the file")


def test_unjudged_and_other_condition() -> None:
    """A condition that plainly does not hold settles it, whatever cannot be judged besides."""
    rule = make_rule(1, "block", versions="<2", file_type=FileType.WHEEL, sha256="a" * 64)
    assert decide(make_file("demo-weird.zip"), rule).verdict is Verdict.ALLOW


def test_trace_only_when_asked() -> None:
    """Every rule that was looked at is explained when a trace is asked for."""
    rules = [
        make_rule(1, "own", index="public"),
        make_rule(2, "own", "*", index="internal"),
        make_rule(3, "block", versions="<0.5"),
        make_rule(4, "block", final=True),
        make_rule(5, "allow"),
        make_rule(6, "yank", expires_at=AT - timedelta(microseconds=1)),
    ]
    assert decide(make_file(), *rules).considered == ()
    assert decide(make_file(), *rules, trace=True).considered == (
        Considered("r1", True, "index `public` answers for the name"),
        Considered("r2", False, "r1 owns the name: it is more specific, or older"),
        Considered("r3", False, "version 1.0 is not in `<0.5`"),
        Considered("r4", True, "speaks of the whole project"),
        Considered("r5", False, "speaks of the whole project, but nothing is there that it may lift"),
        Considered("r6", False, "expired since 2026-11-22T11:59:59Z"),
    )


def test_hostile_names_in_texts() -> None:
    """Braces in names and patterns are nothing but braces."""
    rule = make_rule(1, "block", filename="{0.__class__}*", reason="{why}")
    assert decide(make_file("{0.__class__}-1.whl"), rule, trace=True).considered == (
        Considered("r1", True, "file name matches `{0.__class__}*`"),
    )


# One file of a page, and the page


def test_one_not_listed() -> None:
    """A file that the pages do not list has no decision, in exact spelling."""
    snapshot = Snapshot(1, [make_rule(1, "block")])
    pages = [make_page(WHEEL)]
    assert decide_one(pages, WHEEL.upper(), snapshot, repository="default", at=AT) is None
    assert page_decision(pages[0]).find(WHEEL.upper()) is None


def test_one_as_page() -> None:
    """A file decided alone is decided as on its page, rules about digests included."""
    files = [
        make_file(),
        make_file("demo-2.0.tar.gz", hashes={"sha256": "a" * 64}),
        make_file("demo-3.0.tar.gz"),
    ]
    rules = [
        make_rule(1, "block", "*", sha256="a" * 64),
        make_rule(2, "hold", versions=">=3"),
        make_rule(3, "yank", "*", sha256="b" * 64),
    ]
    page = make_page(*files)
    snapshot = Snapshot(9, rules)
    alone = [
        decide_one([page], file.filename, snapshot, repository="default", at=AT, trace=True) for file in files
    ]
    whole = decide_page([page], snapshot, repository="default", at=AT, trace=True)
    assert list(whole.files) == alone == [whole.find(file.filename) for file in files]
    assert [decision.verdict.value for decision in whole.files] == ["allow", "block", "hold"]


def test_page_extends() -> None:
    """A merged file is decided by the index that it comes from; the owner's file of the same name comes first."""
    owner = make_page(make_file(yanked="ours"), index="internal")
    public = make_page(make_file(yanked="theirs"), "demo-2.0.tar.gz", index="public")
    snapshot = Snapshot(1, [make_rule(1, "block", index="public")])
    decision = decide_page([owner, public], snapshot, repository="default", at=AT)
    found = [(one.file.filename, one.file.yanked, one.index, one.verdict.value) for one in decision.files]
    assert found == [(WHEEL, "ours", "internal", "allow"), ("demo-2.0.tar.gz", None, "public", "block")]
    for one in decision.files:
        alone = decide_one([owner, public], one.file.filename, snapshot, repository="default", at=AT)
        assert alone == one


def test_page_facts() -> None:
    """The decision says for which repository, by which revision and from which page it was made."""
    page = make_page(WHEEL)
    decision = page_decision(page)
    assert (decision.project, decision.repository, decision.page, decision.revision) == (
        DEMO,
        "default",
        page,
        9,
    )


# What clients read


def test_list_nothing_restricted() -> None:
    """A page that no rule restricts goes out as its index gave it."""
    page = make_page(make_file(yanked="theirs"), "demo-2.0.tar.gz")
    shown, metadata = list_page(page_decision(page, make_rule(1, "allow")), hide_refused=True)
    assert shown is page
    assert metadata == {"index": "public", "revision": 9, "refused": []}


def test_list_refused() -> None:
    """Refused files are listed as yanked with reason and rule; the metadata names verdict, rule, reason and end."""
    upload = AT - days(1)
    page = make_page(
        make_file(upload_time=AT - days(30)), make_file("demo-2.0.tar.gz", upload_time=upload), "demo-3.zip"
    )
    rules = [
        make_rule(1, "hold", younger_than="7d", versions="<3", reason="wait"),
        make_rule(2, "block", versions="==3", reason="malware"),
    ]
    shown, metadata = list_page(page_decision(page, *rules), hide_refused=False)
    wait = "wait; uploaded 2026-11-21T12:00:00Z, younger than 7d until 2026-11-28T12:00:00Z"
    assert [file.yanked for file in shown.files] == [None, f"Held: {wait} (r1)", "Blocked: malware (r2)"]
    assert metadata == {
        "index": "public",
        "revision": 9,
        "refused": [
            {
                "filename": "demo-2.0.tar.gz",
                "verdict": "hold",
                "rule": "r1",
                "reason": wait,
                "until": "2026-11-28T12:00:00Z",
            },
            {"filename": "demo-3.zip", "verdict": "block", "rule": "r2", "reason": "malware", "until": None},
        ],
    }


def test_list_keeps_the_rest() -> None:
    """Of a refused file only the yank changes, and a file that is not refused stays as it was."""
    files = [
        make_file(size=5, hashes={"sha256": "a" * 64}, requires_python=">=3", core_metadata=True),
        make_file("demo-2.0.tar.gz", yanked="", provenance="https://public.example/p"),
    ]
    page = make_page(
        *files, versions=("1.0", "2.0", "3.0"), status=ProjectStatus.ARCHIVED, status_reason="done"
    )
    shown, _ = list_page(page_decision(page, make_rule(1, "block", versions="==1")), hide_refused=False)
    expected = msgspec.structs.replace(files[0], yanked="Blocked: reason 1 (r1)")
    assert shown.files == (expected, files[1])
    assert shown == msgspec.structs.replace(page, files=shown.files, digest=shown.digest)
    assert shown.digest != page.digest


@pytest.mark.parametrize(
    ("own", "action", "text"),
    [
        (None, "block", "Blocked: reason 1 (r1)"),
        ("", "block", "Blocked: reason 1 (r1)"),
        ("broken", "block", "Blocked: reason 1 (r1); broken"),
        ("broken", "hold", "Held: reason 1 (r1); broken"),
        (None, "yank", "Yanked: reason 1 (r1)"),
        ("", "yank", "Yanked: reason 1 (r1)"),
        ("broken", "yank", "broken; Yanked: reason 1 (r1)"),
    ],
)
def test_list_joins_yanks(own: str | None, action: str, text: str) -> None:
    """The index's own yank is never lost: after a refusal's reason, before a yank's."""
    assert listed(make_page(make_file(yanked=own)), make_rule(1, action)) == {WHEEL: text}


def test_list_lifted() -> None:
    """A waived file is listed as its index lists it, yank and all."""
    rules = [make_rule(1, "block"), make_rule(2, "allow")]
    assert listed(make_page(make_file(yanked="broken")), *rules) == {WHEEL: "broken"}


@pytest.mark.parametrize("own", [None, "o" * 20, "o" * 5_000])
@pytest.mark.parametrize("action", ["block", "hold", "yank"])
def test_list_cut(action: str, own: str | None) -> None:
    """Page texts end at 500 characters; the rule id survives, and some of the index's own reason."""
    rule = make_rule(123_456, action, reason="x" * 5_000)
    text = listed(make_page(make_file(yanked=own)), rule)[WHEEL]
    assert text is not None
    assert len(text) == 500
    assert "xxx… (r123456)" in text
    assert ("oooo" in text) == (own is not None)
    refused = list_page(page_decision(make_page(WHEEL), rule), hide_refused=False)[1]["refused"]
    assert isinstance(refused, list)
    assert all(len(entry["reason"]) == 500 for entry in refused)


def test_list_one_line() -> None:
    """Line breaks and terminal escapes of our reasons do not reach pages; the index's own text stays as it is."""
    rule = make_rule(1, "block", reason="a\r\n\tb\x1b[31mc\u2028d")
    assert listed(make_page(make_file(yanked="their\ntext")), rule) == {
        WHEEL: "Blocked: a b [31mc d (r1); their\ntext"
    }


def test_list_hidden() -> None:
    """Hidden, refused files leave the page with the versions that only they had; yanked ones stay."""
    page = make_page(
        "demo-1.0.tar.gz",
        "demo-2.0.0-py3-none-any.whl",
        "demo-2.0.tar.gz",
        "demo-2004d-beta.zip",
        "demo-3.0.tar.gz",
        versions=("0.9", "1.0", "2.0.0", "2004d-beta", "2005x", "3.0"),
    )
    rules = [
        make_rule(1, "block", versions="<3"),
        make_rule(2, "allow", file_type=FileType.WHEEL),
        make_rule(3, "yank", versions="==3"),
    ]
    decision = page_decision(page, *rules)
    shown, metadata = list_page(decision, hide_refused=True)
    assert [file.filename for file in shown.files] == ["demo-2.0.0-py3-none-any.whl", "demo-3.0.tar.gz"]
    assert shown.versions == ("0.9", "2.0.0", "2005x", "3.0")
    assert metadata == list_page(decision, hide_refused=False)[1]
    assert shown.digest != list_page(decision, hide_refused=False)[0].digest


def test_phrase() -> None:
    """The phrase names verdict, reason and rule."""
    assert (
        refusal_phrase(decide(make_file(), make_rule(7, "block", reason="CVE-2026-1")))
        == "Blocked: CVE-2026-1 (r7)"
    )
    assert refusal_phrase(decide(make_file(), make_rule(7, "hold", reason="wait"))) == "Held: wait (r7)"
    both = decide(make_file(), make_rule(1, "block"), make_rule(2, "block", final=True))
    assert refusal_phrase(both) == "Blocked: reason 2 (r2)"


@pytest.mark.parametrize(
    ("reason", "phrase"),
    [
        ("a\r\nX-Evil: 1", "Blocked: a X-Evil: 1 (r1)"),
        ("\x1b[31mred\x00\x7f", "Blocked: [31mred (r1)"),
        ("caf\u00e9 \u2013 \u201cbad\u201d\u2026", 'Blocked: cafe - "bad"... (r1)'),
        ("\u60aa\u610f", "Blocked: ?? (r1)"),
        ("\ufb01ne\u0301", "Blocked: fine (r1)"),
    ],
)
def test_phrase_ascii(reason: str, phrase: str) -> None:
    """The phrase is printable ASCII on one line, whatever the reason holds."""
    assert refusal_phrase(decide(make_file(), make_rule(1, "block", reason=reason))) == phrase


@pytest.mark.parametrize("reason", ["x" * 5_000, "\u00bd" * 5_000, "\u60aa" * 5_000])
def test_phrase_cut(reason: str) -> None:
    """The phrase stays below 200 characters, and the rule id survives."""
    phrase = refusal_phrase(decide(make_file(), make_rule(123_456, "block", reason=reason)))
    assert len(phrase) == 199
    assert phrase.endswith("... (r123456)")


# A project refused whole


def test_refused_whole() -> None:
    """A block or hold without conditions refuses a project whole, unless some allow might lift it."""
    block, hold = make_rule(2, "block"), make_rule(1, "hold", "*")
    final = make_rule(3, "block", final=True)
    assert refused_whole([hold, block, final], at=AT) == (final, block)
    assert refused_whole([hold], at=AT) == (hold,)
    assert refused_whole([hold, make_rule(4, "allow", versions="==1")], at=AT) == ()
    assert refused_whole([hold, final, make_rule(4, "allow")], at=AT) == (final,)
    assert refused_whole([block, make_rule(4, "allow", lifts=("r9",))], at=AT) == (block,)


@pytest.mark.parametrize(
    "rule",
    [
        make_rule(1, "block", versions="<2"),
        make_rule(1, "block", index="public"),
        make_rule(1, "block", attested=False),
        make_rule(1, "block", expires_at=AT),
        make_rule(1, "yank"),
        make_rule(1, "own", index="public"),
    ],
)
def test_not_refused_whole(rule: Rule) -> None:
    """A rule with a condition, expired, or of another action does not refuse a project whole."""
    assert refused_whole([rule], at=AT) == ()


# Merging


def test_merge_single() -> None:
    """One page is its own merger."""
    page = make_page(WHEEL)
    assert merge_pages([page]) is page


def test_merge() -> None:
    """A merged page lists the owner's files first, all versions, and claims what the least page honours."""
    owner = make_page(
        WHEEL,
        index="internal",
        versions=("1.0",),
        api_version=(1, 4),
        last_serial=5,
        status=ProjectStatus.DEPRECATED,
    )
    public = make_page(
        "demo-2.0.tar.gz",
        WHEEL,
        versions=("1.0", "2.0"),
        api_version=(1, 1),
        status=ProjectStatus.ARCHIVED,
        status_reason="done",
    )
    merged = merge_pages([owner, public])
    assert merged == ProjectPage(
        index="internal",
        project=DEMO,
        files=(owner.files[0], public.files[0]),
        versions=("1.0", "2.0"),
        api_version=(1, 1),
        status=ProjectStatus.ARCHIVED,
        status_reason="done",
        digest=merged.digest,
    )
    assert len({merged.digest, owner.digest, public.digest, merge_pages([public, owner]).digest}) == 4


def test_merge_versions_unknown() -> None:
    """Half a list of versions would be a false one: where a page with files states none, nor does the merged one."""
    stated, unstated = make_page(WHEEL, versions=("1.0",)), make_page("demo-2.0.tar.gz", index="old")
    assert merge_pages([stated, unstated]).versions == ()
    assert merge_pages([stated, make_page(index="empty")]).versions == ("1.0",)


def test_quarantined_owner() -> None:
    """A quarantined project offers no file, from its own index or any other."""
    bad = make_page(WHEEL, status=ProjectStatus.QUARANTINED, status_reason="malware", versions=("1.0",))
    fine = make_page("demo-2.0.tar.gz", index="other")
    for pages in ([bad], [bad, fine]):
        merged = merge_pages(pages)
        assert (merged.files, merged.status, merged.status_reason) == (
            (),
            ProjectStatus.QUARANTINED,
            "malware",
        )
        for name in (WHEEL, "demo-2.0.tar.gz"):
            assert decide_one(pages, name, Snapshot(1, []), repository="default", at=AT) is None


def test_quarantined_extension() -> None:
    """An extended index that quarantines the project takes away its own files only, and the page says so."""
    ours = make_page(WHEEL, index="internal", status_reason="ours")
    bad = make_page("demo-2.0.tar.gz", status=ProjectStatus.QUARANTINED)
    merged = merge_pages([ours, bad])
    assert (merged.files, merged.status) == (ours.files, ProjectStatus.ACTIVE)
    assert merged.status_reason == "ours; index public has quarantined this project: its files are left out"
    assert decide_one([ours, bad], "demo-2.0.tar.gz", Snapshot(1, []), repository="default", at=AT) is None


# One release


def test_release_pages() -> None:
    """Of the pages that are merged each keeps the release's files, and the spelling that stands for it in all of them."""
    ours = make_page("demo-1.0.0.tar.gz", "demo-2.0.zip", index="internal", versions=("2.0",))
    theirs = make_page(WHEEL, "demo-3.0.zip", versions=("1.0", "3.0"))
    release = release_pages([ours, theirs], "v1")
    assert [(page.index, page.versions, [file.filename for file in page.files]) for page in release] == [
        ("internal", ("1.0",), ["demo-1.0.0.tar.gz"]),
        ("public", ("1.0",), [WHEEL]),
    ]
    assert merge_pages(release).versions == ("1.0",)
    assert {page.digest for page in release}.isdisjoint({ours.digest, theirs.digest})
    assert release_pages([ours, theirs], "4") == ()


def test_release_of_a_quarantined_project() -> None:
    """A quarantined project has the releases that its index states, and no files of them."""
    for versions, count in (((), 0), (("1.0",), 1)):
        bad = make_page(WHEEL, status=ProjectStatus.QUARANTINED, versions=versions)
        release = release_pages([bad], "1.0")
        assert len(release) == count
        assert [merge_pages(release).files for _ in release] == [()] * count


def test_hidden_release_that_no_file_s_name_tells() -> None:
    """A version that PEP 440 does not know goes with the files whose names it is a part of, as on the page."""
    page = make_page("demo-2004d-beta.zip", versions=("2004d-beta", "2005x"))
    rule = make_rule(1, "block")
    for version, shown in (("2004d-beta", ()), ("2005x", ("2005x",))):
        (release,) = release_pages([page], version)
        assert list_page(page_decision(release, rule), hide_refused=True)[0].versions == shown


# Fingerprints

RULES = (
    make_rule(1, "block", versions="<2"),
    make_rule(2, "hold", "*", younger_than="7d"),
    make_rule(3, "own", index="public", expires_at=AT + days(90)),
)
PAGE = make_page(make_file(upload_time=AT - days(6)), "demo-2.0.tar.gz")


def mark(*rules: Rule, **options: Any) -> str:
    pages = options.pop("pages", [PAGE])
    return page_fingerprint(pages, Snapshot(1, rules), **{"repository": "default", "at": AT, **options})[0]


def test_fingerprint_of_decision() -> None:
    """The fingerprint asked for alone is that of the page decision, and so is the moment of the next change."""
    decision = page_decision(PAGE, *RULES)
    alone = page_fingerprint([PAGE], Snapshot(1, RULES), repository="default", at=AT)
    assert alone == (decision.fingerprint, decision.until)
    assert len(decision.fingerprint) == 64


def test_fingerprint_same() -> None:
    """Order, rules about other projects, digests and repositories, and passing time leave the fingerprint alone."""
    others = (
        make_rule(8, "block", "demon"),
        make_rule(9, "block", "dem-*"),
        make_rule(10, "block", "*", sha256="a" * 64),
        make_rule(11, "block", repositories=("mirror",)),
    )
    assert (
        mark(*RULES)
        == mark(*RULES[::-1])
        == mark(*others, *RULES)
        == mark(*RULES, at=AT + timedelta(hours=1))
    )


@pytest.mark.parametrize(
    ("rules", "options"),
    [
        (RULES[:2], {}),
        ((*RULES, make_rule(4, "allow")), {}),
        ((msgspec.structs.replace(RULES[0], revision=9), *RULES[1:]), {}),
        (RULES, {"repository": "mirror"}),
        (RULES, {"variant": "hidden"}),
        (RULES, {"pages": [make_page(WHEEL)]}),
        (RULES, {"pages": [msgspec.structs.replace(PAGE, index="other")]}),
        (RULES, {"pages": [PAGE, make_page(index="other")]}),
        (RULES, {"at": AT + days(1)}),
        (RULES, {"at": AT + days(90)}),
        (RULES, {"first_seen": {"demo-2.0.tar.gz": AT}}),
    ],
    ids=[
        "gone",
        "new",
        "changed",
        "repository",
        "variant",
        "page",
        "index",
        "pages",
        "age",
        "expiry",
        "seen",
    ],
)
def test_fingerprint_differs(rules: tuple[Rule, ...], options: dict[str, Any]) -> None:
    """A rule that can touch the project, a page, the repository, a moment passed: each makes another fingerprint."""
    assert mark(*rules, **options) != mark(*RULES)


def test_fingerprint_digest_on_page() -> None:
    """A rule about a digest counts for the pages that list it."""
    page = make_page(make_file(hashes={"sha256": "a" * 64}))
    assert mark(make_rule(1, "block", "*", sha256="a" * 64), pages=[page]) != mark(pages=[page])
    assert mark(make_rule(1, "block", "*", sha256="b" * 64), pages=[page]) == mark(pages=[page])


def test_fingerprint_old_sight() -> None:
    """When an undated file was first seen does not matter once it is of age."""
    old, older = {"demo-2.0.tar.gz": AT - days(8)}, {"demo-2.0.tar.gz": AT - days(9)}
    assert mark(*RULES, first_seen=old) == mark(*RULES, first_seen=older)


def until(*rules: Rule, page: ProjectPage = PAGE, **options: Any) -> datetime | None:
    return page_fingerprint([page], Snapshot(1, rules), **{"repository": "default", "at": AT, **options})[1]


def test_page_until() -> None:
    """The page changes when a rule expires, ownership ends or a file comes of age, whichever is first."""
    hold, own = RULES[1:]
    assert until(*RULES) == AT + days(1)
    assert until(*RULES, at=AT + days(1)) == AT + days(90)
    assert until(hold, own, page=make_page("demo-2.0.tar.gz")) == AT + days(90)
    assert until(hold, first_seen={"demo-2.0.tar.gz": AT - days(6.5)}) == AT + days(0.5)
    assert until(own, make_rule(4, "allow", expires_at=AT + days(2))) == AT + days(2)
    assert until(make_rule(4, "block", expires_at=AT - days(2))) is None
    assert until(RULES[0]) is None


def test_page_until_other_owner() -> None:
    """The end of an `own` rule that a more specific one outranks changes nothing."""
    rules = (
        make_rule(1, "own", index="public"),
        make_rule(2, "own", "*", index="a", expires_at=AT + days(1)),
    )
    assert until(*rules) is None
    assert mark(*rules) == mark(*rules, at=AT + days(2))


def test_page_until_line() -> None:
    """A line in the sand bounds the files whose age matters; a line alone never changes a page."""
    file = make_file(upload_time=AT - days(3))
    line = make_rule(1, "hold", uploaded_after=AT - days(2), younger_than="7d")
    assert until(line, page=make_page(file)) is None
    assert until(line, page=make_page(make_file(upload_time=AT - days(1)))) == AT + days(6)
    assert until(make_rule(1, "hold", uploaded_after=AT - days(9)), page=make_page(file)) is None


def test_page_until_other_index() -> None:
    """A cooldown for another index makes no page of this one short-lived."""
    assert until(make_rule(1, "hold", younger_than="7d", index="other")) is None


def test_decision_of_other_project_name() -> None:
    """A wheel that names another project is not of a version here, so a block by versions refuses it."""
    decision = decide_file(
        make_file("other-5.0-py3-none-any.whl"),
        project=NormalizedName("demo"),
        index="public",
        rules=[make_rule(1, "block", versions="<2")],
        at=AT,
    )
    assert (decision.version, decision.verdict) == (None, Verdict.BLOCK)
