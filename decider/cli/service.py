"""The commands that run the service: up, serve, egress, nginx-config, check."""

import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import click

from decider.cli.context import Invocation, common_options, pass_invocation
from decider.data_dir import prepare_data_dir, replace_file
from decider.errors import Conflict, DeciderError
from decider.logs import configure
from decider.metrics import FOLDER, clear_seats
from decider.nginx_config import render_nginx_config
from decider.settings import Settings, settings_to_json
from decider.store import Role, Store, open_store
from decider.supervise import Supervisor
from decider.tokens import hash_secret, new_secret
from decider.worker_user import worker_user

__all__ = ["check", "egress", "nginx_config", "serve", "up"]


@click.command()
@common_options
@pass_invocation
def up(invocation: Invocation) -> None:
    """Serve: nginx and the decider, in the foreground, until SIGTERM or Ctrl-C.

    A process that dies is started again. SIGHUP reads the configuration again.

    \b
    Example:
      decider up --config decider.toml
    """
    configure()
    settings = invocation.settings
    prepare_data_dir(settings, worker_user())
    is_token_wanted = _has_no_token(settings)
    base_url = f"{'https' if settings.tls_certificate else 'http'}://{_address(settings)}"

    def announce() -> None:
        # Not before: a start that failed would have kept a token that nobody was shown.
        secret = _first_token(invocation) if is_token_wanted else None
        if invocation.as_json:
            click.echo(
                json.dumps({"base_url": base_url, "simple_url": f"{base_url}/simple/", "admin_token": secret})
            )
            return
        click.echo(f"decider serves at {base_url}")
        if secret is not None:
            click.echo(f"admin token (shown once): {secret}")
        click.echo(f"try: pip install --index-url {base_url}/simple/ requests")

    def reread() -> Settings:
        return Invocation(config=invocation.config, as_json=invocation.as_json).settings

    Supervisor(settings, reload_settings=reread).run(on_ready=announce)


@click.command()
@common_options
@pass_invocation
def serve(invocation: Invocation) -> NoReturn:
    """Run the decider alone (gunicorn), for an nginx that you run with `decider nginx-config`."""
    settings = invocation.settings
    data_dir = prepare_data_dir(settings, worker_user())
    secret = _first_token(invocation) if _has_no_token(settings) else None
    if secret is not None:
        click.echo(f"admin token (shown once): {secret}")
    _become("decider.wsgi", settings, data_dir, "run/accepted.json")


@click.command()
@common_options
@pass_invocation
def egress(invocation: Invocation) -> NoReturn:
    """Run the fetcher alone, beside `decider serve`: it gets pages and files from the indexes, for an nginx that you run.

    `decider up` does so by itself.
    """
    settings = invocation.settings
    data_dir = prepare_data_dir(settings, worker_user())
    clear_seats(data_dir / FOLDER, "egress")
    _become("decider.egress", settings, data_dir, "run/egress.json")


def _become(module: str, settings: Settings, data_dir: Path, accepted: str) -> NoReturn:
    """Go on as that module, by these settings, in data_dir."""
    sys.stdout.flush()
    replace_file(data_dir / accepted, settings_to_json(settings), 0o600)
    os.chdir(data_dir)
    os.execv(sys.executable, [sys.executable, "-m", module, accepted])  # noqa: S606


@click.command("nginx-config")
@common_options
@pass_invocation
def nginx_config(invocation: Invocation) -> None:
    """Print the nginx configuration, with absolute paths, for an nginx that you run yourself."""
    settings = invocation.settings
    text = render_nginx_config(settings, prefix=f"{settings.data_dir}/", user=worker_user())
    click.echo(json.dumps({"nginx_config": text}) if invocation.as_json else text, nl=invocation.as_json)


@click.command()
@common_options
@pass_invocation
def check(invocation: Invocation) -> None:
    """Look for what would keep decider from working: configuration, nginx, store, indexes.

    Exits 1 where something would; warnings alone exit 0.
    """
    from decider.cli.checkup import checkup  # noqa: PLC0415 (needs all of decider; the others start faster)

    findings = checkup(invocation.settings)
    if invocation.as_json:
        click.echo(json.dumps({"findings": [finding.as_dict() for finding in findings]}, indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.level:<8}{finding.part}: {finding.detail}")
    if any(finding.level == "error" for finding in findings):
        sys.exit(1)


def _has_no_token(settings: Settings) -> bool:
    """Whether nobody could log in. Raise ClickException where the store is away."""
    if os.environ.get("DECIDER_ADMIN_TOKEN"):
        return False
    with closing(_open_store(settings)) as store:
        return not store.list_tokens()


def _first_token(invocation: Invocation) -> str | None:
    """Make an admin token; the secret, or None where another node was faster."""
    secret = new_secret()
    with closing(_open_store(invocation.settings)) as store:
        try:
            store.add_token("admin", Role.ADMIN, hash_secret(secret), actor="decider", at=invocation.now())
        except Conflict:
            return None
    return secret


def _open_store(settings: Settings) -> Store:
    try:
        return open_store(settings.store, path=settings.data_dir)
    except DeciderError as error:
        raise click.ClickException(f"store: {error}") from error


def _address(settings: Settings) -> str:
    host = settings.listen_host
    return f"[{host}]:{settings.listen_port}" if ":" in host else f"{host}:{settings.listen_port}"
