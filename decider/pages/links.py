"""URLs that an index's page gives for its files: resolved, spelt in one way, and kept to allowed hosts.

RFC 3986; simple repository API (URLs may be relative or absolute, on any host: STANDARDS S06, T45). Nothing is
fetched here.
"""

import re
from collections.abc import Callable
from urllib.parse import SplitResult, quote, urljoin, urlsplit

__all__ = ["MAX_URL", "BadLink", "Links", "is_secure_url"]

MAX_URL = 4096  #: characters; nginx is handed the URL in a header

# What can only be read in one way: no escape, no fragment, nothing that a client would quote.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/"
_FOLDER = re.compile(r"(?:/|\./|(?:\.\./)*)\Z")
_LONGEST_SCHEME = len("https://")
_SECURE = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~!$&'()*+,;=:@/?%#-]*\Z", re.ASCII)
# Browsers and urlsplit drop tabs and newlines, and read a backslash as a slash: two readers, two URLs.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ufffd]|%(?:[01][0-9A-Fa-f]|7[Ff]|5[Cc])|%(?![0-9A-Fa-f]{2})")
_ENCODED_DOTS = re.compile(r"(?:\A|/)(?:\.|%2[Ee]){1,2}(?:/|\Z)")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z", re.ASCII)
# RFC 3986's pchar, `/`, `?`, and `%`, which is already known to begin an escape.
_KEPT = "/?%:@!$&'()*+,;=~"


class BadLink(Exception):
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
        self._folders: dict[str, str | None] = {}  #: what _folder found out

    @property
    def origins(self) -> dict[str, bool]:
        """Every origin met so far, and whether files may come from it."""
        return self._origins

    def rebase(self, href: str) -> None:
        """Resolve what follows against `href`, as `<base>` asks; a base that cannot be read is not one."""
        try:
            self._base = urljoin(self._base, href.strip())
            self._folders.clear()
        except ValueError:
            return

    def resolve(self, reference: str) -> str:
        """The absolute URL without fragment that `reference` means; raise BadLink unless it may be followed."""
        url = self._resolve_quickly(reference) or self._resolve_carefully(reference.strip(" \t\r\n\f"))
        if len(url) > MAX_URL:
            raise BadLink(f"its URL is longer than {MAX_URL} characters")
        return url

    def _resolve_quickly(self, reference: str) -> str | None:
        """The same, where it is plain and only its end is new; None where it must be looked at.

        Thousands of links of a page differ in nothing else.
        """
        path_start = reference.find("/", _LONGEST_SCHEME)
        if path_start > 0 and self._origins.get(reference[:path_start]):
            return reference if _is_plain(reference) and "/." not in reference else None
        end = reference.lstrip("./")
        if not end or not _is_plain(end) or ":" in end or "/." in end:
            return None
        folder = self._folder(reference[: len(reference) - len(end)])
        return None if folder is None else folder + end

    def _folder(self, dots: str) -> str | None:
        """The URL that `../../`, `/` and the like lead to; None for what is no folder."""
        if dots not in self._folders:
            is_folder = _FOLDER.match(dots) is not None
            self._folders[dots] = self._resolve_carefully(dots or "./") if is_folder else None
        return self._folders[dots]

    def _resolve_carefully(self, reference: str) -> str:
        if not reference:
            raise BadLink("its URL is missing")
        if _AMBIGUOUS.search(reference):
            raise BadLink("its URL has a control character, a backslash or a broken escape")
        try:
            given, url = urlsplit(reference), urlsplit(urljoin(self._base, reference))
        except ValueError:
            raise BadLink("its URL cannot be read") from None
        if url.scheme not in {"http", "https"}:
            raise BadLink("its URL is neither http nor https")
        if "@" in url.netloc:
            raise BadLink("its URL carries user-info")
        # `https:/x` and `///x` are relative to some readers, and name the host x to others.
        has_two_meanings = not given.netloc and (given.scheme or reference.startswith("//"))
        if has_two_meanings or not _AUTHORITY.match(url.netloc):
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


def _is_plain(text: str) -> bool:
    """Whether `text` is a part of a URL that is spelt as it should be."""
    return text.isascii() and not text.encode().translate(None, _PLAIN)


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
