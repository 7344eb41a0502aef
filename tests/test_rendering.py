"""Our own pages, byte for byte (STANDARDS S30-S44, T40-T58)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from decider.files import DistributionFile, ProjectPage, ProjectStatus
from decider.pages import PageFormat, render_page, render_projects
from tests.page_samples import SDIST, SHA256, WHEEL
from tests.samples import make_file, make_page

HTML_FORMATS = (PageFormat.HTML, PageFormat.TEXT)


def render_json(page: ProjectPage, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render_page(page, PageFormat.JSON, **options))
    return found


def json_file(**fields: Any) -> dict[str, Any]:
    (file,) = render_json(make_page(make_file(**fields)))["files"]
    assert isinstance(file, dict)
    return file


def render_html(page: ProjectPage, **options: Any) -> str:
    return render_page(page, PageFormat.HTML, **options).decode("ascii")


def html_link(**fields: Any) -> str:
    (line,) = (
        line for line in render_html(make_page(make_file(**fields))).splitlines() if line.startswith("<a ")
    )
    return line


FULL = make_page(
    make_file(
        WHEEL,
        hashes={"sha256": SHA256},
        size=10,
        upload_time=datetime(2024, 2, 29, 23, 59, 58, 120000, tzinfo=UTC),
        requires_python=">=3.8,<4",
        core_metadata={"sha256": SHA256},
        yanked="\"><script>&'é\n",
        provenance="https://index.example/provenance?a=1&b=2",
    ),
    make_file("demo-1.1+local.1.tar.gz", size=0),
    versions=("2.0", "1.0"),
    api_version=(1, 4),
    status=ProjectStatus.ARCHIVED,
    status_reason="<b>\u2028done</b>",
    last_serial=42,
)


def test_json() -> None:
    """A JSON page has every key that the specification asks for, in a fixed order, and nothing that is not known."""
    assert json.dumps(render_json(FULL, private={"index": "public", "refused": []}), indent=1) == json.dumps(
        {
            "meta": {"api-version": "1.4", "_last-serial": 42},
            "name": "demo",
            "files": [
                {
                    "filename": WHEEL,
                    "url": f"../../files/demo/{WHEEL}",
                    "hashes": {"sha256": SHA256},
                    "requires-python": ">=3.8,<4",
                    "size": 10,
                    "upload-time": "2024-02-29T23:59:58.120000Z",
                    "yanked": "\"><script>&'é\n",
                    "core-metadata": {"sha256": SHA256},
                    "data-dist-info-metadata": {"sha256": SHA256},
                    "provenance": "https://index.example/provenance?a=1&b=2",
                },
                {
                    "filename": "demo-1.1+local.1.tar.gz",
                    "url": "../../files/demo/demo-1.1%2Blocal.1.tar.gz",
                    "hashes": {},
                    "size": 0,
                },
            ],
            "versions": ["2.0", "1.0", "1.1+local.1"],
            "project-status": {"status": "archived", "reason": "<b>\u2028done</b>"},
            "_decider": {"index": "public", "refused": []},
        },
        indent=1,
    )


def test_html() -> None:
    """An HTML page is ASCII, names its version and status, and escapes everything; no digest but sha256 (T44, T47, T48)."""
    reason = "&quot;&gt;&lt;script&gt;&amp;&#x27;&#233;&#10;"
    link = (
        f'<a href="../../files/demo/{WHEEL}#sha256={SHA256}" data-requires-python="&gt;=3.8,&lt;4" '
        f'data-core-metadata="sha256={SHA256}" data-dist-info-metadata="sha256={SHA256}" data-yanked="{reason}" '
        f'data-provenance="https://index.example/provenance?a=1&amp;b=2">{WHEEL}</a><br>'
    )
    expected = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="pypi:repository-version" content="1.4">
<meta name="pypi:project-status" content="archived">
<meta name="pypi:project-status-reason" content="&lt;b&gt;&#8232;done&lt;/b&gt;">
<title>Links for demo</title>
</head>
<body>
<h1>Links for demo</h1>
{link}
<a href="../../files/demo/demo-1.1%2Blocal.1.tar.gz">demo-1.1+local.1.tar.gz</a><br>
<!--SERIAL 42-->
</body>
</html>
"""
    assert [render_page(FULL, page_format).decode("ascii") for page_format in HTML_FORMATS] == [expected] * 2


@pytest.mark.parametrize("page_format", PageFormat)
def test_private_in_json_only(page_format: PageFormat) -> None:
    """Private metadata goes into JSON, and nowhere else."""
    body = render_page(FULL, page_format, private={"secret": "xyzzy"})
    assert (b"xyzzy" in body) is (page_format is PageFormat.JSON)


@pytest.mark.parametrize("page_format", PageFormat)
def test_upstream_urls_stay_out(page_format: PageFormat) -> None:
    """No page leads past us: the index's own file URLs are not in it."""
    assert b"files.example" not in render_page(FULL, page_format)


@pytest.mark.parametrize("page_format", PageFormat)
def test_file_base(page_format: PageFormat) -> None:
    """File URLs can stand below another prefix."""
    body = render_page(make_page(SDIST), page_format, file_base='https://mirror.example/a&b"/')
    quoted = "a&amp;b&quot;/" if page_format is not PageFormat.JSON else 'a&b\\"/'
    assert f"https://mirror.example/{quoted}{SDIST}".encode() in body


@pytest.mark.parametrize("page_format", PageFormat)
def test_stable(page_format: PageFormat) -> None:
    """The same page gives the same bytes (T58)."""
    assert render_page(FULL, page_format) == render_page(FULL, page_format)
    assert list(render_projects([b"a\nb\n"], page_format)) == list(render_projects([b"a\nb\n"], page_format))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"filename": WHEEL, "url": f"../../files/demo/{WHEEL}", "hashes": {}}),
        ({"yanked": ""}, {"yanked": True}),
        ({"yanked": "x"}, {"yanked": "x"}),
        ({"core_metadata": True}, {"core-metadata": True, "data-dist-info-metadata": True}),
        ({"hashes": {"md5": "0a" * 16, "sha256": SHA256}}, {"hashes": {"md5": "0a" * 16, "sha256": SHA256}}),
        ({"upload_time": datetime(2024, 1, 2, tzinfo=UTC)}, {"upload-time": "2024-01-02T00:00:00Z"}),
    ],
)
def test_json_values(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """What is not known is left out, never null; `hashes` is always an object; a yank without reason is true (S36)."""
    minimal = {"filename": WHEEL, "url": f"../../files/demo/{WHEEL}", "hashes": {}}
    assert json_file(**fields) == minimal | expected


@pytest.mark.parametrize(
    ("fields", "attributes"),
    [
        ({}, f'href="../../files/demo/{WHEEL}"'),
        ({"hashes": {"md5": "0a" * 16}}, f'href="../../files/demo/{WHEEL}"'),
        ({"yanked": ""}, f'href="../../files/demo/{WHEEL}" data-yanked=""'),
        (
            {"core_metadata": True},
            f'href="../../files/demo/{WHEEL}" data-core-metadata="true" data-dist-info-metadata="true"',
        ),
        (
            {"core_metadata": {"md5": "0a" * 16}},
            f'href="../../files/demo/{WHEEL}" data-core-metadata="true" data-dist-info-metadata="true"',
        ),
        ({"yanked": "\x00\x1b\t\r\n\x85\ufffe"}, f'href="../../files/demo/{WHEEL}" data-yanked="{{}}"'),
    ],
)
def test_html_values(fields: dict[str, Any], attributes: str) -> None:
    """What is not known is left out; controls that HTML cannot spell are replaced."""
    spelt = attributes.replace("{}", "&#65533;&#65533;&#9;&#13;&#10;&#65533;&#65533;")
    assert html_link(**fields) == f"<a {spelt}>{WHEEL}</a><br>"


@pytest.mark.parametrize(
    ("filename", "quoted", "escaped"),
    [
        ("demo-1!2.0~x.zip", "demo-1%212.0~x.zip", "demo-1!2.0~x.zip"),
        ("d mo@1&2.zip", "d%20mo%401%262.zip", "d mo@1&amp;2.zip"),
        ("démo-1.zip", "d%C3%A9mo-1.zip", "d&#233;mo-1.zip"),
        ("<script>\"'.zip", "%3Cscript%3E%22%27.zip", "&lt;script&gt;&quot;&#x27;.zip"),
    ],
)
def test_odd_filenames(filename: str, quoted: str, escaped: str) -> None:
    """Names are quoted in URLs and escaped in text, in both formats alike (T69)."""
    assert json_file(filename=filename)["url"] == f"../../files/demo/{quoted}"
    assert html_link(filename=filename) == f'<a href="../../files/demo/{quoted}">{escaped}</a><br>'


@pytest.mark.parametrize(
    ("files", "fields", "version"),
    [
        ([make_file(SDIST, size=1)], {"api_version": (1, 4)}, "1.4"),
        ([make_file(SDIST, size=1)], {"api_version": (1, 1)}, "1.1"),
        ([make_file(SDIST, size=1)], {"api_version": (1, 9)}, "1.4"),
        ([make_file(SDIST, size=1)], {}, "1.0"),
        ([make_file(SDIST, size=1), make_file(WHEEL)], {"api_version": (1, 4)}, "1.0"),
        ([make_file("demo_odd.zip", size=1)], {"api_version": (1, 4)}, "1.0"),
        ([make_file("demo_odd.zip", size=1)], {"api_version": (1, 4), "versions": ("1.0",)}, "1.4"),
        ([], {"api_version": (1, 4)}, "1.4"),
    ],
)
def test_api_version(files: list[DistributionFile], fields: dict[str, Any], version: str) -> None:
    """A page claims no version that its files do not honour, whoever put it together (S25)."""
    page = make_page(*files, **fields)
    assert render_json(page)["meta"]["api-version"] == version
    assert f'content="{version}"' in render_html(page)


def test_versions() -> None:
    """Versions are those stated and those of files, each once (T40); a 1.0 page has them where they are stated."""
    sized = [
        make_file(name, size=1)
        for name in ("demo-1.0.zip", "demo-1.0.0.tar.gz", "demo-1.10.zip", "demo-1.9.zip")
    ]
    assert render_json(make_page(*sized, api_version=(1, 1)))["versions"] == ["1.0", "1.0.0", "1.9", "1.10"]
    assert render_json(make_page(*sized, api_version=(1, 1), versions=("9", "1.10")))["versions"] == [
        "9", "1.10", "1.0", "1.0.0", "1.9",
    ]  # fmt: skip
    assert "versions" not in render_json(make_page(*sized))
    assert render_json(make_page(SDIST, versions=("3",)))["versions"] == ["3", "1.0"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"api_version": (1, 3)}, None),
        ({"api_version": (1, 4)}, {"status": "active"}),
        (
            {"status": ProjectStatus.QUARANTINED, "status_reason": "x"},
            {"status": "quarantined", "reason": "x"},
        ),
        ({"status_reason": "x"}, {"status": "active", "reason": "x"}),
    ],
)
def test_status(fields: dict[str, Any], expected: dict[str, str] | None) -> None:
    """A status is a top-level object (S32) and a meta tag, there where it is known or something but active."""
    page = make_page(**fields)
    found = render_json(page)
    assert found.get("project-status") == expected
    assert "project-status" not in found["meta"]
    assert ("pypi:project-status" in render_html(page)) is (expected is not None)


@pytest.mark.parametrize("pieces", [[b"demo\nfoo-bar\n"], [b"demo\n", b"foo-bar\n"]])
def test_projects(pieces: list[bytes]) -> None:
    """The project list is the same in how many pieces ever the names come, in both formats."""
    assert json.loads(b"".join(render_projects(pieces, PageFormat.JSON))) == {
        "meta": {"api-version": "1.4"},
        "projects": [{"name": "demo"}, {"name": "foo-bar"}],
    }
    expected = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="pypi:repository-version" content="1.4">
<title>Simple index</title>
</head>
<body>
<a href="demo/">demo</a><br>
<a href="foo-bar/">foo-bar</a><br>
</body>
</html>
"""
    for page_format in HTML_FORMATS:
        assert b"".join(render_projects(pieces, page_format)).decode() == expected


@pytest.mark.parametrize("page_format", PageFormat)
def test_no_projects(page_format: PageFormat) -> None:
    """A list of no projects is a list."""
    body = b"".join(render_projects([], page_format))
    assert b"<a" not in body
    assert page_format is not PageFormat.JSON or json.loads(body)["projects"] == []
