"""Reads HTML pages (PEP 503, 592, 629, 658, 714, 740, 792; STANDARDS S40-S44).

The standard library's parser is fed in pieces and never told that the input ends: what it would then do to an
unfinished tag takes quadratic time, and a page that ends inside a tag was cut short. A file's name is the last
component of its link's path, as pip and uv have it. Regular expressions on HTML may not be added here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime
from html.parser import HTMLParser
from itertools import chain
from urllib.parse import unquote

import msgspec
from packaging.utils import canonicalize_name

from decider.errors import UnreadablePage
from decider.filenames import FileType, file_type
from decider.pages.listing import MAX_FILES, Listing, Stated, parse_api_version, parse_status
from decider.pages.plain_links import split_plain_links

__all__ = ["read_html_page", "read_html_projects"]

_PIECE = 1 << 16  #: characters fed at once, and the most that an unfinished tag may hold back
_MAX_PROJECTS = 4_000_000
_CONSTRUCTS_PER_LINK = 16  #: tags, attributes, texts and comments: real pages have up to a dozen
_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"}
#: What installers of old took besides wheels and sdists, and variants (STANDARDS T66, T67); other links are navigation.
_OTHER_FILES = (".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg", "-variants.json")
#: What the pages of an index and the listings of a directory call themselves, where they list nothing.
_TITLES = ("links for", "index of", "listing for", "simple index")
_MAX_TEXT = 2_000  #: characters that are looked at for one of them
#: Links of directory listings that say nothing about what the page is.
_NEUTRAL = frozenset({"", "/", ".", "./", "..", "../"})

_Attributes = Mapping[str, str | None]  #: names in lower case; None for an attribute without value


class _Parser(HTMLParser, ABC):
    """Gathers what all pages have; raises UnreadablePage where there is too much of anything."""

    def __init__(self, index: str, max_links: int) -> None:
        super().__init__(convert_charrefs=True)
        self.metas: dict[str, str] = {}  #: those of the simple API, by lower-case name
        self.base: str | None = None
        self.has_form = False
        self.last_serial: int | None = None
        self._index = index
        self._constructs_left = max_links * _CONSTRUCTS_PER_LINK

    @abstractmethod
    def add_link(self, attributes: _Attributes) -> None:
        """Take note of a link's beginning."""

    def parse(self, text: str) -> None:
        """Parse a whole document."""
        try:
            for start in range(0, len(text), _PIECE):
                self.feed(text[start : start + _PIECE])
                if len(self.rawdata) > _PIECE:
                    raise UnreadablePage(self._index, f"a tag of its HTML is longer than {_PIECE} characters")
        except AssertionError as error:  # what the standard library's parser does about a broken declaration
            raise UnreadablePage(self._index, "a declaration of its HTML is broken") from error
        if self.rawdata.startswith("<"):
            raise UnreadablePage(self._index, "its HTML ends inside a tag")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._count(1 + len(attrs))
        if tag == "a":
            self.add_link(dict(reversed(attrs)))  # of an attribute given twice the first counts (HTML5)
        elif tag == "meta":
            self._add_meta(dict(reversed(attrs)))
        elif tag == "base" and self.base is None:
            self.base = dict(reversed(attrs)).get("href")
        elif tag == "form":
            self.has_form = True

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 (the parser gives it)
        self._count()

    def handle_data(self, data: str) -> None:  # noqa: ARG002 (the parser gives it)
        self._count()

    def handle_comment(self, data: str) -> None:
        self._count()
        word, _, serial = data.strip().partition(" ")
        if word == "SERIAL" and serial.isascii() and serial.isdigit():
            self.last_serial = int(serial[:18])

    def handle_decl(self, _: str) -> None:
        self._count()

    def handle_pi(self, _: str) -> None:
        self._count()

    def unknown_decl(self, _: str) -> None:
        self._count()

    def _add_meta(self, attributes: _Attributes) -> None:
        name, content = attributes.get("name"), attributes.get("content")
        if name and content is not None and name.lower().startswith("pypi:"):
            self.metas.setdefault(name.lower(), content)

    def _count(self, constructs: int = 1) -> None:
        self._constructs_left -= constructs
        if self._constructs_left < 0:
            raise UnreadablePage(self._index, "its HTML has more tags than any page")


class _PageParser(_Parser):
    """Gathers the attributes of links."""

    def __init__(self, index: str) -> None:
        super().__init__(index, MAX_FILES)
        self.links: list[_Attributes] = []
        self.text = ""  #: its beginning
        self.has_tags = False
        self._is_in_code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        self.has_tags = True
        self._is_in_code = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        super().handle_endtag(tag)
        self._is_in_code = False

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if len(self.text) < _MAX_TEXT and not self._is_in_code:
            self.text += f"{data[:_MAX_TEXT]} "

    def add_link(self, attributes: _Attributes) -> None:
        if len(self.links) == MAX_FILES:
            raise UnreadablePage(self._index, f"it lists more than {MAX_FILES} files")
        self.links.append(attributes)


class _ListParser(_Parser):
    """Gathers the texts of links, which are project names (PEP 503)."""

    def __init__(self, index: str) -> None:
        super().__init__(index, _MAX_PROJECTS)
        self.texts: list[str] = []
        self._is_inside_link = False

    def add_link(self, attributes: _Attributes) -> None:  # noqa: ARG002 (only the text counts)
        self.texts.append("")
        self._is_inside_link = True

    def handle_endtag(self, tag: str) -> None:
        super().handle_endtag(tag)
        if tag == "a":
            self._is_inside_link = False

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if self._is_inside_link:
            self.texts[-1] += data


def read_html_page(body: bytes, charset: str, listing: Listing) -> Stated:
    """Add the files that `body` links to; raise UnreadablePage where it is no project page."""
    parser = _PageParser(listing.index)
    parser.parse(_decode(body, charset, listing.index))
    api_version = parse_api_version(parser.metas.get("pypi:repository-version"), listing.index)
    if parser.base:
        listing.links.rebase(parser.base)
    for attributes in parser.links:
        _add(attributes, listing)
    _require_page(parser, listing)
    status, status_reason = parse_status(
        parser.metas.get("pypi:project-status"), parser.metas.get("pypi:project-status-reason")
    )
    return Stated(
        api_version=api_version, status=status, status_reason=status_reason, last_serial=parser.last_serial
    )


def read_html_projects(body: bytes, charset: str, index: str) -> Iterator[str]:
    """The names that a project list in HTML holds: the texts of its links (PEP 503)."""
    plain, rest = split_plain_links(_decode(body, charset, index))
    parser = _ListParser(index)
    parser.parse(rest)
    parse_api_version(parser.metas.get("pypi:repository-version"), index)
    if len(plain) + len(parser.texts) > _MAX_PROJECTS:
        raise UnreadablePage(index, f"it lists more than {_MAX_PROJECTS} projects")
    # Directory listings write folders with a slash.
    return (text.strip().removesuffix("/") for text in chain(plain, parser.texts))


def _decode(body: bytes, charset: str, index: str) -> str:
    # Only what pages come in: some codecs take quadratic time.
    if charset not in _CHARSETS:
        raise UnreadablePage(index, f"its charset {charset[:40]!a} is not supported")
    # What is no text becomes U+FFFD, which no file name and no URL may contain.
    return body.decode(charset, errors="replace")


def _require_page(parser: _PageParser, listing: Listing) -> None:
    """Raise UnreadablePage for a login form, a list of something else, or words about something else ("back soon").

    An index that answers every name so would otherwise be taken to have every project, and to own it; and its good pages
    would become empty ones.
    """
    if (
        listing.files
        or parser.metas
        or any(_is_distribution(dropped.filename) for dropped in listing.dropped)
    ):
        return
    if parser.has_form or any(
        (attributes.get("href") or "").strip() not in _NEUTRAL for attributes in parser.links
    ):
        raise UnreadablePage(listing.index, "no project page in HTML: no link leads to a distribution file")
    if not _is_empty_page(parser, listing.project):
        raise UnreadablePage(
            listing.index, "no project page in HTML: it lists nothing, and says something else"
        )


def _is_empty_page(parser: _PageParser, project: str) -> bool:
    """Whether a page without files is that of a project without files: by its title, its name alone, or silence."""
    text = " ".join(parser.text.split()).lower()
    is_listing = any((attributes.get("href") or "").strip() in {"..", "../"} for attributes in parser.links)
    if is_listing or any(title in text for title in _TITLES):
        return True
    return parser.has_tags and all(canonicalize_name(word) == project for word in text.split())


def _is_distribution(filename: str) -> bool:
    return file_type(filename) is not FileType.OTHER or filename.lower().endswith(_OTHER_FILES)


def _add(attributes: _Attributes, listing: Listing) -> None:
    href = (attributes.get("href") or "").strip()
    if href in _NEUTRAL:
        return
    reference, _, fragment = href.partition("#")
    filename = unquote(reference.partition("?")[0].rpartition("/")[2])
    if not _is_distribution(filename):
        listing.drop(filename, "it is no distribution file")
        return
    core_metadata = attributes.get("data-core-metadata")
    if core_metadata is None:
        core_metadata = attributes.get("data-dist-info-metadata")
    listing.add(
        filename,
        reference,
        hashes=_hashes(fragment),
        size=_size(attributes.get("data-size")),
        upload_time=_time(attributes.get("data-upload-time")),
        requires_python=attributes.get("data-requires-python"),
        core_metadata=_core_metadata(core_metadata),
        yanked=(attributes["data-yanked"] or "") if "data-yanked" in attributes else None,
        provenance=attributes.get("data-provenance"),
    )


def _hashes(fragment: str) -> Mapping[str, str]:
    """The digests in a fragment: `sha256=…`, perhaps with other parameters around it."""
    pairs = (part.partition("=") for part in fragment.split("&"))
    return {name: digest for name, _, digest in pairs}


def _core_metadata(value: str | None) -> bool | Mapping[str, str]:
    name, separator, digest = (value or "").partition("=")
    return {name: digest} if separator else name.strip().lower() == "true"


# Size and upload time are in no specification of HTML pages; some indexes state them, and uv reads them (S43).


def _size(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 19 else None


def _time(value: str | None) -> datetime | None:
    try:
        return msgspec.convert(value, datetime) if value else None
    except msgspec.ValidationError:
        return None
