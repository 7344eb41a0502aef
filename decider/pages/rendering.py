"""Writes pages in both formats, byte for byte the same for the same page (STANDARDS S30-S44, T40-T58).

All escaping happens here. HTML comes out in pure ASCII, so that no client can mistake its charset. Judging what is
listed may not be added here.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from html import escape
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from decider.files import DistributionFile, ProjectPage, ProjectStatus
from decider.pages.listing import API_VERSION, honest_api_version
from decider.pages.negotiation import PageFormat

__all__ = ["render_page", "render_projects"]

_UNQUOTED = re.compile(r"[A-Za-z0-9._~-]*\Z", re.ASCII)
_UNESCAPED = re.compile(r"[A-Za-z0-9 ._~,;:!=/%?#@*()+-]*\Z", re.ASCII)
# HTML has no spelling for most control characters and for noncharacters, and a parser may change a literal line
# break in an attribute.
_NONCHARACTERS = (
    *range(0xFDD0, 0xFDF0),
    *(plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF)),
)
_REPLACED = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *_NONCHARACTERS), "\ufffd")
_CONTROLS = _REPLACED | {ord("\t"): "&#9;", ord("\n"): "&#10;", ord("\r"): "&#13;"}


class _File(msgspec.Struct, rename="kebab", omit_defaults=True, gc=False):
    """One file on the wire; what is not known is left out, as a null makes uv reject the page (STANDARDS S36)."""

    filename: str
    url: str
    hashes: Mapping[str, str]
    requires_python: str | None = None
    size: int | None = None
    upload_time: datetime | None = None
    yanked: bool | str | None = None
    core_metadata: bool | Mapping[str, str] = False
    data_dist_info_metadata: bool | Mapping[str, str] = False  #: what indexes write besides (STANDARDS S35)
    provenance: str | None = None


class _Meta(msgspec.Struct, rename="kebab", omit_defaults=True):
    api_version: str
    last_serial: int | None = msgspec.field(default=None, name="_last-serial")


class _Status(msgspec.Struct, omit_defaults=True):
    status: ProjectStatus
    reason: str | None = None


class _Page(msgspec.Struct, rename="kebab", omit_defaults=True):
    meta: _Meta
    name: str
    files: list[_File]
    versions: tuple[str, ...] | UnsetType = UNSET
    project_status: _Status | None = None
    private: Mapping[str, object] | None = msgspec.field(default=None, name="_decider")


_encode = msgspec.json.Encoder().encode
_LINE = re.compile(rb"([^\n]+)\n")


def render_page(
    page: ProjectPage,
    page_format: PageFormat,
    *,
    private: Mapping[str, object] | None = None,
    file_base: str | None = None,
) -> bytes:
    """The page in one format, its files in page order.

    File URLs are `file_base` (by default the relative `../../files/<project>/`) and the quoted file name; the index's
    own URLs do not appear. `private` goes under the key `_decider` of JSON, and nowhere else. The api-version is never
    one that the files do not honour.
    """
    base = file_base if file_base is not None else f"../../files/{page.project}/"
    if page_format is PageFormat.JSON:
        return _render_json(page, base, private)
    return _render_html(page, base)


def render_projects(names: Iterable[bytes], page_format: PageFormat) -> Iterator[bytes]:
    """The project list, piece by piece: `names` are pieces of a sorted list of normalized names, each on a line.

    Nothing is held but one piece, so that a million names take no memory.
    """
    # Normalized names need no escaping in either format.
    version = _version_text(API_VERSION)
    if page_format is PageFormat.JSON:
        yield f'{{"meta":{{"api-version":"{version}"}},"projects":['.encode("ascii")
        separator = b"\n"
        for lines in names:
            yield separator + b'{"name":"' + lines[:-1].replace(b"\n", b'"},\n{"name":"') + b'"}'
            separator = b",\n"
        yield b"\n]}\n"
        return
    yield _html_head("Simple index", version).encode("ascii")
    for lines in names:
        yield _LINE.sub(rb'<a href="\1/">\1</a><br>\n', lines)
    yield b"</body>\n</html>\n"


def _version_text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _quote(filename: str) -> str:
    # As pip quotes: `+` too becomes an escape (STANDARDS C04), so that clients ask for one spelling.
    return filename if _UNQUOTED.match(filename) else quote(filename, safe="")


# -- JSON


def _render_json(page: ProjectPage, base: str, private: Mapping[str, object] | None) -> bytes:
    api_version = honest_api_version(page)
    return _encode(
        _Page(
            meta=_Meta(_version_text(api_version), page.last_serial),
            name=page.project,
            files=[_json_file(file, base) for file in page.files],
            versions=page.known_versions() if api_version >= (1, 1) or page.versions else UNSET,
            project_status=_Status(page.status, page.status_reason)
            if _has_status(page, api_version)
            else None,
            private=private,
        )
    )


def _has_status(page: ProjectPage, api_version: tuple[int, int]) -> bool:
    return api_version >= (1, 4) or page.status is not ProjectStatus.ACTIVE or page.status_reason is not None


def _json_file(file: DistributionFile, base: str) -> _File:
    yanked = file.yanked
    return _File(
        file.filename,
        base + _quote(file.filename),
        file.hashes,
        file.requires_python,
        file.size,
        file.upload_time,
        True if yanked == "" else yanked,  # "" is no reason, and to pip not even yanked (S34, C31)
        file.core_metadata,
        file.core_metadata,
        file.provenance,
    )


# -- HTML


def _html_head(title: str, version: str, metas: str = "") -> str:
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="pypi:repository-version" content="{version}">\n'
        f"{metas}<title>{title}</title>\n</head>\n<body>\n"
    )


def _render_html(page: ProjectPage, base: str) -> bytes:
    api_version = honest_api_version(page)
    title = f"Links for {_escape(page.project)}"
    head = _html_head(title, _version_text(api_version), _status_metas(page, api_version))
    # Files of a page have much in common. The memory ends with the page: an index's texts may be long.
    escape_often = lru_cache(maxsize=64)(_escape)
    links = "".join([_html_link(file, base, escape_often) for file in page.files])
    serial = f"<!--SERIAL {page.last_serial}-->\n" if page.last_serial is not None else ""
    text = f"{head}<h1>{title}</h1>\n{links}{serial}</body>\n</html>\n"
    return text.encode("ascii", errors="xmlcharrefreplace")


def _status_metas(page: ProjectPage, api_version: tuple[int, int]) -> str:
    if not _has_status(page, api_version):
        return ""
    metas = f'<meta name="pypi:project-status" content="{page.status}">\n'
    if page.status_reason is not None:
        metas += f'<meta name="pypi:project-status-reason" content="{_escape(page.status_reason)}">\n'
    return metas


def _html_link(file: DistributionFile, base: str, escape_often: Callable[[str], str]) -> str:
    # No digest but sha256: uv rejects a whole page for one that it does not know (STANDARDS C55).
    fragment = f"#sha256={_escape(file.sha256)}" if file.sha256 else ""
    quoted = _quote(file.filename)
    text = quoted if quoted == file.filename else _escape(file.filename)
    attributes = f'href="{escape_often(base)}{quoted}{fragment}"'
    if file.requires_python is not None:
        attributes += f' data-requires-python="{escape_often(file.requires_python)}"'
    if file.core_metadata is not False:
        value = _core_metadata(file.core_metadata)
        attributes += f' data-core-metadata="{value}" data-dist-info-metadata="{value}"'
    if file.yanked is not None:
        attributes += f' data-yanked="{escape_often(file.yanked)}"'
    if file.provenance is not None:
        attributes += f' data-provenance="{_escape(file.provenance)}"'
    return f"<a {attributes}>{text}</a><br>\n"


def _core_metadata(value: bool | Mapping[str, str]) -> str:
    sha256 = None if isinstance(value, bool) else value.get("sha256")
    return f"sha256={_escape(sha256)}" if sha256 else "true"


def _escape(text: str) -> str:
    """`text` for an attribute value or an element, whatever it holds."""
    return text if _UNESCAPED.match(text) else escape(text).translate(_CONTROLS)
