"""`decider rules`: list, add, remove, import and export rules."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from decider.cli.context import Invocation, common_options, pass_invocation
from decider.cli.dry_runs import refused_by_change, refused_by_draft, refused_text
from decider.cli.output import print_json, print_table, time_text
from decider.cli.ruleset_files import read_rules, render_rules
from decider.errors import Conflict, Fault, InvalidRequest, InvalidRule
from decider.filenames import FileType
from decider.names import parse_pattern
from decider.rules import Action, Rule, RuleDraft, Snapshot, draft_fields
from decider.store import RulesetChange, Store

__all__ = ["rules"]

MANUAL = "manual"  #: the ruleset of rules made one at a time; always there
CLAIMS = "claims"  #: what decider itself claims for internal indexes

#: Fields with a column of their own, or none; the others say which files a rule is about.
_NO_MATCH = frozenset({"action", "project", "reason", "reference", "expires_at", "key"})


@click.group()
@common_options
def rules() -> None:
    """Rules: who may have what, and why not."""


@rules.command("add")
@click.argument("project")
@click.option(
    "--action", required=True, type=click.Choice([a.value for a in Action]), help="What the rule does."
)
@click.option("--reason", required=True, help="Why; clients see it.")
@click.option("--versions", metavar="SPECIFIER", help="Only these versions (PEP 440): '<2.0', '==1.2.3'.")
@click.option("--filename", metavar="GLOB", help="Only files of such a name: '*-win32.whl'.")
@click.option("--sha256", metavar="HEX", help="Only the file of this hash.")
@click.option("--file-type", type=click.Choice([t.value for t in FileType]), help="Only files of this kind.")
@click.option("--index", help="Only files from this index; for own: the owner.")
@click.option("--younger-than", metavar="DURATION", help="Only files younger than this: 7d.")
@click.option("--uploaded-after", metavar="TIME", help="Only files uploaded after this moment (RFC 3339).")
@click.option("--not-attested", "attested", is_flag=True, flag_value=False, default=None,
              help="Only files without provenance.")  # fmt: skip
@click.option("--repository", "repositories", multiple=True, help="Only in this repository (repeatable).")
@click.option("--extends", multiple=True, metavar="INDEX",
              help="own: an index whose files are merged in after the owner's (repeatable).")  # fmt: skip
@click.option("--lifts", multiple=True, metavar="RULE", help="allow: the rule to lift, by id (repeatable).")
@click.option(
    "--final", is_flag=True, default=None, help="block, hold: only an allow that names it lifts it."
)
@click.option("--reference", help="A URL or an advisory id.")
@click.option(
    "--expires", metavar="WHEN", help="When it ends: a duration from now (14d), or a time (RFC 3339)."
)
@click.option(
    "--dry-run", is_flag=True, help="Only say which downloads it would have refused; nothing is stored."
)
@common_options
@pass_invocation
def add(invocation: Invocation, /, expires: str | None, *, dry_run: bool, **options: Any) -> None:
    """Add a rule about PROJECT and print its id.

    PROJECT is a name; acme-*, a namespace: acme and all that begin with acme-; acme*, a prefix; or *, every project.

    \b
    Examples:
      decider rules add evil --action block --reason "steals credentials" --final
      decider rules add jinja2 --versions '<3.1.6' --action block --reason "sandbox breakout" --reference CVE-2025-27516
      decider rules add '*' --action hold --younger-than 7d --reason "new releases wait a week"
      decider rules add urllib3 --action allow --lifts r7 --expires 14d --reason "needed for the fix, see OPS-12"
      decider rules add 'acme-*' --action own --index internal --reason "our namespace"
    """
    at = invocation.now()
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    fields = {name: value for name, value in fields.items() if value not in (None, [])}
    if expires is not None:
        fields["expires_at"] = invocation.moment(expires, option="expires").isoformat()
    draft = invocation.draft(fields, at=at)
    if dry_run:
        with invocation.store() as store:
            present = Snapshot(*store.load_rules())
        total = refused_by_draft(invocation, draft, present, ruleset=MANUAL, at=at)
        if invocation.as_json:
            print_json({"usage_total": total})
        else:
            click.echo(refused_text(total))
        return
    with invocation.store() as store:
        rule = store.add_rule(draft, actor=invocation.actor, at=at)
    if invocation.as_json:
        print_json(rule)
    else:
        click.echo(rule.id)


@rules.command("list")
@click.option("--project", metavar="PATTERN", help="Only rules written for exactly this name or pattern.")
@click.option("--action", type=click.Choice([a.value for a in Action]), help="Only rules that do this.")
@click.option("--ruleset", metavar="NAME", help="Only rules of this ruleset.")
@click.option(
    "--active/--all", default=True, help="Rules in force, or expired ones too.  [default: --active]"
)
@common_options
@pass_invocation
def list_(
    invocation: Invocation, project: str | None, action: str | None, ruleset: str | None, active: bool
) -> None:
    """List rules, oldest first."""
    with invocation.store() as store:
        found = tuple(
            _every_rule(
                store,
                at=invocation.now(),
                project=None if project is None else str(parse_pattern(project)),
                action=None if action is None else Action(action),
                ruleset=ruleset,
                active=True if active else None,
            )
        )
    if invocation.as_json:
        print_json({"items": found, "next": None})
    else:
        print_table(("ID", "ACTION", "PROJECT", "MATCHES", "RULESET", "EXPIRES", "REASON"), map(_row, found))


@rules.command("remove")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", help="Why, for the audit log.")
@common_options
@pass_invocation
def remove(invocation: Invocation, ids: tuple[str, ...], reason: str | None) -> None:
    """Remove rules by id; where one of them does not exist, none is removed."""
    with invocation.store() as store:
        for rule_id in ids:
            store.get_rule(rule_id)
        for rule_id in dict.fromkeys(ids):
            store.remove_rule(rule_id, actor=invocation.actor, at=invocation.now(), reason=reason)
            if not invocation.as_json:
                click.echo(f"removed {rule_id}")
    if invocation.as_json:
        print_json({"removed": list(dict.fromkeys(ids))})


@rules.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--ruleset", metavar="NAME",
              help="The ruleset that will hold these rules, and no others.  [default: what each rule says]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@common_options
@pass_invocation
def import_(invocation: Invocation, file: Path, ruleset: str | None, dry_run: bool) -> None:
    """Replace a ruleset by the rules of FILE (TOML or JSON; - reads standard input), in one transaction.

    A rule that did not change keeps its id. What `decider rules export` wrote can be imported.

    \b
    Example FILE:
      [[rules]]
      action = "block"
      project = "evil"
      reason = "steals credentials"
    """
    at = invocation.now()
    numbered = read_rules(_text(file), name=file.name, ruleset=ruleset)
    if CLAIMS in numbered:
        raise Conflict(f"ruleset `{CLAIMS}` is kept by decider: add an `own` rule of your own instead")
    drafts = _drafts(invocation, numbered, at=at)
    changes = {}
    with invocation.store() as store:
        present = Snapshot(*store.load_rules()) if dry_run else None
        for name, entries in drafts.items():
            changes[name] = store.replace_ruleset(
                name, entries, actor=invocation.actor, at=at, dry_run=dry_run
            )
    refused = {
        name: refused_by_change(invocation, change, present, at=at)
        for name, change in changes.items()
        if present is not None
    }
    if invocation.as_json:
        counts = {
            name: _counts(change)
            | {"revision": change.revision}
            | ({"usage_total": refused[name]} if dry_run else {})
            for name, change in changes.items()
        }
        print_json(counts[ruleset] if ruleset else {"rulesets": counts})
    else:
        for name, change in changes.items():
            _print_change(name, change, dry_run=dry_run)
            if dry_run and refused[name].downloads:
                click.echo(f"{name}: {refused_text(refused[name])}")


@rules.command("export")
@click.option(
    "--ruleset", metavar="NAME", help="Only this one.  [default: all but `claims`, which decider makes]"
)
@click.option(
    "--format", "format_", type=click.Choice(["toml", "json"]), help="[default: toml; with --json, json]"
)
@common_options
@pass_invocation
def export(invocation: Invocation, ruleset: str | None, format_: str | None) -> None:
    """Print the rules in force, as `decider rules import` reads them.

    \b
    Examples:
      decider rules export > rules.toml            # a backup: each rule says its ruleset
      decider rules export --ruleset team-a --format json
    """
    with invocation.store() as store:
        if ruleset is not None and ruleset != MANUAL:
            store.get_ruleset(ruleset)
        found = tuple(_every_rule(store, at=invocation.now(), ruleset=ruleset, active=True))
    entries = [
        draft_fields(rule) if ruleset else {"ruleset": rule.ruleset, **draft_fields(rule)}
        for rule in found
        if ruleset or rule.ruleset != CLAIMS
    ]
    click.echo(render_rules(entries, format_ or ("json" if invocation.as_json else "toml")), nl=False)


def _every_rule(store: Store, **filters: Any) -> Iterator[Rule]:
    cursor = None
    while True:
        page = store.list_rules(limit=1000, cursor=cursor, **filters)
        yield from page.items
        if page.next is None:
            return
        cursor = page.next


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest([Fault("", f"{file.name}: is not UTF-8 text")]) from None


def _drafts(
    invocation: Invocation, entries: Mapping[str, Sequence[tuple[int, Any]]], *, at: datetime
) -> dict[str, list[RuleDraft]]:
    """The drafts of each ruleset; raise InvalidRule with the faults of all rules, by their number in the file."""
    drafts: dict[str, list[RuleDraft]] = {name: [] for name in entries}
    faults = []
    for ruleset, numbered in entries.items():
        for number, fields in numbered:
            try:
                drafts[ruleset].append(invocation.draft(fields, at=at))
            except InvalidRule as error:
                faults += [
                    Fault(f"rules[{number}].{fault.field}".rstrip("."), fault.detail)
                    for fault in error.faults
                ]
    if faults:
        raise InvalidRule(faults)
    return drafts


def _counts(change: RulesetChange) -> dict[str, int]:
    return {name: getattr(change, name) for name in ("added", "removed", "changed", "unchanged")}


def _print_change(ruleset: str, change: RulesetChange, *, dry_run: bool) -> None:
    if dry_run:
        changed = tuple(after for _before, after in change.changed_rules)
        for sign, moved in (("+", change.added_rules), ("-", change.removed_rules), ("~", changed)):
            for rule in moved:
                click.echo(" ".join(filter(None, (sign, *_row(rule)[1:4], rule.reason))))
    counts = ", ".join(f"{count} {name}" for name, count in _counts(change).items())
    click.echo(f"{ruleset}: {'would be ' if dry_run else ''}{counts}")


def _row(rule: Rule) -> tuple[str, ...]:
    fields = draft_fields(rule)
    matches = [f"{name}={_short(value)}" for name, value in fields.items() if name not in _NO_MATCH]
    return (
        rule.id,
        rule.action.value,
        rule.project,
        " ".join(matches),
        rule.ruleset,
        time_text(rule.expires_at),
        rule.reason,
    )


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)
