"""`/simple/`, the project list of a repository: may it be served, the list itself, and the words for a no.

It is written piece by piece from a file, so that a million names pass through a worker without staying in it. Which
names there are is `project_lists`' to say.
"""

import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256

from flask import Blueprint, Response

from decider import __version__
from decider.index.project_names import ProjectNames
from decider.pages import PageFormat, render_projects
from decider.web import services
from decider.web.exchange import (
    answer,
    argument,
    asked_format,
    asked_repository,
    changed_meanwhile,
    lifetime_s,
    refusal,
    storable,
)

__all__ = ["blueprint"]

_GZIP_LEVEL = 4  #: between speed of the first list after a change and size of all that follow

blueprint = Blueprint("project_list", __name__, url_prefix="/-")


@blueprint.get("/decision/projects")
def decide_projects() -> Response:
    """May the project list be served."""

    def decide() -> dict[str, str]:
        page_format = asked_format()
        return {"Format": page_format, "Fingerprint": _fingerprint(_asked())}

    return answer(decide)


@blueprint.get("/projects")
def projects() -> Response:
    """The project list."""
    names = _asked()
    page_format = PageFormat(argument("X-Decider-Format"))
    is_packed = argument("X-Decider-Encoding") == "gzip"
    pieces = render_projects(names.chunks(), page_format)
    response = Response(_packed(pieces) if is_packed else pieces, content_type=page_format.media_type)
    # Known before the body is: the same names are written as the same bytes.
    response.headers["ETag"] = _etag(_fingerprint(names), page_format, is_packed=is_packed)
    return storable(response, lifetime_s(_fingerprint(names), None), is_packed=is_packed)


@blueprint.get("/refusal/projects")
def refuse_projects() -> Response:
    """Why there is no project list."""

    def explain() -> Response:
        asked_format()
        _asked()
        return changed_meanwhile()

    return refusal(explain)


def _asked() -> ProjectNames:
    return services().repositories.projects(asked_repository())


def _fingerprint(names: ProjectNames) -> str:
    return sha256(f"{__version__} {names.digest}".encode()).hexdigest()


def _etag(fingerprint: str, page_format: PageFormat, *, is_packed: bool) -> str:
    found = sha256(f"{fingerprint} {page_format} {is_packed} {zlib.ZLIB_RUNTIME_VERSION}".encode())
    return f'"{found.hexdigest()[:32]}"'


def _packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
