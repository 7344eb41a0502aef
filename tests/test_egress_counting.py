"""What the fetcher counts when its client goes before anything has come of what was asked for."""

import threading
from collections.abc import Mapping

import pytest

from decider.metrics import meters
from decider.settings import IndexSettings, WebhookSettings
from tests.egress_harness import Fetcher, Host, Reply
from tests.stack import eventually


@pytest.mark.parametrize("kind", ["file", "page", "part", "event"])
def test_client_has_gone(kind: str) -> None:
    """It counts as that, whatever was asked for: not as got, and not as a failure of the host."""
    asked = threading.Event()
    with Host() as host:
        index = IndexSettings(name="public", url=f"{host.url}simple/")

        def hangs(_: object) -> Reply:
            asked.set()
            host.stopping.wait(30)
            return Reply([])

        host.answers = dict.fromkeys(("/x", "/simple/demo/"), hangs)
        told: Mapping[str, str] = {
            "X-Decider-Source": index.url or "",
            "X-Decider-Url": f"{host.url}x",
            "X-Decider-Expect": "public - -",
            "Range": "bytes=0-9",
        }
        with Fetcher([index], webhook=WebhookSettings(url=f"{host.url}x")) as fetcher:
            before = _counts(kind)
            connection = fetcher.connect()
            method, path = ("POST", "/event") if kind == "event" else ("GET", f"/{kind}")
            connection.request(method, f"{path}/public/demo/" if kind == "page" else path, headers=dict(told))
            assert asked.wait(10)
            connection.close()
            after = eventually(lambda: _changed(kind, before), within_s=10)
            assert after == {"left": 1}


def _counts(kind: str) -> dict[str, float]:
    (metric,) = meters().fetches.collect()
    return {
        one.labels["outcome"]: one.value
        for one in metric.samples
        if one.name.endswith("_total") and one.labels["kind"] == kind
    }


def _changed(kind: str, before: Mapping[str, float]) -> dict[str, float]:
    return {
        name: count - before.get(name, 0)
        for name, count in _counts(kind).items()
        if count != before.get(name, 0)
    }
