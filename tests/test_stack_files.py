"""Files, core metadata and provenance through nginx (DESIGN 3, STANDARDS T60-T85)."""

import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http.client import IncompleteRead
from io import BytesIO
from pathlib import Path

import pytest
import trustme

from tests.fake_index import Behaviour, FakeIndex, Reply, _Handler, body, headers, redirect, status, truncate
from tests.stack import JSON_TYPE, PROMISE_S, Stack, eventually, system_trust
from tests.uploads import Distribution, make_sdist, make_wheel, sha256

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Published:
    """A wheel and the project whose page lists it."""

    project: str
    wheel: Distribution


@pytest.fixture(params=["local", "remote"])
def published(request: pytest.FixtureRequest, index: FakeIndex, project: str) -> Published:
    """A wheel of the local directory, or of the remote index."""
    if request.param == "local":
        shelved = request.getfixturevalue("shelved")
        return Published(shelved.project, shelved.wheel)
    return Published(project, index.add(project, make_wheel(project, "1.0", padding=40_000)))


def test_file(stack: Stack, published: Published) -> None:
    """A file arrives whole and uncoded whatever encodings are accepted, as its page describes it (T70)."""
    project, wheel = published.project, published.wheel
    entry = stack.page(project).file(wheel.filename)
    for encoding in ("identity", "gzip, deflate, zstd"):
        answer = stack.file(project, wheel.filename, Accept_Encoding=encoding)
        assert (answer.status, answer.body) == (200, wheel.data)
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Content-Length"] == str(len(wheel.data))
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "max-age=0" in answer.headers["Cache-Control"]
        assert not answer.headers["ETag"].startswith("W/")
    assert (entry["size"], entry["hashes"]["sha256"]) == (len(wheel.data), wheel.sha256)


def test_head(stack: Stack, published: Published) -> None:
    """HEAD, cold and warm, has GET's headers and no body (T71)."""
    project, wheel = published.project, published.wheel
    cold = stack.get(f"/files/{project}/{wheel.filename}", method="HEAD")
    got = stack.file(project, wheel.filename)
    warm = stack.get(f"/files/{project}/{wheel.filename}", method="HEAD")
    for head in (cold, warm):
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Length", "ETag", "Content-Type", "Accept-Ranges"):
            assert head.headers[name] == got.headers[name]


def test_ranges(stack: Stack, published: Published) -> None:
    """Ranges give the bytes asked for, bad ones 416 or the whole, each with one Content-Type (T72, T73)."""
    project, wheel = published.project, published.wheel
    data, size = wheel.data, len(wheel.data)
    for asked, start, end in (("0-9", 0, 10), ("-1000", size - 1000, size), ("5-", 5, size)):
        answer = stack.file(project, wheel.filename, Range=f"bytes={asked}")
        assert (answer.status, answer.body) == (206, data[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    for asked in ("bytes=99999999999-", f"bytes={size}-{size + 9}"):
        for path in (f"/files/{project}/{wheel.filename}", f"/files/{project}/{wheel.filename}.metadata"):
            answer = stack.get(path, {"Range": asked})
            assert (answer.status, len(answer.headers.get_all("Content-Type", []))) == (416, 1)
            assert answer.headers["Content-Range"].startswith("bytes */")
            assert answer.headers["Content-Length"] == str(len(answer.body))
    # Several ranges may be answered with the whole.
    several = stack.file(project, wheel.filename, Range="bytes=0-9,20-29")
    (said,) = several.headers.get_all("Content-Type", [])
    assert (several.status, said.partition(";")[0]) in {
        (200, "application/octet-stream"),
        (206, "multipart/byteranges"),
    }
    assert several.status == 206 or several.body == data
    # nginx answers an unreadable range with 416, which RFC 9110 leaves to the server.
    assert stack.file(project, wheel.filename, Range="bytes=abc").status in {200, 416}


def test_conditional_requests(stack: Stack, published: Published) -> None:
    """The ETag revalidates, a wrong If-Range gives the whole file (T74, T75)."""
    project, wheel = published.project, published.wheel
    full = stack.file(project, wheel.filename)
    same = stack.file(project, wheel.filename, If_None_Match=full.headers["ETag"])
    assert (same.status, same.body) == (304, b"")
    assert same.headers["ETag"] == full.headers["ETag"]
    assert "max-age=0" in same.headers["Cache-Control"]
    ranged = stack.file(project, wheel.filename, Range="bytes=0-9", If_Range=full.headers["ETag"])
    assert (ranged.status, ranged.body) == (206, wheel.data[:10])
    other = stack.file(project, wheel.filename, Range="bytes=0-9", If_Range='"other"')
    assert (other.status, other.body) == (200, wheel.data)


def test_preconditions(stack: Stack, published: Published, index: FakeIndex) -> None:
    """If-Match and If-Unmodified-Since that do not hold are 412, cold and warm, and no failure of an index (RFC 9110, 13.1)."""
    project, wheel = published.project, published.wheel
    for path in (f"/files/{project}/{wheel.filename}", f"/files/{project}/{wheel.filename}.metadata"):
        index.switch(path, headers({"Last-Modified": "Sat, 03 Feb 2024 04:05:06 GMT"}))
        for _ in range(2):
            for failing in (
                {"If-Match": '"other"'},
                {"If-Match": '"other", W/"another"'},
                {"If-Unmodified-Since": "Thu, 01 Jan 1998 00:00:00 GMT"},
            ):
                for method in ("GET", "HEAD"):
                    answer = stack.get(path, failing, method=method)
                    assert answer.status == 412
                    assert answer.headers.get_all("Content-Type") == ["application/problem+json"]
                    assert "X-Decider-Degraded" not in answer.headers
                    assert method == "HEAD" or answer.json()["status"] == 412
            for holding in ({"If-Match": "*"}, {"If-Unmodified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}):
                answer = stack.get(path, holding)
                assert (answer.status, answer.body) == (
                    200,
                    wheel.metadata if path.endswith("metadata") else wheel.data,
                )
    page = stack.get(f"/simple/{project}/", {"If-Match": '"other"'})
    assert (page.status, page.content_type) == (412, "application/problem+json")
    etag = stack.get(f"/simple/{project}/").headers["ETag"]
    assert stack.get(f"/simple/{project}/", {"If-Match": etag}).status == 200


def test_precondition_of_an_upstream(stack: Stack, index: FakeIndex, project: str) -> None:
    """A 412 of an index, or of where it redirects to, is its failure: it has seen no condition of a client."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    path = f"/files/{project}/{wheel.filename}"
    for behaviour in (status(412), redirect("/elsewhere")):
        index.switch("/elsewhere", status(412))
        index.switch(path, behaviour)
        for conditions in ({}, {"If-Match": '"other"'}):
            answer = stack.get(path, conditions)
            assert (answer.status, answer.headers["X-Decider-Degraded"]) == (502, "index")
    index.switch("/elsewhere", body(wheel.data, "application/zip", ETag='"one"'))
    eventually(lambda: stack.get(path, {"If-Match": '"other"'}).status == 412, within_s=5)
    assert stack.get(path).body == wheel.data
    assert stack.get(path, {"If-Match": '"other"'}).status == 412


def test_core_metadata(stack: Stack, published: Published) -> None:
    """`.metadata` is the wheel's METADATA, of the digest that the page names (T76, S37)."""
    project, wheel = published.project, published.wheel
    entry = stack.page(project).file(wheel.filename)
    answer = stack.file(project, f"{wheel.filename}.metadata")
    assert (answer.status, answer.body) == (200, wheel.metadata)
    assert entry["core-metadata"]["sha256"] == sha256(answer.body)
    with zipfile.ZipFile(BytesIO(wheel.data)) as archive:
        assert archive.read(f"{project.replace('-', '_')}-1.0.dist-info/METADATA") == answer.body


def test_no_metadata_where_none_is_offered(stack: Stack, index: FakeIndex, project: str) -> None:
    """`.metadata` of a file without core metadata is 404."""
    sdist = index.add(project, make_sdist(project, "1.0"), metadata=False)
    assert stack.file(project, sdist.filename).status == 200
    assert stack.file(project, f"{sdist.filename}.metadata").status == 404


@pytest.mark.parametrize(
    ("version", "spellings"),
    [
        ("1.1+local.1", ("+", "%2B", "%2b")),
        ("1!2.0", ("!", "%21")),
    ],
)
@pytest.mark.parametrize("place", ["local", "remote"])
def test_escaped_names_are_one_file(
    stack: Stack, index: FakeIndex, project: str, *, version: str, spellings: tuple[str, ...], place: str
) -> None:
    """A file name escaped or not is the same file, the same decision and one cache entry (T61, T62, C04)."""
    wheel = make_wheel(project, version)
    if place == "remote":
        index.add(project, wheel)
    else:
        stack.drop(wheel)
        eventually(lambda: stack.page(project).status == 200, within_s=PROMISE_S)
    eventually(lambda: stack.page(project).json()["versions"] == [version], within_s=PROMISE_S)
    eventually(lambda: stack.file(project, wheel.filename).body == wheel.data, within_s=PROMISE_S)
    eventually(
        lambda: stack.file(project, f"{wheel.filename}.metadata").body == wheel.metadata, within_s=PROMISE_S
    )
    for spelling in spellings:
        path = wheel.filename.replace(spellings[0], spelling)
        assert stack.file(project, path).body == wheel.data
        assert stack.file(project, f"{path}.metadata").body == wheel.metadata
    assert len([seen for seen in index.requests(f"/files/{project}/") if seen.path.endswith(".whl")]) == (
        place == "remote"
    )
    stack.add_rule(action="block", project=project, filename=wheel.filename)
    for spelling in spellings:
        path = wheel.filename.replace(spellings[0], spelling)
        eventually(lambda path=path: stack.file(project, path).status == 403, within_s=PROMISE_S)  # type: ignore[misc]


def test_build_tag(stack: Stack, index: FakeIndex, project: str) -> None:
    """A build tag is no part of the version (T60)."""
    wheel = index.add(project, make_wheel(project, "1.0", build="1build"))
    stack.add_rule(action="block", project=project, versions="==1.0")
    eventually(lambda: stack.file(project, wheel.filename).status == 403, within_s=PROMISE_S)


@pytest.mark.parametrize("odd", ["~x", "@y", " blank", "é", "a&b"])
def test_file_names_with_odd_characters(stack: Stack, index: FakeIndex, project: str, odd: str) -> None:
    """A file is served under the URL that its page gives, whatever its name, in both formats (T69)."""
    distribution = make_sdist(project, "1.0")
    name = f"{project}-1.0{odd}.tar.gz"
    index.add(project, replace(distribution, filename=name), metadata=False, url=f"{index.origin}/odd")
    index.switch("/odd", body(distribution.data, "application/gzip"))
    url = stack.page(project).file(name)["url"]
    assert stack.get(url.replace("../..", "")).body == distribution.data
    assert f'href="{url}#sha256={distribution.sha256}"' in stack.page(
        project, accept="text/html"
    ).text.replace("&#39;", "'")


def test_unlisted_file_is_404(stack: Stack, index: FakeIndex, project: str) -> None:
    """A file that its index does not list is 404 with a problem body, and is not fetched (T79, DESIGN 11)."""
    index.add(project, make_wheel(project, "1.0"))
    unlisted = make_wheel(project, "6.6.6")
    answer = stack.file(project, unlisted.filename)
    assert answer.status == 404
    assert answer.content_type == "application/problem+json"
    assert "X-Decider-Verdict" not in answer.headers
    assert index.requests(unlisted.filename) == []


def test_file_under_another_project(stack: Stack, index: FakeIndex, project: str) -> None:
    """A file is had only under the project whose page lists it (T68)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    index.add(f"{project}-x", make_wheel(f"{project}-x", "1.0"))
    assert stack.file(project, wheel.filename).status == 200
    assert stack.file(f"{project}-x", wheel.filename).status == 404


def test_withdrawn_file_is_refused_though_cached(stack: Stack, index: FakeIndex, project: str) -> None:
    """A file that its index no longer lists is refused even though it is cached (DESIGN 2)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    index.add(project, make_wheel(project, "1.1"))
    assert stack.file(project, wheel.filename).status == 200
    index.remove(project, wheel.filename)
    assert stack.api("POST", "/indexes/public/refresh", {"project": project}).status < 300
    eventually(lambda: stack.file(project, wheel.filename).status == 404, within_s=PROMISE_S)
    assert wheel.filename not in stack.page(project).filenames


def test_file_is_cached(stack: Stack, index: FakeIndex, project: str) -> None:
    """A file is fetched once, and from then on served while the index is gone."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    for _ in range(3):
        assert stack.file(project, wheel.filename).body == wheel.data
    assert len(index.requests(f"/files/{project}/{wheel.filename}")) == 1
    index.switch("/*", status(503))
    assert stack.file(project, wheel.filename).body == wheel.data


def test_many_ask_once(stack: Stack, index: FakeIndex, project: str) -> None:
    """Many clients that want the same cold file cause one fetch (T82)."""
    wheel = index.add(project, make_wheel(project, "1.0", padding=400_000))
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda _: stack.file(project, wheel.filename), range(64)))
    assert {(answer.status, sha256(answer.body)) for answer in answers} == {(200, wheel.sha256)}
    assert len(index.requests(f"/files/{project}/{wheel.filename}")) == 1


def test_truncated_file_is_never_cached(stack: Stack, index: FakeIndex, project: str) -> None:
    """A file cut off by its index is a failure to the client and leaves no trace in the cache (T81)."""
    wheel = index.add(project, make_wheel(project, "1.0", padding=200_000))
    path = f"/files/{project}/{wheel.filename}"
    index.switch(path, truncate(100_000))
    status_code, rest = stack.raw_get(path.encode())
    _, _, body = rest.partition(b"\r\n\r\n")
    assert status_code >= 500 or len(body) < len(wheel.data)
    index.behave()
    assert stack.file(project, wheel.filename).body == wheel.data
    assert stack.file(project, wheel.filename).body == wheel.data


@pytest.mark.parametrize("states_size", [True, False])
def test_body_whose_end_nobody_marks(
    stack: Stack, index: FakeIndex, project: str, *, states_size: bool
) -> None:
    """A body that ends with its connection may have been cut off anywhere: it is not kept (T81)."""
    wheel = index.add(project, make_wheel(project, "1.0", padding=200_000))
    if not states_size:
        index.project(project).files[wheel.filename].fields.pop("size")
    path = f"/files/{project}/{wheel.filename}"

    def cut(reply: Reply, wire: _Handler) -> None:
        wire.send_response_only(200)
        wire.end_headers()
        wire.wfile.write(reply.body[:100_000])
        wire.close_connection = True

    index.switch(path, cut)
    with suppress(IncompleteRead):  # where some of it had gone on
        assert stack.get(path).status == 502
    index.behave()
    eventually(lambda: stack.get(path).body == wheel.data, within_s=PROMISE_S, what="the whole file")
    assert stack.get(path).body == wheel.data


def test_chunked_file_is_kept(stack: Stack, index: FakeIndex, project: str) -> None:
    """A body in chunks is kept when the last has come, and not when it was cut off before."""
    wheel = index.add(project, make_wheel(project, "1.0", padding=200_000))
    path = f"/files/{project}/{wheel.filename}"

    def chunked(reply: Reply, wire: _Handler, *, ends: bool) -> None:
        wire.send_reply(replace(reply, headers={"Transfer-Encoding": "chunked"}, body=b""))
        for start in range(0, len(reply.body) if ends else 100_000, 50_000):
            part = reply.body[start : start + 50_000]
            wire.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if ends:
            wire.wfile.write(b"0\r\n\r\n")
        wire.close_connection = True

    index.switch(path, partial(chunked, ends=False))
    with pytest.raises(IncompleteRead):
        stack.get(path)
    index.switch(path, partial(chunked, ends=True))
    before = len(index.requests(path))
    for _ in range(3):
        assert stack.get(path).body == wheel.data
    assert len(index.requests(path)) == before + 1


@pytest.mark.parametrize("omitted", [(), ("size",), ("size", "hashes")])
@pytest.mark.parametrize("companion", ["", ".metadata"])
@pytest.mark.parametrize(
    "wrong",
    [
        body(b"", "application/octet-stream"),
        body(b"<html>back soon", "text/html"),
        body(b"<html>back soon", "Text/HTML; charset=utf-8"),
        body(b"<html>back soon", "application/xhtml+xml"),
        lambda _, wire: wire.send_reply(
            Reply(200, {"Content-Type": "text/html", "Transfer-Encoding": "chunked"}, b"2\r\nno\r\n0\r\n\r\n")
        ),
    ],
    ids=["empty", "page", "charset", "xhtml", "chunked"],
)
def test_wrong_200(
    stack: Stack,
    index: FakeIndex,
    project: str,
    wrong: Behaviour,
    *,
    companion: str,
    omitted: tuple[str, ...],
) -> None:
    """An empty answer, or a web page, in place of a file or a companion does not stay, whatever is known of it."""
    fields = {"core-metadata": True} if "hashes" in omitted else {}
    wheel = index.add(project, make_wheel(project, "1.0"), omit=omitted, fields=fields)
    path = f"/files/{project}/{wheel.filename}{companion}"
    index.switch(path, wrong)
    stack.get(path)
    index.behave()
    right = wheel.metadata if companion else wheel.data
    eventually(lambda: stack.get(path).body == right, within_s=5, what="the right bytes")
    count = len([seen for seen in index.requests(path) if seen.path == path])
    assert stack.get(path).body == right
    assert len([seen for seen in index.requests(path) if seen.path == path]) == count


def test_files_as_web_pages(stack: Stack, index: FakeIndex, project: str) -> None:
    """A host that calls every file a web page is asked for each once, where its page states their size."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    path = f"/files/{project}/{wheel.filename}"
    index.switch(path, headers({"Content-Type": "text/html; charset=utf-8"}))
    assert {stack.get(path).body for _ in range(3)} == {wheel.data}
    assert len(index.requests(path)) == 1


def test_text_is_kept(stack: Stack, index: FakeIndex, project: str) -> None:
    """Other types say nothing against a file or a companion: what comes as text is kept."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    for path in (f"/files/{project}/{wheel.filename}", f"/files/{project}/{wheel.filename}.metadata"):
        index.switch(path, headers({"Content-Type": "text/plain; charset=utf-8"}))
        answers = {stack.get(path).body for _ in range(3)}
        assert (len(answers), len(index.requests(path))) == (1, 1)


@pytest.mark.parametrize("code", [500, 503, 429, 403, 404])
def test_index_refuses_a_file(stack: Stack, index: FakeIndex, project: str, code: int) -> None:
    """An index's error for a file is its failure, never cached and never looking like a refusal of ours."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    path = f"/files/{project}/{wheel.filename}"
    index.switch(path, status(code, "Because"))
    answer = stack.get(path)
    assert answer.status in {404, 502, 503}
    assert "X-Decider-Verdict" not in answer.headers
    assert "Blocked" not in answer.reason
    index.behave()
    eventually(lambda: stack.get(path).body == wheel.data, within_s=5)


def test_file_redirects_go_to_allowed_hosts_only(new_stack: Callable[..., Stack]) -> None:
    """A file may redirect to a host that its index allows, three times at most, and to no other (DESIGN 11)."""
    with FakeIndex() as index, FakeIndex() as allowed, FakeIndex() as forbidden:
        good, bad, looped = (
            index.add("demo", make_wheel("demo", version)) for version in ("1.0", "2.0", "3.0")
        )
        for host, wheel in ((allowed, good), (forbidden, bad)):
            host.add("demo", wheel)
            index.switch(
                f"/files/demo/{wheel.filename}", redirect(f"{host.origin}/files/demo/{wheel.filename}")
            )
        index.switch(f"/files/demo/{looped.filename}", redirect(f"/files/demo/{looped.filename}"))
        stack = new_stack(index_url=index.url, index=f'file_hosts = ["127.0.0.1:{allowed.port}"]')
        stack.start()
        assert stack.file("demo", good.filename).body == good.data
        assert stack.file("demo", bad.filename).status in {403, 404, 502, 503}
        assert forbidden.requests() == []
        assert stack.file("demo", looped.filename).status in {502, 503}
        assert len(index.requests(looped.filename)) <= 4


def test_file_urls_point_to_allowed_hosts_only(stack: Stack, index: FakeIndex, project: str) -> None:
    """A URL outside the allowed hosts, an IP literal or loopback among them, is never fetched (DESIGN 4, 8)."""
    with FakeIndex() as other:
        wheel = other.add(project, make_wheel(project, "1.0"))
        index.add(project, wheel, url=f"{other.origin}/files/{project}/{wheel.filename}")
        assert stack.file(project, wheel.filename).status in {403, 404, 502, 503}
        assert other.requests() == []
    for number, url in enumerate(
        (
            f"http://127.0.0.1:{stack.internal_port}/metrics",
            f"http://localhost:{stack.port}/healthz",
            "file:///etc/passwd",
            "http://[::1]/x",
            "https://user:secret@index.example/x",
            f"http://127.0.0.1:{index.port}@evil.example/x",
            "gopher://index.example/x",
            "https://index.example/a\r\nX: y",
        )
    ):
        name = f"{project}-{number}"
        wheel = index.add(name, make_wheel(name, "1.0"), url=url)
        answer = stack.file(name, wheel.filename)
        assert answer.status in {403, 404, 502, 503}, url
        assert b"root:" not in answer.body


def test_directory_tricks_in_packages(stack: Stack, project: str) -> None:
    """A link that leads out of the packages folder serves nothing; hidden and foreign files are not listed."""
    secret = stack.folder / "secret.txt"
    secret.write_text("secret")
    stack.drop(make_wheel(project, "1.0"), project)
    folder = stack.packages / project
    (folder / f"{project}-9.9.tar.gz").symlink_to(secret)
    (folder / ".hidden-1.0.tar.gz").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    eventually(lambda: b"1.0" in stack.page(project).body, within_s=PROMISE_S)
    assert stack.page(project).filenames == [make_wheel(project, "1.0").filename]
    for name in (f"{project}-9.9.tar.gz", ".hidden-1.0.tar.gz", "notes.txt", "..%2fsecret.txt"):
        answer = stack.file(project, name)
        assert answer.status in {400, 403, 404}
        assert answer.body != b"secret"


def swap_for_link(path: Path, target: Path) -> None:
    """Put a link in the place of a file at once, or of a folder as quickly as can be."""
    link = path.parent / ".link"
    link.symlink_to(target)
    if path.is_dir():
        path.rename(path.parent / ".before")
    link.replace(path)


@pytest.mark.parametrize("swapped", ["file", "folder", "file within"])
def test_link_in_the_place_of_a_file(stack: Stack, project: str, swapped: str) -> None:
    """A file, or its folder, that becomes a link just after it was decided on serves nothing of where the link leads."""
    wheel = make_wheel(project, "1.0")
    path = stack.drop(wheel, project)
    secrets = (stack.packages if swapped == "file within" else stack.folder) / f".not-{project}"
    secrets.mkdir(mode=0o755)
    secret = secrets / wheel.filename
    secret.write_bytes(b"secret")
    secret.chmod(0o644)
    eventually(lambda: stack.file(project, wheel.filename).body == wheel.data, within_s=PROMISE_S)
    # Twice, each within what is left of the second for which nginx keeps the decision.
    for _ in range(2):
        eventually(lambda: stack.file(project, wheel.filename).body == wheel.data, within_s=PROMISE_S)
        if swapped == "folder":
            swap_for_link(path.parent, secrets)
        else:
            swap_for_link(path, secret)
        answers = [stack.file(project, wheel.filename) for _ in range(20)]
        assert {one.status for one in answers} <= {404, 502, 503}
        assert not any(b"secret" in one.body for one in answers)
        eventually(lambda: stack.file(project, wheel.filename).status == 404, within_s=PROMISE_S)
        if swapped == "folder":
            path.parent.unlink()
            (stack.packages / ".before").rename(path.parent)
        else:
            path.unlink()
            stack.drop(wheel, project)


def test_link_within_the_packages(new_stack: Callable[..., Stack]) -> None:
    """The packages folder and those above it may be links, and links in it to what lies in it are served.

    For folders that nginx's user can pass through, and not list, too.
    """
    stack = new_stack(index_url=None)
    real = stack.drop(make_wheel("demo", "1.0"), ".pool")
    whole = stack.drop(make_wheel("whole", "1.0"), ".pool/whole")
    (stack.packages / "demo").mkdir()
    (stack.packages / "demo" / real.name).symlink_to(f"../.pool/{real.name}")
    moved = stack.folder / "volumes" / "one"
    moved.mkdir(parents=True)
    stack.packages.rename(moved / "packages")
    stack.packages.symlink_to(moved.parent / "latest" / "packages")
    (moved.parent / "latest").symlink_to("one")
    (stack.packages / "whole").symlink_to(stack.packages / ".pool" / "whole")
    for folder in (moved, moved / "packages", stack.packages / ".pool", stack.packages / ".pool" / "whole"):
        folder.chmod(0o711)
    stack.start()
    for project, path in (("demo", real), ("whole", whole)):
        answer = stack.file(project, path.name)
        assert (answer.status, answer.body[:2]) == (200, b"PK"), project
        assert stack.file(project, f"{path.name}.metadata").status == 200
    assert not list((stack.data_dir / "staged").glob("*/*")), "served where they lie"


@pytest.mark.parametrize("place", ["staged", "metadata"])
def test_link_among_our_own_copies(stack: Stack, project: str, place: str) -> None:
    """What was put into data_dir for nginx is served from there, and no link in its place is followed."""
    wheel = make_wheel(project, "1.0")
    if place == "staged" and os.getuid() != 0:
        pytest.skip("copies are made where root starts nginx")
    path = stack.drop(wheel, project)
    if place == "staged":
        path.chmod(0o600)
    companion = "" if place == "staged" else ".metadata"
    asked = f"/files/{project}/{wheel.filename}{companion}"
    eventually(lambda: stack.get(asked).status == 200, within_s=PROMISE_S)
    body = stack.get(asked).body
    (kept,) = (
        one for one in (stack.data_dir / place).rglob("*") if one.is_file() and one.read_bytes() == body
    )
    secret = stack.folder / f"secret-{project}"
    secret.write_bytes(b"secret")
    secret.chmod(0o644)
    link = kept.with_name(".link")
    link.symlink_to(secret)
    link.replace(kept)
    answers = [stack.get(asked) for _ in range(20)]
    assert not any(b"secret" in one.body for one in answers)
    assert {one.status for one in answers} <= {502, 503}


def test_dropped_wheel_is_served_within_two_seconds(stack: Stack, project: str) -> None:
    """A wheel dropped into the folder is on the page and served within 2 s, and gone 2 s after its removal."""
    first, second = make_wheel(project, "1.0"), make_wheel(project, "1.1")
    stack.drop(first)
    eventually(lambda: stack.file(project, first.filename).body == first.data, within_s=PROMISE_S)
    # Now pages and decisions are cached.
    eventually(lambda: stack.page(project).status == 200, within_s=PROMISE_S)
    path = stack.drop(second)
    eventually(lambda: second.sha256 in stack.page(project).text, within_s=PROMISE_S)
    eventually(lambda: stack.file(project, second.filename).body == second.data, within_s=PROMISE_S)
    path.unlink()
    eventually(lambda: stack.page(project).filenames == [first.filename], within_s=PROMISE_S)
    eventually(lambda: stack.file(project, second.filename).status == 404, within_s=PROMISE_S)


def test_replaced_wheel_is_described_anew(stack: Stack, project: str) -> None:
    """A file replaced under its name gets its new digest on the page and its new bytes served."""
    old, new = make_wheel(project, "1.0"), make_wheel(project, "1.0", padding=5_000)
    stack.drop(old)
    eventually(lambda: stack.page(project).status == 200, within_s=PROMISE_S)
    eventually(lambda: stack.file(project, old.filename).body == old.data, within_s=PROMISE_S)
    stack.drop(new)
    eventually(lambda: new.sha256 in stack.page(project).text, within_s=PROMISE_S)
    eventually(lambda: stack.file(project, new.filename).body == new.data, within_s=PROMISE_S)


def test_upload_time_of_a_local_file(stack: Stack, project: str) -> None:
    """The upload time of a local file is its modification time (DESIGN 11)."""
    path = stack.drop(make_wheel(project, "1.0"))
    os.utime(path, (1_700_000_000, 1_700_000_000))

    def stated() -> bool:
        answer = stack.page(project)
        return answer.status == 200 and answer.json()["files"][0]["upload-time"].startswith(
            "2023-11-14T22:13:20"
        )

    eventually(stated, within_s=PROMISE_S)


def test_flat_and_foldered_directories(stack: Stack, project: str) -> None:
    """Files of a local index lie flat or one folder a project, under any spelling of the name."""
    stack.drop(make_wheel(project, "1.0"))
    stack.drop(make_wheel(project, "1.1"), project.replace("-", "_").title())
    expected = {make_wheel(project, version).filename for version in ("1.0", "1.1")}

    def found() -> set[str]:
        answer = stack.page(project)
        return set(answer.filenames) if answer.status == 200 else set()

    eventually(lambda: found() == expected, within_s=PROMISE_S)
    for version in ("1.0", "1.1"):
        wheel = make_wheel(project, version)
        path = f"/files/{project}/{wheel.filename}"
        served = (200, wheel.data)
        eventually(lambda: ((got := stack.get(path)).status, got.body) == served, within_s=PROMISE_S)  # noqa: B023


def test_tls_index(new_stack: Callable[..., Stack]) -> None:
    """Over TLS, pages, files and provenance of an index that proves itself by a trusted authority are served."""
    with FakeIndex(tls=True) as index:
        assert index.ca_file is not None
        document = b'{"version": 1, "attestation_bundles": []}'
        wheel = index.add("demo", make_wheel("demo", "1.0"), provenance=document)
        bare = index.add("demo", make_wheel("demo", "1.1"))
        stack = new_stack(index_url=index.url, environment=system_trust(index.ca_file))
        stack.start()
        assert stack.page("demo").filenames == [wheel.filename, bare.filename]
        assert stack.file("demo", wheel.filename).body == wheel.data
        assert stack.file("demo", f"{wheel.filename}.provenance").body == document
        assert stack.file("demo", f"{bare.filename}.provenance").status == 404


def test_untrusted_tls_index(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """An index with a certificate of an unknown authority is no index: it is not even asked."""
    with FakeIndex(tls=True) as index:
        index.add("demo", make_wheel("demo", "1.0"))
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        stack = new_stack(index_url=index.url, environment=system_trust(other))
        stack.start()
        assert stack.page("demo").status in {502, 503}
        assert index.requests() == []


def test_client_headers_reach_no_index(stack: Stack, index: FakeIndex, project: str) -> None:
    """What a client sends about itself stays here: no cookie, credential or address goes to an index."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    private = {
        "Authorization": "Basic dXNlcjpzZWNyZXQ=",
        "Cookie": "session=secret",
        "X-Forwarded-For": "10.1.2.3",
        "X-Secret": "secret",
        "Accept": JSON_TYPE,
    }
    assert stack.get(f"/simple/{project}/", private).status == 200
    assert stack.get(f"/files/{project}/{wheel.filename}", private).status == 200
    seen = index.requests(project)
    assert len(seen) >= 2
    for request in seen:
        assert {"authorization", "cookie", "x-forwarded-for", "x-secret"}.isdisjoint(request.headers)
