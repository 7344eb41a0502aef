"""`/pypi/<project>/json` and `/pypi/<project>/<version>/json`: the same decisions, in the form that old tools read.

Asked by nginx as project pages are: may it be served, and under which fingerprint; then the page, once; or the words
for a no. Judging may not be added here.
"""

from flask import Blueprint, Response

from decider.decision import PageDecision, list_page
from decider.errors import ReleaseNotFound
from decider.files import ProjectPage
from decider.names import NormalizedName
from decider.nginx_config import file_paths
from decider.pages import find_release, render_project_json
from decider.web import services
from decider.web.exchange import (
    answer,
    argument,
    asked_project,
    asked_repository,
    changed_meanwhile,
    lifetime_s,
    page_response,
    redirect_response,
    refusal,
)

__all__ = ["blueprint"]

blueprint = Blueprint("project_json", __name__, url_prefix="/-")


@blueprint.get("/decision/json")
def decide_json() -> Response:
    """May it be served: with the fingerprint, and the release in the page's own spelling, that nginx keys it by."""

    def decide() -> dict[str, str]:
        decision, _, release = _asked()
        headers = {"Fingerprint": decision.fingerprint}
        return headers if release is None else headers | {"Release": release}

    return answer(decide)


@blueprint.get("/json")
def project_json() -> Response:
    """The filtered JSON of a project, or of one release."""
    decision, listing, release = _asked()
    refused = {name for name, one in decision.restricted.items() if one.verdict.is_refusal}
    body = render_project_json(
        listing, release, file_base=_file_base(listing.project, release), refused=refused
    )
    until_s = None if decision.until is None else (decision.until - services().clock()).total_seconds()
    kept_s = lifetime_s(decision.fingerprint, until_s)
    return page_response(body, "application/json", kept_s, last_serial=listing.last_serial)


@blueprint.get("/refusal/json")
def refuse_json() -> Response:
    """Why there is none: no such project or release, or an index that cannot be asked."""

    def explain() -> Response:
        _asked()
        return changed_meanwhile()

    return refusal(explain)


@blueprint.get("/redirect/json")
def redirect_json() -> Response:
    """From another spelling of a project's name to the one URL, relatively."""
    version = argument("X-Decider-Version")
    return redirect_response("../../", f"{version}/json") if version else redirect_response("../", "json")


def _asked() -> tuple[PageDecision, ProjectPage, str | None]:
    """The decision, what clients may see of the page, and the asked release; raise as decide_page, or ReleaseNotFound.

    A release whose files are all hidden is not found.
    """
    repositories = services().repositories
    repository, project, version = asked_repository(), asked_project(), argument("X-Decider-Version")
    decision = repositories.decide_page(repository, project)
    listing, _ = list_page(decision, hide_refused=repositories.hides_refused(repository))
    if not version:
        return decision, listing, None
    release = find_release(listing, version)
    if release is None:
        raise ReleaseNotFound(project, version, listing.index)
    return decision, listing, release


def _file_base(project: NormalizedName, release: str | None) -> str:
    """Where the project's files are: absolute where the operator says what we are called.

    Else below `/packages/` of our own root: who reads this JSON joins URLs to the host's root, if at all, and
    bandersnatch mirrors no file from another folder. Relative, where a repository has that name.
    """
    settings, repository = services().settings, asked_repository()
    inside = "" if repository == "default" else f"{repository}/"
    folder = file_paths(settings)[-1]
    if settings.public_url is not None:
        return f"{settings.public_url}{inside}{folder}/{project}/"
    if folder == "packages":
        return f"/{inside}packages/{project}/"
    up = "../../" if release is None else "../../../"
    return f"{up}files/{project}/"
