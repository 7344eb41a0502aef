"""Explain: the verdict on each file, and every rule that was considered."""

from collections.abc import Sequence
from typing import Any

import msgspec
from flask import Response
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from decider.errors import (
    FileNotListed,
    IndexError_,
    IndexTimeout,
    IndexUnavailable,
    NotFound,
    ProjectNotFound,
    UnreadablePage,
)
from decider.explanations import explanation, explanation_unavailable
from decider.requirements_files import Wanted, parse_wanted, wanted_file
from decider.store import Role
from decider.web import services
from decider.web.api import examples
from decider.web.api.asking import ask_all
from decider.web.api.inputs import NO_BODY, project_field, refuse, text_body
from decider.web.api.operation import Call, operation, respond
from decider.web.api.shapes import Explanation, Explanations
from decider.web.problems import problem_members

__all__ = ["MAX_PROJECTS"]

MAX_PROJECTS = 2_000  #: of one requirements or lock file


class ExplainQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which files to explain."""

    project: str | None = None
    version: str | None = None
    filename: str | None = None
    repository: str = "default"


class FileQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the body is: its name tells the format."""

    filename: str = "requirements.txt"
    repository: str = "default"


@operation(
    "GET",
    "/explain",
    role=Role.READER,
    query=ExplainQuery,
    body=NO_BODY,
    result=Explanation,
    problems=(ProjectNotFound, UnreadablePage, IndexUnavailable, IndexTimeout),
    example_result=examples.EXPLANATION,
)
def explain_project(call: Call[ExplainQuery, None]) -> Response:
    """Explain the verdicts on a project's files.

    All of them, those of one `version`, or the one `filename`, which may stand alone where it tells its project.
    """
    query = call.query
    _require_repository(query.repository)
    if query.project is not None:
        project = project_field(query.project)
    elif query.filename is not None:
        project = wanted_file(query.filename).project
    else:
        refuse("project", "is required, or a filename that tells it")
    specifier = None if query.version is None else _exactly(query.version)
    filenames = () if query.filename is None else (query.filename,)
    repositories = services().repositories
    # The present rules, not those of a moment ago: who has just changed one looks here.
    snapshot = repositories.keeper.refresh()
    decision = repositories.decide_page(query.repository, project, snapshot=snapshot, trace=True)
    found = explanation(decision, specifier=None if filenames else specifier, filenames=filenames)
    if found["missing"]:
        raise FileNotListed(project, query.filename or "", decision.page.index)
    if specifier is not None:
        found["files"] = [
            one for one in found["files"] if one["version"] and specifier.contains(one["version"])
        ]
        if not found["files"]:
            raise ProjectNotFound(
                project,
                decision.page.index,
                f"index `{decision.page.index}` lists no such file of {query.version}",
            )
    return respond(found)


@operation(
    "POST",
    "/explain",
    role=Role.READER,
    query=FileQuery,
    body=text_body(),
    result=Explanations,
    example="demo>=2\n",
    example_result={"projects": [examples.EXPLANATION]},
)
def explain_requirements(call: Call[FileQuery, str]) -> Response:
    """Explain what a requirements or lock file asks for.

    The file is the body, of whatever media type; `filename` tells its format: `requirements.txt`, `uv.lock` or
    `pylock.toml`. A project that no decision could be made about has a `problem`, and no files.
    """
    repository = call.query.repository
    _require_repository(repository)
    wanted = parse_wanted(call.body, filename=call.query.filename)
    if len(wanted) > MAX_PROJECTS:
        refuse("", f"asks for {len(wanted)} projects; at most {MAX_PROJECTS} at once")
    return respond({"projects": _explain_all(wanted, repository)})


def _explain_all(wanted: Sequence[Wanted], repository: str) -> list[dict[str, Any]]:
    repositories = services().repositories
    snapshot = repositories.keeper.refresh()

    def explain(one: Wanted) -> dict[str, Any]:
        decision = repositories.decide_page(repository, one.project, snapshot=snapshot, trace=True)
        return explanation(decision, specifier=one.specifier, filenames=one.filenames)

    answers = ask_all(explain, wanted)
    return [
        explanation_unavailable(one.project, repository=repository, problem=problem_members(answer))
        if isinstance(answer, (NotFound, IndexError_))
        else answer
        for one, answer in zip(wanted, answers, strict=True)
    ]


def _require_repository(name: str) -> None:
    if name not in services().repositories.names:
        refuse("repository", f"no repository `{name[:80]}` is configured")


def _exactly(version: str) -> SpecifierSet:
    try:
        return SpecifierSet(f"=={Version(version)}", prereleases=True)
    except ValueError:  # InvalidVersion, and the int of thousands of digits
        refuse("version", f"`{version[:80]}` is no PEP 440 version")
