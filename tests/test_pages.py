"""Pages read and written again, and as installers read them (STANDARDS T40-T58)."""

import json
import string
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pypi_simple
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decider.errors import UnreadablePage
from decider.files import ProjectPage, ProjectStatus
from decider.names import NormalizedName
from decider.pages import PageFormat, parse_projects, render_page, render_projects
from tests.page_samples import SHA256, URL, json_body, json_entry, read, without_digest
from tests.samples import DEMO, make_file, make_page

HEX = "0123456789abcdef"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
#: What HTML can spell.
HTML_TEXTS = TEXTS.filter(lambda text: all(char in "\t\n\r" or char.isprintable() for char in text))
DIGESTS = st.fixed_dictionaries({}, optional={"sha256": st.text(HEX, min_size=64, max_size=64)})
VERSION_TEXTS = st.sampled_from(["1.0", "1!2.0", "1.1+local.1", "2.0rc1", "3.0.post1.dev2", "2024.1.5"])
FILENAMES = st.one_of(
    st.builds("Demo-{}-{}py3-none-any.whl".format, VERSION_TEXTS, st.sampled_from(["", "1-", "1build-"])),
    st.builds(
        "demo-{}{}".format, VERSION_TEXTS, st.sampled_from([".tar.gz", ".zip", ".tar.bz2", "-py2.7.egg"])
    ),
)
#: Their versions cannot be told.
ODD_FILENAMES = ("demo_odd.tar.gz", "demo-x y~@é&<b>'.zip", "demo-1.0.dev-r12.zip")
STATUSES = st.sampled_from([ProjectStatus.ACTIVE, ProjectStatus.ARCHIVED, ProjectStatus.DEPRECATED])


def make_pages(texts: st.SearchStrategy[str], *, html: bool) -> st.SearchStrategy[ProjectPage]:
    """Pages as an index could state them, in a format that can say all that they say."""
    unknown = st.none()
    times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    metadata = st.one_of(
        st.booleans(), st.fixed_dictionaries({"sha256": st.text(HEX, min_size=64, max_size=64)})
    )
    files = st.builds(
        make_file,
        st.one_of(FILENAMES, st.sampled_from(ODD_FILENAMES)),
        hashes=DIGESTS,
        size=unknown if html else st.one_of(unknown, st.integers(0, 2**63 - 1)),
        upload_time=unknown if html else st.one_of(unknown, times),
        requires_python=st.one_of(unknown, texts),
        core_metadata=metadata,
        yanked=st.one_of(unknown, st.just(""), texts),
        provenance=st.one_of(unknown, st.just("https://index.example/integrity/demo?a=1&b=2")),
    )
    pages = st.builds(
        make_page,
        versions=st.just(()) if html else st.lists(VERSION_TEXTS, unique=True).map(tuple),
        api_version=st.tuples(st.just(1), st.integers(0, 4)),
        status=STATUSES,
        status_reason=st.one_of(unknown, texts),
        last_serial=st.one_of(unknown, st.integers(0, 10**12)),
    )
    unique = st.lists(files, max_size=6, unique_by=lambda file: file.filename)
    return st.builds(
        lambda page, listed: as_read(msgspec.structs.replace(page, files=tuple(listed))), pages, unique
    )


def as_read(page: ProjectPage) -> ProjectPage:
    """The page as its own rendering says it: with our URLs, and claims that it honours."""
    files = tuple(msgspec.structs.replace(file, url=own_url(file.filename)) for file in page.files)
    page = msgspec.structs.replace(page, files=files, digest="")
    has_sizes = all(file.size is not None for file in files)
    can_tell = page.versions or not any(file.filename in ODD_FILENAMES for file in files)
    api_version = page.api_version if has_sizes and can_tell else (1, 0)
    stated = page.known_versions() if page.versions or api_version >= (1, 1) else ()
    return msgspec.structs.replace(page, api_version=api_version, versions=stated)


def own_url(filename: str) -> str:
    quoted = json.loads(render_page(make_page(filename), PageFormat.JSON))["files"][0]["url"]
    return f"https://index.example/{quoted.removeprefix('../../')}"


@settings(deadline=None)
@given(make_pages(TEXTS, html=False))
def test_json_round_trip(page: ProjectPage) -> None:
    """A page that is written as JSON is read as itself."""
    parsed = read(render_page(page, PageFormat.JSON, private={"x": 1}))
    assert without_digest(parsed.page) == page
    assert parsed.dropped == ()


@settings(deadline=None)
@given(make_pages(HTML_TEXTS, html=True))
def test_html_round_trip(page: ProjectPage) -> None:
    """A page without what HTML cannot say is read as itself, but for the versions, which HTML does not have."""
    parsed = read(render_page(page, PageFormat.HTML), PageFormat.HTML)
    assert without_digest(parsed.page) == msgspec.structs.replace(page, versions=())
    assert parsed.dropped == ()


@settings(deadline=None)
@given(make_pages(TEXTS, html=False))
def test_formats_agree(page: ProjectPage) -> None:
    """Both formats list the same files, with the same names, digests, yanks and claims (T41)."""
    json_page = read(render_page(page, PageFormat.JSON)).page
    html_page = read(render_page(page, PageFormat.TEXT), PageFormat.TEXT).page
    for one, other in zip(json_page.files, html_page.files, strict=True):
        assert (one.filename, one.url, one.sha256) == (other.filename, other.url, other.sha256)
        assert (one.yanked is None) is (other.yanked is None)
        assert (one.core_metadata, one.provenance) == (other.core_metadata, other.provenance)


@settings(deadline=None, max_examples=40)
@given(make_pages(HTML_TEXTS, html=False))
def test_as_pypi_simple_reads_it(page: ProjectPage) -> None:
    """The reference client library reads both formats, and finds in them what we wrote."""
    from_json = pypi_simple.ProjectPage.from_json_data(json.loads(render_page(page, PageFormat.JSON)), URL)
    from_html = pypi_simple.ProjectPage.from_html("demo", render_page(page, PageFormat.HTML), URL)
    for found in (from_json, from_html):
        assert [package.filename for package in found.packages] == [file.filename for file in page.files]
        assert found.repository_version == f"1.{page.api_version[1]}"
        for package, file in zip(found.packages, page.files, strict=True):
            assert package.url == file.url
            assert package.digests.get("sha256") == file.sha256
            assert package.requires_python == file.requires_python
            assert package.is_yanked is (file.yanked is not None)
            assert (package.yanked_reason or "") == (file.yanked or "")
            assert bool(package.has_metadata) is (file.core_metadata is not False)
            assert package.provenance_url == file.provenance


@pytest.mark.parametrize("page_format", PageFormat)
def test_as_pip_reads_it(page_format: PageFormat) -> None:
    """pip's own parser reads both formats, and finds in them what we wrote."""
    collector = pytest.importorskip("pip._internal.index.collector", reason="pip is not installed here")
    page = make_page(
        make_file("demo-1.0-py3-none-any.whl", hashes={"sha256": SHA256}, core_metadata={"sha256": SHA256}),
        make_file("demo-1.1+local.1.tar.gz", requires_python=">=3.8,<4", yanked="\"><script>&'é\n"),
        make_file("demo-1.2.tar.gz", yanked=""),
    )
    content = collector.IndexContent(render_page(page, page_format), page_format.media_type, None, URL, False)
    links = list(collector.parse_links(content))
    assert [link.filename for link in links] == [file.filename for file in page.files]
    assert [link.url_without_fragment for link in links] == [own_url(file.filename) for file in page.files]
    assert [link.hash for link in links] == [SHA256, None, None]
    assert [link.requires_python for link in links] == [None, ">=3.8,<4", None]
    assert [link.is_yanked for link in links] == [False, True, True]
    assert links[1].yanked_reason == "\"><script>&'é\n"
    assert [link.metadata_link() is not None for link in links] == [True, False, False]


@settings(deadline=None, max_examples=300)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS, st.just("1.0")),
        lambda values: st.one_of(
            st.lists(values, max_size=3),
            st.dictionaries(
                st.sampled_from(["files", "meta", "name", "versions", "filename", "url", "hashes", "sha256", "yanked", "size",
                                 "project-status", "status", "api-version", "upload-time", "core-metadata"]),
                values, max_size=6,
            ),
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_any_json(value: Any) -> None:
    """Whatever JSON an index sends, it is a page or unreadable; what is read can be written."""
    try:
        page = read(json.dumps(value).encode()).page
    except UnreadablePage:
        return
    assert without_digest(read(render_page(page, PageFormat.JSON)).page).project == DEMO


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["<a href='demo-1.0.zip'", ">", "</a>", "<base href='//x/'>", "<meta name='pypi:", "<!--", "-->", "<![x",
                             "]]>", "<!DOCTYPE", "&lt;", "&#x110000;", "<script>", "</script>", " data-yanked", "='", "'", "\x00"]),
            st.text(string.printable, max_size=6),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_any_html(pieces: list[str]) -> None:
    """Whatever HTML an index sends, it is a page or unreadable; what is read can be written."""
    try:
        page = read("".join(pieces).encode(), PageFormat.HTML).page
    except UnreadablePage:
        return
    written = render_page(page, PageFormat.HTML)
    assert [file.filename for file in read(written, PageFormat.HTML).page.files] == [
        file.filename for file in page.files
    ]


@given(st.binary(max_size=200), st.sampled_from(PageFormat))
def test_any_bytes(body: bytes, page_format: PageFormat) -> None:
    """Whatever bytes an index sends as a project list, they are one or unreadable."""
    try:
        names = parse_projects(body, content_type=page_format.media_type, index="public")
    except UnreadablePage:
        return
    assert all(name == name.lower() for name in names)


@given(
    st.frozensets(st.from_regex(r"[a-z0-9]{1,5}(-[a-z0-9]{1,5}){0,2}", fullmatch=True).map(NormalizedName))
)
def test_projects_round_trip(names: frozenset[NormalizedName]) -> None:
    """A project list is read as itself, in all formats."""
    for page_format in PageFormat:
        lines = "".join(f"{name}\n" for name in sorted(names)).encode()
        body = b"".join(render_projects([lines] if names else [], page_format))
        assert parse_projects(body, content_type=page_format.media_type, index="public") == names


@pytest.mark.parametrize("page_format", PageFormat)
def test_nothing_breaks_out(page_format: PageFormat) -> None:
    """No text of an index becomes markup, or ends the JSON text that it stands in."""
    evil = "</script><script>alert(1)</script>\"'><!--\u2028"
    name = evil.replace("/", "").replace("\u2028", "")
    entry = json_entry(f"demo-{name}.zip", requires_python=evil, yanked=evil)
    page = read(json_body(entry, project_status={"status": "archived", "reason": evil})).page
    assert len(page.files) == 1
    body = render_page(page, page_format)
    assert read(body, page_format).page.files[0].yanked == evil
    if page_format is not PageFormat.JSON:
        assert b"<script" not in body
        assert body.count(b"<a ") == body.count(b"</a>") == 1


def large_page(count: int) -> bytes:
    """A page as large projects have it: a wheel and an sdist for each of many releases."""
    names = [f"demo-1.{number // 200}.{number % 200}" for number in range(count // 2)]
    entries = [
        json_entry(
            f"{name}{ending}",
            url=f"https://files.example/packages/ab/cd/{SHA256[:60]}/{name}{ending}",
            upload_time="2024-01-02T03:04:05.678901Z",
            requires_python=">=3.8",
            core_metadata={"sha256": SHA256},
            data_dist_info_metadata={"sha256": SHA256},
            yanked=False,
            provenance=None,
        )
        for name in names
        for ending in ("-py3-none-any.whl", ".tar.gz")
    ]
    return json_body(*entries, versions=[name.removeprefix("demo-") for name in names])


def shortest(call: Callable[[], object], *, times: int) -> float:
    """Seconds that the fastest of some calls took: the one least disturbed by others."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def test_cost_of_large_pages() -> None:
    """Reading and writing a page of 4,300 files takes but a few times what decoding its JSON takes."""
    body = large_page(4300)
    page = read(body).page
    assert (len(page.files), page.api_version) == (4300, (1, 4))
    decoding = shortest(lambda: json.loads(body), times=7)
    assert shortest(lambda: read(body), times=7) < 3 * decoding
    assert shortest(lambda: render_page(page, PageFormat.JSON), times=7) < 2 * decoding


def test_cost_grows_with_size() -> None:
    """A page of seven times the files takes seven times as long, not fifty."""
    small, large = large_page(4300), large_page(30_100)
    assert len(read(large).page.files) == 30_100
    assert shortest(lambda: read(large), times=2) < 20 * shortest(lambda: read(small), times=5)
