"""`decider collect`: the collector of usage, for an nginx that ops runs."""

import click

from decider.cli.context import Invocation, common_options, pass_invocation
from decider.data_dir import prepare_data_dir
from decider.logs import configure
from decider.settings import Settings
from decider.usage.process import run_collector
from decider.worker_user import worker_user

__all__ = ["collect"]


@click.command()
@common_options
@pass_invocation
def collect(invocation: Invocation) -> None:
    """Collect usage from nginx's log, in the foreground, until SIGTERM: for an nginx that you run yourself.

    `decider up` does so by itself. A second one on the same data_dir waits for the first to end.
    """
    configure()

    def load() -> Settings:
        return Invocation(config=invocation.config).settings

    prepare_data_dir(invocation.settings, worker_user())
    run_collector(load, clock=invocation.now)
