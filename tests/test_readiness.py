"""Readiness: what is required and fails is named and is 503; asking for it starves nobody."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from decider.errors import IndexUnavailable, StoreUnavailable
from decider.services import Services
from decider.web import create_app
from decider.web.readiness import PROBE_LIFETIME_S, STALE_FOR_S, Readiness
from tests.repository_harness import Harness, open_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as made:
        yield made


@pytest.fixture
def parts(harness: Harness) -> Services:
    return Services(
        settings=harness.settings, store=harness.store, repositories=harness.repositories, clock=harness.clock
    )


@pytest.fixture
def client(harness: Harness, parts: Services) -> FlaskClient:
    return create_app(harness.settings, parts=parts).test_client()


AWAY = IndexUnavailable("x", "answered 502")


def test_ready(client: FlaskClient) -> None:
    """When everything answers, readiness is 200 and names every part."""
    answer = client.get("/-/ready")
    assert answer.status_code == 200
    assert answer.json == {
        "ready": True,
        "failing": [],
        "parts": {"store": "ok", "index internal": "ok", "index corp": "ok", "index public": "ok"},
    }
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["internal", "corp"])
def test_required_index_away(client: FlaskClient, harness: Harness, name: str) -> None:
    """An internal index that is away is 503, named, with the reason."""
    getattr(harness, name).error = AWAY
    answer = client.get("/-/ready")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["failing"] == [f"index {name}"]
    assert answer.json["parts"][f"index {name}"] == "index `x`: answered 502"
    assert int(answer.headers["Retry-After"]) > 0


def test_public_index_away(client: FlaskClient, harness: Harness) -> None:
    """A public index that is away is named, and nobody's duty."""
    harness.public.error = AWAY
    answer = client.get("/-/ready")
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["parts"]["index public"] != "ok"


def test_store_away(client: FlaskClient, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away is named; its error's text, which may quote its URL, is not."""

    def away() -> None:
        raise StoreUnavailable("redis://:s3cret@store.example refused")

    monkeypatch.setattr(harness.store, "ping", away)
    answer = client.get("/-/ready")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["parts"]["store"] == "StoreUnavailable"
    assert "s3cret" not in answer.text


class Probing:
    """An index whose probe lasts until it is released."""

    def __init__(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.begun = threading.Event()
        self.released = threading.Event()
        self.released.set()
        original: Callable[[], frozenset[str]] = harness.public.fetch_projects

        def fetch_projects() -> frozenset[str]:
            self.count += 1
            self.begun.set()
            assert self.released.wait(10)
            return original()

        monkeypatch.setattr(harness.public, "fetch_projects", fetch_projects)


def test_one_probe_for_many(parts: Services, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, indexes are probed once in two seconds, counted from the end of a probe."""
    probing = Probing(harness, monkeypatch)
    now = [0.0]
    ready = Readiness(parts, monotonic=lambda: now[0])
    for _ in range(10):
        ready.findings()
    assert probing.count == 1
    now[0] += PROBE_LIFETIME_S + 0.1
    ready.findings()
    assert probing.count == 2


def test_nobody_waits_for_a_slow_probe(
    parts: Services, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a probe hangs, others are told what was found last, as long as that is of some use."""
    probing = Probing(harness, monkeypatch)
    now = [0.0]
    ready = Readiness(parts, monotonic=lambda: now[0])
    first = ready.findings()
    now[0] += PROBE_LIFETIME_S + 0.1
    probing.begun.clear()
    probing.released.clear()
    with ThreadPoolExecutor(2) as threads:
        hanging = threads.submit(ready.findings)
        assert probing.begun.wait(10)
        assert ready.findings() is first
        now[0] += STALE_FOR_S
        waiting = threads.submit(ready.findings)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        probing.released.set()
        assert hanging.result(10) is waiting.result(10)
    assert probing.count == 2
