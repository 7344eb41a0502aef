"""The case table of `tests/cases`: a rule set, files, and what each request comes to, in files that operators can read.

about      what the file shows
indexes    the repository's indexes in order; without it only "public"
[[rules]]  as in the API, and an `id`; later ones are younger
[[files]]  filename, project ("demo"), index ("public"), upload_time, sha256, provenance, yanked, first_seen
[[requests]]  file, project ("demo"), repository ("default"), at; then what is expected: verdict ("missing": not
              listed), rules, reason, until, yanked (as listed), considered (rule id = why it applied or did not)
"""

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decider.decision import FileDecision, decide_one, decide_page, list_page, owner_rule
from decider.files import DistributionFile, ProjectPage
from decider.names import parse_project_name
from decider.rules import Rule, Snapshot, parse_draft
from tests.samples import AT, make_page

FOLDER = Path(__file__).parent / "cases"
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class ListedFile(msgspec.Struct, forbid_unknown_fields=True):
    filename: str
    project: str = "demo"
    index: str = "public"
    upload_time: datetime | None = None
    sha256: str | None = None
    provenance: str | None = None
    yanked: str | None = None
    first_seen: datetime | None = None


class Request(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    verdict: str
    project: str = "demo"
    repository: str = "default"
    at: datetime = AT
    rules: tuple[str, ...] = ()
    reason: str = ""
    until: datetime | None = None
    yanked: str | None = None
    considered: dict[str, str] = {}


class Table(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    requests: list[Request]
    rules: list[dict[str, Any]] = []
    files: list[ListedFile] = []
    indexes: tuple[str, ...] = ("public",)


def load(path: Path) -> Table:
    return msgspec.convert(tomllib.loads(path.read_text()), Table)


def rules_of(table: Table) -> Iterator[Rule]:
    for number, fields in enumerate(table.rules, 1):
        rule_id = fields.pop("id")
        created = BEGINNING + timedelta(hours=number)
        draft = parse_draft(fields, at=created, indexes=table.indexes, repositories=None)
        yield Rule(
            **msgspec.structs.asdict(draft),
            id=rule_id,
            created_by="ops",
            created_at=created,
            updated_by="ops",
            updated_at=created,
            revision=number,
        )


def page_of(table: Table, project: str, index: str) -> ProjectPage | None:
    files = [
        file for file in table.files if (parse_project_name(file.project), file.index) == (project, index)
    ]
    if not files:
        return None
    listed = (
        DistributionFile(
            filename=file.filename,
            url=f"https://files.example/{file.filename}",
            hashes={"sha256": file.sha256} if file.sha256 else {},
            upload_time=file.upload_time,
            provenance=file.provenance,
            yanked=file.yanked,
        )
        for file in files
    )
    return make_page(*listed, index=index, project=parse_project_name(project))


def ask(table: Table, request: Request) -> tuple[FileDecision | None, str | None]:
    """The decision, and how the page lists the file: the owner answers, else the first index that has the project."""
    project = parse_project_name(request.project)
    snapshot = Snapshot(len(table.rules), list(rules_of(table)))
    owner = owner_rule(snapshot.rules_for(project, request.repository), at=request.at)
    names = table.indexes if owner is None else [owner.index or "", *(owner.extends or ())]
    pages = [page for name in names if (page := page_of(table, project, name)) is not None]
    if owner is None:
        pages = pages[:1]
    if not pages or (owner is not None and pages[0].index != owner.index):
        return None, None
    first_seen = {file.filename: file.first_seen for file in table.files if file.first_seen is not None}
    one = decide_one(
        pages,
        request.file,
        snapshot,
        repository=request.repository,
        at=request.at,
        first_seen=first_seen,
        trace=True,
    )
    whole = decide_page(
        pages, snapshot, repository=request.repository, at=request.at, first_seen=first_seen, trace=True
    )
    assert whole.find(request.file) == one
    listed = list_page(whole, hide_refused=False)[0].find(request.file)
    return one, None if listed is None else listed.yanked


def tables() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.toml")):
        table = load(path)
        for number, request in enumerate(table.requests, 1):
            yield pytest.param(path, number - 1, id=f"{path.stem}-{number}-{request.file}")


@pytest.mark.parametrize(("path", "number"), list(tables()))
def test_case(path: Path, number: int) -> None:
    """Each request of the case table gets the verdict, the rules and the reason that the table states."""
    table = load(path)
    request = table.requests[number]
    decision, yanked = ask(table, request)
    if decision is None:
        assert request.verdict == "missing"
        return
    found = {
        "verdict": decision.verdict.value,
        "rules": tuple(rule.id for rule in decision.rules),
        "reason": decision.reason,
        "until": decision.until,
        "yanked": yanked,
    }
    assert found == {name: getattr(request, name) for name in found}
    why = {
        one.id: f"{'applies' if one.applied else 'does not apply'}: {one.why}" for one in decision.considered
    }
    assert {rule_id: why.get(rule_id) for rule_id in request.considered} == request.considered


def test_leftover_key(tmp_path: Path) -> None:
    """A misspelled key in a case table is refused, so that no expectation is silently skipped."""
    table = tmp_path / "table.toml"
    table.write_text('about = "x"\n[[requests]]\nfile = "f"\nverdict = "allow"\nresaon = "y"\n')
    with pytest.raises(msgspec.ValidationError, match="resaon"):
        load(table)
