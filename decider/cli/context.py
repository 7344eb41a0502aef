"""The options that every command takes, and what they lead to: settings, store, clock, actor."""

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click

from decider.errors import Fault, InvalidRequest
from decider.rules import RuleDraft, parse_draft, parse_duration, parse_moment
from decider.settings import Settings, find_config, load_settings
from decider.store import Store, open_store

__all__ = ["Invocation", "common_options", "pass_invocation"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Invocation:
    """One run of the command line; settings are read when first asked for."""

    config: Path | None = None  #: as given; None: $DECIDER_CONFIG, ./decider.toml, or no file
    as_json: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings; raise InvalidSettings."""
        cwd = Path.cwd()
        file = self.config or find_config(os.environ, cwd)
        return load_settings(file, environ=os.environ, cwd=cwd, cpu_count=os.cpu_count() or 1)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The configured store, closed afterwards."""
        opened = open_store(self.settings.store, path=self.settings.data_dir)
        try:
            yield opened
        finally:
            opened.close()

    def now(self) -> datetime:
        """The real clock."""
        return datetime.now(UTC)

    def moment(self, text: str, *, option: str) -> datetime:
        """The moment that RFC 3339 or a duration from now spells; raise InvalidRequest."""
        try:
            return self.now().replace(microsecond=0) + parse_duration(text)
        except (ValueError, OverflowError):
            pass
        try:
            return parse_moment(text)
        except ValueError as error:
            raise InvalidRequest([Fault(option, f"{error}, nor a duration from now, as in `90d`")]) from None

    def draft(self, fields: object, *, at: datetime) -> RuleDraft:
        """The rule that `fields` spell, its names checked against the settings; raise InvalidRule."""
        return parse_draft(
            fields,
            at=at,
            indexes=[index.name for index in self.settings.indexes],
            repositories=[repository.name for repository in self.settings.repositories],
        )

    @property
    def actor(self) -> str:
        """Who the audit log names: the user that this process runs as, not the one that an environment claims."""
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
        return f"cli:{name}"


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _set_config(context: click.Context, _option: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


def _set_json(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).as_json = True


def common_options(command: F) -> F:
    """Give a command `--config` and `--json`; what they say is in its Invocation (see pass_invocation)."""
    command = click.option(
        "--json", is_flag=True, expose_value=False, callback=_set_json, help="Print JSON, for programs."
    )(command)
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        expose_value=False,
        callback=_set_config,
        help="Configuration file.  [default: $DECIDER_CONFIG, else ./decider.toml if there is one]",
    )(command)
