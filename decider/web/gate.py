"""nginx's questions: may this page or file be served, and if so what; if not, in which words.

Every answer to nginx's `auth_request` is 200 (serve: headers say what) or 403 (do not: nginx fetches the words from
`/-/refusal/…`); what else goes wrong here is a 500, which nginx never serves bytes on. Arguments come in headers that
nginx sets; a client's own headers do not reach this module (nginx/*.conf). Judging may not be added here.
"""

from urllib.parse import quote

from flask import Blueprint, Response

from decider.decision import FileDecision, Verdict, list_page, refusal_phrase
from decider.pages import PageFormat, render_page
from decider.repository import LocatedDecision
from decider.usage.decided import HEADER as RECORD_HEADER
from decider.usage.decided import decided_header
from decider.web import services
from decider.web.exchange import (
    VERDICT_HEADER,
    Refused,
    answer,
    argument,
    asked_format,
    asked_project,
    asked_repository,
    changed_meanwhile,
    lifetime_s,
    page_response,
    redirect_response,
    refusal,
)
from decider.web.problems import problem
from decider.web.provenance import name_own_provenance

__all__ = ["blueprint"]

blueprint = Blueprint("gate", __name__, url_prefix="/-")

# -- Decisions: asked by auth_request, kept for a second


@blueprint.get("/decision/page")
def decide_page() -> Response:
    """May the page be served: with its format and the fingerprint that nginx keys it by."""

    def decide() -> dict[str, str]:
        page_format = asked_format()
        fingerprint = services().repositories.page_fingerprint(asked_repository(), asked_project())
        return {"Format": page_format, "Fingerprint": fingerprint}

    return answer(decide)


@blueprint.get("/decision/file")
def decide_file() -> Response:
    """May the file be served: with where its bytes are."""

    def decide() -> dict[str, str] | Refused:
        located = _decide_file(asked_by=argument("X-Decider-Client"))
        verdict, place = located.decision.verdict, located.location
        said = {RECORD_HEADER: decided_header(located.decision, requested=argument("X-Decider-File"))}
        if verdict.is_refusal or place is None:
            return Refused(said | {VERDICT_HEADER: verdict if verdict.is_refusal else "absent"})
        # Each header is read with each request that nginx answers from its caches: none that is empty, or that says
        # what goes without saying.
        headers = said | {
            VERDICT_HEADER: "" if verdict is Verdict.ALLOW else verdict,
            "Root": place.root,
            "Path": place.path.encode().decode("latin-1"),
            "Key": place.key,
            "Tag": place.etag,
            "Url": place.url,
            "Expect": place.expected if place.url else "",
        }
        return {name: value for name, value in headers.items() if value}

    return answer(decide)


def _decide_file(*, asked_by: str | None) -> LocatedDecision:
    return services().repositories.decide_file(
        asked_repository(), asked_project(), argument("X-Decider-File"), asked_by=asked_by
    )


# -- Pages: asked for once a fingerprint and format


@blueprint.get("/page")
def page() -> Response:
    """The filtered page; not to be kept where its fingerprint is no longer the one that was decided on."""
    parts = services()
    repository = asked_repository()
    decision = parts.repositories.decide_page(repository, asked_project())
    listing, private = list_page(decision, hide_refused=parts.repositories.hides_refused(repository))
    page_format = PageFormat(argument("X-Decider-Format"))
    listing = name_own_provenance(listing, decision, parts.settings)
    body = render_page(listing, page_format, private=private)
    until_s = None if decision.until is None else (decision.until - parts.clock()).total_seconds()
    kept_s = lifetime_s(decision.fingerprint, until_s)
    return page_response(body, page_format.media_type, kept_s, last_serial=listing.last_serial)


# -- Refusals: the words for a no


@blueprint.get("/refusal/page")
def refuse_page() -> Response:
    """Why there is no page: not found, not acceptable, or an index that cannot be asked."""

    def explain() -> Response:
        asked_format()
        services().repositories.page_fingerprint(asked_repository(), asked_project())
        return changed_meanwhile()

    return refusal(explain)


@blueprint.get("/refusal/file")
def refuse_file() -> Response:
    """Why there is no file: refused by a rule, not listed, or an index that cannot be asked."""

    def explain() -> Response:
        located = _decide_file(asked_by=None)  # counted when it was decided
        if located.decision.verdict.is_refusal:
            return _refused_file(located.decision)
        if located.location is None:
            return problem(
                status=404,
                title="Not offered",
                detail="the file is listed; this companion of it is not offered",
            )
        return changed_meanwhile()

    return refusal(explain)


def _refused_file(decision: FileDecision) -> Response:
    project, filename = argument("X-Decider-Project"), decision.file.filename
    first = decision.rules[0]
    references = [rule.reference for rule in decision.rules if rule.reference]
    response = problem(
        status=403,
        title="Held" if decision.verdict is Verdict.HOLD else "Blocked",
        detail=f"{decision.reason} ({', '.join(rule.id for rule in decision.rules)}; see /why/{project})",
        rules=[rule.id for rule in decision.rules],
        verdict=decision.verdict,
        project=project,
        version=decision.version,
        filename=filename,
        references=references,
        until=decision.until,
        why=f"/why/{project}/{quote(filename)}",
    )
    phrase = refusal_phrase(decision)
    response.status = f"403 {phrase}"
    response.headers[VERDICT_HEADER] = decision.verdict
    response.headers["X-Decider-Rule"] = first.id
    response.headers["X-Decider-Reason"] = phrase.partition(": ")[2].removesuffix(f" ({first.id})")
    return response


# -- Redirects to the normalized spelling (PEP 503)


@blueprint.get("/redirect/page")
def redirect_page() -> Response:
    """From another spelling of a name, or a missing slash, to the page's one URL, relatively."""
    up = "../" if argument("X-Decider-Raw-Slash") else ""
    return redirect_response(up, "")


@blueprint.get("/redirect/file")
def redirect_file() -> Response:
    """From a file under another spelling of its project's name to the file's one URL, relatively."""
    return redirect_response("../", quote(argument("X-Decider-File"), safe="+!~"))


@blueprint.get("/ready")
def ready() -> Response:
    """Whether decider, store and required indexes answer; names what fails, public indexes too (and stays 200)."""
    from decider.web.readiness import readiness  # noqa: PLC0415 (keeps the hot path's module small)

    return readiness(services())


@blueprint.get("/metrics")
def metrics() -> Response:
    """What all processes of this machine have counted, for Prometheus."""
    from decider.web.monitoring import metrics_page  # noqa: PLC0415 (keeps the hot path's module small)

    return metrics_page(services().settings)


@blueprint.get("/alive")
def alive() -> Response:
    """Whether this process answers at all; asked by the supervisor."""
    return Response("ok\n", content_type="text/plain")
