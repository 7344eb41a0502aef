"""nginx's questions: may this page or file be served, and if so what; if not, in which words.

Every answer to nginx's `auth_request` is 200 (serve: headers say what) or 403 (do not: nginx fetches the words from
`/-/refusal/…`); what else goes wrong here is a 500, which nginx never serves bytes on. Arguments come in headers that
nginx sets; a client's own headers do not reach this module (nginx/*.conf). Judging may not be added here.
"""

import zlib
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import quote

from flask import Blueprint, Response, request

from decider.decision import FileDecision, Verdict, list_page, refusal_phrase
from decider.errors import DeciderError
from decider.index.location import Location
from decider.names import NormalizedName, parse_project_name
from decider.pages import PageFormat, negotiate, render_page, render_projects
from decider.repository import LocatedDecision
from decider.web import services
from decider.web.problems import problem, problem_response

__all__ = ["blueprint"]

blueprint = Blueprint("gate", __name__, url_prefix="/-")

VARY = "Accept, Accept-Encoding"
PAGE_LIFETIME_S = 24 * 3600  #: in nginx's cache, at most; its key changes with the page
GZIP_LEVEL = (
    4  #: pages are compressed once and stored: between speed of the cold page and size of the warm one
)


# -- Arguments


def _argument(name: str) -> str:
    """A header that nginx sets; bytes that are no UTF-8 become replacement characters, which no name holds."""
    return request.headers.get(name, "").encode("latin-1").decode("utf-8", "replace")


def _repository() -> str:
    return _argument("X-Decider-Repository")


def _project() -> NormalizedName:
    return parse_project_name(_argument("X-Decider-Project"))


def _format() -> PageFormat:
    """The format that nginx read from a common Accept header, else negotiated here; raise NotAcceptable."""
    given = _argument("X-Decider-Format")
    if given in set(PageFormat):
        return PageFormat(given)
    return negotiate(request.headers.get("Accept"), _argument("X-Decider-Format-Argument") or None)


# -- Decisions: asked by auth_request, kept for a second


def _kept_briefly(response: Response) -> Response:
    """Let nginx keep a decision, or the words of a refusal, to the end of this second.

    A whole `max-age=1` would be up to two seconds in nginx, whose clock for caches counts whole seconds; so the
    absolute form names the second. Cache-Control comes first: nginx 1.22 reads its extensions only then.
    """
    parts = services()
    policy = f"max-age=1, stale-if-error={parts.settings.grace_s}, stale-while-revalidate=1"
    response.headers["Cache-Control"] = policy
    response.headers["X-Accel-Expires"] = f"@{int(parts.clock().timestamp())}"
    if parts.repositories.keeper.is_degraded:
        response.headers["X-Decider-Degraded"] = "store"
    return response


def _answer(decide: Callable[[], dict[str, str] | None]) -> Response:
    """200 with the headers that `decide` gives, 403 where it gives none or raises."""
    try:
        headers = decide()
    except DeciderError:
        headers = None
    return _kept_briefly(Response(status=403) if headers is None else Response(status=200, headers=headers))


@blueprint.get("/decision/page")
def decide_page() -> Response:
    """May the page be served: with its format and the fingerprint that nginx keys it by."""

    def decide() -> dict[str, str]:
        page_format = _format()
        fingerprint = services().repositories.page_fingerprint(_repository(), _project())
        return {"X-Decider-Format": page_format, "X-Decider-Fingerprint": fingerprint}

    return _answer(decide)


@blueprint.get("/decision/projects")
def decide_projects() -> Response:
    """May the project list be served."""

    def decide() -> dict[str, str]:
        page_format = _format()
        _, fingerprint = services().repositories.projects(_repository())
        return {"X-Decider-Format": page_format, "X-Decider-Fingerprint": fingerprint}

    return _answer(decide)


@blueprint.get("/decision/file")
def decide_file() -> Response:
    """May the file be served: with where its bytes are."""

    def decide() -> dict[str, str] | None:
        located = _decide_file()
        if located.decision.verdict.is_refusal or located.location is None:
            return None
        place = located.location
        headers = {
            "X-Decider-Root": place.root,
            "X-Decider-Path": place.path.encode().decode("latin-1"),
            "X-Decider-Index": place.index,
            "X-Decider-Key": place.key,
            "X-Decider-Etag": place.etag,
        }
        return {name: value for name, value in headers.items() if value} | _upstream_headers(place)

    return _answer(decide)


def _upstream_headers(place: Location) -> dict[str, str]:
    """How nginx gets bytes from an upstream; {} for bytes on disk."""
    if not place.url:
        return {}
    headers = {
        "X-Decider-Url": place.url,
        "X-Decider-Source": place.source,
        "X-Decider-Host": place.host,
        "X-Decider-Tls-Name": place.tls_name,
    }
    return headers | ({"X-Decider-Credentials": place.index} if place.is_own_host else {})


@blueprint.get("/decision/redirect")
def decide_redirect() -> Response:
    """May nginx follow an index's redirect of a file: only to a host that this index's files may come from."""
    place = services().repositories.follow_redirect(
        _argument("X-Decider-Index"), _argument("X-Decider-From"), _argument("X-Decider-To")
    )
    return Response(status=403) if place is None else Response(status=200, headers=_upstream_headers(place))


def _decide_file() -> LocatedDecision:
    return services().repositories.decide_file(
        _repository(), _project(), _argument("X-Decider-File"), client=_argument("X-Decider-Client") or None
    )


# -- Pages: asked for once a fingerprint and format


@blueprint.get("/page")
def page() -> Response:
    """The filtered page; not to be kept where its fingerprint is no longer the one that was decided on."""
    parts = services()
    repository = _repository()
    decision = parts.repositories.decide_page(repository, _project())
    listing, private = list_page(decision, hide_refused=parts.repositories.hides_refused(repository))
    page_format = PageFormat(_argument("X-Decider-Format"))
    body = render_page(listing, page_format, private=private)
    lifetime_s = PAGE_LIFETIME_S
    if decision.until is not None:
        lifetime_s = min(lifetime_s, int((decision.until - parts.clock()).total_seconds()))
    if decision.fingerprint != _argument("X-Decider-Fingerprint"):
        lifetime_s = 0
    return _page_response(body, page_format, lifetime_s)


@blueprint.get("/projects")
def projects() -> Response:
    """The project list."""
    names, fingerprint = services().repositories.projects(_repository())
    page_format = PageFormat(_argument("X-Decider-Format"))
    body = render_projects(names, page_format)
    return _page_response(
        body, page_format, PAGE_LIFETIME_S if fingerprint == _argument("X-Decider-Fingerprint") else 0
    )


def _page_response(body: bytes, page_format: PageFormat, lifetime_s: int) -> Response:
    """A page as nginx stores and clients revalidate it: one strong ETag for each format and encoding."""
    encoding = "gzip" if _argument("X-Decider-Encoding") == "gzip" else None
    if encoding:
        # wbits 31: a gzip wrapper without a time, so that equal pages are equal bytes.
        packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
        body = packer.compress(body) + packer.flush()
    response = Response(body, content_type=page_format.media_type)
    response.headers["ETag"] = f'"{sha256(body).hexdigest()[:32]}"'
    # In this order: nginx 1.22 takes `max-age=0` for "do not keep" unless its own header came before.
    response.headers["X-Accel-Expires"] = str(max(lifetime_s, 0))
    response.headers["Cache-Control"] = "max-age=0"
    if encoding:
        response.headers["Content-Encoding"] = encoding
    return response


# -- Refusals: the words for a no


@blueprint.get("/refusal/page")
def refuse_page() -> Response:
    """Why there is no page: not found, not acceptable, or an index that cannot be asked."""

    def explain() -> Response:
        _format()
        services().repositories.page_fingerprint(_repository(), _project())
        return _changed_meanwhile()

    return _refusal(explain)


@blueprint.get("/refusal/projects")
def refuse_projects() -> Response:
    """Why there is no project list."""

    def explain() -> Response:
        _format()
        services().repositories.projects(_repository())
        return _changed_meanwhile()

    return _refusal(explain)


@blueprint.get("/refusal/file")
def refuse_file() -> Response:
    """Why there is no file: refused by a rule, not listed, or an index that cannot be asked."""

    def explain() -> Response:
        located = _decide_file()
        if located.decision.verdict.is_refusal:
            return _refused_file(located.decision)
        if located.location is None:
            return problem(
                status=404,
                title="Not offered",
                detail="the file is listed; this companion of it is not offered",
            )
        return _changed_meanwhile()

    return _refusal(explain)


def _refusal(explain: Callable[[], Response]) -> Response:
    """The response that a client sees, kept briefly by nginx and by nobody else."""
    try:
        response = explain()
    except DeciderError as error:
        response = problem_response(error)
    response.headers["Vary"] = VARY
    # To clients nginx says no-store (refusals.conf); this Cache-Control is for nginx alone.
    return _kept_briefly(response)


def _refused_file(decision: FileDecision) -> Response:
    project, filename = _argument("X-Decider-Project"), decision.file.filename
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
    response.headers["X-Decider-Verdict"] = decision.verdict
    response.headers["X-Decider-Rule"] = first.id
    response.headers["X-Decider-Reason"] = phrase.partition(": ")[2].removesuffix(f" ({first.id})")
    return response


def _changed_meanwhile() -> Response:
    """The decision was no, and is yes now (or nginx could not read the bytes): ask again, nothing is served here."""
    response = problem(
        status=503, title="Service Unavailable", detail="it could not be served just now; ask again"
    )
    response.headers["Retry-After"] = "1"
    return response


# -- Redirects to the normalized spelling (PEP 503)


@blueprint.get("/redirect/page")
def redirect_page() -> Response:
    """From another spelling of a name, or a missing slash, to the page's one URL, relatively."""
    up = "../" if _argument("X-Decider-Raw-Slash") else ""
    return _redirect(up, "")


@blueprint.get("/redirect/file")
def redirect_file() -> Response:
    """From a file under another spelling of its project's name to the file's one URL, relatively."""
    return _redirect("../", quote(_argument("X-Decider-File"), safe="+!~"))


def _redirect(up: str, rest: str) -> Response:
    try:
        project = parse_project_name(_argument("X-Decider-Raw-Project"))
    except DeciderError as error:
        response = problem_response(error)
    else:
        response = Response(status=301)
        # Set by hand: werkzeug would make it absolute with a Host that clients choose.
        response.autocorrect_location_header = False
        response.headers["Location"] = f"{up}{project}/{rest}{_argument('X-Decider-Query')}"
    response.headers["Vary"] = VARY
    return response


@blueprint.get("/ready")
def ready() -> Response:
    """Whether decider, store and required indexes answer; names what fails, public indexes too (and stays 200)."""
    from decider.web.readiness import readiness  # noqa: PLC0415 (keeps the hot path's module small)

    return readiness(services())


@blueprint.get("/alive")
def alive() -> Response:
    """Whether this process answers at all; asked by the supervisor."""
    return Response("ok\n", content_type="text/plain")
