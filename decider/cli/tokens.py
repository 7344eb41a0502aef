"""`decider token`: make, list and revoke API tokens."""

import click
import msgspec

from decider.cli.context import Invocation, common_options, pass_invocation
from decider.cli.output import print_json, print_table, time_text
from decider.errors import Fault, InvalidRequest
from decider.record_names import RECORD_NAME_FAULT, is_record_name
from decider.store import Role, Token
from decider.tokens import hash_secret, new_secret

__all__ = ["token"]


@click.group()
@common_options
def token() -> None:
    """API tokens: who may read, change rules, administer."""


@token.command("create")
@click.argument("name")
@click.option(
    "--role", required=True, type=click.Choice([role.value for role in Role]), help="What it may do."
)
@click.option(
    "--expires", metavar="WHEN", help="A duration from now (90d), or a time (2027-01-31T00:00:00Z)."
)
@common_options
@pass_invocation
def create(invocation: Invocation, name: str, role: str, expires: str | None) -> None:
    """Make a token and print it, alone; it is not shown again, and only its hash is stored.

    \b
    Example:
      TOKEN=$(decider token create ci --role editor --expires 90d)
      curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/api/v1/rules
    """
    if not is_record_name(name):
        raise InvalidRequest([Fault("name", RECORD_NAME_FAULT)])
    at = invocation.now()
    expires_at = invocation.moment(expires, option="expires") if expires else None
    if expires_at is not None and expires_at <= at:
        raise InvalidRequest([Fault("expires", "lies in the past")])
    secret = new_secret()
    with invocation.store() as store:
        made = store.add_token(
            name, Role(role), hash_secret(secret), actor=invocation.actor, at=at, expires_at=expires_at
        )
    if invocation.as_json:
        print_json({"token": secret, **msgspec.to_builtins(made)})
    else:
        click.echo(secret)


@token.command("list")
@common_options
@pass_invocation
def list_(invocation: Invocation) -> None:
    """All tokens, revoked and expired ones too, oldest first; never their secrets."""
    with invocation.store() as store:
        found = store.list_tokens()
    if invocation.as_json:
        print_json({"items": found, "next": None})
        return
    print_table(
        ("NAME", "ROLE", "STATE", "CREATED", "BY", "EXPIRES", "LAST USED", "ID"),
        [_row(one, invocation) for one in found],
    )


def _row(one: Token, invocation: Invocation) -> tuple[str, ...]:
    expired = one.expires_at is not None and one.expires_at <= invocation.now()
    return (
        one.name,
        one.role.value,
        "revoked" if one.revoked_at else "expired" if expired else "valid",
        time_text(one.created_at),
        one.created_by,
        time_text(one.expires_at),
        time_text(one.last_used_at),
        one.id,
    )


@token.command("revoke")
@click.argument("name")
@common_options
@pass_invocation
def revoke(invocation: Invocation, name: str) -> None:
    """Revoke the token of that name or id; it stops working within a second."""
    with invocation.store() as store:
        revoked = store.revoke_token(name, actor=invocation.actor, at=invocation.now())
    if invocation.as_json:
        print_json(revoked)
    else:
        click.echo(f"revoked {revoked.name}")
