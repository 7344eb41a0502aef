"""The command line: `decider --help`.

    __init__   the `decider` command, errors → exit status     rules    rules list, add, remove, import, export
    context    --config, --json, and what they lead to         explain  what is refused, and by which rule
    output     tables and JSON                                 tokens   token create, list, revoke
    service    up, serve, nginx-config, check                  audit    audit verify, export
    stores     store migrate

Exit status: 0, done; 1, it could not be done, or the answer is no; 2, the command, the settings or the rule is wrong.
What `web` needs too may not be added here.
"""

from typing import Any

import click

from decider import __version__
from decider.cli.audit import audit
from decider.cli.context import common_options
from decider.cli.explain import explain
from decider.cli.rules import rules
from decider.cli.service import commands as service_commands
from decider.cli.stores import store
from decider.cli.tokens import token
from decider.errors import DeciderError, Fault, InvalidName, InvalidRequest, InvalidRule, InvalidSettings

__all__ = ["main"]


class _Decider(click.Group):
    """Tells decider's own errors in one line each."""

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


for _command in (*service_commands, rules, explain, token, audit, store):
    main.add_command(_command)
