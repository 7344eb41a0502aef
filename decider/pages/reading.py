"""What a body is read as, by the type that the index gave it (PEP 691); fetching may not be added here."""

import hashlib
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult

from decider.errors import InvalidName, UnreadablePage
from decider.names import NormalizedName, is_normalized, parse_project_name
from decider.pages.html_reading import read_html_page, read_html_projects
from decider.pages.json_reading import read_json_page, read_json_projects
from decider.pages.links import Links
from decider.pages.listing import Listing, ParsedPage
from decider.pages.negotiation import PageFormat

__all__ = ["parse_page", "parse_projects"]

_FORMATS = {page_format.media_type: page_format for page_format in PageFormat}


def parse_page(
    body: bytes,
    *,
    content_type: str,
    url: str,
    index: str,
    project: NormalizedName,
    is_allowed_host: Callable[[SplitResult], bool],
) -> ParsedPage:
    """The page of `project` that the index gave under `url` (after redirects), and what was left out of it.

    Files come in the index's order. `is_allowed_host` is asked once for each origin that files come from. The page's
    digest covers all that the result depends on. Raise UnreadablePage unless the body is a project page of major
    version 1, of this project, with at most 200,000 files (PEP 629, 691).
    """
    links = Links(url, is_allowed_host)
    listing = Listing(index, project, links)
    page_format, charset = _parse_content_type(content_type, index)
    if page_format is PageFormat.JSON:
        stated = read_json_page(body, listing)
    else:
        stated = read_html_page(body, charset, listing)
    digest = _digest(
        body, content_type, url, index, project, *(f"{o} {ok}" for o, ok in sorted(links.origins.items()))
    )
    return listing.page(stated, digest=digest)


def parse_projects(body: bytes, *, content_type: str, index: str) -> frozenset[NormalizedName]:
    """The projects that an index's list names; names that no specification allows are left out.

    Raise UnreadablePage unless the body is a project list of major version 1.
    """
    page_format, charset = _parse_content_type(content_type, index)
    if page_format is PageFormat.JSON:
        return _normalize(read_json_projects(body, index))
    return _normalize(read_html_projects(body, charset, index))


def _parse_content_type(content_type: str, index: str) -> tuple[PageFormat, str]:
    """The format that an index says its body has, and the charset, which only HTML needs."""
    media_type, *parameters = content_type.lower().split(";")
    page_format = _FORMATS.get(media_type.strip())
    if page_format is None:
        raise UnreadablePage(
            index, f"its type `{media_type.strip()[:80]}` is none of the simple API, version 1"
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return page_format, value.strip().strip('"')
    return page_format, "utf-8"


def _digest(body: bytes, *parts: str) -> str:
    found = hashlib.sha256(body)
    for part in parts:
        # A length before each, so that no two lists of parts run together alike.
        data = part.encode(errors="surrogatepass")
        found.update(len(data).to_bytes(8) + data)
    return found.hexdigest()


def _normalize(names: Iterable[str]) -> frozenset[NormalizedName]:
    found = set()
    for name in names:
        if is_normalized(name):
            found.add(NormalizedName(name))
            continue
        try:
            found.add(parse_project_name(name))
        except InvalidName:
            continue
    return frozenset(found)
