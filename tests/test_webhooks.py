"""Events for a team's own service: signed, in order, at least once."""

import hmac
import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from decider.rules import Action, RuleDraft
from decider.run_files import EGRESS_SOCKET
from decider.settings import Settings, WebhookSettings
from decider.store import Role, Store, open_store
from decider.webhooks import GIVE_UP_AFTER, PATH, SETTLED_AFTER, WebhookSender, signature
from tests.fake_index import FakeIndex
from tests.listener import UnixHTTPServer
from tests.stack import Stack, eventually
from tests.uploads import make_wheel

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECRET = "a-secret"


class Receiver:
    """A team's service, or the fetcher on its way there: remembers what it accepted, and answers with `status`."""

    def __init__(self, socket: Path | None = None) -> None:
        """`socket`: where it listens as the fetcher does; None: on a port."""
        self.status = 204
        self.headers: dict[str, str] = {}
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.seen.append((self.path, headers, body))
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server: TCPServer | UnixHTTPServer
        if socket is None:
            self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self.port = self.server.server_address[1]
        else:
            self.server = UnixHTTPServer(str(socket), Handler)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.seen]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """What stands for the fetcher."""
    with TemporaryDirectory(prefix="receiver-") as folder:  # pytest's own may be too deep for an address
        made = Receiver(Path(folder) / "egress.sock")
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / EGRESS_SOCKET).symlink_to(Path(folder) / "egress.sock")
        yield made
        made.server.shutdown()
        made.server.server_close()


@pytest.fixture
def service() -> Iterator[Receiver]:
    """A team's service on a free port."""
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A SQLite store."""
    (tmp_path / "run").mkdir(exist_ok=True)
    opened = open_store("sqlite", path=str(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def make_sender(tmp_path: Path, store: Store) -> Callable[..., WebhookSender]:
    """Make senders."""

    def make(at: datetime = AT, **options: Any) -> WebhookSender:
        settings = Settings(
            data_dir=str(tmp_path),
            indexes=(),
            repositories=(),
            webhook=WebhookSettings(url="https://chat.example/", secret=SECRET),
        )
        return WebhookSender(settings, store, clock=lambda: at, **options)

    return make


def add(store: Store, project: str, *, at: datetime = AT) -> None:
    store.add_rule(RuleDraft(action=Action.BLOCK, project=project, reason="bad"), actor="ann", at=at)


def test_changes_are_told_in_order(
    store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]
) -> None:
    """Each change of a rule is one event, oldest first; tokens are nobody's news; history before the webhook is not told."""
    add(store, "before")
    sender = make_sender()
    assert sender.send_pending() == 0
    add(store, "one")
    store.add_token("ci", Role.READER, "0" * 64, actor="ann", at=AT)
    add(store, "two")
    assert sender.send_pending() == 2
    assert receiver.types == ["rule.added", "rule.added"]
    assert [event["data"]["after"]["project"] for event in receiver.events] == ["one", "two"]
    assert sender.send_pending() == 0


def test_signature(store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]) -> None:
    """An event is signed over its id, time and body, so that the receiver can tell it from a forged or replayed one."""
    sender = make_sender()
    sender.send_pending()
    add(store, "one")
    sender.send_pending()
    ((path, headers, body),) = receiver.seen
    assert path == PATH
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    version, _, digest = headers["webhook-signature"].partition(",")
    assert (version, b64decode(digest)) == ("v1", hmac.digest(SECRET.encode(), signed, sha256))
    assert signature("other", event_id="x", timestamp=1, body=b"") != signature(
        SECRET, event_id="x", timestamp=1, body=b""
    )


def test_signature_is_that_of_the_standard() -> None:
    """A secret as receivers' libraries make them signs as they expect: the example of Standard Webhooks."""
    told = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_refused_event_is_sent_again(
    store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]
) -> None:
    """An event that the receiver does not accept is sent again with the same id, also by a process started later."""
    sender = make_sender()
    sender.send_pending()
    add(store, "one")
    add(store, "two")
    receiver.status = 500
    with pytest.raises(OSError, match="500"):
        sender.send_pending()
    receiver.status = 200
    assert make_sender().send_pending() == 2
    ids = [headers["webhook-id"] for _, headers, _ in receiver.seen]
    assert ids[0] == ids[1] != ids[2]


def test_cause_that_the_fetcher_tells(
    store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]
) -> None:
    """What the fetcher says of a failure is the error."""
    sender = make_sender()
    add(store, "one")
    receiver.status, receiver.headers = 502, {"X-Decider-Cause": "the receiver answered 500"}
    with pytest.raises(OSError, match="the receiver answered 500"):
        sender.send_pending()


def test_fetcher_that_is_away(store: Store, make_sender: Callable[..., WebhookSender]) -> None:
    """Where the fetcher does not listen nothing is sent, and nothing is forgotten."""
    sender = make_sender()
    add(store, "one")
    for _ in range(2):
        with pytest.raises(HTTPError):
            sender.send_pending()


def test_old_events_are_dropped(
    store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]
) -> None:
    """What could not be told for days is dropped, so that a receiver which comes back is not flooded."""
    make_sender().send_pending()
    add(store, "one")
    add(store, "two", at=AT + GIVE_UP_AFTER)
    assert make_sender(AT + GIVE_UP_AFTER + timedelta(hours=1)).send_pending() == 1
    assert [event["data"]["after"]["project"] for event in receiver.events] == ["two"]


def test_exposure_waits_for_the_change_to_hold(
    store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]
) -> None:
    """Who has what is told once those are recorded who were served right before; a clock set back keeps nobody waiting."""

    def told_at(at: datetime) -> int:
        return make_sender(
            at, exposure_of=lambda entry, later: {"of": entry.rule, "later": [one.id for one in later]}
        ).send_pending()

    told_at(AT)
    store.add_token("ci", Role.READER, "0" * 64, actor="ann", at=AT)
    add(store, "one")
    add(store, "two", at=AT + timedelta(seconds=1))
    assert told_at(AT) == 0
    assert told_at(AT + SETTLED_AFTER - timedelta(seconds=1)) == 0
    assert told_at(AT + SETTLED_AFTER) == 1
    assert [event["data"]["exposure"] for event in receiver.events] == [{"of": "r0000001", "later": [3]}]
    assert told_at(AT) == 1
    assert receiver.events[1]["data"]["exposure"] == {"of": "r0000002", "later": []}


def test_nothing_is_missed_at_the_start(
    store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]
) -> None:
    """What changes once a process is there to serve is told, though none has come round to telling; others begin no anew."""
    add(store, "before")
    make_sender()
    add(store, "one")
    assert make_sender().send_pending() == 1
    add(store, "two")
    make_sender()
    assert make_sender().send_pending() == 1
    assert [event["data"]["after"]["project"] for event in receiver.events] == ["one", "two"]


@pytest.mark.usefixtures("receiver")
def test_clocks_that_differ(store: Store, make_sender: Callable[..., WebhookSender]) -> None:
    """What a node wrote whose clock is behind is told like everything else."""
    sender = make_sender()
    add(store, "one")
    assert sender.send_pending() == 1
    add(store, "two", at=AT - timedelta(minutes=1))
    assert sender.send_pending() == 1


@pytest.mark.parametrize("place", ['{"last_id": 70, "last_at": "2026-01-01T00:00:00Z"}', "", "{"])
def test_another_store(
    tmp_path: Path, store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender], place: str
) -> None:
    """Over an older state of the store, or another one, or a place that cannot be read, it goes on with what comes."""
    (tmp_path / "run" / "webhook.json").write_text(place)
    add(store, "before")
    sender = make_sender()
    add(store, "one")
    assert sender.send_pending() == 1
    assert [event["data"]["after"]["project"] for event in receiver.events] == ["one"]


def test_large_change_tells_no_contents(
    store: Store, receiver: Receiver, make_sender: Callable[..., WebhookSender]
) -> None:
    """A change too large for an event says that it was made, without its contents."""
    make_sender().send_pending()
    drafts = [RuleDraft(action=Action.BLOCK, project=f"p{n}", reason="bad " * 50) for n in range(2000)]
    store.replace_ruleset("feed", drafts, actor="ann", at=AT)
    assert make_sender().send_pending() == 1
    (event,) = receiver.events
    assert (event["type"], event["data"]["truncated"], event["data"]["after"]) == (
        "ruleset.replaced",
        True,
        None,
    )


@pytest.mark.stack
def test_webhook_through_the_stack(
    own_index: FakeIndex, new_stack: Callable[..., Stack], service: Receiver
) -> None:
    """A rule change, with who has what it refuses, and a first held download reach the configured service, once each.

    Through the fetcher, and whoever was served right before the change is among those who have it.
    """
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(
        index_url=own_index.url,
        tables=f'[webhook]\nurl = "http://127.0.0.1:{service.port}/hook?room=1"',
        environment={"DECIDER_WEBHOOK__SECRET": SECRET},
    )
    stack.start()
    eventually((stack.data_dir / "run" / "webhook.json").exists, within_s=10)
    assert stack.file("demo", wheel.filename).status == 200
    hold = {"action": "hold", "project": "demo", "reason": "look at it first"}
    assert stack.api("POST", "/rules", hold, dry_run="true").status == 200
    stack.add_rule(**hold)
    eventually(lambda: stack.file("demo", wheel.filename).status == 403, within_s=5)
    eventually(lambda: service.types == ["rule.added", "review.opened"], within_s=10, what=str(service.types))
    (exposed,) = service.events[0]["data"]["exposure"]["items"]
    assert (exposed["client"], exposed["filename"]) == ("127.0.0.1", wheel.filename)
    assert (exposed["verdict"], service.events[1]["data"]["exposure"]) == ("allow", None)
    path, headers, body = service.seen[0]
    assert path == "/hook?room=1"
    timestamp = int(headers["webhook-timestamp"])
    expected = signature(SECRET, event_id=headers["webhook-id"], timestamp=timestamp, body=body)
    assert headers["webhook-signature"] == expected
