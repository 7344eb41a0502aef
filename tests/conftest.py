"""Fixtures that every test may use: a fake index, a shared stack, stacks of one's own, fresh project names."""

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from decider import caches
from decider.store.transactional import TransactionalStore
from tests.fake_index import FakeIndex
from tests.redis_server import RedisServer
from tests.stack import Stack
from tests.stores import StoreKind
from tests.uploads import Distribution, make_wheel

_numbers = itertools.count(1)
_SHELVED = 24  #: how many tests of one run may take a project from the shelf


@dataclass(frozen=True)
class Shelved:
    """A project of the shared stack's local directory, there since before the stack started."""

    project: str
    wheel: Distribution  #: version 1.0, its only file


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """The stack, started; it has to stop cleanly in the end."""
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="session", autouse=True)
def _memory() -> Iterator[None]:
    """A place of the tests' own for what would be left in memory by what runs in their process."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="decider-tests-") as folder:
        patch.setattr(caches, "_MEMORY", Path(folder))
        yield


@pytest.fixture(scope="session")
def shared_index() -> Iterator[FakeIndex]:
    with FakeIndex() as index:
        yield index


@pytest.fixture(scope="session")
def shared_stack(shared_index: FakeIndex) -> Iterator[Stack]:
    tables = (
        '[repositories.strict]\nindexes = ["internal", "public"]\nrefused_files = "hidden"\n'
        '[repositories.inside]\nindexes = ["internal"]\n'
    )
    # One process: what a test has seen once holds. What several processes do in the meantime has tests of its own.
    stack = Stack(index_url=shared_index.url, tables=tables, workers=1)
    for number in range(_SHELVED):
        stack.drop(_shelved(number).wheel)
    with running(stack):
        yield stack


def _shelved(number: int) -> Shelved:
    name = f"shelved-{number}"
    return Shelved(name, make_wheel(name, "1.0", padding=40_000))


@pytest.fixture
def index(shared_index: FakeIndex) -> Iterator[FakeIndex]:
    """The shared stack's public index; what a test switched is switched back."""
    yield shared_index
    shared_index.behave()


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """A running decider that other tests use too: keep to projects of your own, make no wide rules."""
    return shared_stack


@pytest.fixture
def project() -> str:
    """A normalized project name that no other test uses."""
    return f"demo-{next(_numbers)}"


@pytest.fixture(scope="session")
def _shelf() -> Iterator[Shelved]:
    return map(_shelved, range(_SHELVED))


@pytest.fixture
def shelved(shared_stack: Stack, _shelf: Iterator[Shelved]) -> Shelved:
    """An internal project that no other test uses and that every process knows already."""
    assert shared_stack.process is not None
    return next(_shelf)


@pytest.fixture
def own_index() -> Iterator[FakeIndex]:
    """An index that no other test uses."""
    with FakeIndex() as index:
        yield index


@pytest.fixture
def new_stack() -> Iterator[Callable[..., Stack]]:
    """Make (and not yet start) stacks that no other test uses; each must stop cleanly in the end."""
    with ExitStack() as opened:

        def make(**options: Any) -> Stack:
            made = Stack(**options)
            opened.callback(made.close)
            return made

        yield make


@pytest.fixture
def own_stack(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> Stack:
    """A running decider that no other test uses, over `own_index`."""
    stack = new_stack(index_url=own_index.url)
    stack.start()
    return stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the stacks it used have printed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, Stack):
                report.sections.append((f"log of {name}", value.log_text(2_000)))
    return report


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, set up as deploy/redis.conf says."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    """An empty store of each kind, to be opened by whoever wants to."""
    if request.param == "sqlite":
        return StoreKind("sqlite", tmp_path)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.flush()
    return StoreKind(server.url, tmp_path)


@pytest.fixture
def store(store_kind: StoreKind) -> Iterator[TransactionalStore]:
    """An empty store of each kind, open."""
    with closing(store_kind.open()) as opened:
        yield opened
