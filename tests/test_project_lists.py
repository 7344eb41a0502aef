"""Project lists: of one index, kept on disk while it lives and while it is away; of a repository, under ownership."""

import json
import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from decider.children import run_child
from decider.errors import (
    ChildFailed,
    IndexError_,
    IndexMisbehaved,
    IndexTimeout,
    IndexUnavailable,
    UnreadablePage,
)
from decider.index import list_loading
from decider.index.list_loading import ListJob, LoadedList, load_list
from decider.index.project_list import RETRY_S, ProjectList
from decider.index.project_names import write_names
from decider.names import NormalizedName
from decider.project_lists import RepositoryLists, keeping
from decider.project_lists.union import UnionJob, unite_here
from decider.rules import Rule, Snapshot
from decider.settings import IndexSettings
from tests.listener import Listener, Said, failed
from tests.samples import AT, make_rule
from tests.stack import JSON_TYPE, eventually

TTL_S, STALE_S = 60.0, 600.0


class Source:
    """An index whose list a test changes, and the clock that it lives by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = ["a"]
        self.url = "https://index.example/simple/"
        self.error: IndexError_ | None = None
        self.is_stale = False
        self.loads = 0
        self.seconds = 1e9

    def load(self) -> LoadedList:
        self.loads += 1
        if self.error is not None:
            raise self.error
        return LoadedList(digest=write_names(self.folder, self.names), is_stale=self.is_stale)

    def keeper(self) -> ProjectList:
        """What one process has."""
        return ProjectList(
            self.folder,
            index="public",
            source=self.url,
            ttl_s=TTL_S,
            stale_if_error_s=STALE_S,
            load=self.load,
            wall_clock=lambda: self.seconds,
        )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def names_of(kept: ProjectList) -> list[str]:
    return list(kept.names())


# The list of an index


def test_loaded_once(source: Source) -> None:
    """A list is loaded once in its lifetime, for all processes together, restarted ones too."""
    first, second = source.keeper(), source.keeper()
    source.seconds += TTL_S - 1
    assert [names_of(one) for one in (first, second, first, source.keeper())] == [["a"]] * 4
    assert source.loads == 1


def test_renewed_behind_the_back(source: Source) -> None:
    """After its lifetime a list is renewed while it goes on, and after twice that it is waited for."""
    kept = source.keeper()
    kept.names()
    source.names = ["b"]
    source.seconds += TTL_S
    assert names_of(kept) == ["a"]
    eventually(lambda: names_of(kept) == ["b"], within_s=5)
    source.names = ["c"]
    source.seconds += 2 * TTL_S
    assert names_of(kept) == ["c"]
    assert source.loads == 3


def test_index_away(source: Source) -> None:
    """While its index is away the last list goes on for `stale_if_error`, and the index is not asked each time."""
    kept = source.keeper()
    kept.names()
    assert not kept.is_stale()
    source.error = IndexUnavailable("public", "gone")
    source.seconds += 2 * TTL_S
    assert [names_of(kept), names_of(kept)] == [["a"], ["a"]]
    assert kept.is_stale()
    assert source.loads == 2
    source.seconds += RETRY_S
    assert names_of(kept) == ["a"]
    assert source.loads == 3
    source.seconds += STALE_S
    with pytest.raises(IndexUnavailable, match="gone"):
        kept.names()
    source.error, source.names = None, ["b"]
    source.seconds += RETRY_S
    assert names_of(kept) == ["b"]
    assert not kept.is_stale()


def test_index_has_moved(source: Source) -> None:
    """Another index under the same name is asked for its own list; while it is away there is none."""
    assert names_of(source.keeper()) == ["a"]
    source.url, source.names = "https://mirror.example/simple/", ["b"]
    source.error = IndexUnavailable("public", "no")
    with pytest.raises(IndexUnavailable):
        source.keeper().names()
    source.error = None
    assert names_of(source.keeper()) == ["b"]
    assert names_of(source.keeper()) == ["b"]
    assert source.loads == 3


def test_never_had(source: Source) -> None:
    """An index that never gave a list has none: its error is what there is."""
    source.error = IndexTimeout("public", "slow")
    kept = source.keeper()
    for _ in range(2):
        with pytest.raises(IndexTimeout, match="slow"):
            kept.names()
    assert source.loads == 1


def test_stale_in_nginx(source: Source) -> None:
    """A list that nginx gives because the index is away goes on as long as pages do, counted from the first time."""
    kept = source.keeper()
    source.is_stale = True
    started = source.seconds
    while source.seconds - started <= STALE_S:
        assert names_of(kept) == ["a"]
        assert kept.is_stale()
        source.seconds += 2 * TTL_S
    source.seconds += STALE_S
    with pytest.raises(IndexUnavailable, match="away for longer"):
        kept.names()


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"digest":"00","loaded_at":1e9}'])
def test_damaged_folder(source: Source, damage: bytes) -> None:
    """What a power cut left of a kept list costs one answer at most."""
    source.keeper().names()
    (source.folder / "state.json").write_bytes(damage)
    kept = source.keeper()
    try:
        found = names_of(kept)
    except IndexUnavailable:
        found = names_of(kept)
    assert found == ["a"]


def test_clock_set_back(source: Source) -> None:
    """A list from the future is not kept for ever."""
    source.keeper().names()
    source.seconds -= 3600
    source.names = ["b"]
    assert names_of(source.keeper()) == ["b"]


# Loading it in a child


def job(listener: Listener, folder: Path) -> ListJob:
    settings = IndexSettings(name="public", url="https://index.example/simple/", credentials="me:secret")
    return ListJob(index=settings, socket=str(listener.socket), folder=str(folder))


def said(names: list[str]) -> Said:
    body = json.dumps({"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in names]})
    return Said(body=body.encode(), headers={"Content-Type": JSON_TYPE})


def test_load(tmp_path: Path) -> None:
    """A child loads the list through nginx and leaves the normalized names on disk."""
    with Listener() as listener:
        listener.answers["/indexes/public/"] = said(["Foo_Bar", "demo", "no name!", "demo"])
        loaded = load_list(job(listener, tmp_path))
    (path,) = tmp_path.iterdir()
    assert (path.name, path.read_text()) == (f"{loaded.digest}.names", "demo\nfoo-bar\n")
    assert not loaded.is_stale


def test_child_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child asks nginx: credentials of the index and of a proxy stay where they are."""
    given: list[ListJob] = []

    def run(_: str, job: ListJob, *__: object, **___: object) -> LoadedList:
        given.append(job)
        return LoadedList()

    monkeypatch.setattr(list_loading, "run_child", run)
    settings = IndexSettings(
        name="public",
        url="https://index.example/simple/",
        credentials="me:secret",
        proxy="http://me:secret@proxy.example",
    )
    load_list(ListJob(index=settings, socket="", folder=str(tmp_path)))
    (job,) = given
    assert job.index.url == settings.url
    assert "me:secret" not in repr(job)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Said(404), IndexUnavailable, "index `public`: its project list answered 404"),
        (Said(502), IndexUnavailable, "index `public`: the fetcher is away"),
        (failed("timeout", "no answer in time", 504), IndexTimeout, "index `public`: no answer in time"),
        (failed("malformed", "it is no HTTP"), IndexMisbehaved, "index `public`: it is no HTTP"),
        (
            Said(body=b"no", headers={"Content-Type": "text/plain"}),
            UnreadablePage,
            "index `public`: unreadable page: its type",
        ),
    ],
)
def test_load_fails(tmp_path: Path, answer: Said, error: type[IndexError_], words: str) -> None:
    """What keeps a child from a list is raised as if there were no child."""
    with Listener() as listener:
        listener.answers["/indexes/public/"] = answer
        with pytest.raises(error) as raised:
            load_list(job(listener, tmp_path))
    assert type(raised.value) is error
    assert str(raised.value).startswith(words)


def test_child_without_result(tmp_path: Path) -> None:
    """A child that ends without a result, or not in time, is an error that says so."""
    wrong = ListJob(index=IndexSettings(name="x"), socket="", folder=str(tmp_path))
    with pytest.raises(ChildFailed, match="ended with 1"):
        run_child("decider.project_lists", wrong, str, timeout_s=30)
    with pytest.raises(ChildFailed, match="no result within"):
        run_child("decider.project_lists", wrong, str, timeout_s=0.001)


# The list of a repository

Names = Mapping[str, AbstractSet[NormalizedName]]


def lists(**names: str) -> Names:
    return {index: frozenset(map(NormalizedName, text.split())) for index, text in names.items()}


def united(folder: Path, found: Names, *rules: Rule, hide: bool = False, **options: Any) -> list[str]:
    kept = RepositoryLists(folder)
    at = options.pop("at", AT)
    return list(kept.names("default", found, Snapshot(1, rules), hide_refused=hide, at=at))


TWO = lists(internal="acme-a acme-b tool", public="acme-b acme-x demo tool")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], "acme-a acme-b acme-x demo tool"),
        ([make_rule(1, "own", "acme-*", index="internal")], "acme-a acme-b demo tool"),
        ([make_rule(1, "own", "acme*", index="internal")], "acme-a acme-b demo tool"),
        ([make_rule(1, "own", "demo", index="internal")], "acme-a acme-b acme-x tool"),
        ([make_rule(1, "own", "demo", index="elsewhere")], "acme-a acme-b acme-x tool"),
        ([make_rule(1, "own", "*", index="public")], "acme-b acme-x demo tool"),
        (
            [make_rule(1, "own", "acme-*", index="internal"), make_rule(2, "own", "acme-x", index="public")],
            "acme-a acme-b acme-x demo tool",
        ),
        (
            [make_rule(1, "own", "demo", index="internal", repositories=("other",))],
            "acme-a acme-b acme-x demo tool",
        ),
        ([make_rule(1, "own", "demo", index="internal", expires_at=AT)], "acme-a acme-b acme-x demo tool"),
        ([make_rule(1, "block", "demo")], "acme-a acme-b acme-x demo tool"),
    ],
)
def test_ownership(tmp_path: Path, rules: list[Rule], expected: str) -> None:
    """A list is the union of its indexes'; a name that is owned is listed where its owner has it."""
    assert united(tmp_path, TWO, *rules) == expected.split()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([make_rule(1, "block", "demo"), make_rule(2, "hold", "acme-*")], "tool"),
        ([make_rule(1, "block", "demo", versions=">=2")], "acme-a acme-b acme-x demo tool"),
        ([make_rule(1, "block", "demo"), make_rule(2, "allow", "demo")], "acme-a acme-b acme-x demo tool"),
        (
            [make_rule(1, "block", "demo", final=True), make_rule(2, "allow", "demo")],
            "acme-a acme-b acme-x tool",
        ),
        ([make_rule(1, "block", "demo", expires_at=AT)], "acme-a acme-b acme-x demo tool"),
    ],
)
def test_hidden(tmp_path: Path, rules: list[Rule], expected: str) -> None:
    """Where refused files are hidden a project that is refused whole is not listed."""
    assert united(tmp_path, TWO, *rules, hide=True) == expected.split()


def test_made_again_only_for_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is made once, for all processes, until an index's list or a rule about whole projects changes."""
    made: list[UnionJob] = []

    def counted(one: UnionJob) -> str:
        made.append(one)
        return unite_here(one)

    monkeypatch.setattr(keeping, "unite_here", counted)
    kept = RepositoryLists(tmp_path)
    ending = make_rule(1, "own", "demo", index="internal", expires_at=AT + timedelta(hours=1))

    def ask(*rules: Rule, found: Names = TWO, process: RepositoryLists = kept, **options: Any) -> int:
        """How many lists were made for that."""
        before = len(made)
        given: dict[str, Any] = {"hide_refused": False, "at": AT, **options}
        process.names("default", found, Snapshot(1, rules), **given)
        return len(made) - before

    assert [ask(ending), ask(ending), ask(ending, process=RepositoryLists(tmp_path))] == [1, 0, 0]
    assert ask(ending, make_rule(2, "block", "demo"), make_rule(3, "allow", "demo")) == 0
    assert ask(ending, at=AT + timedelta(hours=2)) == 1
    assert ask(ending) == 0
    assert ask(ending, found=lists(internal="", public="demo")) == 1
    assert ask(ending, make_rule(2, "block", "demo"), hide_refused=True) == 1


def test_same_names_same_list(tmp_path: Path) -> None:
    """A change that changes no name leaves the list what it was, so that it stays cached everywhere."""
    kept = RepositoryLists(tmp_path)
    before = kept.names("default", TWO, Snapshot(1, ()), hide_refused=False, at=AT)
    rule = make_rule(1, "own", "unheard-of", index="internal")
    after = kept.names("default", TWO, Snapshot(2, [rule]), hide_refused=False, at=AT)
    assert before.digest == after.digest


def test_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list is united in a child, which knows the same rules."""
    monkeypatch.setattr(keeping, "SMALL", 0)
    monkeypatch.delattr(keeping, "unite_here")
    rules = [make_rule(1, "own", "acme-*", index="internal"), make_rule(2, "block", "demo")]
    assert united(tmp_path, TWO, *rules, hide=True) == ["acme-a", "acme-b", "tool"]


def test_many_ask_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that takes long to make does not hold more threads than it may: the others are told to ask again."""
    started, go_on = threading.Event(), threading.Event()

    def slowly(one: UnionJob) -> str:
        started.set()
        assert go_on.wait(20)
        return unite_here(one)

    monkeypatch.setattr(keeping, "unite_here", slowly)
    monkeypatch.setattr(keeping, "MAX_WAITING", 1)
    kept = RepositoryLists(tmp_path)

    def ask() -> list[str]:
        return list(kept.names("default", TWO, Snapshot(1, ()), hide_refused=False, at=AT))

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(ask)
        assert started.wait(20)
        with pytest.raises(ChildFailed, match="too many"):
            ask()
        go_on.set()
        assert first.result(20) == sorted(TWO["internal"] | TWO["public"])
