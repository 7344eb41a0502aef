"""/metrics of the whole: what is counted where, who may read it, and what it says when something is away."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.fake_index import FakeIndex
from tests.stack import PROMISE_S, Stack, eventually
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

SOON_S = 5.0  #: processes report once a second, the collector reads nginx's log twice a second


def metrics(stack: Stack) -> dict[str, float]:
    """Series → value."""
    answer = stack.get("/metrics", port=stack.internal_port)
    assert (answer.status, answer.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def await_metric(stack: Stack, name: str, value: float) -> None:
    """Wait until the series has that value."""
    eventually(lambda: metrics(stack).get(name) == value, within_s=SOON_S, what=f"{name} {value}")


def total(stack: Stack, *parts: str) -> float:
    """The sum of all series whose names hold all these."""
    return sum(value for name, value in metrics(stack).items() if all(part in name for part in parts))


def test_not_for_clients(stack: Stack) -> None:
    """/metrics is on the loopback listener only, unless public_metrics says otherwise."""
    assert stack.get("/metrics").status == 404
    await_metric(stack, "decider_workers", 1)


def test_what_is_counted(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """Decisions, answers of nginx and of indexes, the revision: of all processes, also of one that was killed."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    bad = own_index.add("bad", make_wheel("bad", "1.0"))
    stack = new_stack(index_url=own_index.url, top="public_metrics = true", workers=2)
    stack.start()
    rule = stack.add_rule(action="block", project="bad")
    await_metric(stack, 'decider_rules_revision{store="sqlite"}', rule["revision"])
    eventually(lambda: stack.file("bad", bad.filename).status == 403, within_s=PROMISE_S)
    for _ in range(3):
        assert stack.file("demo", wheel.filename).status == 200
    assert stack.page("demo").status == 200
    assert stack.page("absent").status == 404

    eventually(lambda: total(stack, 'decisions_total{kind="file",verdict="block"}') >= 1, within_s=SOON_S)
    eventually(lambda: total(stack, "responses_total", 'kind="file"', 'status="200"') == 3, within_s=SOON_S)
    assert total(stack, "responses_total", 'kind="file"', 'status="200"', 'cache="MISS"') == 1
    assert total(stack, "responses_total", 'kind="file"', 'status="200"', 'cache="HIT"') == 2
    assert total(stack, "responses_total", 'status="403"') >= 1
    assert total(stack, "file_fetch_seconds_count", 'index="public"', 'status="200"') == 1
    assert 0 < total(stack, "file_fetch_seconds_sum", 'index="public"') < 60
    found = metrics(stack)
    assert found['decider_decisions_total{kind="page",verdict="absent"}'] >= 1
    assert found['decider_decisions_total{kind="page",verdict="allow"}'] >= 1
    assert found['decider_decision_seconds_count{kind="page"}'] >= 2
    assert total(stack, "pages_rendered_total", 'kind="page"') == 1
    assert total(stack, "index_answers_total", 'index="public"', 'outcome="absent"') >= 1
    assert total(stack, "index_answers_total", 'index="public"', 'outcome="page"', 'cache="MISS"') >= 1
    assert found["decider_nginx_requests_total"] > 5
    assert found["decider_workers"] == 2

    worker = max(process.pid for process in stack.processes() if "decider.wsgi" in process.command)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: stack.page("demo").status == 200, within_s=SOON_S)
    assert (
        total(stack, "decisions_total", 'kind="page"') >= found['decider_decision_seconds_count{kind="page"}']
    )
    await_metric(stack, "decider_workers", 2)
    assert stack.get("/metrics").status == 200


def test_what_is_away(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """An index that is away, and one that is back, show; so do answers from a copy of its pages."""
    own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, index='page_ttl = "1s"', workers=2)
    stack.start()
    assert stack.page("demo").status == 200
    assert metrics(stack)['decider_index_away{index="public"}'] == 0
    own_index.go_down()
    eventually(
        lambda: stack.page("demo").headers.get("X-Decider-Degraded") == "index",
        within_s=10,
        what="an answer from a copy",
    )
    assert metrics(stack)['decider_index_away{index="public"}'] == 1
    assert total(stack, "index_answers_total", 'cache="STALE"') >= 1
    own_index.come_up()

    def is_back() -> bool:
        assert stack.page("demo").status == 200
        return metrics(stack)['decider_index_away{index="public"}'] == 0

    eventually(is_back, within_s=20)
