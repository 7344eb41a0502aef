"""Project pages and project lists through nginx: negotiation, content, caching (DESIGN 3, STANDARDS T01-T59, T86-T100)."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from html.parser import HTMLParser
from itertools import permutations
from typing import Any
from urllib.parse import urljoin

import pytest

from tests.fake_index import FakeIndex, Reply, _Handler, body, redirect, status
from tests.fake_index import headers as with_headers
from tests.stack import JSON_TYPE, PIP_ACCEPT, PROMISE_S, Answer, Stack, eventually
from tests.uploads import make_sdist, make_wheel

pytestmark = pytest.mark.stack

HTML_TYPE = "application/vnd.pypi.simple.v1+html"
V1 = "application/vnd.pypi.simple.v1"


class Anchors(HTMLParser):
    """The anchors and meta tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str | None]] = {}
        self.meta: dict[str, str | None] = {}
        self.tags: set[str] = set()
        self._open: dict[str, str | None] | None = None
        self._text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        if tag == "a":
            self._open, self._text = values, ""
        elif tag == "meta" and "name" in values:
            self.meta[values["name"] or ""] = values.get("content")

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._open is not None:
            self.found[self._text.strip()] = self._open
            self._open = None


def publish(index: FakeIndex, project: str) -> None:
    """Versions 1.0 and 1.1 as wheels, 1.1 as sdist too."""
    for version in ("1.0", "1.1"):
        index.add(project, make_wheel(project, version))
    index.add(project, make_sdist(project, "1.1"), metadata=False)


def media_type(answer: Answer) -> str:
    return answer.content_type.partition(";")[0].strip()


def vary(answer: Answer) -> set[str]:
    return {name.strip().lower() for value in answer.headers.get_all("Vary", []) for name in value.split(",")}


# Names


@pytest.mark.parametrize("spelling", ["{0}", "{upper}/", "{under}/", "{dots}", "{mixed}/"])
def test_other_spellings_redirect_to_the_normalized_name(
    stack: Stack, index: FakeIndex, project: str, spelling: str
) -> None:
    """Another spelling of a name, or a missing slash, is a relative 301 to the normalized page (T02-T05)."""
    name = f"friendly-bard-{project}"
    publish(index, name)
    path = spelling.format(
        name,
        upper=name.upper(),
        under=name.replace("-", "_"),
        dots=name.replace("-", "..-_"),
        mixed=name.title().replace("-", "._-"),
    )
    answer = stack.get(f"/simple/{path}", {"Accept": PIP_ACCEPT})
    assert answer.status == 301
    location = answer.headers["Location"]
    assert "//" not in location
    assert urljoin(f"{stack.base_url}/simple/{path}", location) == f"{stack.base_url}/simple/{name}/"
    assert index.requests(f"/simple/{path.strip('/')}") == [] or path.strip("/") == name


def test_project_list_without_slash_redirects(stack: Stack) -> None:
    """`/simple` redirects to `/simple/` (S04)."""
    answer = stack.get("/simple")
    assert answer.status in {301, 308}
    assert urljoin(f"{stack.base_url}/simple", answer.headers["Location"]) == stack.simple_url


def test_redirect_does_not_trust_the_host_header(stack: Stack, index: FakeIndex, project: str) -> None:
    """A forged Host appears neither in a Location nor in a page (T59)."""
    publish(index, project)
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Accept": PIP_ACCEPT}
    for path in (f"/simple/{project.upper()}/", f"/simple/{project}", f"/simple/{project}/"):
        answer = stack.get(path, forged)
        assert b"evil" not in answer.body
        assert "evil" not in str(answer.headers)
    assert b"evil" not in stack.page(project).body


def test_query_changes_nothing(stack: Stack, index: FakeIndex, project: str) -> None:
    """An unknown query gives the same page and no further request to the index (T17)."""
    publish(index, project)
    plain = stack.page(project)
    index.forget_requests()
    for query in ("?x=1", "?x=2", "?"):
        assert stack.get(f"/simple/{project}/{query}", {"Accept": PIP_ACCEPT}).body == plain.body
    assert index.requests(f"/simple/{project}/") == []


def test_absent_project(stack: Stack, index: FakeIndex, project: str) -> None:
    """A name that no index has is 404, and is there as soon as its publication is noticed (T18)."""
    answer = stack.page(project)
    assert answer.status == 404
    assert "max-age=0" in answer.headers.get("Cache-Control", "max-age=0").replace("no-store", "max-age=0")
    publish(index, project)
    assert stack.api("POST", "/indexes/public/refresh", {"project": project}).status in {200, 202, 204}
    eventually(lambda: stack.page(project).status == 200, within_s=PROMISE_S)


# Negotiation


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "text/html"),
        ("*/*", "text/html"),
        ("", "text/html"),
        (PIP_ACCEPT, JSON_TYPE),
        (f"{V1}+json, {V1}+html;q=0.2, text/html;q=0.01", JSON_TYPE),
        (f"{V1}+json, */*;q=0.1", JSON_TYPE),
        (f"{V1}+json, {V1}+html, text/html;q=0.01", JSON_TYPE),
        ("text/html", "text/html"),
        (f"{V1}+html", f"{V1}+html"),
        (f"{V1}+json;q=0.1, text/html", "text/html"),
        ("application/vnd.pypi.simple.latest+json", JSON_TYPE),
        ("application/vnd.pypi.simple.latest+html", f"{V1}+html"),
        (f"{V1}+json;q=0, */*", "text/html"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        (f"{V1}+JSON".upper(), JSON_TYPE),
        (f"  {V1}+json  ; q=1.000 ", JSON_TYPE),
    ],
)
@pytest.mark.parametrize("listing", [False, True], ids=["page", "list"])
def test_negotiation(
    stack: Stack, index: FakeIndex, accept: str | None, expected: str, *, listing: bool
) -> None:
    """Each Accept header gets the format that it asks for, with Vary (T20-T33)."""
    publish(index, "negotiated")
    headers = {} if accept is None else {"Accept": accept}
    answer = stack.get("/simple/" if listing else "/simple/negotiated/", headers)
    assert (answer.status, media_type(answer)) == (200, expected)
    assert "accept" in vary(answer)


@pytest.mark.parametrize("accept", [f"{V1[:-1]}2+json", "image/png", "application/json"])
def test_nothing_acceptable(stack: Stack, index: FakeIndex, accept: str) -> None:
    """A client that takes no simple-API format gets 406, with Vary (T26)."""
    publish(index, "negotiated")
    for path in ("/simple/negotiated/", "/simple/"):
        answer = stack.get(path, {"Accept": accept})
        assert answer.status == 406
        assert "accept" in vary(answer)


@pytest.mark.parametrize(
    "accept", ["application/*", f"{V1}+json;q=abc", "x" * 5000, ",,;;", "a/b;q=-1, */*", "\xff"]
)
def test_odd_accept_headers(stack: Stack, index: FakeIndex, accept: str) -> None:
    """An odd Accept header is no reason for a server error (T28, T30)."""
    publish(index, "negotiated")
    assert stack.get("/simple/negotiated/", {"Accept": accept}).status in {200, 400, 406, 431}


# Content


def test_json_page(stack: Stack, index: FakeIndex, project: str) -> None:
    """The JSON page says what the index says, under relative URLs of ours (T40, S31, S33)."""
    wheel = index.add(project, make_wheel(project, "1.0"), fields={"yanked": "broken on Tuesdays"})
    answer = stack.page(project)
    page = answer.json()
    assert page["name"] == project
    assert page["versions"] == ["1.0"]
    major, minor = page["meta"]["api-version"].split(".")
    assert (major, int(minor) <= 4) == ("1", True)
    entry = answer.file(wheel.filename)
    assert entry["url"] == f"../../files/{project}/{wheel.filename}"
    assert entry["hashes"] == {"sha256": wheel.sha256}
    assert entry["size"] == len(wheel.data)
    assert entry["requires-python"] == ">=3.8"
    assert entry["upload-time"] == "2024-01-02T03:04:05.678901Z"
    assert entry["yanked"] == "broken on Tuesdays"
    assert set(entry["core-metadata"]) == {"sha256"}
    assert page["_decider"]["index"] == "public"
    assert page["_decider"]["refused"] == []


def test_formats_agree(stack: Stack, index: FakeIndex, project: str) -> None:
    """HTML and JSON of a project list the same files with the same facts (T41, T47-T49)."""
    index.add(
        project,
        make_wheel(project, "1.0"),
        fields={"yanked": "\"><script>&'é", "requires-python": ">=3.8,<4"},
    )
    index.add(project, make_wheel(project, "1.1"), fields={"yanked": True})
    index.add(project, make_wheel(project, "1.2"))
    as_json = stack.page(project)
    as_html = stack.page(project, accept="text/html")
    assert b"<script>" not in as_html.body
    anchors = Anchors(as_html.text)
    assert {"script", "base"} & anchors.tags == set()
    assert list(anchors.found) == as_json.filenames
    for entry in as_json.json()["files"]:
        anchor = anchors.found[entry["filename"]]
        assert anchor["href"] == f"{entry['url']}#sha256={entry['hashes']['sha256']}"
        assert anchor.get("data-requires-python") == entry["requires-python"]
        assert anchor.get("data-core-metadata") == f"sha256={entry['core-metadata']['sha256']}"
        yanked = entry.get("yanked", False)
        assert ("data-yanked" in anchor) == bool(yanked)
        assert (anchor.get("data-yanked") or "") == ("" if isinstance(yanked, bool) else yanked)
    assert as_json.file(make_wheel(project, "1.1").filename)["yanked"] is True
    assert as_json.file(make_wheel(project, "1.0").filename)["yanked"] == "\"><script>&'é"


def test_same_page_same_bytes(stack: Stack, index: FakeIndex, project: str) -> None:
    """Asked twice, a page has the same bytes and the same ETag (T58)."""
    publish(index, project)
    first, second = stack.page(project), stack.page(project)
    assert (first.body, first.headers["ETag"]) == (second.body, second.headers["ETag"])


def test_status_is_relayed(stack: Stack, index: FakeIndex, project: str) -> None:
    """`archived` is relayed with its reason in both formats, and the files stay (T54)."""
    index.add(project, make_wheel(project, "1.0"))
    index.project(project, {"project-status": {"status": "archived", "reason": "moved on"}})
    page = stack.page(project).json()
    assert page["project-status"] == {"status": "archived", "reason": "moved on"}
    assert len(page["files"]) == 1
    anchors = Anchors(stack.page(project, accept="text/html").text)
    assert anchors.meta["pypi:project-status"] == "archived"
    assert anchors.meta["pypi:project-status-reason"] == "moved on"


def test_quarantined_project_offers_nothing(stack: Stack, index: FakeIndex, project: str) -> None:
    """A project that its index has quarantined lists no file and serves none, though cached (T53, S52)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    assert stack.page(project).filenames == [wheel.filename]
    assert stack.file(project, wheel.filename).status == 200
    index.project(project, {"project-status": {"status": "quarantined"}})
    assert stack.api("POST", "/indexes/public/refresh", {"project": project}).status in {200, 202, 204}
    eventually(lambda: stack.page(project).json()["files"] == [], within_s=PROMISE_S)
    assert stack.page(project).json()["project-status"]["status"] == "quarantined"
    eventually(lambda: stack.file(project, wheel.filename).status in {403, 404}, within_s=PROMISE_S)


def test_provenance_url_is_relayed(stack: Stack, index: FakeIndex, project: str) -> None:
    """A page names the index's own provenance URL unchanged (T55)."""
    wheel = make_wheel(project, "1.0")
    url = f"https://index.example/integrity/{project}/1.0/{wheel.filename}/provenance"
    index.add(project, wheel, fields={"provenance": url})
    assert stack.page(project).file(wheel.filename)["provenance"] == url


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", None),
        ("upload-time", None),
        ("upload-time", ""),
        ("yanked", None),
        ("requires-python", None),
        ("requires-python", ""),
        ("gpg-sig", None),
        ("provenance", None),
        ("core-metadata", None),
        ("upload-time", "2024-01-02T03:04:05+00:00"),
        ("upload-time", "2024-01-02T03:04:05Z"),
        ("nonsense", {"a": [1, 2]}),
    ],
)
def test_sloppy_entries_become_strict_ones(
    stack: Stack, index: FakeIndex, project: str, field: str, value: Any
) -> None:
    """What an index leaves null, empty or odd is omitted or mended, so that strict clients read the page (T42, T43)."""
    wheel = make_wheel(project, "1.0")
    index.add(project, wheel, fields={field: value})
    answer = stack.page(project)
    assert answer.status == 200
    entry = answer.file(wheel.filename)
    for key in ("size", "upload-time", "gpg-sig"):
        assert entry.get(key, "omitted") not in {None, ""}
    assert entry.get("yanked", False) is False
    if "upload-time" in entry:
        assert entry["upload-time"].endswith("Z")
        assert datetime.fromisoformat(entry["upload-time"]).astimezone(UTC).year == 2024
    if field == "size":
        assert answer.json()["meta"]["api-version"] == "1.0"


def test_empty_yank_reason_is_a_yank(stack: Stack, index: FakeIndex, project: str) -> None:
    """`"yanked": ""` is read as installers read it that honour it: yanked, without a reason (C31, S51, T49)."""
    wheel = index.add(project, make_wheel(project, "1.0"), fields={"yanked": ""})
    assert stack.page(project).file(wheel.filename)["yanked"] is True


def test_html_only_index(new_stack: Callable[..., Stack]) -> None:
    """An index that knows only HTML is read, and its page claims no more than it can honour (T44, S25, C55)."""
    with FakeIndex(html_only=True) as index:
        wheel = index.add(
            "demo",
            make_wheel("demo", "1.0"),
            fields={"hashes": {"sha1": "0" * 40}, "requires-python": ">=3.8,<4"},
        )
        stack = new_stack(index_url=index.url)
        stack.start()
        answer = stack.page("demo")
        assert answer.json()["meta"]["api-version"] == "1.0"
        entry = answer.file(wheel.filename)
        assert "size" not in entry
        assert entry["requires-python"] == ">=3.8,<4"
        assert "sha1=" not in stack.page("demo", accept="text/html").text
        assert stack.file("demo", wheel.filename).body == wheel.data
        names = stack.get("/simple/", {"Accept": JSON_TYPE}).json()["projects"]
        assert {"name": "demo"} in names


@pytest.mark.parametrize("style", ["relative", "rooted", "schemeless", "query", "fragment"])
def test_odd_file_urls(stack: Stack, index: FakeIndex, project: str, style: str) -> None:
    """File URLs of every shape are replaced by ours, and the file can be had (T45)."""
    wheel = make_wheel(project, "1.0")
    urls = {
        "relative": f"../../files/{project}/{wheel.filename}",
        "rooted": f"/files/{project}/{wheel.filename}",
        "schemeless": f"//127.0.0.1:{index.port}/files/{project}/{wheel.filename}",
        "query": f"{index.origin}/files/{project}/{wheel.filename}?token=abc",
        "fragment": f"{index.origin}/files/{project}/{wheel.filename}#sha256={wheel.sha256}",
    }
    index.add(project, wheel, url=urls[style])
    answer = stack.page(project)
    assert answer.file(wheel.filename)["url"] == f"../../files/{project}/{wheel.filename}"
    assert stack.file(project, wheel.filename).body == wheel.data


def test_newer_minor_version_is_not_claimed(stack: Stack, index: FakeIndex, project: str) -> None:
    """A page of a newer minor version is read, and claims at most 1.4 (T46, S25)."""
    index.add(project, make_wheel(project, "1.0"))
    tracked = {"api-version": "1.9", "tracks": ["https://index.example/x/"]}
    index.project(project, {"meta": tracked, "namespaces": ["a"]})
    page = stack.page(project).json()
    assert int(page["meta"]["api-version"].split(".")[1]) <= 4
    assert "tracks" not in page["meta"]
    assert "namespaces" not in page


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"meta": {"api-version": "2.0"}, "name": "x", "files": []}',
        b'{"meta": {"api-version": "1.0"}, "name": "x", "files": [{"filename": 7}]}',
        b'{"meta": {"api-version": "1.0"}, "name": "x", "files": {}}',
        b"\xff\xfe",
        b"",
        b"[" * 100_000,
    ],
    ids=["cut", "list", "major-2", "bad-file", "files-object", "not-utf8", "empty", "deep"],
)
def test_unreadable_page_is_502(stack: Stack, index: FakeIndex, project: str, content: bytes) -> None:
    """A page that is none is 502 for page and file, and nothing of it is passed on (T46, DESIGN 8)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    index.switch(f"/simple/{project}/", body(content))
    answer = stack.page(project)
    assert answer.status == 502
    assert answer.content_type == "application/problem+json"
    assert stack.file(project, wheel.filename).status == 502


def test_wrong_content_type_is_502(stack: Stack, index: FakeIndex, project: str) -> None:
    """Bytes that do not call themselves a simple page are not read as one."""
    index.switch(f"/simple/{project}/", body(b"\x89PNG", "image/png"))
    assert stack.page(project).status == 502


def test_page_with_script_is_never_passed_on(stack: Stack, index: FakeIndex, project: str) -> None:
    """Markup in an index's page, in names, reasons or specifiers, reaches no page of ours as markup."""
    attack = '"><script>alert(1)</script>'
    anchor = (
        f'<a href="/files/{project}/x-1.0.tar.gz" data-yanked="&quot;&gt;&lt;script&gt;">x-1.0.tar.gz</a>'
    )
    text = f"<!DOCTYPE html><html><body><script>alert(1)</script>{anchor}<p>{attack}</p></body></html>"
    index.switch(f"/simple/{project}/", body(text.encode(), "text/html"))
    answer = stack.page(project, accept="text/html")
    assert answer.status in {200, 502}
    assert b"<script" not in answer.body.lower()


def test_page_redirect_stays_on_the_index(stack: Stack, index: FakeIndex, project: str) -> None:
    """A page may redirect within its index's own host, and nowhere else (DESIGN 11)."""
    with FakeIndex() as other:
        stolen = other.add(project, make_wheel(project, "6.6.6"))
        index.switch(f"/simple/{project}/", redirect(f"{other.origin}/simple/{project}/"))
        answer = stack.page(project)
        assert answer.status in {502, 503}
        assert stolen.filename.encode() not in answer.body
        assert other.requests() == []
    spelled = f"{project}-x".upper()
    wheel = index.add(spelled, make_wheel(spelled, "1.0"))
    index.switch(f"/simple/{project}-x/", redirect(f"/simple/{spelled}/", 301))
    assert stack.page(f"{project}-x").filenames == [wheel.filename]
    index.switch(f"/simple/{project}-y/", redirect(f"/simple/{spelled}/", 301))
    assert stack.page(f"{project}-y").status == 502, "the page of another project is no answer"


def test_evil_headers_of_an_index_are_dropped(stack: Stack, index: FakeIndex, project: str) -> None:
    """No header of an index's page steers nginx or reaches a client (DESIGN 11, indexes)."""
    evil = {
        "X-Accel-Redirect": "/healthz",
        "X-Accel-Expires": "0",
        "X-Accel-Buffering": "no",
        "Set-Cookie": "a=b",
        "X-Decider-Verdict": "allow",
        "X-Decider-Path": "/etc/passwd",
        "X-Decider-Root": "metadata",
        "X-Decider-Upstream": "evil.example evil.example public public",
        "X-Decider-Failed": '{"title": "evil", "status": 200}',
        "X-Decider-Key": "evil",
        "X-Decider-Degraded": "evil",
        "X-Decider-Rule": "evil",
        "X-Decider-Reason": "evil",
        "Root": "metadata",
        "Path": "/etc/passwd",
        "Url": "https://evil.example/x",
        "Upstream": "evil.example evil.example public public",
        "Key": "evil",
        "Tag": '"evil"',
        "Size": "1",
        "Record": "verdict=allow&version=evil",
        "User": "evil",
        "Degraded": "evil",
        "Failed": '{"title": "evil", "status": 200}',
        "Format": "html",
        "Fingerprint": "evil",
        "Cache-Control": "no-store",
        "Vary": "*",
        "Refresh": "0; url=https://evil.example",
        "Link": "<https://evil.example>; rel=preload",
    }
    wheel = index.add(project, make_wheel(project, "1.0"))
    index.switch(f"/simple/{project}/", with_headers(evil))
    index.switch(f"/files/{project}/{wheel.filename}", with_headers(evil))
    page, file = stack.page(project), stack.file(project, wheel.filename)
    assert page.filenames == [wheel.filename]
    assert file.body == wheel.data
    for answer in (page, file):
        names = {name.lower() for name in answer.headers}
        assert (
            names & {"set-cookie", "refresh", "link", "x-accel-redirect", "root", "size", "format"} == set()
        )
        assert not any(name.startswith("x-decider") for name in names)
        assert "*" not in vary(answer)
        assert "evil" not in str(answer.headers)
        assert "max-age=0" in answer.headers["Cache-Control"]
    index.forget_requests()
    assert stack.file(project, wheel.filename).body == wheel.data
    assert index.requests(f"/files/{project}") == []


def test_page_whose_end_nobody_marks(stack: Stack, index: FakeIndex, project: str) -> None:
    """A page that ends with its connection may have been cut off, between two links: it counts once it ends itself (T81)."""
    wheels = [index.add(project, make_wheel(project, version)) for version in ("1.0", "2.0")]

    def cut(_: Reply, wire: _Handler, *, end: str) -> None:
        wire.send_response_only(200)
        wire.send_header("Content-Type", "text/html")
        wire.end_headers()
        wire.wfile.write(
            f'<a href="/files/{project}/{wheels[0].filename}">{wheels[0].filename}</a>\n{end}'.encode()
        )
        wire.close_connection = True

    index.switch(f"/simple/{project}/", partial(cut, end=""))
    answer = stack.page(project)
    assert (answer.status, "cut off" in answer.json()["detail"]) == (502, True)
    index.switch(f"/simple/{project}/", partial(cut, end="</body></html>\n<!-- 12 -->\n"))
    eventually(lambda: stack.page(project).status == 200, within_s=10, what="the page that ends itself")
    assert stack.page(project).filenames == [wheels[0].filename]
    index.behave()
    assert stack.api("POST", "/indexes/public/refresh", {"project": project}).status in {200, 202, 204}
    both = sorted(wheel.filename for wheel in wheels)
    eventually(lambda: sorted(stack.page(project).filenames) == both, within_s=10, what="the whole page")


# Lists and repositories


def test_project_list_is_the_union(stack: Stack, index: FakeIndex, project: str) -> None:
    """The project list names what any index of the repository has, once (S08)."""
    publish(index, project)
    internal = f"inside-{project}"
    stack.drop(make_wheel(internal, "1.0"))
    assert stack.api("POST", "/indexes/public/refresh", {"project": project}).status in {200, 202, 204}

    def names() -> list[str]:
        answer = stack.get("/simple/", {"Accept": JSON_TYPE})
        assert answer.status == 200
        return [entry["name"] for entry in answer.json()["projects"]]

    eventually(lambda: internal in names(), within_s=PROMISE_S)
    found = names()
    assert len(found) == len(set(found))
    inside = stack.get("/inside/simple/", {"Accept": JSON_TYPE}).json()["projects"]
    assert {"name": internal} in inside
    assert {"name": project} not in inside


def test_named_repositories(stack: Stack, index: FakeIndex, project: str) -> None:
    """A named repository has its own pages and files; `/default/` works too (DESIGN 3, 11)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    for prefix in ("default", "strict"):
        answer = stack.page(project, repository=prefix)
        assert answer.status == 200
        url = urljoin(f"{stack.base_url}/{prefix}/simple/{project}/", answer.file(wheel.filename)["url"])
        assert url == f"{stack.base_url}/{prefix}/files/{project}/{wheel.filename}"
        assert stack.get(f"/{prefix}/files/{project}/{wheel.filename}").body == wheel.data
    assert stack.page(project, repository="inside").status == 404
    assert stack.get(f"/inside/files/{project}/{wheel.filename}").status == 404
    assert stack.page(project, repository="elsewhere").status == 404


def test_named_repository_redirects_inside_itself(stack: Stack, index: FakeIndex, project: str) -> None:
    """A redirect to the normalized name keeps the repository."""
    publish(index, project)
    path = f"/strict/simple/{project.upper()}"
    answer = stack.get(path)
    assert answer.status == 301
    assert (
        urljoin(stack.base_url + path, answer.headers["Location"])
        == f"{stack.base_url}/strict/simple/{project}/"
    )


# HTTP


@pytest.mark.parametrize("accept", [JSON_TYPE, HTML_TYPE, "text/html"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_conditional_requests(
    stack: Stack, index: FakeIndex, project: str, accept: str, encoding: str
) -> None:
    """A page has an ETag and max-age=0; sent back, the tag gives 304 without body (T86, C43, C45)."""
    publish(index, project)
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    full = stack.get(f"/simple/{project}/", headers)
    assert "max-age=0" in full.headers["Cache-Control"]
    assert full.headers["Date"]
    again = stack.get(f"/simple/{project}/", {**headers, "If-None-Match": full.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == full.headers["ETag"]
    assert "max-age=0" in again.headers["Cache-Control"]
    assert "accept" in vary(again)
    other = stack.get(f"/simple/{project}/", {**headers, "If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, full.body)


def test_no_tag_stands_for_another_format(stack: Stack, index: FakeIndex, project: str) -> None:
    """The ETag of one format never answers for another (T88)."""
    publish(index, project)
    formats = (JSON_TYPE, HTML_TYPE, "text/html")
    tags = {accept: stack.page(project, accept=accept).headers["ETag"] for accept in formats}
    for asked, sent in permutations(formats, 2):
        answer = stack.get(f"/simple/{project}/", {"Accept": asked, "If-None-Match": tags[sent]})
        assert (answer.status, media_type(answer)) == (200, asked)


def test_rule_change_changes_the_tag(stack: Stack, index: FakeIndex, project: str) -> None:
    """After a rule change the old ETag gives 200 with the new page (T87)."""
    publish(index, project)
    before = stack.page(project)
    stack.add_rule(action="block", project=project, versions="==1.1")

    def changed() -> Answer | None:
        answer = stack.get(
            f"/simple/{project}/", {"Accept": PIP_ACCEPT, "If-None-Match": before.headers["ETag"]}
        )
        return answer if answer.status == 200 else None

    after = eventually(changed, within_s=PROMISE_S)
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.body != before.body


def test_head(stack: Stack, index: FakeIndex, project: str) -> None:
    """HEAD has GET's headers and no body (T97)."""
    publish(index, project)
    for path in (f"/simple/{project}/", "/simple/"):
        got = stack.get(path, {"Accept": PIP_ACCEPT})
        head = stack.get(path, {"Accept": PIP_ACCEPT}, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Type", "ETag", "Cache-Control"):
            assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("accept", [JSON_TYPE, HTML_TYPE, "text/html"])
def test_compression(stack: Stack, index: FakeIndex, project: str, accept: str) -> None:
    """Pages are gzipped for who accepts that, and only for them; the page is the same (T91)."""
    publish(index, project)
    path = f"/simple/{project}/"
    packed = stack.get(path, {"Accept": accept, "Accept-Encoding": "gzip, deflate"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "accept-encoding" in vary(packed)
    for encoding in (
        {},
        {"Accept-Encoding": "identity"},
        {"Accept-Encoding": "zstd"},
        {"Accept-Encoding": "gzip;q=0"},
        {"Accept-Encoding": "*, GZIP ; Q=0.000"},
        {"Accept-Encoding": "*;q=0"},
    ):
        plain = stack.get(path, {"Accept": accept, **encoding})
        assert "Content-Encoding" not in plain.headers
        assert plain.body == gzip.decompress(packed.body)
        assert "accept-encoding" in vary(plain)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_only_reading(stack: Stack, index: FakeIndex, project: str, method: str) -> None:
    """Pages and files take no other method, and the index hears nothing of it (T99, U17)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    for path in (f"/simple/{project}/", "/simple/", f"/files/{project}/{wheel.filename}"):
        answer = stack.get(path, method=method)
        assert answer.status in {403, 405}
    assert index.requests(project) == []


def test_uploads_are_refused(stack: Stack) -> None:
    """An upload of any size is refused in words that uploaders print, not as if its address were wrong (U17, T99)."""
    for path in ("/legacy/", "/default/legacy/", "/legacy"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\nConnection: close\r\n\r\n"
        answer = stack.raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 405 Not Allowed\r\n")
        assert b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in answer
        assert b"application/problem+json" in answer
    assert stack.get("/legacy/").status == 404


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/simple/", "GET, HEAD, OPTIONS"),
        ("/nothing/", "GET, HEAD, OPTIONS"),
        ("/api/v1/rules", "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"),
    ],
)
def test_trace(stack: Stack, path: str, allowed: str) -> None:
    """TRACE is refused everywhere, and says what is not (T99)."""
    answer = stack.get(path, method="TRACE")
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert answer.content_type == "application/problem+json"


def test_browser_installers_may_read(stack: Stack, index: FakeIndex, project: str) -> None:
    """Pages and files allow cross-origin reading, for installers that run in a browser (S17, T98)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    for path in (f"/simple/{project}/", f"/files/{project}/{wheel.filename}"):
        assert (
            stack.get(path, {"Origin": "https://app.example"}).headers["Access-Control-Allow-Origin"] == "*"
        )
    assert stack.page(project).headers["Access-Control-Expose-Headers"] == "X-PyPI-Last-Serial"
    asked = stack.get(f"/simple/{project}/", {"Origin": "https://app.example"}, method="OPTIONS")
    assert (asked.status, asked.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert asked.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "path",
    [
        "/pypi/{0}/",
        "/integrity/{0}/1.0/x/provenance",
        "/simple/{0}/index.html",
        "/simple/{0}/1.0/",
        "/packages/{0}/x/y",
        "/legacy",
        "/indexes/public/simple/{0}/",
        "/metrics",
        "/decision",
        "/static/../",
    ],
)
def test_other_routes_are_closed(stack: Stack, index: FakeIndex, project: str, path: str) -> None:
    """What no location names is 404 and reaches neither an index nor a list of metrics (T16, T100, DESIGN 2)."""
    publish(index, project)
    index.forget_requests()
    assert stack.get(path.format(project)).status in {400, 404}
    assert index.requests() == []


def test_index_answers_page_with_other_errors(stack: Stack, index: FakeIndex, project: str) -> None:
    """An index's 403 or 429 is its failure, never a refusal of ours (T93)."""
    for code in (403, 429, 500, 401):
        name = f"{project}-{code}"
        index.add(name, make_wheel(name, "1.0"))
        index.switch(f"/simple/{name}/", status(code, Retry_After="7"))
        answer = stack.page(name)
        assert answer.status in {502, 503}
        assert "Blocked" not in answer.reason
        assert "X-Decider-Verdict" not in answer.headers


def test_gzipped_index(new_stack: Callable[..., Stack]) -> None:
    """An index that always compresses, and knows no ETags, is read all the same."""
    with FakeIndex(compress=True, etag=False) as index:
        wheel = index.add("demo", make_wheel("demo", "1.0"))
        stack = new_stack(index_url=index.url)
        stack.start()
        assert stack.page("demo").filenames == [wheel.filename]
        assert stack.file("demo", wheel.filename).body == wheel.data


def test_large_page(stack: Stack, index: FakeIndex, project: str) -> None:
    """A page of 5,000 files is complete in both formats (T57)."""
    entry = {"hashes": {"sha256": "0" * 64}, "size": 1, "upload-time": "2024-01-02T03:04:05Z"}
    files: list[dict[str, Any]] = [
        {
            "filename": f"{project}-1.{number}.tar.gz",
            "url": f"{index.origin}/files/{project}/{project}-1.{number}.tar.gz",
            **entry,
        }
        for number in range(5000)
    ]
    page = {"meta": {"api-version": "1.1"}, "name": project, "files": files, "versions": []}
    index.switch(f"/simple/{project}/", body(json.dumps(page).encode()))
    assert stack.page(project).filenames == [file["filename"] for file in files]
    assert len(Anchors(stack.page(project, accept="text/html").text).found) == 5000
