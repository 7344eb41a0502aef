"""`decider audit`: whether the log of changes is whole, and the log itself."""

import click

from decider.cli.context import Invocation, common_options, pass_invocation
from decider.cli.output import print_json, print_json_line

__all__ = ["audit"]


@click.group()
@common_options
def audit() -> None:
    """The log of every change: append-only, each entry sealed by the hash of the one before."""


@audit.command("verify")
@common_options
@pass_invocation
@click.pass_context
def verify(context: click.Context, invocation: Invocation) -> None:
    """Recompute the chain of hashes; exit 1 where an entry was edited, or is missing."""
    with invocation.store() as store:
        entries, faults = store.verify_audit()
    if invocation.as_json:
        print_json({"entries": entries, "faults": faults})
    else:
        for fault in faults:
            click.echo(f"decider: audit entry {fault.id}: {fault.detail}", err=True)
        state = f"{len(faults)} faults" if faults else "whole"
        click.echo(f"{entries} audit entries: {state}")
    if faults:
        context.exit(1)


@audit.command("export")
@common_options
@pass_invocation
def export(invocation: Invocation) -> None:
    """Print every entry, oldest first, one JSON object a line.

    \b
    Example:
      decider audit export | gzip > audit.ndjson.gz
    """
    with invocation.store() as store:
        for entry in store.iterate_audit():
            print_json_line(entry)
