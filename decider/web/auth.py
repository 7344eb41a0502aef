"""Who calls the API: bearer tokens, their roles, and the limit on failed logins (RFC 6750).

What a role may do is declared where a route is (`decider.web.api.operation`), not here.
"""

import hmac
import logging
import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from flask import Response, after_this_request, current_app, request

from decider.errors import DeciderError, Forbidden, StoreUnavailable, TooManyRequests, Unauthenticated
from decider.settings import admin_token
from decider.store import Role, Store, Token
from decider.tokens import hash_secret
from decider.web import services
from decider.web.throttle import FailedLogins, Login

__all__ = ["CLIENT_HEADER", "Caller", "authenticate", "authenticate_reader", "register"]

log = logging.getLogger(__name__)

CLIENT_HEADER = "X-Decider-Client"  #: the client's address, set by nginx whatever the client sent
_TOUCH_EVERY = timedelta(minutes=1)
_MAX_TOUCHED = 10_000
_EXTENSION = "decider.auth"
_NOT_VALID = "the token is not known, expired or revoked"
_HOW_TO_READ = "this index is read with a token: user `__token__`, the token as password"


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
    extensions[_EXTENSION] = _State(admin_token(environ), failures)


def authenticate() -> Caller:
    """Who makes the present request; raise Unauthenticated, TooManyRequests or StoreUnavailable.

    A right token is never refused for wrong ones: nobody guesses its 256 random bits, nor the 32 characters at least of the
    admin's own. The limit tells clients with a wrong one to wait, and keeps the log short.
    """
    state: _State = current_app.extensions[_EXTENSION]
    at = services().clock()
    header = request.headers.get("Authorization")
    if header is None:
        raise Unauthenticated("send a token: `Authorization: Bearer <token>`")
    caller = _caller(state, _bearer(header), services().store.find_token, at=at)
    if caller is None:
        raise _failure(state, "api", at=at)
    return caller


def authenticate_reader() -> Caller:
    """Who asks for a page or a file where only holders of tokens may; raise as authenticate().

    HTTP Basic with the user `__token__` (as pip and uv send what stands in an index URL), or Bearer. One client with a wrong
    token does not shut out the others behind the same gateway, nor those who call the API from there.
    """
    state: _State = current_app.extensions[_EXTENSION]
    at = services().clock()
    header = request.headers.get("Authorization")
    if not header:
        raise Unauthenticated(_HOW_TO_READ)

    def find(secret_hash: str) -> Token | None:
        max_age = services().settings.max_policy_age_s
        return state.known.find(services().store, secret_hash, at=at, max_age=max_age)

    secret = _bearer(header) or _basic(header)
    caller = _caller(state, secret, find, at=at)
    if caller is None:
        raise _failure(state, "read", at=at, detail=_NOT_VALID if secret else _HOW_TO_READ)
    return caller


def _bearer(header: str) -> str:
    """The token of a Bearer header (RFC 6750); "" where there is none to be read."""
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _basic(header: str) -> str:
    """The password of a Basic header (RFC 7617) of the user `__token__`; "" where there is none to be read."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        user, _, secret = b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return ""
    return secret if user == "__token__" else ""


def _caller(
    state: _State, secret: str, find: Callable[[str], Token | None], *, at: datetime
) -> Caller | None:
    """Whose secret it is; None where it is nobody's.

    Hashes are compared in constant time; a stored one is found by its value, whose timing tells of a hash at most.
    """
    if not secret:
        return None
    presented = hash_secret(secret)
    if state.admin_hash is not None and hmac.compare_digest(presented, state.admin_hash):
        return Caller("admin", Role.ADMIN)
    token = find(presented)
    if token is None or not _is_valid(token, at=at):
        return None
    _touch(state, services().store, token, at=at)
    return Caller(token.name, token.role)


def _failure(state: _State, kind: Login, *, at: datetime, detail: str = _NOT_VALID) -> DeciderError:
    """The error that answers wrong credentials, which are counted and logged; too many are neither."""
    client = request.headers.get(CLIENT_HEADER) or request.remote_addr or ""
    if wait_s := state.failures.note(client, kind, at=at.timestamp()):
        return TooManyRequests(wait_s)
    log.warning("login.failed", extra={"client": client, "kind": kind})
    return Unauthenticated(detail)


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
