"""API tokens: made, listed and revoked by admins. A secret is answered once and kept as its hash."""

import msgspec
from flask import Response

from decider.errors import Conflict, RecordNotFound
from decider.store import Page, Role, Token
from decider.store.cursors import decode_cursor, make_page
from decider.tokens import hash_secret, new_secret
from decider.web import services
from decider.web.api import examples
from decider.web.api.inputs import NO_BODY, Listing, NoQuery, json_body, refuse
from decider.web.api.operation import Call, operation, respond
from decider.web.api.shapes import NewToken, TokenRequest

__all__: list[str] = []


@operation(
    "GET",
    "/tokens",
    role=Role.ADMIN,
    query=Listing,
    body=NO_BODY,
    result=Page[Token],
    example_result=examples.listing(examples.TOKEN),
)
def list_tokens(call: Call[Listing, None]) -> Response:
    """List tokens, revoked and expired ones too, never their secrets."""
    after = decode_cursor("tokens", call.query.cursor)
    tokens = sorted(services().store.list_tokens(), key=lambda token: token.id)
    left = (token for token in tokens if token.id > after)
    return respond(make_page("tokens", left, call.query.limit, lambda token: token.id))


@operation(
    "POST",
    "/tokens",
    role=Role.ADMIN,
    query=NoQuery,
    body=json_body(TokenRequest),
    status=201,
    result=NewToken,
    problems=(Conflict,),
    example={"name": "ci", "role": "editor"},
    example_result={**examples.TOKEN, "token": "decider_…"},
)
def add_token(call: Call[NoQuery, TokenRequest]) -> Response:
    """Make a token.

    The answer has its secret as `token`, this once.
    """
    parts = services()
    at = parts.clock()
    asked = call.body
    if asked.expires_at is not None and asked.expires_at <= at:
        refuse("expires_at", "lies in the past")
    secret = new_secret()
    token = parts.store.add_token(
        asked.name,
        asked.role,
        hash_secret(secret),
        actor=call.caller.actor,
        at=at,
        expires_at=asked.expires_at,
    )
    answer = NewToken(**msgspec.structs.asdict(token), token=secret)
    return respond(answer, status=201, location=f"/api/v1/tokens/{token.id}")


@operation(
    "GET",
    "/tokens/<token>",
    role=Role.ADMIN,
    query=NoQuery,
    body=NO_BODY,
    result=Token,
    example_result=examples.TOKEN,
)
def get_token(_call: Call[NoQuery, None], token: str) -> Response:
    """Get a token by its id, or by its name unless it is revoked."""
    for one in services().store.list_tokens():
        if one.id == token or (one.name == token and one.revoked_at is None):
            return respond(one)
    raise RecordNotFound("token", token)


@operation("DELETE", "/tokens/<token>", role=Role.ADMIN, query=NoQuery, body=NO_BODY, status=204, result=None)
def revoke_token(call: Call[NoQuery, None], token: str) -> Response:
    """Revoke a token by its id or name.

    It is refused from the next request on; the record stays.
    """
    parts = services()
    parts.store.revoke_token(token, actor=call.caller.actor, at=parts.clock())
    return respond(None, status=204)
