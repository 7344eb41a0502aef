"""A webhook's event on its way out: to the one address of the settings, with its signature, and no word of that address."""

from collections.abc import Iterator

import pytest

from decider.egress import events
from decider.settings import WebhookSettings
from tests.egress_harness import Fetcher, Host, Reply, broken, redirect, reply

HEADERS = {
    "Content-Type": "application/json",
    "webhook-id": "audit-1",
    "webhook-timestamp": "1",
    "webhook-signature": "v1,x",
}
SECRET_PATH = "/hook/s3cret?room=1"


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as started:
        yield started


@pytest.fixture
def fetcher(host: Host) -> Iterator[Fetcher]:
    with Fetcher(webhook=WebhookSettings(url=f"{host.url.rstrip('/')}{SECRET_PATH}")) as started:
        yield started


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "204 No Content"])
def test_taken(host: Host, fetcher: Fetcher, status: str) -> None:
    """An event goes out as it is, with its signature and nothing else of who sends it; taken is taken."""
    host.answers[SECRET_PATH] = reply(b"", status, Content_Length=None if "204" in status else "0")
    told = {**HEADERS, "Cookie": "a=b", "Authorization": "Bearer x", "X-Forwarded-For": "10.0.0.1"}
    got = fetcher.ask("/event", told, method="POST", body=b'{"type": "rule.added"}')
    assert (got.status, got.body) == (204, b"")
    (asked,) = host.asked
    assert (asked.method, asked.body) == ("POST", b'{"type": "rule.added"}')
    assert set(asked.headers) == {
        "host", "user-agent", "content-length", *(name.lower() for name in HEADERS),
    }  # fmt: skip
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= asked.headers.items()


@pytest.mark.parametrize(
    ("answer", "status", "cause"),
    [
        (reply(b"<b>no</b>", "500 No"), 502, "the receiver answered 500"),
        (reply(b"", "404 No"), 502, "the receiver answered 404"),
        (redirect("/elsewhere"), 502, "the receiver answered 302"),
        (broken(b"hello\r\n\r\n"), 502, "its answer is no proper HTTP"),
        (broken(b""), 502, "it closed the connection without an answer"),
    ],
)
def test_not_taken(host: Host, fetcher: Fetcher, answer: Reply, status: int, cause: str) -> None:
    """Whatever else the receiver says, the event was not taken; redirects are not followed, and its address is not told."""
    host.answers[SECRET_PATH] = answer
    got = fetcher.ask("/event", HEADERS, method="POST", body=b"{}")
    assert got.status == status
    assert got.cause.startswith(cause)
    assert "s3cret" not in f"{got}"
    assert str(host.port) not in f"{got}"
    assert [one.target for one in host.asked] == [SECRET_PATH]


def test_hanging_receiver(host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that hangs is waited for only so long."""
    monkeypatch.setattr(events, "WITHIN_S", 0.3)
    host.answers[SECRET_PATH] = Reply([lambda: host.stopping.wait(20)])
    got = fetcher.ask("/event", HEADERS, method="POST", body=b"{}")
    assert (got.status, got.kind) == (504, "timeout")


def test_no_webhook() -> None:
    """Without a webhook there is nobody to tell."""
    with Fetcher() as fetcher:
        assert fetcher.ask("/event", HEADERS, method="POST", body=b"{}").status == 404


def test_alive(fetcher: Fetcher) -> None:
    """The supervisor's question is answered, and no other path is."""
    assert fetcher.ask("/alive", {}).body == b"ok\n"
    assert fetcher.ask("/", {}).status == 404
    assert fetcher.ask("/event", {}).status == 405
