"""Reads JSON pages (PEP 691, 700, 714, 740, 792; STANDARDS S30-S37).

The usual page is decoded in one go into typed structs. Where one entry does not fit, the entries are decoded one by
one, so that only that one is lost. Unknown keys are ignored (PEP 691).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from decider.errors import InvalidName, UnreadablePage
from decider.filenames import MAX_FILENAME
from decider.files import ProjectStatus
from decider.names import parse_project_name
from decider.pages.listing import MAX_FILES, MAX_INTEGER, Listing, Stated, parse_api_version, parse_status

__all__ = ["read_json_page", "read_json_projects"]

# No page that can be read has as many commas; counting them first bounds the memory that decoding takes.
_MAX_COMMAS = 20 * MAX_FILES


class _Entry(msgspec.Struct, rename="kebab", gc=False):
    """One file as the index writes it."""

    filename: str
    url: str
    hashes: dict[str, str] | None = None
    size: int | None = None
    upload_time: datetime | None = None
    requires_python: str | None = None
    core_metadata: bool | dict[str, str] | None = None
    dist_info_metadata: bool | dict[str, str] | None = None  #: PEP 714's alias
    data_dist_info_metadata: bool | dict[str, str] | None = None  #: what indexes really write (STANDARDS S35)
    yanked: bool | str | None = None
    provenance: str | None = None


class _Meta(msgspec.Struct, rename="kebab"):
    api_version: Any = None
    last_serial: Any = msgspec.field(default=None, name="_last-serial")
    project_status: Any = None  #: misplaced, as the spec's own example has it (STANDARDS S32)
    project_status_reason: Any = None


class _Page(msgspec.Struct, rename="kebab"):
    files: list[_Entry]
    meta: _Meta | None = None
    name: str | None = None
    versions: list[str] | None = None
    project_status: Any = None


class _LoosePage(msgspec.Struct, rename="kebab"):
    files: list[msgspec.Raw]
    meta: _Meta | None = None
    name: str | None = None
    versions: Any = None
    project_status: Any = None


class _Project(msgspec.Struct, gc=False):
    name: str


class _Projects(msgspec.Struct):
    projects: list[_Project]
    meta: _Meta | None = None


#: What decoding raises: on other JSON, on JSON nested too deeply, on text that is not UTF-8.
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

_decode_page = msgspec.json.Decoder(_Page).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_loose_page = msgspec.json.Decoder(_LoosePage).decode
_decode_projects = msgspec.json.Decoder(_Projects).decode


def read_json_page(body: bytes, listing: Listing) -> Stated:
    """Add the files that `body` lists; raise UnreadablePage where it is no page of the listing's project."""
    index = listing.index
    _require_bounded(body, index)
    try:
        page: _Page | _LoosePage = _decode_page(body)
    except _UNDECODABLE:
        page = _decode_loosely(body, index)
    meta = page.meta or _Meta()
    api_version = parse_api_version(meta.api_version, index)
    _require_name(page.name, listing)
    if len(page.files) > MAX_FILES:
        raise UnreadablePage(index, f"it lists more than {MAX_FILES} files")
    _add_all(page.files if isinstance(page, _Page) else _readable(page.files, listing), listing)
    status, status_reason = _status(page.project_status, meta)
    return Stated(
        api_version=api_version,
        versions=_versions(page.versions),
        status=status,
        status_reason=status_reason,
        last_serial=_serial(meta.last_serial),
    )


def read_json_projects(body: bytes, index: str) -> Iterator[str]:
    """The names that a project list in JSON holds; raise UnreadablePage where `body` is none."""
    try:
        page = _decode_projects(body)
    except _UNDECODABLE as error:
        raise UnreadablePage(index, f"no project list in JSON: {error}") from error
    parse_api_version((page.meta or _Meta()).api_version, index)
    return (project.name for project in page.projects)


def _require_bounded(body: bytes, index: str) -> None:
    if len(body) > _MAX_COMMAS and body.count(b",") > _MAX_COMMAS:
        raise UnreadablePage(index, f"it lists more than {MAX_FILES} files")


def _require_name(name: str | None, listing: Listing) -> None:
    try:
        fits = name is None or parse_project_name(name) == listing.project
    except InvalidName:
        fits = False
    if not fits:
        raise UnreadablePage(listing.index, f"it is the page of another project than `{listing.project}`")


def _decode_loosely(body: bytes, index: str) -> _LoosePage:
    try:
        return _decode_loose_page(body)
    except _UNDECODABLE as error:
        raise UnreadablePage(index, f"no project page in JSON: {error}") from error


def _add_all(entries: Iterable[_Entry], listing: Listing) -> None:
    for entry in entries:
        core_metadata = entry.core_metadata
        if core_metadata is None:
            core_metadata = entry.dist_info_metadata
        if core_metadata is None:
            core_metadata = entry.data_dist_info_metadata
        yanked = entry.yanked
        listing.add(
            entry.filename,
            entry.url,
            hashes=entry.hashes,
            size=entry.size,
            upload_time=entry.upload_time,
            requires_python=entry.requires_python,
            core_metadata=core_metadata,
            # "" is yanked to uv and not to pip (STANDARDS C31): no yank may get lost.
            yanked=(None if yanked is False else "") if isinstance(yanked, bool) else yanked,
            provenance=entry.provenance,
        )


def _readable(entries: list[msgspec.Raw], listing: Listing) -> Iterator[_Entry]:
    """The entries that can be read; the others are dropped."""
    for raw in entries:
        entry = _decode_if_usual(raw) or _decode_leniently(raw, listing)
        if entry is not None:
            yield entry


def _decode_if_usual(raw: msgspec.Raw) -> _Entry | None:
    try:
        return _decode_entry(raw)
    except _UNDECODABLE:
        return None


def _decode_leniently(raw: msgspec.Raw, listing: Listing) -> _Entry | None:
    filename = ""
    try:
        value = msgspec.json.decode(raw)
        if isinstance(value, dict):
            filename = name if isinstance(name := value.get("filename"), str) else ""
            value = _without_nonsense(value)
        return msgspec.convert(value, _Entry)
    except _UNDECODABLE as error:
        listing.drop(filename, f"its entry cannot be read: {error}")
        return None


def _without_nonsense(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry without dispensable values of a wrong kind, and without digests that are null or empty."""
    kept = {key: value for key, value in entry.items() if key not in _DISPENSABLE or _DISPENSABLE[key](value)}
    hashes = entry.get("hashes")
    if isinstance(hashes, dict):
        kept["hashes"] = {name: digest for name, digest in hashes.items() if digest}
    elif hashes == "":
        del kept["hashes"]
    return kept


def _is_metadata(value: object) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    )


def _is_time(value: object) -> bool:
    try:
        msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return False
    return True


#: Values without which an entry can do, and whether one makes sense; else it counts as not stated (STANDARDS S36).
_DISPENSABLE: Mapping[str, Callable[[object], bool]] = {
    "size": lambda value: type(value) is int,
    "upload-time": _is_time,
    "core-metadata": _is_metadata,
    "dist-info-metadata": _is_metadata,
    "data-dist-info-metadata": _is_metadata,
    "provenance": lambda value: isinstance(value, str),
}


def _versions(versions: object) -> tuple[str, ...]:
    if not isinstance(versions, list):
        return ()
    return tuple(text for text in versions if isinstance(text, str) and len(text) <= MAX_FILENAME)


def _serial(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)  # as mirrors write it
    return value if type(value) is int and 0 <= value <= MAX_INTEGER else None


def _status(status: object, meta: _Meta) -> tuple[ProjectStatus, str | None]:
    """The status where the specification has it, else where its example has it (STANDARDS S32)."""
    for value, reason in ((status, None), (meta.project_status, meta.project_status_reason)):
        if isinstance(value, dict):
            return parse_status(value.get("status"), value.get("reason"))
        if value is not None:
            return parse_status(value, reason)
    return ProjectStatus.ACTIVE, None
