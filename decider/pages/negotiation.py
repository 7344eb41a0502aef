"""Which format a client gets (PEP 691, "Content-Types"; RFC 9110, 12.5.1; STANDARDS S10-S16, T20-T33).

What a page holds may not be added here.
"""

import re
from collections.abc import Iterator
from enum import StrEnum

from decider.errors import NotAcceptable

__all__ = ["PageFormat", "negotiate"]


class PageFormat(StrEnum):
    """A form that pages come in."""

    JSON = "json"
    HTML = "html"
    TEXT = "text"  #: the same HTML, under the name that every client knows

    @property
    def media_type(self) -> str:
        """The whole Content-Type, lower-case and without parameters: installers compare it to the letter (C55)."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    PageFormat.JSON: "application/vnd.pypi.simple.v1+json",
    PageFormat.HTML: "application/vnd.pypi.simple.v1+html",
    PageFormat.TEXT: "text/html",
}
_BY_NAME = {media_type: page_format for page_format, media_type in _MEDIA_TYPES.items()} | {
    # Meta versions (S13): whatever is newest; answered under the real type.
    "application/vnd.pypi.simple.latest+json": PageFormat.JSON,
    "application/vnd.pypi.simple.latest+html": PageFormat.HTML,
}
#: Best first (S15). A client that takes anything at all is likelier to read HTML than to know the vendor types.
_WILDCARDS = {
    "application/*": (PageFormat.JSON, PageFormat.HTML),
    "text/*": (PageFormat.TEXT,),
    "*/*": (PageFormat.TEXT, PageFormat.HTML, PageFormat.JSON),
}
_NAMED = (PageFormat.JSON, PageFormat.HTML, PageFormat.TEXT)
_SPECIFICITY = {"*/*": 0, "application/*": 1, "text/*": 1}
_EXACT = 2

_WEIGHT = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)\Z", re.ASCII)


def negotiate(accept: str | None, format_argument: str | None) -> PageFormat:
    """The format that suits the client best; raise NotAcceptable where none does.

    `accept` holds all Accept lines joined by commas; None or blank means that anything goes, and gives TEXT.
    `format_argument` is the query's `format`, a single type without wildcards, which wins over `accept` (S14).
    """
    if format_argument:
        return _parse_argument(format_argument)
    if accept is None or not accept.strip():
        return PageFormat.TEXT
    weights = _weigh(accept)
    acceptable = {offer: weight for offer, weight in weights.items() if weight[0] > 0}
    if not acceptable:
        offers = ", ".join(_MEDIA_TYPES.values())
        raise NotAcceptable(f"none of the accepted types is offered; these are: {offers}")
    return max(acceptable, key=acceptable.__getitem__)


def _parse_argument(argument: str) -> PageFormat:
    # A `+` that the client did not quote has been decoded to a space (S14).
    found = _BY_NAME.get(argument.strip().replace(" ", "+").lower())
    if found is None:
        raise NotAcceptable(f"`format` must be one of: {', '.join(_MEDIA_TYPES.values())}")
    return found


def _weigh(accept: str) -> dict[PageFormat, tuple[float, int, int]]:
    """Each format's quality, then how closely and how early the range that gave it names the format.

    As RFC 9110 has it, the closest range alone gives the quality: `text/html;q=0, */*` excludes `text/html`.
    """
    found: dict[PageFormat, tuple[int, float, int]] = {}
    for media_range, quality in _ranges(accept):
        formats = _formats(media_range)
        closeness = _SPECIFICITY.get(media_range, _EXACT)
        for page_format in formats:
            order = _WILDCARDS.get(media_range, _NAMED).index(page_format)
            candidate = (closeness, quality, -order)
            found[page_format] = max(candidate, found.get(page_format, candidate))
    return {
        page_format: (quality, closeness, order) for page_format, (closeness, quality, order) in found.items()
    }


def _formats(media_range: str) -> tuple[PageFormat, ...]:
    named = _BY_NAME.get(media_range)
    return (named,) if named else _WILDCARDS.get(media_range, ())


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Each media range, lower-case and without parameters, with its quality between 0 and 1."""
    for element in accept.split(","):
        media_range, *parameters = element.split(";")
        yield media_range.strip().lower(), _quality(parameters)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            # A weight that is none is no weight: who names a type wants it.
            return min(float(value), 1.0) if _WEIGHT.match(value := value.strip()) else 1.0
    return 1.0
