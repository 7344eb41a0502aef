"""How the parts are put together: one index each, no index with all the threads, and what runs behind."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from decider.index.local import LocalIndex
from decider.index.remote import RemoteIndex
from decider.services import MAX_WAITING, MIN_WAITING, Services, build, now
from decider.settings import IndexSettings, RepositorySettings, Settings
from decider.wsgi import THREADS


def make_settings(folder: Path, *, remote: int) -> Settings:
    """A directory, and so many remote indexes."""
    (folder / "packages").mkdir(exist_ok=True)
    (folder / "run").mkdir(exist_ok=True)
    indexes = (
        IndexSettings(name="internal", path=str(folder / "packages")),
        *(
            IndexSettings(name=f"r{number}", url=f"https://r{number}.example/simple/")
            for number in range(remote)
        ),
    )
    repositories = (RepositorySettings(name="default", indexes=tuple(index.name for index in indexes)),)
    return Settings(data_dir=str(folder), indexes=indexes, repositories=repositories)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Services]:
    made = build(make_settings(tmp_path, remote=2))
    yield made
    made.store.close()


def test_parts(parts: Services) -> None:
    """Each index is of the kind that its settings name; the store answers; the clock knows its zone."""
    kinds = {name: type(index) for name, index in parts.repositories.indexes.items()}
    assert kinds == {"internal": LocalIndex, "r0": RemoteIndex, "r1": RemoteIndex}
    parts.store.ping()
    assert parts.clock().utcoffset() is not None
    assert now().utcoffset() is not None


@pytest.mark.parametrize("remote", [1, 2, 3, 6, 20])
def test_remote_indexes_leave_threads_for_others(tmp_path: Path, remote: int) -> None:
    """As long as there are few remote indexes, all of them together cannot keep every thread waiting."""
    made = build(make_settings(tmp_path, remote=remote))
    rooms = [index._room for index in made.repositories.indexes.values() if isinstance(index, RemoteIndex)]
    places = [room._places._value for room in rooms]
    made.store.close()
    assert min(places) >= MIN_WAITING
    assert sum(places) <= MAX_WAITING < THREADS or remote * MIN_WAITING > MAX_WAITING


def test_everything_remote_is_asked_for_on_one_socket(tmp_path: Path) -> None:
    """Pages, lists and parts of files come from nginx's socket in data_dir; what can be offered is kept beside it."""
    made = build(make_settings(tmp_path, remote=2))
    made.store.close()
    (socket,) = {
        index._asker._pool._path
        for index in made.repositories.indexes.values()
        if isinstance(index, RemoteIndex)
    }
    assert socket == tmp_path / "run" / "indexes.sock"
    assert {one._parts._pool._path for one in made.repositories._offers.values()} == {socket}
    assert set(made.repositories._offers) == {"r0", "r1"}


def test_nothing_runs_before_it_is_started(tmp_path: Path) -> None:
    """To build the parts starts no thread: commands use them too."""
    before = set(threading.enumerate())
    made = build(make_settings(tmp_path, remote=1))
    made.store.close()
    assert set(threading.enumerate()) == before
