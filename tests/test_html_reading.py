"""HTML pages of indexes (PEP 503, 592, 629, 658, 714, 740, 792; STANDARDS T44, T45, T66)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from decider.errors import UnreadablePage
from decider.files import DistributionFile, ProjectStatus
from decider.pages import PageFormat, html_reading, parse_projects
from tests.page_samples import (
    FILES,
    SDIST,
    SHA256,
    URL,
    WHEEL,
    html_body,
    html_link,
    read,
    read_html_file,
    reasons,
)

VERSION = '<meta name="pypi:repository-version" content="{}">'


def listed(*links: str, head: str = "") -> list[str]:
    return [file.filename for file in read(html_body(*links, head=head), PageFormat.HTML).page.files]


def test_whole_file() -> None:
    """Everything that HTML can say of a file is kept."""
    attributes = (
        'data-requires-python="&gt;=3.8,&lt;4" data-core-metadata="sha256='
        + SHA256
        + '" data-gpg-sig="true" '
        'data-yanked="&quot;&gt;&lt;script&gt;&amp;\'&#233;\nbroken" rel="internal" '
        'data-provenance="https://index.example/integrity/demo?a=1&amp;b=2"'
    )
    assert read_html_file(attributes, href=f"{FILES}{WHEEL}#sha256={SHA256}") == DistributionFile(
        filename=WHEEL,
        url=f"{FILES}{WHEEL}",
        hashes={"sha256": SHA256},
        core_metadata={"sha256": SHA256},
        requires_python=">=3.8,<4",
        yanked="\"><script>&'é\nbroken",
        provenance="https://index.example/integrity/demo?a=1&b=2",
    )


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            "",
            {
                "yanked": None,
                "requires_python": None,
                "core_metadata": False,
                "provenance": None,
                "hashes": {},
            },
        ),
        ("data-yanked", {"yanked": ""}),
        ('data-yanked=""', {"yanked": ""}),
        ('DATA-YANKED="x"', {"yanked": "x"}),
        ('data-yanked="first" data-yanked="second"', {"yanked": "first"}),
        ('data-requires-python=""', {"requires_python": None}),
        ("data-requires-python", {"requires_python": None}),
        ("data-requires-python='&gt;= 3'", {"requires_python": ">= 3"}),
        ('data-core-metadata="true"', {"core_metadata": True}),
        ('data-core-metadata="TRUE"', {"core_metadata": True}),
        ('data-core-metadata="false"', {"core_metadata": False}),
        ('data-core-metadata=""', {"core_metadata": False}),
        ("data-core-metadata", {"core_metadata": False}),
        (f'data-dist-info-metadata="sha256={SHA256.upper()}"', {"core_metadata": {"sha256": SHA256}}),
        ('data-core-metadata="false" data-dist-info-metadata="true"', {"core_metadata": False}),
        ('data-core-metadata="sha1=abc"', {"core_metadata": True}),
        ('data-core-metadata="sha256=abc"', {"core_metadata": False}),
        ('data-provenance="/relative"', {"provenance": None}),
        # In no specification, and stated by some indexes (STANDARDS S43)
        ('data-size="1024"', {"size": 1024}),
        ('data-size="-1"', {"size": None}),
        ('data-size="\u0661"', {"size": None}),
        ('data-size="' + "9" * 30 + '"', {"size": None}),
        (
            'data-upload-time="2024-01-02T03:04:05+01:00"',
            {"upload_time": datetime(2024, 1, 2, 2, 4, 5, tzinfo=UTC)},
        ),
        ('data-upload-time="soon"', {"upload_time": None}),
    ],
)
def test_attributes(attributes: str, expected: dict[str, Any]) -> None:
    """Attributes are read in any spelling, legacy names included; empty ones say nothing, but for yanked."""
    file = read_html_file(attributes)
    assert {name: getattr(file, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fragment", "hashes"),
    [
        (f"#sha256={SHA256}", {"sha256": SHA256}),
        (f"#SHA256={SHA256.upper()}", {"sha256": SHA256}),
        ("#md5=" + "0a" * 16, {"md5": "0a" * 16}),
        ("#sha1=" + "a" * 40, {}),
        ("#sha224=" + "a" * 56, {}),
        (f"#egg=demo&sha256={SHA256}", {"sha256": SHA256}),
        ("#", {}),
        ("#sha256", {}),
        ("#sha256=", {}),
    ],
)
def test_fragments(fragment: str, hashes: dict[str, str]) -> None:
    """A fragment's digest is kept where installers can check it; sha1 is not (T44)."""
    file = read_html_file(href=f"{FILES}{WHEEL}{fragment}")
    assert file.hashes == hashes
    assert file.url == f"{FILES}{WHEEL}"


def test_bad_fragment() -> None:
    """A file whose sha256 is none is left out: a client could not check it any more."""
    parsed = read(html_body(html_link(href=f"{FILES}{WHEEL}#sha256=abc"), html_link(SDIST)), PageFormat.HTML)
    assert [file.filename for file in parsed.page.files] == [SDIST]
    assert reasons(parsed) == {WHEEL: "its sha256 is no SHA-256 digest"}


@pytest.mark.parametrize(
    ("head", "href", "url"),
    [
        ("", f"../../packages/{WHEEL}", f"https://index.example/packages/{WHEEL}"),
        ("", f"/packages/{WHEEL}?token=a&amp;b=c", f"https://index.example/packages/{WHEEL}?token=a&b=c"),
        ("", f"//files.example/{WHEEL}", f"https://files.example/{WHEEL}"),
        ("", WHEEL, f"{URL}{WHEEL}"),
        ("", f"\n  {WHEEL} ", f"{URL}{WHEEL}"),
        ('<base href="https://files.example/deep/">', WHEEL, f"https://files.example/deep/{WHEEL}"),
        ('<base href="/a/"><base href="/b/">', WHEEL, f"https://index.example/a/{WHEEL}"),
        ("<base><base href=''>", WHEEL, f"{URL}{WHEEL}"),
    ],
)
def test_urls(head: str, href: str, url: str) -> None:
    """Links are resolved against the page, or against its first `<base>` (T45)."""
    (file,) = read(html_body(html_link(href=href), head=head), PageFormat.HTML).page.files
    assert (file.filename, file.url) == (WHEEL, url)


def test_name_from_url() -> None:
    """The file name is the last component of the link, unquoted once, as installers read it; its text is not asked."""
    links = (
        f'<a href="{FILES}demo-1.0%2Blocal.1-py3-none-any.whl">demo...</a>',
        f'<a href="{FILES}demo-2.0.tar.gz?x=/y.whl#egg=/z.whl">demo-9.9.tar.gz</a>',
        f"<a href='{FILES}d%C3%A9mo%20x.zip'><b>x</b></a>",
        f"<A HREF={FILES}demo-3.0.zip>demo-3.0.zip (12 kB)",
    )
    assert listed(*links) == [
        "demo-1.0+local.1-py3-none-any.whl",
        "demo-2.0.tar.gz",
        "démo x.zip",
        "demo-3.0.zip",
    ]


def test_bad_links() -> None:
    """A bad link is left out, with the reason, and costs no other."""
    links = [
        html_link("demo-1.zip", href="https://evil.example/demo-1.zip"),
        html_link("demo-2.zip", href="ftp://files.example/demo-2.zip"),
        html_link("demo-3.zip", href="https://user:x@files.example/demo-3.zip"),
        html_link("demo-4.zip", href="https://files.example/a\tb/demo-4.zip"),
        html_link("other-5.zip"),
        html_link("a", href=f"{FILES}a%2Fdemo-6.zip"),
        html_link("a", href=f"{FILES}%2564emo-7.zip"),
        html_link("a", href=f"{FILES}demo%FF-8.zip"),
        html_link(SDIST),
        html_link(SDIST, href=f"https://files.example/second/{SDIST}"),
    ]
    parsed = read(
        html_body(*links), PageFormat.HTML, is_allowed_host=lambda url: url.hostname != "evil.example"
    )
    assert [(file.filename, file.url) for file in parsed.page.files] == [(SDIST, f"{FILES}{SDIST}")]
    assert reasons(parsed) == {
        "demo-1.zip": "files of this index may not come from https://evil.example",
        "demo-2.zip": "its URL is neither http nor https",
        "demo-3.zip": "its URL carries user-info",
        "demo-4.zip": "its URL has a control character, a backslash or a broken escape",
        "other-5.zip": "its file name is another project's",
        "a/demo-6.zip": "its file name cannot be part of a URL of its own",
        "%64emo-7.zip": "its file name cannot be part of a URL of its own",
        "demo\ufffd-8.zip": "its file name cannot be part of a URL of its own",
        SDIST: "the page lists this file name twice; the first counts",
    }


def test_other_links() -> None:
    """What directory listings link to besides is no file; eggs, installers and other archives are (T66)."""
    files = ["demo-1.0-py2.7.egg", "demo-1.0.win32-py2.7.exe", "demo-1.0.tar.bz2", "demo-1.0.tgz", "demo-1.0-1.noarch.rpm",
             "demo-1.0-variants.json"]  # fmt: skip
    links = [
        '<a href="../">Parent Directory</a>',
        '<a href="?C=M;O=A">Date</a>',
        '<a name="top">',
        "<a href>",
        '<a href="#">',
    ]
    others = ["demo-1.0.tar.gz.asc", f"{WHEEL}.metadata", "README.txt", "login"]
    assert listed(*links, *map(html_link, others), *map(html_link, files)) == files


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("", (1, 0)),
        (VERSION.format("1.0"), (1, 0)),
        (VERSION.format("1.4"), (1, 4)),
        (VERSION.format("1.4").replace("pypi:", "PyPI:"), (1, 4)),
        (VERSION.format("1.9"), (1, 4)),
        (VERSION.format("1.1") + VERSION.format("1.4"), (1, 1)),
    ],
)
def test_api_version(head: str, expected: tuple[int, int]) -> None:
    """An HTML page is of the version that it claims only where no file lacks a size, so mostly 1.0 (S25)."""
    assert read(html_body(head=head), PageFormat.HTML).page.api_version == expected
    assert read(html_body(html_link(), head=head), PageFormat.HTML).page.api_version == (1, 0)
    assert (
        read(html_body(html_link(attributes="data-size=1"), head=head), PageFormat.HTML).page.api_version
        == expected
    )


@pytest.mark.parametrize("version", ["2.0", "", "x"])
def test_other_major_version(version: str) -> None:
    """A page of another major version, or of none that can be read, is not guessed at."""
    with pytest.raises(UnreadablePage, match="api-version"):
        read(html_body(html_link(), head=VERSION.format(version)), PageFormat.HTML)


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        ("", ProjectStatus.ACTIVE, None),
        ('<meta name="pypi:project-status" content="archived">', ProjectStatus.ARCHIVED, None),
        (
            '<meta content="deprecated" name="pypi:project-status"><meta name="pypi:project-status-reason" content="&lt;b&gt;">',
            ProjectStatus.DEPRECATED,
            "<b>",
        ),
        ('<meta name="pypi:project-status" content="Archived">', ProjectStatus.ACTIVE, None),
        (
            '<meta name="pypi:project-status"><meta name=pypi:project-status content=archived />',
            ProjectStatus.ARCHIVED,
            None,
        ),
        ('<meta name="pypi:project-status-reason" content="x">', ProjectStatus.ACTIVE, None),
    ],
)
def test_status(head: str, status: ProjectStatus, reason: str | None) -> None:
    """A status that PEP 792 knows is kept with its reason, and the files stay."""
    page = read(html_body(html_link(), head=head), PageFormat.HTML).page
    assert (page.status, page.status_reason, len(page.files)) == (status, reason, 1)


def test_quarantined() -> None:
    """Of a quarantined project nothing is offered, even where the index lists files."""
    head = '<meta name="pypi:project-status" content="quarantined">'
    parsed = read(html_body(html_link(), head=head), PageFormat.HTML)
    assert (parsed.page.files, parsed.page.status) == ((), ProjectStatus.QUARANTINED)
    assert reasons(parsed) == {WHEEL: "the index quarantined the project"}


@pytest.mark.parametrize(
    ("comment", "serial"),
    [("<!--SERIAL 123-->", 123), ("<!-- SERIAL 7 -->", 7), ("<!--SERIAL x-->", None), ("<!---->", None)],
)
def test_last_serial(comment: str, serial: int | None) -> None:
    """The index's serial stands in a comment."""
    assert read(html_body(html_link(), comment), PageFormat.HTML).page.last_serial == serial


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("", "utf-8"),
        ("; charset=UTF-8", "utf-8"),
        ('; x=y; charset="iso-8859-1"', "latin-1"),
        ("; charset=us-ascii", "ascii"),
    ],
)
def test_charsets(charset: str, encoding: str) -> None:
    """Text is decoded as the type says, as UTF-8 where it says nothing."""
    reason = "x" if encoding == "ascii" else "é"
    body = html_body(html_link(attributes=f"data-yanked='{reason}'")).decode().encode(encoding)
    (file,) = read(body, f"text/html{charset}").page.files
    assert file.yanked == reason


def test_not_utf_8() -> None:
    """Bytes that are no text cost what they stand in, not the page."""
    body = html_body(html_link(), html_link(SDIST, "data-yanked='\ufffd'")).replace(
        "\ufffd".encode(), b"\xe9"
    )
    assert [file.yanked for file in read(body, PageFormat.HTML).page.files] == [None, "\ufffd"]


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "rot13", "idna", "zip", "no such", "utf-16"])
def test_odd_charsets(charset: str) -> None:
    """Charsets that pages do not come in are not decoded."""
    with pytest.raises(UnreadablePage, match="charset"):
        read(html_body(html_link()), f"text/html; charset={charset}")


@pytest.mark.parametrize(
    "body",
    [
        b"<html></html>",
        b"<!DOCTYPE html><html><body></body></html>",
        b"<!DOCTYPE html><html><body><h1>Links for demo</h1></body></html>",
        b"<title>corp/dev: links for demo</title><h1>corp/dev: links for demo</h1>",
        b"<title>Demo</title><style>h1 {color: red}</style><h1>demo</h1>",
        b"<h1>Index of /simple/demo/</h1><hr><pre></pre>",
        b'<a href="../">../</a>',
        html_body(head=VERSION.format("1.0")),
    ],
)
def test_empty_page(body: bytes) -> None:
    """A page without links is a project without files."""
    assert read(body, PageFormat.TEXT).page.files == ()


@pytest.mark.parametrize(
    "body",
    [
        b'<form action="/login"><input name="user"></form>',
        b'<a href="/login">Log in</a>',
        b'<a href="/simple/demo/">demo</a><a href="/simple/other/">other</a>',
        b'<a href="https://vendor.example">Powered by</a>',
    ],
)
def test_another_page(body: bytes) -> None:
    """A login form or a list of something else is not a project without files: its index would own every name."""
    with pytest.raises(UnreadablePage, match="no link leads to a distribution file"):
        read(body, PageFormat.TEXT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"Service temporarily down for maintenance",
        b"<html><title>503</title><body><h1>Service temporarily down for maintenance</h1></body></html>",
        b"<!DOCTYPE html><title>demo</title><p>is being moved</p>",
        b"<html><body>" + b"x " * 5_000 + b"links for demo</body></html>",
        b"<!-- links for demo -->",
        b'<p>We are down for maintenance.</p><a href="/">Home</a>',
        b"<title>Sign in</title><script>var title = 'index of';</script>",
    ],
)
def test_words_about_something_else(body: bytes) -> None:
    """What an index says of itself while it is down is not a project without files, and neither is nothing at all."""
    with pytest.raises(UnreadablePage, match="it lists nothing, and says something else"):
        read(body, PageFormat.TEXT)


def test_form_beside_files() -> None:
    """A form beside files does no harm."""
    assert listed('<form><input type="submit"></form><a href="/">home</a>', html_link()) == [WHEEL]


@pytest.mark.parametrize(
    "only", [html_link(href="https://evil.example/demo-1.0.zip"), html_link("other-1.0.zip")]
)
def test_only_bad_files(only: str) -> None:
    """A page whose files are all left out is still a page."""
    parsed = read(html_body(only, '<a href="/login">'), PageFormat.HTML, is_allowed_host=lambda _: False)
    assert parsed.page.files == ()


@pytest.mark.parametrize(
    "cut", ["<", "<a", "<a href=", '<a href="x', "<!-- x", "<!DOCTYPE", "</body", "<script>", "<?x"]
)
def test_cut_short(cut: str) -> None:
    """A page that ends inside a tag was cut short; what follows is unknown."""
    with pytest.raises(UnreadablePage):
        read(html_body(html_link()) + cut.encode() + (b"<" if cut == "<script>" else b""), PageFormat.HTML)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        "<a",
        "<a ",
        "<!",
        "<!--",
        "</",
        "<![",
        "<![CDATA[",
        "<?",
        "&",
        "&#",
        "<a b='",
        "<a b=",
        "<script></",
        "<!DOCTYPE [",
        "<a/",
    ],
)
def test_hostile_html(piece: str) -> None:
    """10 MB of broken tags are turned away in no time."""
    with pytest.raises(UnreadablePage):
        read(piece.encode() * (10_000_000 // len(piece)), PageFormat.HTML)


@pytest.mark.parametrize(
    "piece", ["<b>", "</b>", "<!a>", "<!---->", "<!DOCTYPE x>", "<?x>", "<![if x]>", "< ", f"<b {'c ' * 99}>"]
)
def test_too_much_html(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of many times more tags, attributes or comments than files is given up: they cost time too."""
    monkeypatch.setattr(html_reading, "MAX_FILES", 1_000)
    with pytest.raises(UnreadablePage, match="more tags than any page"):
        read(piece.encode() * 17_000, PageFormat.HTML)


def test_too_many_files() -> None:
    """A page of more than 200,000 files is unreadable."""
    with pytest.raises(UnreadablePage, match="more than 200000 files"):
        read(b'<a href="demo-1.zip">' * 200_001, PageFormat.HTML)


def test_pieces() -> None:
    """Where a tag happens to be cut when the page is fed in pieces makes no difference."""
    for padding in range(1 << 16, (1 << 16) - 60, -7):
        body = b"x" * padding + b'<a href="demo-1.0.zip" data-yanked="a&amp;b">demo-1.0.zip</a>'
        assert [file.yanked for file in read(body, PageFormat.HTML).page.files] == ["a&b"]


def test_projects() -> None:
    """A list's names are its links' texts, folders with a slash included; other texts are left out."""
    body = html_body(
        '<a href="/simple/demo/">Demo</a>',
        '<a href="foo-bar/"> foo_<b>bar</b>/\n</a>',
        '<a href="../">Parent Directory</a>',
        '<a href="x/">&lt;script&gt;</a>',
        "<p>text</p>",
    )
    found = parse_projects(body, content_type="text/html", index="public")
    assert found == {"demo", "foo-bar"}


def test_projects_in_plain_lines() -> None:
    """The usual list, one plain link a line, is read as a parser would read it, whatever stands between."""
    plain = ["demo", "Foo_Bar/", " acme.utils ", "x y", ""]
    odd = [
        '<a href="b/" title="<">b</a>',
        '<a href="c/">c</a> <a href="d/">d</a>',
        '<a href="e/">e&#102;</a>',
    ]
    lines = [*(f'    <a href="/x/">{text}</a><br/>' for text in plain), *odd, '<A HREF="g/">g</A>']
    body = "\n".join(["<html><body>", *lines, "</body></html>"]).encode()
    found = parse_projects(body, content_type="text/html", index="public")
    assert found == {"demo", "foo-bar", "acme-utils", "b", "c", "d", "ef", "g"}
    assert found == parse_projects(body.replace(b"\n", b" "), content_type="text/html", index="public")


def test_too_many_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of more names than anybody has is unreadable, in plain lines too."""
    monkeypatch.setattr(html_reading, "_MAX_PROJECTS", 3)
    body = html_body(*(f'<a href="p{number}/">p{number}</a>' for number in range(4))).replace(b"<br>", b"")
    with pytest.raises(UnreadablePage, match="more than 3 projects"):
        parse_projects(body, content_type="text/html", index="public")


def test_projects_of_other_version() -> None:
    """A list of another major version is unreadable."""
    with pytest.raises(UnreadablePage, match="api-version"):
        parse_projects(html_body(head=VERSION.format("2.0")), content_type="text/html", index="public")
