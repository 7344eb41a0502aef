"""Tells a team's own service what changed: rules, rulesets, reviews. Follows the audit log, never a decision.

Signed as Standard Webhooks say (https://www.standardwebhooks.com/): `webhook-id`, `webhook-timestamp`,
`webhook-signature: v1,<base64 of HMAC-SHA256 over "id.timestamp.body">`. Delivered at least once and in order: the
place in the audit log moves on once the receiver has answered 2xx. One process of a machine sends; on several machines
with one store each sends, with the same ids. The fetcher sends them (decider/egress/events.py).
"""

import fcntl
import hmac
import logging
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from urllib3.exceptions import HTTPError

from decider.errors import DeciderError
from decider.run_files import EGRESS_SOCKET
from decider.settings import Settings, signing_key
from decider.store import AuditEntry, Store
from decider.store.cursors import encode_audit_cursor
from decider.unix_sockets import UnixPool

__all__ = ["PATH", "WebhookSender", "event_of", "signature"]

log = logging.getLogger(__name__)

PATH = "/event"  #: of the fetcher
POLL_S = 1.0
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 300.0
TIMEOUT_S = 15.0
GIVE_UP_AFTER = timedelta(days=3)  #: an event older than this is dropped, with a log line
#: How long a change of rules waits where its event tells exposure: nginx may go on with decisions for a second, a process
#: notices within 250 ms, and the last request served by them shows among the records some two seconds later.
SETTLED_AFTER = timedelta(seconds=4)
MAX_BODY_BYTES = 256 * 1024  #: an event about more than that tells its counts alone

#: Audit actions that a team hears of → the event's type. Tokens are not among them.
_EVENTS = {
    "rule.add": "rule.added",
    "rule.change": "rule.changed",
    "rule.remove": "rule.removed",
    "ruleset.replace": "ruleset.replaced",
    "ruleset.remove": "ruleset.removed",
    "review.open": "review.opened",
    "review.approve": "review.approved",
    "review.deny": "review.denied",
}


class _Place(msgspec.Struct, frozen=True):
    """How far the audit log has been told: by id, which no clock sets back."""

    last_id: int


def signature(secret: str, *, event_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(signing_key(secret), signed, sha256)).decode()


def event_of(entry: AuditEntry, exposure: object) -> dict[str, Any]:
    """What the receiver reads of an audit entry, one of an action that it is told.

    `exposure`: who already took what the change begins to refuse.
    """
    data = {
        "audit_id": entry.id,
        "actor": entry.actor,
        "rule": entry.rule,
        "ruleset": entry.ruleset,
        "reason": entry.reason,
        "before": entry.before,
        "after": entry.after,
        "exposure": exposure,
    }
    event = {"type": _EVENTS[entry.action], "timestamp": entry.at, "data": data}
    if len(msgspec.json.encode(event)) > MAX_BODY_BYTES:
        event["data"] = data | {"before": None, "after": None, "truncated": True}
    return event


class WebhookSender:
    """Follows the audit log of one store and posts events; `run` does so until told to stop."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        clock: Callable[[], datetime],
        exposure_of: Callable[[AuditEntry, Iterator[AuditEntry]], object] | None = None,
    ) -> None:
        """Prepare to send, from now on; `exposure_of` tells who already took what an entry's change begins to refuse.

        It is asked once the change is settled: see SETTLED_AFTER. By then there may be entries after it, which it is
        given too, oldest first.
        """
        if settings.webhook is None:
            raise ValueError("no webhook is configured")
        self._webhook = settings.webhook
        self._store = store
        self._clock = clock
        self._exposure_of = exposure_of
        self._folder = Path(settings.data_dir) / "run"
        self._place_file = self._folder / "webhook.json"
        self._pool = UnixPool(Path(settings.data_dir) / EGRESS_SOCKET, connections=1)
        # Before anything is served: the first change that can be made is told.
        with suppress(DeciderError, OSError):  # else at the first turn
            self._begin()

    def run(self, stopping: threading.Event) -> None:
        """Send until `stopping` is set, where no other process of this machine does."""
        with (self._folder / "webhook.lock").open("a") as lock:
            while not stopping.wait(POLL_S):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    continue
            pause_s = 0.0
            while not stopping.wait(pause_s or POLL_S):
                try:
                    self.send_pending()
                    pause_s = 0.0
                except (DeciderError, HTTPError, OSError) as error:
                    pause_s = min(max(pause_s * 2, FIRST_PAUSE_S), MAX_PAUSE_S)
                    # The class alone: the text may quote the receiver's address, which may be a secret itself.
                    log.warning(
                        "webhook.delayed", extra={"error": type(error).__name__, "again_in_s": pause_s}
                    )

    def send_pending(self) -> int:
        """Send every event that the receiver has not accepted yet; how many. Raise on the first that it refuses."""
        sent = 0
        newest = self._begin()
        place = self._read_place()
        if place is not None and place.last_id < newest:
            for entry in self._entries_after(place.last_id):
                if self._is_unsettled(entry):
                    break
                sent += self._tell(entry)
                self._write_place(_Place(entry.id))
        return sent

    def _begin(self) -> int:
        """Begin at the end of the audit log where nobody has: what came before the webhook is history; that end."""
        place = self._read_place()
        newest = self._store.newest_audit_id()
        if place is not None and place.last_id > newest:  # another store, or an older state of it
            self._write_place(_Place(newest))
        elif place is None:
            fresh = self._place_file.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(msgspec.json.encode(_Place(newest)))
            # Not over what another process has begun with, and told from, since we looked.
            try:
                self._place_file.hardlink_to(fresh)
            except FileExistsError:
                if self._read_place() is None:  # it cannot be read
                    self._write_place(_Place(newest))
            finally:
                fresh.unlink()
        return newest

    def _entries_after(self, last_id: int) -> Iterator[AuditEntry]:
        """Oldest first."""
        cursor: str | None = encode_audit_cursor(last_id)
        while cursor is not None:
            page = self._store.list_audit(limit=500, cursor=cursor)
            yield from page.items
            cursor = page.next

    def _is_unsettled(self, entry: AuditEntry) -> bool:
        if self._exposure_of is None or not _EVENTS.get(entry.action, "").startswith("rule"):
            return False
        # From both sides: a clock that was set back keeps nobody waiting.
        return timedelta(0) <= self._clock() - entry.at < SETTLED_AFTER

    def _tell(self, entry: AuditEntry) -> int:
        if entry.action not in _EVENTS:
            return 0
        if self._clock() - entry.at > GIVE_UP_AFTER:
            log.error("webhook.dropped", extra={"audit_id": entry.id})
            return 0
        exposure = None
        if self._exposure_of is not None:
            exposure = self._exposure_of(entry, self._entries_after(entry.id))
        event = event_of(entry, exposure)
        self._post(f"audit-{entry.id}-{entry.hash[:16]}", msgspec.json.encode(event))
        return 1

    def _post(self, event_id: str, body: bytes) -> None:
        timestamp = int(self._clock().timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
        }
        if self._webhook.secret is not None:
            headers["webhook-signature"] = signature(
                self._webhook.secret, event_id=event_id, timestamp=timestamp, body=body
            )
        answer = self._pool.request(
            "POST", PATH, body=body, headers=headers, timeout=TIMEOUT_S, retries=False, redirect=False
        )
        if not 200 <= answer.status < 300:
            raise OSError(answer.headers.get("X-Decider-Cause", f"the fetcher answered {answer.status}"))

    def _read_place(self) -> _Place | None:
        try:
            return msgspec.json.decode(self._place_file.read_bytes(), type=_Place)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _write_place(self, place: _Place) -> None:
        fresh = self._place_file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(place))
        fresh.replace(self._place_file)
