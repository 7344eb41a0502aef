"""What `explain` says, as JSON values: the same for the API and the command line.

Judging and asking an index may not be added here: decisions enter, made with `trace=True`.
"""

from collections.abc import Collection
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from decider.decision import FileDecision, PageDecision
from decider.rules import format_moment

__all__ = ["explanation", "explanation_unavailable"]


def explanation(
    decision: PageDecision, *, specifier: SpecifierSet | None = None, filenames: Collection[str] = ()
) -> dict[str, Any]:
    """The verdicts on a project's files: those of `filenames`, else those of a version in `specifier`, else all.

    `missing`, of the file names asked for, those that the index does not list: no rule speaks of them.
    """
    named = {name: decision.find(name) for name in filenames}
    if named:
        chosen = [file for file in named.values() if file is not None]
    else:
        chosen = [file for file in decision.files if _is_in(file, specifier)]
    return {
        "project": decision.project,
        "repository": decision.repository,
        "index": decision.page.index,
        "files": [_file(file) for file in chosen],
        "missing": [name for name, file in named.items() if file is None],
    }


def explanation_unavailable(project: str, *, repository: str, problem: dict[str, Any]) -> dict[str, Any]:
    """What stands for a project of a requirements or lock file that no decision could be made about."""
    return {
        "project": project,
        "repository": repository,
        "index": None,
        "files": [],
        "missing": [],
        "problem": problem,
    }


def _is_in(file: FileDecision, specifier: SpecifierSet | None) -> bool:
    """Whether the file's version is meant; a file without one is in no specifier, as installers see it."""
    if specifier is None:
        return True
    try:
        return file.version is not None and specifier.contains(Version(file.version), prereleases=True)
    except InvalidVersion:
        return False


def _file(file: FileDecision) -> dict[str, Any]:
    return {
        "filename": file.file.filename,
        "version": file.version,
        "verdict": file.verdict.value,
        "rules": [rule.id for rule in file.rules],
        "reason": file.reason or None,
        "until": format_moment(file.until) if file.until else None,
        "considered": [{"id": one.id, "applied": one.applied, "why": one.why} for one in file.considered],
    }
