"""What a client points at: pages and files decided alike, where their bytes are, and what a question leaves behind."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from decider import repository
from decider.decision import Verdict
from decider.errors import FileNotListed, IndexUnavailable, InvalidRequest, ProjectNotFound, StoreUnavailable
from decider.names import NormalizedName
from decider.rules import Snapshot
from tests.repository_harness import Harness, open_harness
from tests.samples import AT, DEMO, key_of, make_file

WHEEL = "demo-1.0-py3-none-any.whl"
DIGEST, METADATA_DIGEST = "a" * 64, "b" * 64


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as made:
        yield made


def requests_for_review(harness: Harness) -> dict[str, tuple[int, tuple[str, ...]]]:
    """File name → how often it was asked for, and by whom."""
    harness.write()
    return {
        review.filename: (review.requests, review.requested_by)
        for review in harness.store.list_reviews().items
    }


# Files


@pytest.mark.parametrize(
    ("action", "verdict"),
    [("block", Verdict.BLOCK), ("hold", Verdict.HOLD), ("yank", Verdict.YANK), ("allow", Verdict.ALLOW)],
)
def test_page_and_file_agree(harness: Harness, action: str, verdict: Verdict) -> None:
    """A file that is asked for is decided as its page says."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule(action)
    page = harness.repositories.decide_page("default", DEMO)
    located = harness.repositories.decide_file("default", DEMO, WHEEL)
    assert page.files == (located.decision,)
    assert located.decision.verdict is verdict


def test_file_that_is_not_listed(harness: Harness) -> None:
    """A file, or a companion of one, that the project's index does not list is not found; that is no policy."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("block")
    for filename in (
        "demo-2.0.zip",
        "demo-2.0.zip.metadata",
        ".metadata",
        "",
        WHEEL.upper(),
        f"{WHEEL}.asc.asc",
    ):
        with pytest.raises(FileNotListed, match="index `public` lists no file"):
            harness.repositories.decide_file("default", DEMO, filename)


def test_file_of_another_index(harness: Harness) -> None:
    """A file that only an index has which does not answer for the name is not found."""
    harness.internal.publish("demo", "demo-1.0.zip")
    harness.public.publish("demo", "demo-9.0.zip")
    with pytest.raises(FileNotListed, match="index `internal`"):
        harness.repositories.decide_file("default", DEMO, "demo-9.0.zip")


@pytest.mark.parametrize("suffix", ["", ".metadata", ".provenance", ".asc"])
def test_companions_are_decided_like_their_file(harness: Harness, suffix: str) -> None:
    """What goes with a file is refused with it."""
    harness.public.publish("demo", make_file(WHEEL, core_metadata=True, provenance="https://index.example/p"))
    harness.add_rule("block")
    located = harness.repositories.decide_file("default", DEMO, WHEEL + suffix)
    assert located.decision.verdict is Verdict.BLOCK


def test_file_whose_name_ends_like_a_companion(harness: Harness) -> None:
    """A listed name is that file, though it end like a companion's of another."""
    harness.internal.publish(
        "demo", make_file("demo-1.0.zip", path="1"), make_file("demo-1.0.zip.asc", path="2")
    )
    located = harness.repositories.decide_file("default", DEMO, "demo-1.0.zip.asc")
    assert located.location is not None
    assert located.location.path == "2"


def test_local_file(harness: Harness) -> None:
    """A local file lies below its index's folder, its metadata below that of metadata, and it has no other companion."""
    harness.internal.publish(
        "demo", make_file(WHEEL, path=f"demo/{WHEEL}", metadata_path="ab/cd", core_metadata=True)
    )
    places = {
        suffix: harness.repositories.decide_file("default", DEMO, WHEEL + suffix).location
        for suffix in ("", ".metadata", ".provenance", ".asc")
    }
    file, metadata = places[""], places[".metadata"]
    assert file is not None
    assert metadata is not None
    assert (file.root, file.path, file.url) == ("index:internal", f"demo/{WHEEL}", "")
    assert (metadata.root, metadata.path, metadata.url) == ("metadata", "ab/cd", "")
    assert places[".provenance"] is places[".asc"] is None


def test_remote_file(harness: Harness) -> None:
    """A remote file is where its page says, known by the digest that the page states."""
    harness.public.publish(
        "demo", make_file(WHEEL, hashes={"sha256": DIGEST}, core_metadata={"sha256": METADATA_DIGEST})
    )
    file = harness.repositories.decide_file("default", DEMO, WHEEL).location
    metadata = harness.repositories.decide_file("default", DEMO, f"{WHEEL}.metadata").location
    assert file is not None
    assert metadata is not None
    assert (file.url, file.expected) == (f"https://files.example/{WHEEL}", f"public sha256={DIGEST} -")
    assert (file.key, file.etag) == (key_of("public", file.url, f"sha256={DIGEST}"), f'"{DIGEST}"')
    assert metadata.url == f"https://files.example/{WHEEL}.metadata"
    assert metadata.expected == f"public sha256={METADATA_DIGEST} -"
    assert (metadata.key, metadata.etag) == (
        key_of("public", metadata.url, f"sha256={METADATA_DIGEST}"),
        f'"{METADATA_DIGEST}"',
    )
    for suffix in (".provenance", ".asc"):
        assert harness.repositories.decide_file("default", DEMO, WHEEL + suffix).location is None


# What a question leaves behind


def test_hold_opens_a_review(harness: Harness) -> None:
    """A held file that a client asks for is opened for review; to explain the refusal counts for nothing."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("hold")
    for asked_by in ("10.0.0.1", "10.0.0.2", "10.0.0.1", ""):
        harness.repositories.decide_file("default", DEMO, WHEEL, asked_by=asked_by)
    harness.repositories.decide_file("default", DEMO, WHEEL)
    harness.repositories.decide_page("default", DEMO)
    assert requests_for_review(harness) == {WHEEL: (4, ("10.0.0.1", "10.0.0.2"))}


@pytest.mark.parametrize("action", ["block", "yank", "allow"])
def test_nothing_else_opens_a_review(harness: Harness, action: str) -> None:
    """Only what is held waits for a review."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule(action)
    harness.repositories.decide_file("default", DEMO, WHEEL, asked_by="10.0.0.1")
    assert requests_for_review(harness) == {}


def test_cooldown_by_first_sight(harness: Harness) -> None:
    """A file that its index does not date is young from when it was first looked at."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("hold", younger_than="7d")
    assert harness.repositories.decide_file("default", DEMO, WHEEL).decision.verdict is Verdict.HOLD
    harness.write()
    harness.now += timedelta(days=7)
    assert harness.repositories.decide_file("default", DEMO, WHEEL).decision.verdict is Verdict.ALLOW


def test_cooldown_while_first_sight_cannot_be_known(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store cannot tell when a file was first seen, the file counts as seen just now."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("hold", younger_than="7d")
    harness.repositories.decide_page("default", DEMO)
    harness.write()
    harness.repositories.snapshot()

    def away(*_: object) -> None:
        raise StoreUnavailable("the store cannot be reached")

    monkeypatch.setattr(harness.store, "first_seen", away)
    harness.now += timedelta(days=30)
    assert harness.repositories.decide_file("default", DEMO, WHEEL).decision.verdict is Verdict.HOLD


def test_first_sight_is_noted_only_where_a_rule_asks(harness: Harness) -> None:
    """Without a rule about age nothing is written for a page."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("block")
    harness.repositories.decide_page("default", DEMO)
    harness.write()
    assert harness.store.first_seen("public", "demo") == {}


# Fingerprints


def test_fingerprint_is_the_page_s(harness: Harness) -> None:
    """What nginx keys a page by is what the page's writer finds, without and with rules."""
    harness.public.publish("demo", WHEEL)
    seen = set()
    for change in (lambda: None, lambda: harness.add_rule("hold", younger_than="7d"), harness.write):
        change()
        fingerprint = harness.repositories.page_fingerprint("default", DEMO)
        assert fingerprint == harness.repositories.decide_page("default", DEMO).fingerprint
        seen.add(fingerprint)
    assert len(seen) == 3


def test_fingerprint_of_another_repository(harness: Harness) -> None:
    """One page in two repositories is two pages, also where only the way of refusing differs."""
    harness.public.publish("demo", WHEEL)
    fingerprints = {
        harness.repositories.page_fingerprint(name, DEMO) for name in ("default", "lab", "upside")
    }
    assert len(fingerprints) == 3


def test_fingerprint_after_a_change_of_configuration_or_version(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a change of `refused_files` nor a new version of decider is answered with pages kept from before."""
    harness.public.publish("demo", WHEEL)
    before = harness.repositories.page_fingerprint("lab", DEMO)
    settings = harness.settings
    (tmp_path / "other").mkdir()
    with open_harness(tmp_path / "other") as other:
        other.public.publish("demo", WHEEL)
        assert other.repositories.page_fingerprint("lab", DEMO) == before
        other.repositories._settings["lab"] = type(settings.repositories[1])(
            name="lab", indexes=("public",), hide_refused=True
        )
        assert other.repositories.page_fingerprint("lab", DEMO) != before
    monkeypatch.setattr(repository, "__version__", "99")
    assert harness.repositories.page_fingerprint("lab", DEMO) != before


# Dry runs


def test_dry_run(harness: Harness) -> None:
    """Other rules may be supposed, and another time; the rules in force stay what they are."""
    harness.public.publish("demo", make_file(WHEEL, upload_time=AT))
    harness.add_rule("block")
    for supposed in (Snapshot(0, []), Snapshot(7, [])):
        decision = harness.repositories.decide_page("default", DEMO, snapshot=supposed)
        assert decision.files[0].verdict is Verdict.ALLOW
    assert harness.repositories.decide_page("default", DEMO).files[0].verdict is Verdict.BLOCK


def test_decision_at_another_time(harness: Harness) -> None:
    """A decision can be asked for as of another moment."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("block", expires_at=AT + timedelta(days=1))
    later = harness.repositories.decide_page("default", DEMO, at=AT + timedelta(days=2))
    assert later.files[0].verdict is Verdict.ALLOW


# Asking for what there is not


def test_unknown_repository(harness: Harness) -> None:
    """A repository that is not configured is a fault of the question."""
    asks: list[Any] = [
        lambda: harness.repositories.decide_page("nope", DEMO),
        lambda: harness.repositories.decide_file("nope", DEMO, WHEEL),
        lambda: harness.repositories.hides_refused("nope"),
        lambda: harness.repositories.page_fingerprint("", DEMO),
    ]
    for ask in asks:
        with pytest.raises(InvalidRequest, match="no repository"):
            ask()


def test_names(harness: Harness) -> None:
    """The configured repositories are known by name."""
    assert harness.repositories.names == ("default", "lab", "inside", "upside")


def test_refresh(harness: Harness) -> None:
    """A refresh asks the one index that it names."""
    page = harness.public.publish("demo", WHEEL)
    assert harness.repositories.refresh("public", DEMO) is page
    assert harness.repositories.refresh("corp", DEMO) is None
    with pytest.raises(InvalidRequest, match="no index `nope`"):
        harness.repositories.refresh("nope", DEMO)
    harness.public.error = IndexUnavailable("public", "answered 502")
    with pytest.raises(IndexUnavailable):
        harness.repositories.refresh("public", DEMO)


def test_store_too_old(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the rules are too old to decide by, nothing is decided: not a page, not a file."""
    harness.public.publish("demo", WHEEL)
    harness.repositories.snapshot()

    def away() -> int:
        raise StoreUnavailable("the store cannot be reached")

    monkeypatch.setattr(harness.store, "revision", away)
    harness.seconds += 3601
    asks: list[Any] = [
        lambda: harness.repositories.decide_page("default", DEMO),
        lambda: harness.repositories.decide_file("default", DEMO, WHEEL),
        lambda: harness.repositories.page_fingerprint("default", DEMO),
        lambda: harness.repositories.projects("default"),
    ]
    for ask in asks:
        with pytest.raises(StoreUnavailable):
            ask()


def test_absent_project(harness: Harness) -> None:
    """A file of a project that nobody has is not found."""
    with pytest.raises(ProjectNotFound):
        harness.repositories.decide_file("default", NormalizedName("nope"), WHEEL)
