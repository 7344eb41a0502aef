"""Which index answers for a name: never the next one because the right one is away, refused, or emptied."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from decider.errors import (
    DeciderError,
    IndexTimeout,
    IndexUnavailable,
    ProjectNotFound,
    RecordNotFound,
    StoreUnavailable,
    UnreadablePage,
)
from decider.files import ProjectStatus
from decider.rules import Action, RuleDraft, Snapshot
from decider.writes import CLAIMS
from tests.repository_harness import Harness, open_harness
from tests.samples import AT, DEMO, make_rule


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as made:
        yield made


def claims(harness: Harness) -> dict[str, tuple[str | None, tuple[str, ...] | None]]:
    """Project → index and repositories."""
    try:
        _, rules = harness.store.get_ruleset(CLAIMS)
    except RecordNotFound:
        return {}
    return {rule.project: (rule.index, rule.repositories) for rule in rules}


def publish_everywhere(harness: Harness, project: str = "demo") -> None:
    for index in (harness.internal, harness.corp, harness.public):
        index.publish(project, f"{project}-1.0.zip")


# Which one answers


def test_first_index_that_has_it(harness: Harness) -> None:
    """The first index of the repository that has the project answers, alone."""
    harness.public.publish("demo", "demo-9.0.zip")
    assert harness.owner() == "public"
    harness.corp.publish("demo", "demo-1.0.zip")
    page = harness.repositories.decide_page("default", DEMO).page
    assert (page.index, [file.filename for file in page.files]) == ("corp", ["demo-1.0.zip"])


def test_nobody_has_it(harness: Harness) -> None:
    """A name that no index has is not found, after all were asked."""
    with pytest.raises(ProjectNotFound, match="no index of this repository"):
        harness.owner()
    assert harness.internal.asked == harness.corp.asked == harness.public.asked == ["demo"]


def test_empty_page_answers(harness: Harness) -> None:
    """An index with an empty page has the project: no other is asked."""
    harness.internal.publish("demo")
    harness.public.publish("demo", "demo-9.0.zip")
    assert harness.repositories.decide_page("default", DEMO).page.files == ()
    assert harness.public.asked == []


def test_internal_index_is_asked_first_whatever_the_order(harness: Harness) -> None:
    """A repository that names the public index first is not one whose internal projects are public."""
    publish_everywhere(harness)
    assert harness.owner(repository="upside") == "internal"


@pytest.mark.parametrize(
    "error",
    [
        IndexUnavailable("corp", "answered 502"),
        IndexTimeout("corp", "no answer in time"),
        UnreadablePage("corp", "no JSON"),
    ],
)
def test_index_that_cannot_be_asked(harness: Harness, error: DeciderError) -> None:
    """An index that cannot be asked ends the search: the next one is not asked, file or page."""
    harness.public.publish("demo", "demo-9.0.zip")
    harness.corp.error = error
    for ask in (
        harness.owner,
        lambda: harness.repositories.decide_file("default", DEMO, "demo-9.0.zip"),
        lambda: harness.repositories.page_fingerprint("default", DEMO),
    ):
        with pytest.raises(type(error)):
            ask()
    assert harness.public.asked == []


def test_own_rule(harness: Harness) -> None:
    """An owner answers whether or not it has the project, and whatever comes before it."""
    harness.internal.publish("demo", "demo-1.0.zip")
    harness.add_rule("own", index="public")
    with pytest.raises(ProjectNotFound, match="index `public` has no project"):
        harness.owner()
    assert harness.internal.asked == []
    harness.public.publish("demo", "demo-9.0.zip")
    assert harness.owner() == "public"


def test_owner_that_cannot_be_asked(harness: Harness) -> None:
    """An owner that is away is waited for, not replaced."""
    publish_everywhere(harness)
    harness.add_rule("own", index="corp")
    harness.corp.error = IndexUnavailable("corp", "answered 502")
    with pytest.raises(IndexUnavailable):
        harness.owner()


def test_owner_outside_the_repository(harness: Harness) -> None:
    """A name whose owner is no index of the repository is not found there, though others have it."""
    publish_everywhere(harness)
    harness.add_rule("own", index="corp")
    with pytest.raises(ProjectNotFound, match="not in this repository"):
        harness.owner(repository="lab")
    assert harness.owner(repository="inside") == "corp"


def test_own_rule_for_one_repository(harness: Harness) -> None:
    """A rule for one repository leaves the others as they are."""
    publish_everywhere(harness)
    harness.add_rule("own", index="public", repositories=("upside",))
    assert harness.owner(repository="upside") == "public"
    assert harness.owner() == "internal"


def test_own_rule_that_is_over(harness: Harness) -> None:
    """An `own` rule holds until its end, not after."""
    publish_everywhere(harness)
    harness.add_rule("own", index="public", expires_at=AT + timedelta(days=1))
    assert harness.owner() == "public"
    harness.now += timedelta(days=1)
    assert harness.owner() == "internal"


def test_owner_that_is_no_index_any_more(harness: Harness) -> None:
    """A name owned by an index that the configuration no longer has is not found anywhere."""
    publish_everywhere(harness)
    harness.add_rule("own", index="gone")
    with pytest.raises(ProjectNotFound, match="not in this repository"):
        harness.owner()


# extends


def test_extends(harness: Harness) -> None:
    """`extends` adds the files of other indexes; the same file name is the owner's."""
    harness.corp.publish("demo", "demo-1.0.zip")
    harness.public.publish("demo", "demo-1.0.zip", "demo-2.0.zip")
    harness.add_rule("own", index="corp", extends=("public", "internal"))
    decision = harness.repositories.decide_page("default", DEMO)
    assert [(file.file.filename, file.index) for file in decision.files] == [
        ("demo-1.0.zip", "corp"),
        ("demo-2.0.zip", "public"),
    ]


def test_extends_without_the_owner(harness: Harness) -> None:
    """What the owner does not have is not found, though an index that it extends has it."""
    harness.public.publish("demo", "demo-2.0.zip")
    harness.add_rule("own", index="corp", extends=("public",))
    with pytest.raises(ProjectNotFound):
        harness.owner()


def test_extended_index_that_cannot_be_asked(harness: Harness) -> None:
    """Half a page is none."""
    harness.corp.publish("demo", "demo-1.0.zip")
    harness.add_rule("own", index="corp", extends=("public",))
    harness.public.error = IndexTimeout("public", "no answer in time")
    with pytest.raises(IndexTimeout):
        harness.owner()


def test_extends_stays_inside_the_repository(harness: Harness) -> None:
    """A repository without the public index gets none of its files, whatever a rule extends."""
    harness.corp.publish("demo", "demo-1.0.zip")
    harness.public.publish("demo", "demo-2.0.zip")
    harness.add_rule("own", index="corp", extends=("public",))
    decision = harness.repositories.decide_page("inside", DEMO)
    assert [file.file.filename for file in decision.files] == ["demo-1.0.zip"]
    assert harness.public.asked == []


def test_file_of_an_extended_index_is_located_there(harness: Harness) -> None:
    """A file's bytes come from the index whose file was decided on, though another lists the same name."""
    harness.corp.publish("demo", "demo-1.0.zip")
    harness.internal.publish("demo", "demo-2.0.zip", status=ProjectStatus.QUARANTINED)
    harness.public.publish("demo", "demo-2.0.zip")
    harness.add_rule("own", index="corp", extends=("internal", "public"))
    located = harness.repositories.decide_file("default", DEMO, "demo-2.0.zip")
    assert located.decision.index == "public"
    assert located.location is not None
    assert located.location.index == "public"


# Claims


def test_claim_by_being_asked_for(harness: Harness) -> None:
    """An internal project that was asked for once stays internal, though it be deleted there."""
    harness.corp.publish("demo", "demo-1.0.zip")
    assert harness.owner() == "corp"
    harness.write()
    harness.corp.withdraw("demo")
    harness.public.publish("demo", "demo-9.0.zip")
    with pytest.raises(ProjectNotFound, match="index `corp` has no project"):
        harness.owner()
    assert claims(harness) == {"demo": ("corp", None)}


def test_claim_that_is_not_written_yet(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the store be away, a deleted internal project is not handed to the public index."""
    harness.corp.publish("demo", "demo-1.0.zip")
    assert harness.owner() == "corp"

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the store cannot be reached")

    monkeypatch.setattr(harness.store, "replace_ruleset", away)
    with pytest.raises(StoreUnavailable):
        harness.write()
    harness.corp.withdraw("demo")
    harness.public.publish("demo", "demo-9.0.zip")
    with pytest.raises(ProjectNotFound, match="index `corp` has no project"):
        harness.owner()
    with pytest.raises(ProjectNotFound, match="not in this repository"):
        harness.owner(repository="lab")


def test_public_projects_are_not_claimed(harness: Harness) -> None:
    """Only internal indexes claim names."""
    harness.public.publish("demo", "demo-9.0.zip")
    harness.owner()
    harness.write()
    assert claims(harness) == {}


def test_claim_of_what_is_dropped_into_a_directory(harness: Harness) -> None:
    """The projects of a directory are claimed without being asked for; those of a remote index are not listed for it."""
    harness.internal.publish("demo", "demo-1.0.zip")
    harness.corp.publish("acme", "acme-1.0.zip")
    harness.repositories.claim_local_projects()
    harness.write()
    assert claims(harness) == {"demo": ("internal", None)}


def test_claim_returns(harness: Harness) -> None:
    """A claim that somebody deleted returns while the project is there."""
    harness.internal.publish("demo", "demo-1.0.zip")
    harness.repositories.claim_local_projects()
    harness.write()
    harness.store.remove_ruleset(CLAIMS, actor="ops", at=AT)
    harness.look_again()
    harness.repositories.claim_local_projects()
    harness.write()
    assert claims(harness) == {"demo": ("internal", None)}


def test_claim_after_a_rule_ended(harness: Harness) -> None:
    """A name whose `own` rule ended is claimed soon after."""
    harness.internal.publish("demo", "demo-1.0.zip")
    harness.add_rule("own", index="public", expires_at=AT + timedelta(seconds=1))
    harness.repositories.claim_local_projects()
    harness.now += timedelta(minutes=1)
    harness.repositories.claim_local_projects()
    harness.write()
    assert claims(harness) == {"demo": ("internal", None)}


@pytest.mark.parametrize("pattern", ["acme-utils", "acme-*", "*"])
def test_claim_where_a_rule_is_for_one_repository(harness: Harness, pattern: str) -> None:
    """A rule for one repository does not leave a name unclaimed in the others, nor is it overridden by the claim."""
    harness.add_rule("own", pattern, index="public", repositories=("lab", "upside"))
    publish_everywhere(harness, "acme-utils")
    harness.repositories.claim_local_projects()
    harness.write()
    assert claims(harness)["acme-utils"] == ("internal", ("default", "inside"))
    harness.internal.withdraw("acme-utils")
    with pytest.raises(ProjectNotFound):
        harness.owner("acme-utils")
    assert harness.owner("acme-utils", "upside") == "public"


def test_directory_that_is_not_mounted(harness: Harness) -> None:
    """A directory that cannot be listed claims nothing, gives nothing up, and is no error of those who claim."""
    harness.internal.publish("demo", "demo-1.0.zip")
    harness.repositories.claim_local_projects()
    harness.write()
    harness.internal.error = IndexUnavailable("internal", "the directory cannot be read")
    harness.repositories.claim_local_projects()
    harness.write()
    assert claims(harness) == {"demo": ("internal", None)}


def test_known_claims_cost_nothing(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of claimed projects are not looked up again twice a second."""
    harness.internal.publish("demo", "demo-1.0.zip")
    for _ in range(2):
        harness.repositories.claim_local_projects()
        harness.write()
    harness.repositories.claim_local_projects()
    asked: list[str] = []

    def rules_for(_: Snapshot, project: str, *__: object, **___: object) -> tuple[()]:
        asked.append(project)
        return ()

    monkeypatch.setattr(Snapshot, "rules_for", rules_for)
    harness.repositories.claim_local_projects()
    assert asked == []
    harness.internal.publish("acme", "acme-1.0.zip")
    harness.repositories.claim_local_projects()
    assert "acme" in asked


def test_dry_run_claims_nothing_that_is_owned(harness: Harness) -> None:
    """What a dry run supposes changes no ownership: claims are by the rules in force."""
    harness.add_rule("own", "demo*", index="public")
    publish_everywhere(harness)
    supposed = Snapshot(0, [])
    found = harness.repositories.decide_page("default", DEMO, snapshot=supposed)
    assert found.page.index == "internal"
    harness.write()
    assert claims(harness) == {}
    assert harness.owner() == "public"


def test_rules_about_other_things_own_nothing(harness: Harness) -> None:
    """A block, a hold, a yank or an allow says nothing about who answers."""
    publish_everywhere(harness)
    for number, action in enumerate(("block", "hold", "yank", "allow")):
        rule = make_rule(number, action)
        harness.store.add_rule(
            RuleDraft(action=Action(action), project="demo", reason=rule.reason, index="public"),
            actor="ops",
            at=AT,
        )
    harness.look_again()
    assert harness.owner() == "internal"
