"""The command line: `decider --help`.

    __init__   the `decider` command, errors → exit status     rules    rules list, add, remove, import, export
    context    --config, --json, and what they lead to         explain  what is refused, and by which rule
    output     tables and JSON                                 tokens   token create, list, revoke
    service    up, serve, egress, nginx-config, check          audit    audit verify, export
    stores     store migrate                                   usage    usage top, who, export, erase; exposure
    collecting collect                                         dry_runs what rules would have refused

Exit status: 0, done; 1, it could not be done, or the answer is no; 2, the command, the settings or the rule is wrong.
What `web` needs too may not be added here.
"""

import logging
from importlib import import_module
from typing import Any

import click

from decider import __version__
from decider.cli.context import common_options
from decider.errors import DeciderError, Fault, InvalidName, InvalidRequest, InvalidRule, InvalidSettings

__all__ = ["main"]

#: Command → its module, loaded when it is run: `up` stays in memory for as long as decider serves.
_COMMANDS = {
    "audit": "audit",
    "check": "service",
    "collect": "collecting",
    "explain": "explain",
    "exposure": "usage",
    "nginx-config": "service",
    "rules": "rules",
    "serve": "service",
    "egress": "service",
    "store": "stores",
    "token": "tokens",
    "up": "service",
    "usage": "usage",
}


class _Decider(click.Group):
    """Tells decider's own errors in one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click hands it)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"decider.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (InvalidSettings, InvalidRule, InvalidRequest) as error:
            for fault in error.faults:
                click.echo(f"decider: {_line(fault)}", err=True)
            ctx.exit(2)
        except InvalidName as error:
            click.echo(f"decider: {error}", err=True)
            ctx.exit(2)
        except DeciderError as error:
            click.echo(f"decider: {error}", err=True)
            ctx.exit(1)


def _line(fault: Fault) -> str:
    return f"{fault.field}: {fault.detail}" if fault.field else fault.detail


@click.group(cls=_Decider, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="decider", message="%(prog)s %(version)s")
@common_options
def main() -> None:
    """Decides which Python packages may be installed, behind nginx.

    Without a configuration file, `decider up` serves ./packages and the index that pip uses on this machine at
    http://127.0.0.1:8080/simple/.

    \b
    Examples:
      decider up
      decider rules add evil --action block --reason "steals credentials" --reference MAL-2026-1
      decider rules add '*' --action hold --younger-than 7d --reason "cooldown"
      decider explain -r requirements.txt
    """
    # Events are for the log of what serves. Without a handler Python would print their bare words here.
    logging.getLogger("decider").addHandler(logging.NullHandler())
