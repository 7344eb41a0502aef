"""Rules that come and go quickly, or end by themselves, against caches that are hot all the time (DESIGN 2)."""

import http.client
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fake_index import FakeIndex
from tests.stack import ALLOWED_S, PIP_ACCEPT, PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

HOLD_S = 0.7  #: how long, beyond the promise, a block is watched
ROUNDS = int(os.environ.get("DECIDER_TEST_RACES", "2"))  # hundreds, for a night


@dataclass
class Watch:
    """Asks for one thing some 300 times a second on one connection, and keeps when what was permitted."""

    stack: Stack
    path: str
    headers: dict[str, str]
    is_permitted: Callable[[http.client.HTTPResponse, bytes], bool]
    #: when it was asked, when answered, and whether it was permitted; None: 503, ask again
    seen: list[tuple[float, float, bool | None]] = field(default_factory=list)
    tags: dict[str, bytes] = field(default_factory=dict)  #: ETag → body
    faults: list[str] = field(default_factory=list)

    def run(self, stopping: threading.Event) -> None:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=40)) as connection:
                while not stopping.wait(0.003):
                    self._ask(connection)
        except Exception as error:  # noqa: BLE001 (the test reports it)
            self.faults.append(repr(error))

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        asked = time.monotonic()
        connection.request("GET", self.path, headers=self.headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status not in {200, 403, 503}:
            self.faults.append(f"{answer.status} {answer.reason}")
        # A block that was lifted between the decision and the words of its refusal: there are none.
        is_between = answer.status == 503
        self.seen.append((asked, time.monotonic(), None if is_between else self.is_permitted(answer, body)))
        tag = answer.headers.get("ETag")
        if tag is not None and self.tags.setdefault(tag, body) != body:
            self.faults.append(f"two contents under the tag {tag}")


@contextmanager
def watching(watches: list[Watch]) -> Iterator[None]:
    stopping = threading.Event()
    threads = [threading.Thread(target=watch.run, args=(stopping,)) for watch in watches]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def is_open(_answer: http.client.HTTPResponse, body: bytes) -> bool:
    return b"Blocked: " not in body


def is_served(answer: http.client.HTTPResponse, _body: bytes) -> bool:
    return answer.status == 200


def watches_of(stack: Stack, project: str, wheel: Distribution) -> list[Watch]:
    page, file = f"/simple/{project}/", f"/files/{project}/{wheel.filename}"
    return [
        Watch(stack, page, {"Accept": PIP_ACCEPT}, is_open),
        Watch(stack, page, {"Accept": "text/html"}, is_open),
        Watch(stack, file, {}, is_served),
    ]


class Toggle:
    """A block of one project that is put and taken away, by one way of the API."""

    def __init__(self, stack: Stack, project: str) -> None:
        self.stack = stack
        self.project = project

    def put(self) -> None:
        raise NotImplementedError

    def take(self) -> None:
        raise NotImplementedError


class ByRule(Toggle):
    """Each time another rule, with another id."""

    def put(self) -> None:
        self.rule = self.stack.add_rule(action="block", project=self.project)

    def take(self) -> None:
        self.stack.remove_rule(self.rule)


class ByPatch(Toggle):
    """One rule, whose versions change."""

    rule: dict[str, Any] | None = None

    def put(self) -> None:
        self._change("==1.0")

    def take(self) -> None:
        self._change("==99")

    def _change(self, versions: str) -> None:
        if self.rule is None:
            self.rule = self.stack.add_rule(action="block", project=self.project, versions=versions)
            return
        tag = {"If-Match": f'"{self.rule["revision"]}"'}
        answer = self.stack.api("PATCH", f"/rules/{self.rule['id']}", {"versions": versions}, headers=tag)
        assert answer.status == 200, answer.body
        self.rule = answer.json()


class ByRuleset(Toggle):
    """A feed that lists the project, and does not."""

    def put(self) -> None:
        self._replace([{"action": "block", "project": self.project, "reason": "feed"}])

    def take(self) -> None:
        self._replace([])

    def _replace(self, rules: list[dict[str, Any]]) -> None:
        answer = self.stack.api("PUT", f"/rulesets/{self.project}", {"rules": rules})
        assert answer.status == 200, answer.body


@dataclass
class Race:
    """One project whose block comes and goes in a thread of its own, and those who watch it."""

    toggle: Toggle
    watches: list[Watch]
    blocked: list[tuple[float, float]] = field(
        default_factory=list
    )  #: from an acknowledgement until taken away
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        chance = random.Random(self.toggle.project)
        pause = threading.Event()
        try:
            for _ in range(ROUNDS):
                for _ in range(chance.randint(2, 5)):
                    self.toggle.put()
                    pause.wait(chance.choice((0, 0, 0.05, 0.3, 1.1)))
                    self.toggle.take()
                    pause.wait(chance.choice((0, 0, 0.05, 0.3)))
                self.toggle.put()
                acknowledged = time.monotonic()
                pause.wait(ALLOWED_S + HOLD_S)
                self.blocked.append((acknowledged, time.monotonic()))
                self.toggle.take()
            pause.wait(ALLOWED_S)
        except Exception as error:  # noqa: BLE001 (the test reports it)
            self.faults.append(repr(error))

    def require_refusals(self) -> None:
        assert self.faults == []
        for watch in self.watches:
            assert watch.faults == [], watch.path
            bound = [
                {
                    permitted
                    for asked, answered, permitted in watch.seen
                    if start + ALLOWED_S <= asked and answered <= end
                }
                for start, end in self.blocked
            ]
            # It was asked each time, and refused each time.
            assert bound == [{False}] * ROUNDS, watch.path
            assert watch.seen[-1][2] is True, watch.path


def test_toggled_blocks(own_stack: Stack, own_index: FakeIndex) -> None:
    """However quickly a block comes and goes, 2 s after its last acknowledgement nothing older is ever shown."""
    races = []
    for kind in (ByRule, ByPatch, ByRuleset):
        project = kind.__name__.lower()
        wheel = own_index.add(project, make_wheel(project, "1.0"))
        races.append(Race(kind(own_stack, project), watches_of(own_stack, project, wheel)))
    threads = [threading.Thread(target=race.run) for race in races]
    with watching([watch for race in races for watch in race.watches]):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for race in races:
        race.require_refusals()


def ends_in(seconds: float) -> datetime:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)


@pytest.mark.parametrize("clock", ["expires_at", "younger_than"])
def test_what_time_changes(stack: Stack, index: FakeIndex, project: str, clock: str) -> None:
    """What is refused until a moment, in hot caches, is served within 2 s of that moment, and never before it."""
    end = ends_in(8)
    uploaded = (end - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
    wheel = index.add(project, make_wheel(project, "1.0"), fields={"upload-time": uploaded})
    if clock == "expires_at":
        stack.add_rule(action="block", project=project, expires_at=end.isoformat())
    else:
        # A second hold, of a file that stays too young: the page has more than one moment.
        index.add(project, make_wheel(project, "2.0"), fields={"upload-time": f"{end:%Y-%m-%dT%H:%M:%SZ}"})
        stack.add_rule(action="hold", project=project, younger_than="7d", reason="a week")
    path = f"/files/{project}/{wheel.filename}"
    eventually(lambda: stack.get(path).status == 403, within_s=PROMISE_S)
    eventually(lambda: "yanked" in stack.page(project).file(wheel.filename), within_s=PROMISE_S)
    assert datetime.now(UTC) < end, "too slow to see anything"
    until = stack.page(project).json()["_decider"]["refused"][0]["until"]
    assert datetime.fromisoformat(until) == end
    early: list[str] = []

    def has_changed() -> bool:
        before = datetime.now(UTC)
        served = stack.get(path).status == 200
        listed = "yanked" not in stack.page(project).file(wheel.filename)
        if (served or listed) and datetime.now(UTC) < end:
            early.append(f"{before}: served {served}, listed {listed}")
        return served and listed

    left = (end - datetime.now(UTC)).total_seconds()
    eventually(has_changed, within_s=left + PROMISE_S)
    assert early == []


def test_waiver_ends(stack: Stack, index: FakeIndex, project: str) -> None:
    """What a waiver permits is refused again within 2 s of its end, though page and file are hot; not for a while."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    block = stack.add_rule(action="block", project=project)
    end = ends_in(8)
    stack.add_rule(action="allow", project=project, lifts=[block["id"]], expires_at=end.isoformat())
    path = f"/files/{project}/{wheel.filename}"
    eventually(lambda: stack.get(path).status == 200, within_s=PROMISE_S)
    eventually(lambda: "yanked" not in stack.page(project).file(wheel.filename), within_s=PROMISE_S)
    assert datetime.now(UTC) < end, "too slow to see anything"
    permitted: list[datetime] = []

    def is_over() -> bool:
        asked = datetime.now(UTC)
        is_permitted = stack.get(path).status == 200 or "yanked" not in stack.page(project).file(
            wheel.filename
        )
        if is_permitted:
            permitted.append(asked)
        return asked > end + timedelta(seconds=ALLOWED_S + HOLD_S)

    left = (end - datetime.now(UTC)).total_seconds()
    eventually(is_over, within_s=left + ALLOWED_S + HOLD_S + 5)
    assert max(permitted) < end + timedelta(seconds=ALLOWED_S)
