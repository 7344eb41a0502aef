"""How nginx asks and is answered: arguments in headers, decisions kept for a second, finished pages, words for a no.

A client's own headers do not come here but for those that a location names (nginx/*.conf). Questions themselves are
in `gate`, `project_list` and `project_json`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import unquote

from flask import Response, request
from isal import isal_zlib

from decider.errors import (
    DeciderError,
    IndexError_,
    InvalidName,
    InvalidRequest,
    NotAcceptable,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from decider.metrics import meters, note_decision
from decider.names import NormalizedName, parse_project_name
from decider.pages import PageFormat, negotiate
from decider.web import services
from decider.web.auth import authenticate_reader
from decider.web.problems import problem, problem_members, problem_of, problem_response

__all__ = [
    "PAGE_LIFETIME_S",
    "VARY",
    "VERDICT_HEADER",
    "Refused",
    "answer",
    "argument",
    "asked_format",
    "asked_project",
    "asked_repository",
    "authenticated_reader",
    "changed_meanwhile",
    "lifetime_s",
    "pack",
    "page_response",
    "reader_headers",
    "redirect_response",
    "refusal",
    "storable",
]

VARY = "Accept, Accept-Encoding"
VERDICT_HEADER = "X-Decider-Verdict"
# Installers speak Basic: pip and uv then send what the index URL, netrc or keyring says; browsers ask for it.
_CHALLENGE = 'Basic realm="decider", charset="UTF-8"'
PAGE_LIFETIME_S = 24 * 3600  #: in nginx's cache, at most; its key changes with the page


# -- Arguments


def argument(name: str) -> str:
    """A header that nginx sets; bytes that are no UTF-8 become replacement characters, which no name holds."""
    return request.headers.get(name, "").encode("latin-1").decode("utf-8", "replace")


def asked_repository() -> str:
    """The repository's name."""
    return argument("X-Decider-Repository")


def asked_project() -> NormalizedName:
    """The project; raise InvalidName."""
    return parse_project_name(argument("X-Decider-Project"))


def asked_format() -> PageFormat:
    """The format that nginx read from a common Accept header, else negotiated here; raise NotAcceptable."""
    given = argument("X-Decider-Format")
    if given in set(PageFormat):
        return PageFormat(given)
    return negotiate(request.headers.get("Accept"), unquote(argument("X-Decider-Format-Argument")) or None)


# -- Decisions: asked by auth_request, kept for a second


@dataclass(frozen=True, slots=True)
class Refused:
    """A no, and what nginx is to know of it."""

    headers: dict[str, str]


def answer(decide: Callable[[], dict[str, str] | Refused]) -> Response:
    """200 with the headers that `decide` gives, 403 where it refuses or raises, 401 for a wrong token.

    What nginx alone is told has short names that begin differently: with each hit of its caches nginx compares, letter by
    letter, the name of each variable with those of all headers, and `X-Decider-` before each was a tenth of that.
    """
    headers: dict[str, str] = {}
    status, verdict = 403, "failed"
    started = time.perf_counter()
    try:
        reader = authenticated_reader()
        if reader is not None:
            headers["User"] = reader
        decided = decide()
        status, headers = (
            (403, headers | decided.headers) if isinstance(decided, Refused) else (200, headers | decided)
        )
        verdict = headers.get(VERDICT_HEADER, "allow")
    except DeciderError as error:
        verdict = _undecided(error)  # nginx asks for the words of it
        if isinstance(error, IndexError_):
            # (!) With the question: to word it by asking that index again would take as long again, past 30 s.
            headers["Failed"] = _words(error)
            headers["Degraded"] = "index"
        if isinstance(error, Unauthenticated | TooManyRequests):
            # (!) With the question, too: to look at the token again would be to count it twice.
            status, headers["Failed"] = 401, _words(error)
    finally:
        note_decision(request.path.rpartition("/")[2], verdict, time.perf_counter() - started)
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]  # nothing is in it, and nginx reads each line with each request
    return _kept_briefly(response)


def reader_headers(error: DeciderError) -> dict[str, str]:
    """What a reader is told beside the problem's body: how to log in, and when to come back."""
    headers = problem_response(error).headers
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = _CHALLENGE
    return {name: headers[name] for name in ("WWW-Authenticate", "Retry-After") if name in headers}


def _words(error: DeciderError) -> str:
    """The words for a no, for refusal()."""
    return json.dumps({"problem": problem_members(error), "headers": reader_headers(error)})


def _undecided(error: DeciderError) -> str:
    """What stands for the verdict in the metrics where there is none."""
    if isinstance(error, NotFound | InvalidName):
        return "absent"
    if isinstance(error, Unauthenticated | TooManyRequests):
        return "unauthenticated"
    return "invalid" if isinstance(error, NotAcceptable | InvalidRequest) else "unavailable"


def authenticated_reader() -> str | None:
    """The name of the token that asks, where reading takes one; None where all may read. Raise Unauthenticated."""
    if services().settings.read_access != "token":
        return None
    return authenticate_reader().name


def _kept_briefly(response: Response) -> Response:
    """Let nginx keep a decision, or the words of a refusal, to the end of this second.

    A `max-age=1` would be up to two seconds in nginx, whose clock for caches counts whole seconds; so X-Accel-Expires
    names the second. Cache-Control comes first: nginx 1.22 reads its extensions only then, and it says nothing else:
    nginx searches it for seven words with each hit.
    """
    parts = services()
    policy = f"stale-if-error={parts.settings.grace_s}, stale-while-revalidate=1"
    response.headers["Cache-Control"] = policy
    response.headers["X-Accel-Expires"] = f"@{int(parts.clock().timestamp())}"
    # Not validated again: of a name that is none there is no page, stale or not.
    project = NormalizedName(request.headers.get("X-Decider-Project", ""))
    degraded = parts.repositories.degraded(asked_repository(), project)
    if degraded:
        response.headers["Degraded"] = degraded
    return response


# -- Pages: asked for once a fingerprint, format and encoding


def lifetime_s(decision_fingerprint: str, until_s: float | None) -> int:
    """How long nginx may keep what was made of a decision of that fingerprint, which time changes in `until_s`.

    0 where nginx asked under another fingerprint: a rule or the index changed in between.
    """
    if decision_fingerprint != argument("X-Decider-Fingerprint"):
        return 0
    return PAGE_LIFETIME_S if until_s is None else max(min(PAGE_LIFETIME_S, int(until_s)), 0)


def pack(body: bytes) -> bytes:
    """Gzip, without a time in its header, so that equal pages are equal bytes.

    ISA-L at its first level: a 1.1 MB page in 2 ms and to 277 kB; zlib needs 15 ms for 282 kB (level 4).
    """
    packed: bytes = isal_zlib.compress(body, 1, 31)
    return packed


def page_response(body: bytes, media_type: str, kept_s: int, *, last_serial: int | None = None) -> Response:
    """A page as nginx stores and clients revalidate it: one strong ETag for each format and encoding.

    `last_serial` is what the one index that the page was made of states; mirror tools read it in a header.
    """
    is_packed = argument("X-Decider-Encoding") == "gzip"
    if is_packed:
        body = pack(body)
    meters().pages.labels(request.path.rpartition("/")[2], media_type).inc()
    response = Response(body, content_type=media_type)
    # With the type: the two of HTML are the same bytes, and a 304 for one must not confirm the other (RFC 9110, 8.8.1).
    tagged = f"{media_type}\n".encode() + body
    response.headers["ETag"] = f'"{sha256(tagged).hexdigest()[:32]}"'
    if last_serial is not None:
        response.headers["X-PyPI-Last-Serial"] = str(last_serial)
    return storable(response, kept_s, is_packed=is_packed)


def storable(response: Response, kept_s: int, *, is_packed: bool) -> Response:
    """The response with what nginx is to know: how long to keep it, and how it is encoded."""
    # In this order: nginx 1.22 takes `max-age=0` for "do not keep" unless its own header came before.
    response.headers["X-Accel-Expires"] = str(kept_s)
    response.headers["Cache-Control"] = "max-age=0"
    if is_packed:
        response.headers["Content-Encoding"] = "gzip"
    return response


# -- The words for a no


def refusal(explain: Callable[[], Response]) -> Response:
    """The response that a client sees, kept briefly by nginx and by nobody else."""
    failed = argument("X-Decider-Failed")
    if failed:
        said = json.loads(failed)
        response = problem_of(said["problem"])
        response.headers.update(said["headers"])
    else:
        try:
            authenticated_reader()
            response = explain()
        except DeciderError as error:
            response = problem_response(error)
            response.headers.update(reader_headers(error))
    response.headers["Vary"] = VARY
    # To clients nginx says no-store (refusals.conf); this Cache-Control is for nginx alone.
    return _kept_briefly(response)


def changed_meanwhile() -> Response:
    """The decision was no, and is yes now (or nginx could not read the bytes): ask again, nothing is served here."""
    response = problem(
        status=503, title="Service Unavailable", detail="it could not be served just now; ask again"
    )
    response.headers["Retry-After"] = "1"
    return response


# -- Redirects to the normalized spelling (PEP 503)


def redirect_response(up: str, rest: str) -> Response:
    """A relative redirect to the asked project's normalized name, found `up`, with `rest` and the query behind it."""
    try:
        project = parse_project_name(argument("X-Decider-Raw-Project"))
    except DeciderError as error:
        response = problem_response(error)
    else:
        response = Response(status=301)
        # Set by hand: werkzeug would make it absolute with a Host that clients choose.
        response.autocorrect_location_header = False
        response.headers["Location"] = f"{up}{project}/{rest}{argument('X-Decider-Query')}"
    response.headers["Vary"] = VARY
    return response
