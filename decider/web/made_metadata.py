"""Core metadata that no index has: read out of the wheel when nginx, which has decided on the file, has no copy of it.

What is offered, and reading it, are `index.offers`' affair; nginx keeps what is given here under the wheel's digest.
"""

from hashlib import sha256

from flask import Blueprint, Response

from decider.errors import DeciderError
from decider.web import services
from decider.web.exchange import argument, asked_project, asked_repository, changed_meanwhile, storable
from decider.web.problems import problem_response

__all__ = ["blueprint"]

blueprint = Blueprint("made_metadata", __name__, url_prefix="/-")

LIFETIME_S = 365 * 24 * 3600  #: as files: only a decision gives access to it


@blueprint.get("/metadata")
def made_metadata() -> Response:
    """The METADATA of a wheel; 502 with the reason where there is none to be had."""
    try:
        data = services().repositories.read_metadata(
            asked_repository(), asked_project(), argument("X-Decider-File")
        )
    except DeciderError as error:
        return problem_response(error)
    if data is None:
        return changed_meanwhile()
    response = Response(data, content_type="application/octet-stream")
    response.headers["ETag"] = f'"{sha256(data).hexdigest()}"'
    return storable(response, LIFETIME_S, is_packed=False)
