"""Fixtures that every test may use: a fake index, a shared stack, stacks of one's own, fresh project names."""

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.fake_index import FakeIndex
from tests.stack import Stack

_numbers = itertools.count(1)


@contextmanager
def open_stack(**options: Any) -> Iterator[Stack]:
    """A running stack that has to stop cleanly in the end."""
    stack = Stack(**options)
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


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
    with open_stack(index_url=shared_index.url, tables=tables) as stack:
        yield stack


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
                report.sections.append((f"log of {name}", value.log_text(6_000)))
    return report
