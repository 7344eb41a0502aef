"""After a restart of Redis its append-only file is written anew, before anything else is written to it.

A server that was killed in the midst of a transaction starts without it (`aof-load-truncated yes`), but leaves its
beginning in the file where the end was cut within a command (Redis 7.0 to 8.0, at least: only a cut between commands
is mended). What is appended then stands inside that transaction, and the next start makes it all anew: with half of a
change that nobody acknowledged, and without the entry of one that was. A file that is written from memory has neither.
"""

import threading
import time

from redis.exceptions import ResponseError

from decider.errors import StoreUnavailable
from decider.store.redis_keys import RUN
from decider.store.redis_session import Session

__all__ = ["Restarts"]

_PATIENCE_S = 30.0
_PAUSE_S = 0.02


class Restarts:
    """Remembers which start of the server was looked after; safe to share between threads."""

    def __init__(self) -> None:
        self._settled: str | None = None

    def settle(self, session: Session) -> None:
        """Return once the server's file holds what it has in memory, and no more; raise StoreUnavailable.

        A server that does not tell when it started, or does not let us rewrite its file, is taken as it is.
        """
        run = _info(session, "server").get("run_id")
        if run is None or run == self._settled:
            return
        if session.call("GET", RUN) != run.encode() and _rewrite(session):
            session.call("SET", RUN, run)
        self._settled = run


def _rewrite(session: Session) -> bool:
    """Whether the append-only file was written anew; raise StoreUnavailable where that failed."""
    if _info(session, "persistence").get("aof_enabled") != "1":
        return False
    try:
        session.call("BGREWRITEAOF")
    except ResponseError as error:
        if "in progress" not in str(error):
            return False
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found = _info(session, "persistence")
        if (found.get("aof_rewrite_in_progress"), found.get("aof_rewrite_scheduled")) == ("0", "0"):
            if found.get("aof_last_bgrewrite_status") == "ok":
                return True
            raise StoreUnavailable(
                "redis could not rewrite its append-only file after it started: see its log"
            )
        threading.Event().wait(_PAUSE_S)
    raise StoreUnavailable("redis has started, and is still rewriting its append-only file")


def _info(session: Session, section: str) -> dict[str, str]:
    """A section of INFO; {} where that is not permitted."""
    try:
        text: str = session.call("INFO", section).decode()
    except ResponseError:
        return {}
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
