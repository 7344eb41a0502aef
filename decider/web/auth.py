"""Who calls the API: bearer tokens, their roles, and the limit on failed logins (RFC 6750).

What a role may do is declared where a route is (`decider.web.api.operation`), not here.
"""

import hmac
import logging
import os
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from flask import Response, after_this_request, current_app, request

from decider.errors import Forbidden, StoreUnavailable, TooManyRequests, Unauthenticated
from decider.store import Role, Store, Token
from decider.tokens import hash_secret
from decider.web import services
from decider.web.throttle import FailedLogins

__all__ = ["ADMIN_TOKEN", "CLIENT_HEADER", "Caller", "authenticate", "authenticate_reader", "register"]

log = logging.getLogger(__name__)

ADMIN_TOKEN = "DECIDER_ADMIN_TOKEN"  # noqa: S105 (the variable's name)
CLIENT_HEADER = "X-Decider-Client"  #: the client's address, set by nginx whatever the client sent
_TOUCH_EVERY = timedelta(minutes=1)
_MAX_TOUCHED = 10_000
_EXTENSION = "decider.auth"


class Caller(msgspec.Struct, frozen=True):
    """Who makes a request."""

    name: str
    role: Role

    @property
    def actor(self) -> str:
        """How the audit log names the caller."""
        return f"token:{self.name}"

    def require(self, needed: Role) -> None:
        """Raise Forbidden unless the caller's role includes `needed`."""
        if not self.role.includes(needed):
            raise Forbidden(needed.value)


class _State:
    """What one process remembers between requests."""

    def __init__(self, admin_secret: str, failures: FailedLogins) -> None:
        self.admin_hash = hash_secret(admin_secret) if admin_secret else None
        self.failures = failures
        self.touched: dict[str, datetime] = {}
        self.known = _KnownTokens()


class _KnownTokens:
    """Tokens found lately: while the store is away they go on being valid, as the rules do."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[datetime, Token]] = {}

    def find(self, store: Store, secret_hash: str, *, at: datetime, max_age: float) -> Token | None:
        """The stored token of that hash; raise StoreUnavailable where the store is away and it was not seen lately."""
        try:
            token = store.find_token(secret_hash)
        except StoreUnavailable:
            seen = self._found.get(secret_hash)
            if seen is None or (at - seen[0]).total_seconds() > max_age:
                raise
            return seen[1]
        if token is None:
            self._found.pop(secret_hash, None)
        else:
            if len(self._found) >= _MAX_TOUCHED:
                self._found.pop(next(iter(self._found)))
            self._found[secret_hash] = (at, token)
        return token


def register(extensions: dict[str, Any], *, data_dir: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Prepare an application for authenticate(); reads the admin's token from `environ` once."""
    folder = data_dir / "run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        failures = FailedLogins(folder / "failed-logins")
    except OSError as error:
        # Still limited, by each process on its own.
        log.warning("logins.not_shared", extra={"folder": str(folder), "cause": error.strerror})
        failures = FailedLogins(None)
    extensions[_EXTENSION] = _State(environ.get(ADMIN_TOKEN, "").strip(), failures)


def authenticate() -> Caller:
    """Who makes the present request; raise Unauthenticated, TooManyRequests or StoreUnavailable.

    An address with too many failures is refused whatever it sends: else the limit would not slow down guessing.
    """
    state: _State = current_app.extensions[_EXTENSION]
    at = services().clock()
    header = request.headers.get("Authorization")
    if header is None:
        raise Unauthenticated("send a token: `Authorization: Bearer <token>`")
    client = request.headers.get(CLIENT_HEADER) or request.remote_addr or ""
    if wait_s := state.failures.wait_s(client, at=at.timestamp()):
        raise TooManyRequests(wait_s)
    caller = _caller(state, header, at=at)
    if caller is None:
        state.failures.note(client, at=at.timestamp())
        log.warning("login.failed", extra={"client": client})
        raise Unauthenticated("the token is not known, expired or revoked")
    return caller


def authenticate_reader() -> Caller:
    """Who asks for a page or a file where only holders of tokens may; raise Unauthenticated or StoreUnavailable.

    HTTP Basic with the user `__token__` (as pip and uv send what stands in an index URL), or Bearer. A stored token has
    256 random bits and is accepted even from an address with too many failures: one client with a wrong token would
    else shut out all others behind the same gateway. The admin's own token may be weaker, so there the limit holds.
    """
    state: _State = current_app.extensions[_EXTENSION]
    at = services().clock()
    header = request.headers.get("Authorization")
    secret = _presented(header) if header else None
    if secret is None:
        raise Unauthenticated("this index is read with a token: user `__token__`, the token as password")
    client = request.headers.get(CLIENT_HEADER) or ""
    presented = hash_secret(secret)
    token = state.known.find(services().store, presented, at=at, max_age=services().settings.max_policy_age_s)
    if token is not None and _is_valid(token, at=at):
        _touch(state, services().store, token, at=at)
        return Caller(token.name, token.role)
    if (
        state.admin_hash is not None
        and not state.failures.wait_s(client, at=at.timestamp())
        and hmac.compare_digest(presented, state.admin_hash)
    ):
        return Caller("admin", Role.ADMIN)
    state.failures.note(client, at=at.timestamp())
    raise Unauthenticated("the token is not known, expired or revoked")


def _presented(header: str) -> str | None:
    """The token of a Bearer or Basic (RFC 7617) header; None where there is none to be read."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, secret = b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return secret if user == "__token__" and secret else None


def _caller(state: _State, header: str, *, at: datetime) -> Caller | None:
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        return None
    presented = hash_secret(secret.strip())
    # Hashes are compared in constant time; a stored one is found by its value, whose timing tells of a hash at most.
    if state.admin_hash is not None and hmac.compare_digest(presented, state.admin_hash):
        return Caller("admin", Role.ADMIN)
    store = services().store
    token = store.find_token(presented)
    if token is None or not _is_valid(token, at=at):
        return None
    _touch(state, store, token, at=at)
    return Caller(token.name, token.role)


def _is_valid(token: Token, *, at: datetime) -> bool:
    return token.revoked_at is None and (token.expires_at is None or at < token.expires_at)


def _touch(state: _State, store: Store, token: Token, *, at: datetime) -> None:
    """Note the token's use once the answer is out, at most once a minute."""
    last = max(filter(None, (token.last_used_at, state.touched.get(token.id))), default=None)
    if last is not None and at - last < _TOUCH_EVERY:
        return
    if len(state.touched) >= _MAX_TOUCHED:
        state.touched.clear()
    state.touched[token.id] = at

    def touch() -> None:
        try:
            store.touch_token(token.id, at=at)
        except StoreUnavailable:
            log.info("token.not_touched", extra={"token": token.name})

    @after_this_request
    def _after(response: Response) -> Response:
        response.call_on_close(touch)
        return response
