"""`/pypi/<project>/json` and `/pypi/<project>/<version>/json`: the same decisions, in the form that old tools read.

Asked by nginx as project pages are: may it be served, and under which fingerprint; then the page, once; or the words
for a no. The first question is one of the project, whichever release is asked for, and takes no judging. Versions are a
client's to invent, so each is looked up before anything is judged. Judging may not be added here.
"""

from urllib.parse import quote

from flask import Blueprint, Response

from decider.decision import PageDecision, list_page
from decider.errors import ReleaseNotFound
from decider.names import NormalizedName
from decider.nginx_config import file_paths
from decider.pages import render_project_json
from decider.web import services
from decider.web.exchange import (
    Refused,
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
from decider.web.problems import problem_response

__all__ = ["blueprint"]

blueprint = Blueprint("project_json", __name__, url_prefix="/-")


@blueprint.get("/decision/json")
def decide_json() -> Response:
    """May it be served: with the fingerprint that nginx keys the project's JSON by, and that of its releases."""

    def decide() -> dict[str, str] | Refused:
        # (!) An nginx that was configured by an earlier version asks for each release, and would serve the project for it.
        if argument("X-Decider-Version"):
            return Refused({})
        return {"Fingerprint": _fingerprint()}

    return answer(decide)


@blueprint.get("/json")
def project_json() -> Response:
    """The filtered JSON of a project, or of one release; to be kept under the release's own spelling alone."""
    repository, project, version = asked_repository(), asked_project(), argument("X-Decider-Version")
    if not version:
        return _listed(services().repositories.decide_page(repository, project), None)
    try:
        decision = services().repositories.decide_release(repository, project, version)
    except ReleaseNotFound as error:
        return problem_response(error)  # (!) kept under no key: there is no end of such versions
    (release,) = decision.page.versions
    if release != version:
        return _led_to(f"/{repository}/pypi/{project}/{quote(release, safe='!+')}/json")
    return _listed(decision, release)


@blueprint.get("/refusal/json")
def refuse_json() -> Response:
    """Why there is none: no such project, or an index that cannot be asked."""

    def explain() -> Response:
        _fingerprint()
        return changed_meanwhile()

    return refusal(explain)


@blueprint.get("/redirect/json")
def redirect_json() -> Response:
    """From another spelling of a project's name to the one URL, relatively."""
    version = argument("X-Decider-Version")
    return redirect_response("../../", f"{version}/json") if version else redirect_response("../", "json")


def _fingerprint() -> str:
    return services().repositories.json_fingerprint(asked_repository(), asked_project())


def _listed(decision: PageDecision, release: str | None) -> Response:
    """What clients may see of all releases, or of that one: 404 where all its files are hidden."""
    hides = services().repositories.hides_refused(decision.repository)
    listing, _ = list_page(decision, hide_refused=hides)
    until_s = None if decision.until is None else (decision.until - services().clock()).total_seconds()
    kept_s = lifetime_s(decision.fingerprint, until_s)
    if release is not None and not listing.versions:
        return _absent(ReleaseNotFound(listing.project, release, listing.index), kept_s)
    refused = {name for name, one in decision.restricted.items() if one.verdict.is_refusal}
    body = render_project_json(
        listing, release, file_base=_file_base(listing.project, release), refused=refused
    )
    return page_response(body, "application/json", kept_s, last_serial=listing.last_serial)


def _led_to(path: str) -> Response:
    """On there, in the same request: nginx has one entry of a release, and there is no end of spellings."""
    response = Response(headers={"X-Accel-Redirect": path})
    del response.headers["Content-Type"]  # nginx would take it along
    return response


def _absent(error: ReleaseNotFound, kept_s: int) -> Response:
    """404 of a release that there is, kept as its page would be: that its files are hidden took judging them."""
    response = problem_response(error)
    # In this order: nginx 1.22 takes `no-store` for its own unless its own header came before.
    del response.headers["Cache-Control"]
    response.headers["X-Accel-Expires"] = str(kept_s)
    response.headers["Cache-Control"] = "no-store"
    return response


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
