"""The store, whichever it is: what was acknowledged survives kill -9, whenever it comes."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from decider.store.transactional import TransactionalStore
from tests.redis_server import RedisServer
from tests.store_worker import FEED_SIZE
from tests.stores import StoreKind, add, block, start_worker

ROUNDS = int(os.environ.get("DECIDER_TEST_KILLS", "5"))  # thousands, for a night
WAIT_S = 60


@dataclass(frozen=True)
class Crashing:
    """A store whose writing process, or server, is killed."""

    kind: StoreKind
    folder: Path  #: where its data lies
    server: RedisServer | None  #: None: the worker itself writes to disk

    def run(self, task: str, name: str, *, until: Callable[[list[str]], bool]) -> list[str]:
        """What a worker said that was killed, with its server, as soon as `until` is true of what it said so far."""
        with start_worker(self.kind, task, name) as worker:
            assert worker.stdout is not None
            said: list[str] = []
            while not until(said):
                said.append(worker.stdout.readline())
                assert said[-1], "the worker ended by itself"
            if self.server is not None:
                self.server.kill()
            worker.kill()
            said += worker.stdout.readlines()
        if self.server is not None:
            self.server.start()
        return [line.strip() for line in said if line.endswith("\n")]

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


@pytest.fixture(params=["sqlite", "redis"])
def crashing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crashing]:
    if request.param == "sqlite":
        yield Crashing(StoreKind("sqlite", tmp_path), tmp_path, None)
        return
    server = RedisServer(tmp_path)
    server.start()
    yield Crashing(StoreKind(server.url, tmp_path), tmp_path, server)
    server.stop()


def test_acknowledged_changes_survive_kills(crashing: Crashing) -> None:
    """Of all changes that were acknowledged before a kill -9 none is lost, and the audit chain is whole."""
    chance = random.Random(ROUNDS)
    acknowledged: list[str] = []
    for number in range(ROUNDS):
        lines = chance.randint(1, 30)
        acknowledged += crashing.run("write_on", f"round-{number}", until=partial(has_said, lines))
        with closing(crashing.kind.open()) as store:
            require_all(store, acknowledged)
            rules = [rule for rule in store.load_rules()[1] if rule.ruleset == "manual"]
            # One change of each round may have been made and not been said any more.
            assert 0 <= len(rules) - sum(line.startswith("rule ") for line in acknowledged) <= number + 1


def has_said(lines: int, said: list[str]) -> bool:
    return len(said) >= lines


def require_all(store: TransactionalStore, acknowledged: list[str]) -> None:
    entries, faults = store.verify_audit()
    assert faults == ()
    assert entries >= sum(not line.startswith("seen ") for line in acknowledged)
    made: dict[str, set[str]] = {"rule": set(), "token": set(), "seen": set(), "feed": set()}
    for line in acknowledged:
        kind, _, label = line.partition(" ")
        made[kind].add(label)
    assert made["rule"] <= {rule.id for rule in store.load_rules()[1]}
    assert made["token"] <= {token.id for token in store.list_tokens()}
    assert made["seen"] <= {file.filename for file in store.first_seen("public", "acme")}
    if made["feed"]:
        rules = store.get_ruleset("feed")[1]
        assert len(rules) == 3
        replaced = {rule.project.rpartition("-")[0] for rule in rules}
        assert len(replaced) == 1


def test_a_ruleset_is_replaced_whole_or_not_at_all(crashing: Crashing) -> None:
    """A kill -9 in the midst of replacing a large ruleset leaves the old one or the new one, nothing between."""
    for number in range(3):
        said = crashing.run("feeds", str(number), until=partial(is_writing, crashing))
        with closing(crashing.kind.open()) as store:
            rules = store.get_ruleset("feed")[1]
            assert len(rules) == FEED_SIZE
            (version,) = {rule.reason for rule in rules}
            assert int(version) in {int(said[-1]), int(said[-1]) + 1}
            assert store.verify_audit()[1] == ()


def is_writing(crashing: Crashing, said: list[str]) -> bool:
    """Wait, after two versions, until the next one begins to reach the disk."""
    if len(said) < 2:
        return False
    before = crashing.size()
    deadline = time.monotonic() + WAIT_S
    while crashing.size() == before:
        assert time.monotonic() < deadline
    return True


@pytest.mark.parametrize("kept", ["between commands", "within a command"])
def test_half_a_transaction_at_the_end_of_the_file(tmp_path: Path, kept: str) -> None:
    """Redis starts without a change that a crash cut in two, and what was acknowledged since survives the next crash."""
    server = RedisServer(tmp_path)
    server.start()
    try:
        kind = StoreKind(server.url, tmp_path)
        with closing(kind.open()) as store:
            first = add(store)
            (file,) = tmp_path.rglob("*.incr.aof")
            before = file.stat().st_size
            add(store)
        server.kill()
        data = file.read_bytes()
        # Up to the first command behind that which adds the audit entry, or into it.
        cut = data.index(b"*4\r\n$4\r\nZADD", data.index(b"XADD", before))
        file.write_bytes(data[: cut if kept == "between commands" else cut + 10])
        server.start()
        with closing(kind.open()) as store:
            assert [rule.id for rule in store.load_rules()[1]] == [first.id]
            acknowledged = [first, add(store, block("b")), add(store, block("c"))]
        server.kill()
        server.start()
        with closing(kind.open()) as store:
            assert list(store.load_rules()[1]) == acknowledged
            assert store.verify_audit() == (3, ())
    finally:
        server.stop()
