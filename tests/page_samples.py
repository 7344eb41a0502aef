"""Index pages for tests of decider.pages: bodies in both formats, and how they are read."""

import json
from typing import Any

import msgspec

from decider.files import DistributionFile, ProjectPage
from decider.pages import PageFormat, ParsedPage, parse_page
from tests.samples import DEMO

URL = "https://index.example/simple/demo/"
FILES = "https://files.example/packages/"
WHEEL = "demo-1.0-py3-none-any.whl"
SDIST = "demo-1.0.tar.gz"
SHA256 = "0123456789abcdef" * 4


def json_entry(filename: str = WHEEL, **fields: Any) -> dict[str, Any]:
    """A file as JSON pages have it; `fields` in Python's spelling, `_` for `-`."""
    entry = {"filename": filename, "url": f"{FILES}{filename}", "hashes": {"sha256": SHA256}, "size": 10}
    return entry | {name.replace("_", "-"): value for name, value in fields.items()}


def json_body(*entries: Any, **fields: Any) -> bytes:
    """A JSON page; `fields` replace its keys, `_` for `-`."""
    page: dict[str, Any] = {
        "meta": {"api-version": "1.4"},
        "name": "demo",
        "files": entries,
        "versions": ["1.0"],
    }
    return json.dumps(page | {name.replace("_", "-"): value for name, value in fields.items()}).encode()


def html_body(*links: str, head: str = "") -> bytes:
    """An HTML page of whole `<a>` elements."""
    body = "<br>\n".join(links)
    return f"<!DOCTYPE html>\n<html><head>{head}<title>Links for x</title></head><body>{body}</body></html>".encode()


def html_link(filename: str = WHEEL, attributes: str = "", *, href: str | None = None) -> str:
    """An anchor for a file."""
    return f'<a href="{href or FILES + filename}" {attributes}>{filename}</a>'


def read(body: bytes, page_format: PageFormat | str = PageFormat.JSON, **options: Any) -> ParsedPage:
    """What `body` is read as; a format that is no PageFormat is the content type itself."""
    content_type = page_format.media_type if isinstance(page_format, PageFormat) else page_format
    defaults: dict[str, Any] = {
        "content_type": content_type,
        "url": URL,
        "index": "public",
        "project": DEMO,
        "is_allowed_host": lambda _: True,
    }
    return parse_page(body, **defaults | options)


def read_json_file(**fields: Any) -> DistributionFile:
    """The one file of a JSON page."""
    (file,) = read(json_body(json_entry(**fields))).page.files
    return file


def read_html_file(attributes: str = "", *, href: str | None = None) -> DistributionFile:
    """The one file of an HTML page."""
    (file,) = read(html_body(html_link(attributes=attributes, href=href)), PageFormat.HTML).page.files
    return file


def reasons(parsed: ParsedPage) -> dict[str, str]:
    """File name → why it was left out."""
    return {dropped.filename: dropped.why for dropped in parsed.dropped}


def without_digest(page: ProjectPage) -> ProjectPage:
    """The page as it is to be compared with one read from another body."""
    return msgspec.structs.replace(page, digest="")
