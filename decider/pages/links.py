"""URLs that an index's page gives for its files: resolved, spelt in one way, and kept to allowed hosts.

RFC 3986; simple repository API (URLs may be relative or absolute, on any host: STANDARDS S06, T45). Nothing is
fetched here.
"""

import re
from collections.abc import Callable
from urllib.parse import SplitResult, quote, urljoin, urlsplit

__all__ = ["MAX_URL", "BadLink", "Links", "is_secure_url"]

MAX_URL = 4096  #: characters; nginx is handed the URL in a header

# What nearly every URL looks like: nothing in it that could be read in two ways, and so nothing to do.
_PLAIN = re.compile(r"(https?://[a-z0-9.-]+(?::[0-9]+)?)/[A-Za-z0-9._~!$&'()*+,;=:@/?-]*\Z", re.ASCII)
_SECURE = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~!$&'()*+,;=:@/?%#-]*\Z", re.ASCII)
# Browsers and urlsplit drop tabs and newlines, and read a backslash as a slash: two readers, two URLs.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ufffd]|%(?:[01][0-9A-Fa-f]|7[Ff]|5[Cc])|%(?![0-9A-Fa-f]{2})")
_ENCODED_DOTS = re.compile(r"(?:\A|/)(?:\.|%2[Ee]){1,2}(?:/|\Z)")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z", re.ASCII)
# RFC 3986's pchar, `/`, `?`, and `%`, which is already known to begin an escape.
_KEPT = "/?%:@!$&'()*+,;=~"


class BadLink(Exception):  # noqa: N818 (a finding about one link, not an error that leaves this package)
    """Why a link is not followed."""


def is_secure_url(url: str) -> bool:
    """Whether `url` is an absolute https URL without user-info, as it can be put on a page unchanged."""
    return len(url) <= MAX_URL and _SECURE.match(url) is not None


class Links:
    """The links of one page."""

    def __init__(self, base: str, is_allowed_host: Callable[[SplitResult], bool]) -> None:
        self._base = base
        self._is_allowed_host = is_allowed_host
        self._origins: dict[str, bool] = {}  #: "scheme://host:port" → whether files may come from there

    @property
    def origins(self) -> dict[str, bool]:
        """Every origin met so far, and whether files may come from it."""
        return self._origins

    def rebase(self, href: str) -> None:
        """Resolve what follows against `href`, as `<base>` asks; a base that cannot be read is not one."""
        try:
            self._base = urljoin(self._base, href.strip())
        except ValueError:
            return

    def resolve(self, reference: str) -> str:
        """The absolute URL without fragment that `reference` means; raise BadLink unless it may be followed."""
        plain = _PLAIN.match(reference)
        if plain is not None and "/." not in reference and len(reference) <= MAX_URL:
            self._require_allowed(plain[1])
            return reference
        return self._resolve_carefully(reference.strip(" \t\r\n\f"))

    def _resolve_carefully(self, reference: str) -> str:
        if not reference:
            raise BadLink("its URL is missing")
        if len(reference) > MAX_URL:
            raise BadLink(f"its URL is longer than {MAX_URL} characters")
        if _AMBIGUOUS.search(reference):
            raise BadLink("its URL has a control character, a backslash or a broken escape")
        try:
            url = urlsplit(urljoin(self._base, reference))
        except ValueError:
            raise BadLink("its URL cannot be read") from None
        if url.scheme not in {"http", "https"}:
            raise BadLink("its URL is neither http nor https")
        if "@" in url.netloc:
            raise BadLink("its URL carries user-info")
        if not _AUTHORITY.match(url.netloc):
            raise BadLink("its URL names no host")
        origin = f"{url.scheme}://{url.netloc.lower()}"
        self._require_allowed(origin)
        path = _without_dot_segments(url.path) if "/." in url.path else url.path or "/"
        if _ENCODED_DOTS.search(path):
            raise BadLink("its URL has dot segments that do not resolve")
        query = f"?{quote(url.query, safe=_KEPT)}" if url.query else ""
        return f"{origin}{quote(path, safe=_KEPT)}{query}"

    def _require_allowed(self, origin: str) -> None:
        allowed = self._origins.get(origin)
        if allowed is None:
            try:
                allowed = self._is_allowed_host(urlsplit(f"{origin}/"))
            except ValueError:
                allowed = False
            self._origins[origin] = allowed
        if not allowed:
            raise BadLink(f"files of this index may not come from {origin}")


def _without_dot_segments(path: str) -> str:
    """RFC 3986, 5.2.4, for absolute paths; urljoin leaves them in absolute references."""
    segments = path.split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[max(1, len(kept) - 1) :]  # the first is the empty one before the leading slash
        elif segment != ".":
            kept.append(segment)
    return "/".join([*kept, ""] if segments[-1] in {".", ".."} else kept)
