"""`decider store`: where rules, tokens and the audit log are kept."""

from contextlib import closing
from typing import cast

import click

from decider.addresses import parse_store_url
from decider.cli.context import Invocation, common_options, pass_invocation
from decider.cli.output import print_json
from decider.errors import Fault, InvalidRequest
from decider.store import open_store
from decider.store.migrate import copy_store
from decider.store.transactional import TransactionalStore

__all__ = ["store"]


@click.group()
@common_options
def store() -> None:
    """The store: rules, tokens, reviews and the audit log."""


@store.command("migrate")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@common_options
@pass_invocation
def migrate(invocation: Invocation, source: str, target: str) -> None:
    """Copy everything from one store to another, which must be empty; stop decider first.

    A store is "sqlite" (in the configured data_dir) or a URL, as in decider.toml. Ids, revisions and the chain of the
    audit log stay as they are. Afterwards set `store` to the new one and start decider.

    \b
    Example:
      decider store migrate sqlite redis://store.example:6379/0
    """
    _require_store_url("from", source)
    _require_store_url("to", target)
    if source == target:
        raise InvalidRequest([Fault("to", "is the store to copy from")])
    path = invocation.settings.data_dir
    with closing(open_store(source, path=path)) as opened, closing(open_store(target, path=path)) as empty:
        # open_store opens no others
        counts = copy_store(cast("TransactionalStore", opened), cast("TransactionalStore", empty))
    if invocation.as_json:
        print_json(counts)
    else:
        click.echo("copied " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))


def _require_store_url(argument: str, text: str) -> None:
    try:
        parse_store_url(text)
    except ValueError as error:
        raise InvalidRequest([Fault(argument, str(error))]) from None
