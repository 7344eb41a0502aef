"""Pages for people: why a project or a file is refused, by which rule, until when, and how to ask.

HTML, or JSON for whoever asks for it (Accept). Explains decisions; makes none, serves no package bytes.
Says what a refusal says, and nothing that rules do not say to clients; so it takes a token where reading takes one.
"""

from typing import Any

import msgspec
from flask import Blueprint, Response, render_template, request
from packaging.version import Version

from decider.decision import FileDecision, PageDecision, Verdict
from decider.errors import DeciderError, FileNotListed, InvalidName
from decider.names import parse_project_name
from decider.web import services
from decider.web.exchange import authenticated_reader, reader_headers
from decider.web.problems import CONTENT_TYPE, problem_members

__all__ = ["blueprint"]

blueprint = Blueprint("people", __name__, url_prefix="/-", template_folder="templates")


@blueprint.get("/why")
def why() -> Response:
    """What is refused of a project, or of one file of it."""
    raw = request.headers.get("X-Decider-Raw-Project", "")
    filename = request.headers.get("X-Decider-File", "").encode("latin-1").decode("utf-8", "replace") or None
    repository = request.headers.get("X-Decider-Repository", "default")
    told: dict[str, str] = {}
    try:
        authenticated_reader()
        answer = _explain(repository, raw, filename)
        status = 200
    except DeciderError as error:
        answer, told = problem_members(error), reader_headers(error)
        status = int(answer["status"])
    # For people first: who asks for nothing in particular, or for what there is not, reads a page.
    best = request.accept_mimetypes.best_match(["text/html", "application/json", CONTENT_TYPE], "text/html")
    if best == "text/html":
        body: str | bytes = render_template("why.html", answer=answer, raw=raw, filename=filename)
        response = Response(body, status=status, content_type="text/html; charset=utf-8")
        # Nothing but its own inline style: a reason that got past escaping could still load or run nothing.
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        )
    else:
        content_type = "application/json" if status == 200 else CONTENT_TYPE
        response = Response(msgspec.json.encode(answer), status=status, content_type=content_type)
    response.headers.update(told)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _explain(repository: str, raw: str, filename: str | None) -> dict[str, Any]:
    if not raw:
        raise InvalidName(raw)
    project = parse_project_name(raw)
    decision = services().repositories.decide_page(repository, project)
    files = decision.files
    if filename is not None:
        found = decision.find(filename)
        if found is None:
            raise FileNotListed(project, filename, decision.page.index)
        files = (found,)
    refused = [_refused_file(file) for file in files if file.verdict is not Verdict.ALLOW]
    return {
        "project": project,
        "repository": repository,
        "index": decision.page.index,
        "status": decision.page.status,
        "status_reason": decision.page.status_reason,
        "files": len(files),
        "permitted": _newest_permitted(decision),
        "refused": refused,
    }


def _refused_file(file: FileDecision) -> dict[str, Any]:
    return {
        "filename": file.file.filename,
        "version": file.version,
        "verdict": file.verdict,
        "reason": file.reason,
        "until": file.until,
        "rules": [
            {
                "id": rule.id,
                "action": rule.action,
                "reason": rule.reason,
                "reference": rule.reference,
                "created_at": rule.created_at,
                "expires_at": rule.expires_at,
            }
            for rule in file.rules
        ],
    }


def _newest_permitted(decision: PageDecision) -> str | None:
    """The newest final release of which some file may be had, else the newest prerelease; None where there is none."""
    permitted = {
        Version(file.version)
        for file in decision.files
        if file.version is not None and file.verdict is Verdict.ALLOW and file.file.yanked is None
    }
    newest = max(permitted, key=lambda version: (not version.is_prerelease, version), default=None)
    return None if newest is None else str(newest)
