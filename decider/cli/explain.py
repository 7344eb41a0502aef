"""`decider explain`: what would be served, what refused, and by which rule."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from decider.cli.context import Invocation, common_options, pass_invocation
from decider.cli.output import one_line, print_json, print_table
from decider.cli.wanted import is_exact, parse_target, read_lock, read_requirements
from decider.decision import Verdict
from decider.errors import DeciderError, Fault, IndexError_, IndexUnavailable, InvalidRequest, NotFound
from decider.explanations import explanation, explanation_unavailable
from decider.repository import Repositories
from decider.requirements_files import Wanted

__all__ = ["explain"]

_AT_ONCE = 8  #: projects asked for at the same time
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("target", required=False)
@click.option(
    "-r", "--requirement", "requirements", multiple=True, type=_FILE, help="A requirements file (repeatable)."
)
@click.option("--lock", "locks", multiple=True, type=_FILE, help="uv.lock, pylock.toml (repeatable).")
@click.option(
    "--repository", default="default", show_default=True, help="As clients of this repository see it."
)
@common_options
@pass_invocation
@click.pass_context
def explain(
    context: click.Context,
    invocation: Invocation,
    *,
    target: str | None,
    requirements: tuple[Path, ...],
    locks: tuple[Path, ...],
    repository: str,
) -> None:
    """Explain the verdict on each file of TARGET, or of what a requirements or lock file asks for.

    TARGET is PROJECT, PROJECT==VERSION, FILENAME, or PROJECT/FILENAME where the file's name does not tell its project.
    Remote indexes are asked through nginx, so `decider up` must be running for them.

    Exit status 1 where something would be refused: a file of TARGET or of a pinned requirement; of an open one
    (demo>=1), whatever installers skip, only when no file is left; and where an index does not have it.

    \b
    Examples:
      decider explain requests
      decider explain jinja2==3.1.5
      decider explain --lock uv.lock --json
    """
    if (target is None) == (not requirements and not locks):
        raise click.UsageError("give either a TARGET, or files with -r and --lock")
    names = [one.name for one in invocation.settings.repositories]
    if repository not in names:
        raise InvalidRequest([Fault("repository", f"must be one of {', '.join(names)}")])
    if target is not None:
        refused = _explain_target(invocation, parse_target(target), repository=repository)
    else:
        wanted = [*read_requirements(requirements), *(one for file in locks for one in read_lock(file))]
        refused = _explain_files(invocation, wanted, repository=repository)
    if refused:
        context.exit(1)


def _explain_target(invocation: Invocation, wanted: Wanted, *, repository: str) -> bool:
    with _repositories(invocation) as repositories:
        try:
            told = _ask(repositories, wanted, repository=repository)
        except IndexUnavailable as error:
            hint = "remote indexes are asked through nginx: does `decider up` run?"
            raise IndexUnavailable(error.index, f"{error.detail} ({hint})") from error
    if invocation.as_json:
        print_json(told)
    else:
        _print_project(told)
    return bool(told["missing"]) or not told["files"] or any(map(_is_refused, told["files"]))


def _explain_files(invocation: Invocation, wanted: list[Wanted], *, repository: str) -> bool:
    with _repositories(invocation) as repositories, ThreadPoolExecutor(_AT_ONCE) as pool:
        told = list(pool.map(lambda one: _ask_or_problem(repositories, one, repository=repository), wanted))
    fails = [_fails(one, entry) for one, entry in zip(wanted, told, strict=True)]
    if invocation.as_json:
        print_json({"projects": told})
    else:
        for one, entry, fail in zip(wanted, told, fails, strict=True):
            _print_wanted(one, entry, fails=fail)
    return any(fails)


@contextmanager
def _repositories(invocation: Invocation) -> Iterator[Repositories]:
    from decider import services  # noqa: PLC0415 (needs all of decider; the other commands start faster)

    parts = services.build(invocation.settings)
    try:
        yield parts.repositories
    finally:
        parts.store.close()


def _ask(repositories: Repositories, wanted: Wanted, *, repository: str) -> dict[str, Any]:
    decision = repositories.decide_page(repository, wanted.project, trace=True)
    return explanation(decision, specifier=wanted.specifier, filenames=wanted.filenames)


def _ask_or_problem(repositories: Repositories, wanted: Wanted, *, repository: str) -> dict[str, Any]:
    """One project that cannot be asked for must not hide the verdicts on the others."""
    try:
        return _ask(repositories, wanted, repository=repository)
    except (NotFound, IndexError_) as error:
        return explanation_unavailable(wanted.project, repository=repository, problem=_problem(error))


def _problem(error: DeciderError) -> dict[str, Any]:
    title = "not found" if isinstance(error, NotFound) else "index cannot be asked"
    return {"title": title, "detail": str(error)}


def _is_refused(file: dict[str, Any]) -> bool:
    return Verdict(file["verdict"]).is_refusal


def _fails(wanted: Wanted, told: dict[str, Any]) -> bool:
    """Whether an installer would not get what the file asks for."""
    if "problem" in told or told["missing"] or all(map(_is_refused, told["files"])):
        return True
    return is_exact(wanted) and any(map(_is_refused, told["files"]))


def _print_project(told: dict[str, Any]) -> None:
    click.echo(f"{told['project']}: repository {told['repository']}, index {told['index']}")
    _print_missing(told)
    if not told["files"]:
        click.echo("no such file is listed")
        return
    click.echo()
    print_table(
        ("FILE", "VERDICT", "RULES", "UNTIL", "REASON"),
        [
            (
                file["filename"],
                file["verdict"],
                " ".join(file["rules"]),
                file["until"] or "",
                file["reason"] or "",
            )
            for file in told["files"]
        ],
    )
    considered = Counter(
        (rule["id"], "applied" if rule["applied"] else "not applied", rule["why"])
        for file in told["files"]
        for rule in file["considered"]
    )
    if considered:
        click.echo()
        print_table(
            ("RULE", "OUTCOME", "FILES", "WHY"),
            [(i, how, str(n), why) for (i, how, why), n in considered.items()],
        )


def _print_wanted(wanted: Wanted, told: dict[str, Any], *, fails: bool) -> None:
    refused = [file for file in told["files"] if _is_refused(file)]
    permitted = len(told["files"]) - len(refused)
    name = f"{wanted.project}{wanted.specifier or ''}"
    click.echo(
        f"{name}: {'refused' if fails else 'permitted'}, {permitted} of {len(told['files'])} files may be had"
    )
    if "problem" in told:
        click.echo(f"  {one_line(told['problem']['detail'])}")
    _print_missing(told)
    for file in refused:
        click.echo(
            f"  {one_line(file['filename'])}: {file['verdict']} by {' '.join(file['rules'])}: {one_line(file['reason'] or '')}"
        )


def _print_missing(told: dict[str, Any]) -> None:
    for name in told["missing"]:
        click.echo(f"  {one_line(name)}: not listed by the index, so not served")
