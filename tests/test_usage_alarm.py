"""The alarm: who already has what a change of rules begins to refuse."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from decider.files import FileIdentity
from decider.rules import Action, Rule, RuleDraft, Snapshot
from decider.settings import Settings
from decider.store import Store, open_store
from decider.usage.alarm import MAX_TOLD, Alarm, alarm_of
from decider.usage.reading import Usage
from tests.usage_samples import AT, make_row, settings_of, stage


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = settings_of(tmp_path)
    rows = [
        make_row(filename=f"demo-{n}.0-py3-none-any.whl", decided=f"version={n}.0&verdict=allow")
        for n in (1, 2)
    ]
    stage(tmp_path, rows)
    return settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store("sqlite", path=str(tmp_path))
    yield opened
    opened.close()


def draft(action: str = "block", project: str = "demo", **fields: Any) -> RuleDraft:
    return RuleDraft(action=Action(action), project=project, reason="because", **fields)


def add(store: Store, **fields: Any) -> Rule:
    return store.add_rule(draft(**fields), actor="ops", at=AT)


def alarm(store: Store, settings: Settings, number: int = -1) -> Alarm | None:
    """That of the newest audit entry, or of another one, told after all there are."""
    entries = list(store.iterate_audit())
    entry = entries[number]
    later = [one for one in entries if one.id > entry.id]
    present = Snapshot(*store.load_rules())
    return alarm_of(entry, present, Usage(settings), later=later, first_seen_of=store.first_seen)


def told(store: Store, settings: Settings, number: int = -1) -> list[str]:
    """The versions of the files that its alarm names."""
    found = alarm(store, settings, number)
    assert found is not None
    assert found.complete
    return [one.filename.split("-")[1] for one in found.items]


def test_a_rule_that_is_added(store: Store, settings: Settings) -> None:
    """A new rule's alarm names who took what it refuses; a second rule's, only what was not refused before."""
    add(store, versions="==2.0")
    assert told(store, settings) == ["2.0"]
    add(store)
    assert told(store, settings) == ["1.0"]
    add(store, project="other")
    assert told(store, settings) == []


def test_a_rule_that_is_changed(store: Store, settings: Settings) -> None:
    """A rule that is widened tells what it came to refuse; narrowed, nothing."""
    rule = add(store, versions="==1.0")
    store.change_rule(rule.id, draft(), actor="ops", at=AT)
    assert told(store, settings) == ["2.0"]
    store.change_rule(rule.id, draft(versions="==1.0"), actor="ops", at=AT)
    assert told(store, settings) == []


def test_a_waiver_that_is_removed(store: Store, settings: Settings) -> None:
    """Removing a waiver begins to refuse what it had lifted."""
    add(store)
    waiver = add(store, action="allow", versions="==2.0")
    assert told(store, settings) == []
    store.remove_rule(waiver.id, actor="ops", at=AT)
    assert told(store, settings) == ["2.0"]


def test_a_ruleset_that_is_replaced(store: Store, settings: Settings) -> None:
    """A feed's replacement tells what its new and changed rules came to refuse."""
    kept = draft(project="other", key="kept")
    store.replace_ruleset("feed", [kept, draft(versions="==1.0", key="a")], actor="feed", at=AT)
    assert told(store, settings) == ["1.0"]
    store.replace_ruleset("feed", [kept, draft(versions=">=1", key="a")], actor="feed", at=AT)
    assert told(store, settings) == ["2.0"]
    store.remove_ruleset("feed", actor="feed", at=AT)
    assert told(store, settings) == []


def test_told_late(store: Store, settings: Settings) -> None:
    """What came after a change, when it is told at last, counts neither as refusing before it nor as lifting it."""
    rule = add(store, versions="==1.0")  # 0
    store.replace_ruleset("feed", [draft(versions="<3", key="a")], actor="feed", at=AT)  # 1
    store.change_rule(rule.id, draft(action="hold", versions="==2.0"), actor="ops", at=AT)  # 2
    waiver = add(store, action="allow")  # 3
    store.replace_ruleset("feed", [draft(versions="<2", key="a")], actor="feed", at=AT)  # 4
    store.remove_rule(waiver.id, actor="ops", at=AT)  # 5
    store.remove_ruleset("feed", actor="feed", at=AT)  # 6
    store.remove_rule(rule.id, actor="ops", at=AT)  # 7
    add(store, project="*")  # 8
    found = [told(store, settings, number) for number in range(9)]
    assert found == [["1.0"], ["2.0"], [], [], [], ["1.0", "2.0"], [], [], ["1.0", "2.0"]]


def test_age_of_what_no_index_dates(tmp_path: Path, store: Store) -> None:
    """A file that a cooldown had let pass is news to a block; one that is too young still is not."""
    settings = settings_of(tmp_path)
    names = [f"demo-{n}.0-py3-none-any.whl" for n in (1, 2)]
    stage(
        tmp_path,
        [
            make_row(filename=name, decided=f"version={name[5]}.0&verdict=allow&index=public")
            for name in names
        ],
    )
    for name, days in zip(names, (8, 6), strict=True):
        store.note_first_seen("public", "demo", [FileIdentity(name, "")], at=AT - timedelta(days=days))
    add(store, action="hold", younger_than="7d")
    assert told(store, settings) == ["2.0"]
    add(store)
    assert told(store, settings) == ["1.0"]


def test_other_entries(store: Store, settings: Settings) -> None:
    """Entries that change no rule have no alarm."""
    store.request_review(
        project="demo",
        version="1.0",
        filename="demo-1.0.whl",
        repository="default",
        rule="r1",
        client=None,
        at=AT,
    )
    assert alarm(store, settings) is None


def test_not_everything_can_be_told(store: Store, settings: Settings) -> None:
    """An alarm names only so many clients, and says that there are more; or that the records cannot be read."""
    many = [make_row(client=f"192.0.2.{n}", second=n) for n in range(MAX_TOLD + 1)]
    stage(Path(settings.data_dir), many, head="more")
    add(store)
    found = alarm(store, settings)
    assert found is not None
    assert (len(found.items), found.complete) == (MAX_TOLD, False)
    database = Path(settings.data_dir) / "usage" / "recent.sqlite"
    database.with_name("recent.sqlite-wal").unlink(missing_ok=True)
    database.write_bytes(b"no database")
    assert alarm(store, settings) == Alarm(items=(), complete=False)
