"""How changes of the Redis store take effect: optimistically, in turns where that starves, and never twice.

Every change raises `changes` in the head, which all others watch. Which keys a change writes may not be said here.
"""

import random
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TypeVar

from decider.errors import StoreUnavailable
from decider.store.redis_keys import HEAD, NONCES, TURN
from decider.store.redis_restarts import Restarts
from decider.store.redis_session import Command, Session, Sessions
from decider.store.redis_transaction import RedisTransaction

__all__ = ["Changes"]

T = TypeVar("T")

_PATIENCE_S = 30.0  # until a change that always comes second gives up
_LOSSES = 4  # lost races until a change asks for its turn
_TURN_S = 15  # a writer that died in its turn holds up the others no longer
_REMEMBERED = 200  # changes whose outcome can still be told
_READS = 50  # that may find the store changed under them
_SETTLE_PAUSES_S = (0, 0.2, 0.4, 0.8)  # a server that restarts is back soon


class Changes:
    """Runs functions of a transaction; safe to share between threads and processes."""

    def __init__(self, *, reading: Sessions, writing: Sessions) -> None:
        self._reading = reading
        self._writing = writing
        self._restarts = Restarts()
        self._line = threading.Lock()  # threads of one process would only lose races to each other

    def run(self, change: Callable[[RedisTransaction], T]) -> T:
        """Run `change` until what it wrote took effect as a whole, on the state that it read."""
        if not self._line.acquire(timeout=_PATIENCE_S):
            raise StoreUnavailable("other changes came first for too long")
        try:
            return self._run(change, secrets.token_hex(8))
        finally:
            self._line.release()

    def ask(self, question: Callable[[RedisTransaction], T]) -> T:
        """Run `question` until nothing changed meanwhile; what it writes is thrown away."""
        for _ in range(_READS):
            with self._reading.open() as session:
                tx = RedisTransaction(session)
                answer = question(tx)
                if int(session.call("HGET", HEAD, "changes") or 0) == tx.changes:
                    return answer
        raise StoreUnavailable("the store changes faster than it can be read")

    def _run(self, change: Callable[[RedisTransaction], T], nonce: str) -> T:
        deadline = time.monotonic() + _PATIENCE_S
        try:
            for losses in count(1):
                outcome = self._attempt(change, nonce)
                if outcome:
                    return outcome[0]
                if time.monotonic() > deadline:
                    break
                if losses >= _LOSSES:
                    self._ask_for_turn(nonce)
                # Jitter, so that those who collided do not collide again.
                time.sleep(random.random() * 0.001 * 2 ** min(losses, 5))  # noqa: S311 (no secret)
        finally:
            if losses >= _LOSSES:
                self._end_turn(nonce)
        raise StoreUnavailable("other changes came first for too long")

    def _attempt(self, change: Callable[[RedisTransaction], T], nonce: str) -> tuple[T] | None:
        """The result of `change`, or None where another one came first."""
        session: Session | None = None
        try:
            with self._writing.open() as session:
                self._restarts.settle(session)
                if session.call("GET", TURN) not in {None, nonce.encode()}:
                    return None
                session.call("WATCH", HEAD)
                tx = RedisTransaction(session)
                result = change(tx)
                if tx.is_empty:
                    session.call("UNWATCH")
                    return (result,)
                noted: list[Command] = [("LPUSH", NONCES, nonce), ("LTRIM", NONCES, 0, _REMEMBERED - 1)]
                return None if session.execute([*tx.commands(), *noted]) is None else (result,)
        except StoreUnavailable:
            if session is None or not session.in_doubt or not self._took_effect(nonce):
                raise
            return (result,)

    def _took_effect(self, nonce: str) -> bool:
        """Whether a change that was sent took effect; where not, it no longer can: the head that it watches moves."""
        fence: list[Command] = [("HINCRBY", HEAD, "changes", 1), ("LRANGE", NONCES, 0, -1)]
        for pause_s in _SETTLE_PAUSES_S:
            time.sleep(pause_s)
            with suppress(StoreUnavailable), self._writing.open() as session:
                self._restarts.settle(session)
                replies = session.execute(fence)
                return replies is not None and nonce.encode() in replies[1]
        raise StoreUnavailable("redis went away while a change was made: whether it took effect is not known")

    def _ask_for_turn(self, nonce: str) -> None:
        with self._writing.open() as session:
            session.call("SET", TURN, nonce, "NX", "EX", _TURN_S)

    def _end_turn(self, nonce: str) -> None:
        # Courtesy, not safety: where this fails the turn runs out, and a turn taken away costs a lost race.
        with suppress(StoreUnavailable), self._writing.open() as session:
            if session.call("GET", TURN) == nonce.encode():
                session.call("DEL", TURN)
