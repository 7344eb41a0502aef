"""`decider usage`, `decider exposure`: who was served what, and who has what rules refuse."""

import sys
from datetime import datetime
from typing import NamedTuple

import click

from decider.cli.context import Invocation, common_options, pass_invocation
from decider.cli.output import print_json, print_table, time_text
from decider.decision import Verdict
from decider.errors import Fault, InvalidRequest
from decider.names import parse_project_name
from decider.rules import Rule, Snapshot, parse_duration, parse_moment
from decider.store.rulesets import make_rule
from decider.usage.answers import DIMENSIONS
from decider.usage.exporting import csv_lines, json_lines
from decider.usage.exposure import SeenJudge
from decider.usage.filters import UsageFilter, rule_condition
from decider.usage.keeping import Keeper
from decider.usage.reading import Usage, local_folder, parts_folder
from decider.usage.records import Kind, UsageRecord

__all__ = ["exposure", "usage"]

_KINDS = [*(kind.value for kind in Kind), "all"]


@click.group()
@common_options
def usage() -> None:
    """Who was served what: each page, metadata and file request, from nginx's log."""


@usage.command("top")
@click.option(
    "--by",
    default="project",
    show_default=True,
    help=f"Fields to count by, separated by commas: {', '.join(DIMENSIONS)}.",
)
@click.option("--project", help="Of this project only.")
@click.option("--since", metavar="WHEN", help="A duration ago (7d), or a time (2027-01-31T00:00:00Z).")
@click.option("--kind", type=click.Choice(_KINDS), default="file", show_default=True)
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
@common_options
@pass_invocation
def top(
    invocation: Invocation, *, by: str, project: str | None, since: str | None, kind: str, limit: int
) -> None:
    """Count requests by some of their fields, most first.

    \b
    Examples:
      decider usage top
      decider usage top --by installer,python --since 30d
    """
    names = [name.strip() for name in by.split(",")]
    wanted = UsageFilter(
        kind=None if kind == "all" else Kind(kind),
        project=None if project is None else parse_project_name(project),
        since=_moment_ago(invocation, since),
    )
    counts = Usage(invocation.settings).counts(wanted, names, limit=limit).items
    if invocation.as_json:
        print_json({"items": counts})
        return
    print_table(
        [*(name.upper() for name in names), "REQUESTS", "CLIENTS", "FIRST", "LAST"],
        (
            [
                *("" if value is None else str(value) for value in one.group.values()),
                str(one.count),
                str(one.clients),
                time_text(one.first_at),
                time_text(one.last_at),
            ]
            for one in counts
        ),
    )


@usage.command("who")
@click.argument("target", metavar="PROJECT[==VERSION]")
@click.option("--since", metavar="WHEN", help="A duration ago (7d), or a time (2027-01-31T00:00:00Z).")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@common_options
@pass_invocation
def who(invocation: Invocation, *, target: str, since: str | None, limit: int) -> None:
    """List the clients that took files of a project or release, most downloads first.

    A version is what `==` makes of it: 3.1.0 is 3.1, and 1.0 has 1.0+cpu, too.

    \b
    Example:
      decider usage who jinja2==3.1.5 --since 30d
    """
    release = _parse_release(target)
    wanted = UsageFilter(
        project=release.project, version=release.version, since=_moment_ago(invocation, since), taken=True
    )
    counts = Usage(invocation.settings).counts(wanted, ["client", "user"], limit=limit).items
    if invocation.as_json:
        print_json({"items": counts})
        return
    print_table(
        ["CLIENT", "USER", "DOWNLOADS", "FIRST", "LAST"],
        (
            [
                *("" if value is None else str(value) for value in one.group.values()),
                str(one.count),
                time_text(one.first_at),
                time_text(one.last_at),
            ]
            for one in counts
        ),
    )


@usage.command("export")
@click.option("--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson", show_default=True)
@click.option("--project")
@click.option("--version")
@click.option("--filename")
@click.option("--client", help="An address, or a pseudonym as in what is printed.")
@click.option("--user", help="A token's name.")
@click.option("--verdict", type=click.Choice([verdict.value for verdict in Verdict]))
@click.option("--since", metavar="WHEN", help="A duration ago (7d), or a time (2027-01-31T00:00:00Z).")
@click.option("--until", metavar="WHEN", help="Exclusive; as --since.")
@click.option("--kind", type=click.Choice(_KINDS), default="all", show_default=True)
@common_options
@pass_invocation
def export(
    invocation: Invocation,
    *,
    form: str,
    project: str | None,
    version: str | None,
    filename: str | None,
    client: str | None,
    user: str | None,
    verdict: str | None,
    since: str | None,
    until: str | None,
    kind: str,
) -> None:
    """Print records, newest first, one a line.

    \b
    Examples:
      decider usage export --since 1d | gzip > usage.ndjson.gz
      decider usage export --client 192.0.2.7 --format csv
    """
    wanted = UsageFilter(
        kind=None if kind == "all" else Kind(kind),
        project=None if project is None else parse_project_name(project),
        version=version,
        filename=filename,
        client=client,
        user=user,
        verdict=None if verdict is None else Verdict(verdict),
        since=_moment_ago(invocation, since),
        until=_moment_ago(invocation, until, option="until"),
    )
    records = Usage(invocation.settings).export(wanted)
    for line in csv_lines(records, UsageRecord) if form == "csv" else json_lines(records):
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


@usage.command("erase")
@click.argument("client", required=False)
@click.option(
    "--user", help="A token's name: what was asked for with it, from wherever; with CLIENT, from there."
)
@common_options
@pass_invocation
def erase(invocation: Invocation, *, client: str | None, user: str | None) -> None:
    """Delete every record of CLIENT, an address in any spelling or a pseudonym, from this machine and the columnar files.

    What it asks for from now on is recorded anew. Where several machines share a folder, run it on each: their recent
    records are their own.

    \b
    Examples:
      decider usage erase 192.0.2.7
      decider usage erase --user ann
    """
    if not (client or user):
        raise InvalidRequest([Fault("", "name a client, or --user")])
    settings = invocation.settings
    keeper = Keeper(
        local_folder(settings),
        parts_folder(settings),
        retention_days=settings.usage.retention_days,
        max_size=settings.usage.max_size,
    )
    erased = keeper.erase(client=client or None, user=user or None)
    if invocation.as_json:
        print_json({"erased": erased})
    else:
        click.echo(f"erased {erased} records")


@click.command("exposure")
@click.argument("target", metavar="RULE|PROJECT==VERSION")
@click.option("--since", metavar="WHEN", help="A duration ago (7d), or a time (2027-01-31T00:00:00Z).")
@common_options
@pass_invocation
def exposure(invocation: Invocation, *, target: str, since: str | None) -> None:
    """List the clients that took files which a rule refuses, or files of a release.

    Judged on what was recorded when the files were served, with the waivers that are in force now.

    \b
    Examples:
      decider exposure r17
      decider exposure jinja2==3.1.5
    """
    at = invocation.now()
    with invocation.store() as store:
        if "==" in target:
            rule = _as_rule(invocation, _parse_release(target), at)
            snapshot = Snapshot(0, [])
        else:
            rule = store.get_rule(target)
            snapshot = Snapshot(*store.load_rules())
        judge = SeenJudge(at=at, first_seen_of=store.first_seen)
        found = list(
            Usage(invocation.settings).export_exposure(
                [rule.project],
                judge.refused_by(rule, snapshot),
                among=rule_condition(rule, at=at),
                since=_moment_ago(invocation, since),
            )
        )
    if invocation.as_json:
        print_json({"items": found})
        return
    print_table(
        ["CLIENT", "USER", "FILE", "INSTALLER", "FIRST", "LAST", "COUNT"],
        (
            [
                one.client,
                one.user or "",
                one.filename,
                ""
                if one.installer is None
                else f"{one.installer.name} {one.installer.version or ''}".strip(),
                time_text(one.first_at),
                time_text(one.last_at),
                str(one.count),
            ]
            for one in found
        ),
    )


class _Release(NamedTuple):
    project: str
    version: str | None


def _parse_release(target: str) -> _Release:
    """Of PROJECT or PROJECT==VERSION; raise InvalidName or InvalidRequest."""
    project, equals, version = target.partition("==")
    if equals and not version.strip():
        raise InvalidRequest([Fault("target", "names no version")])
    return _Release(parse_project_name(project.strip()), version.strip() or None)


def _as_rule(invocation: Invocation, release: _Release, at: datetime) -> Rule:
    """A rule that refuses just this release, never to be stored; raise InvalidRule where that is no version."""
    fields = {
        "action": "block",
        "project": release.project,
        "versions": f"=={release.version}",
        "reason": "asked",
    }
    return make_rule(
        invocation.draft(fields, at=at), rule_id="asked", ruleset="asked", actor="", at=at, revision=0
    )


def _moment_ago(invocation: Invocation, text: str | None, *, option: str = "since") -> datetime | None:
    """The moment that a duration before now or RFC 3339 spells; raise InvalidRequest."""
    if text is None:
        return None
    try:
        return invocation.now() - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        return parse_moment(text)
    except ValueError as error:
        raise InvalidRequest([Fault(option, f"{error}, nor a duration before now, as in `90d`")]) from None
