"""Requests that two readers could read differently, and answers that could be kept for somebody else."""

import gzip
from collections.abc import Callable

import pytest

from tests.fake_index import FakeIndex
from tests.stack import JSON_TYPE, PIP_ACCEPT, PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

HTML_TYPE = "application/vnd.pypi.simple.v1+html"


# One request or two?


@pytest.fixture(scope="module")
def bad(shared_stack: Stack, shared_index: FakeIndex) -> Distribution:
    """A blocked file that nginx has cached."""
    wheel = shared_index.add("smuggled", make_wheel("smuggled", "1.0"))
    assert shared_stack.file("smuggled", wheel.filename).body == wheel.data
    shared_stack.add_rule(action="block", project="smuggled")
    eventually(lambda: shared_stack.file("smuggled", wheel.filename).status == 403, within_s=PROMISE_S)
    return wheel


HIDDEN = b"GET /files/smuggled/%s HTTP/1.1\r\nHost: x\r\n\r\n"
#: What only nginx may ask: were it to reach the decider by itself, it would answer with where the bytes are.
INNER = (
    b"GET /-/decision/file HTTP/1.1\r\nHost: decider\r\nX-Decider-Repository: default\r\n"
    b"X-Decider-Project: smuggled\r\nX-Decider-File: %s\r\n\r\n"
)
API = b"POST /api/v1/rules HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "length and chunked": lambda more: (
        API + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + more
    ),
    "chunked and length": lambda more: (
        API + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % (len(more) + 5) + more
    ),
    "two lengths": lambda more: API + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(more) + more,
    "list of lengths": lambda more: API + b"Content-Length: 0, %d\r\n\r\n" % len(more) + more,
    "signed length": lambda more: API + b"Content-Length: +%d\r\n\r\n" % len(more) + more,
    "hexadecimal length": lambda more: API + b"Content-Length: 0x%x\r\n\r\n" % len(more) + more,
    "two encodings": lambda more: (
        API + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + more
    ),
    "unknown encoding": lambda more: API + b"Transfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n" + more,
    "blank before the colon": lambda more: API + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + more,
    "tab before the value": lambda more: API + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + more,
    "vertical tab in the value": lambda more: API + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + more,
    "underscore in the name": lambda more: API + b"Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n" + more,
    "folded header": lambda more: API + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + more,
    "folded encoding": lambda more: API + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + more,
    "bare line feeds": lambda more: (
        API.replace(b"\r\n", b"\n") + b"Content-Length: 0\nX: y\n\n" + more.replace(b"\r\n", b"\n")
    ),
    "bare carriage return": lambda more: API + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + more,
    "line feed in a chunk's extension": lambda more: (
        API + b"Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n%x\r\n" % len(more) + more + b"\r\n0\r\n\r\n"
    ),
    "chunk size that overflows": lambda more: (
        API + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n" + more
    ),
    "chunk that says less": lambda more: (
        API + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + more.replace(b"\r\n\r\n", b"\r\nX: y\r\n\r\n")
    ),
    "old version with a body": lambda more: (
        API.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + more
    ),
    "no version": lambda more: b"GET /simple/\r\n" + more,
    "body of a read": lambda more: (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(more) + more
    ),
    "expectation": lambda more: API + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n" + more,
    "upgrade": lambda more: (
        b"GET /why/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + more
    ),
    "pipelined": lambda more: b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + more,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hidden", [HIDDEN, INNER], ids=["hidden", "inner"])
def test_smuggled(stack: Stack, bad: Distribution, shape: str, hidden: bytes) -> None:
    """However a second request hides in a first, it is decided or not read; and nobody gets another's answer."""
    name = bad.filename.encode()
    more = hidden % name + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = stack.raw(SHAPES[shape](more), within_s=0.5)
    assert bad.data[:30] not in answer
    assert b"X-Decider-Path" not in answer
    assert b"X-Decider-Upstream" not in answer
    for _ in range(3):
        refused = stack.file("smuggled", bad.filename)
        assert (refused.status, refused.reason[:7]) == (403, "Blocked")
        assert stack.get("/healthz").body == b"ok\n"
        assert stack.get("/simple/absent-here/").status == 404


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://index.example/files/smuggled/%s HTTP/1.1\r\nHost: x\r\n",
        b"GET http://decider/-/decision/file HTTP/1.1\r\nHost: decider\r\nX-File: %s\r\n",
        b"GET /files/smuggled/%s HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        b"GET /files/smuggled/%s HTTP/1.1\r\nHost: index.example/../../\r\n",
        b"GET /files/smuggled/%s HTTP/1.1\r\nHost: 127.0.0.1:1\r\n",
        b"GET /files/smuggled/%s HTTP/1.1\r\nHost:\r\n",
        b"GET /files/smuggled/%s HTTP/1.1\r\n",
        b"GET /files/smuggled/%s\r\n",
        b"GET  /files/smuggled/%s  HTTP/1.1\r\nHost: x\r\n",
        b"GET\t/files/smuggled/%s\tHTTP/1.1\r\nHost: x\r\n",
        b"CONNECT smuggled/%s:80 HTTP/1.1\r\nHost: x\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\nX: %s\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\nX: %s\r\n",
    ],
)
def test_odd_request_lines(stack: Stack, bad: Distribution, head: bytes) -> None:
    """No form of a request line or Host gets a blocked byte, or anything from a host that it names."""
    answer = stack.raw(head % bad.filename.encode() + b"Connection: close\r\n\r\n", within_s=1)
    assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 3"))
    assert bad.data[:30] not in answer
    assert bad.metadata not in answer


@pytest.mark.parametrize(
    "path",
    [
        "/-/decide/file", "/-/decide/page", "/-/decide/redirect", "/-/decision/file", "/-/page", "/-/ready",
        "/-/metrics", "/-/alive", "/-/ping", "/-/nginx", "/-/webhook", "/@remote_file", "/@refusal", "/metrics",
        "/indexes/public/smuggled/", "/indexes/", "/run/accepted.json", "/var/run/accepted.json",
        "/cache/files/", "/metadata/", "/staged/", "/logs/usage.log", "/decider.sqlite",
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "/default", "/simple/..", "//"])
def test_inner_places_are_not_there(stack: Stack, path: str, prefix: str) -> None:
    """What nginx and the decider say to each other, and what lies on the disk, is 404 from outside."""
    status, rest = stack.raw_get((prefix + path).encode())
    assert status == 404
    assert b"decider serves /simple/" in rest


# Whose answer is it?


def test_formats_are_kept_apart(stack: Stack, index: FakeIndex, project: str) -> None:
    """Whatever odd Accept header asks first, each client gets the format and encoding that it can read."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    accepts = {
        PIP_ACCEPT: JSON_TYPE,
        "text/html": "text/html",
        HTML_TYPE: HTML_TYPE,
        f"{HTML_TYPE};q=1, {JSON_TYPE};q=0.5": HTML_TYPE,
        f"{JSON_TYPE}, x/y{'z' * 500}": JSON_TYPE,
        "*/*;q=0.1, text/html;q=0.2": "text/html",
        "": "text/html",
    }
    encodings = {
        "gzip": "gzip",
        "gzip;q=0": None,
        "identity;q=1, gzip;q=0.000": None,
        "br, gzip;q=0.5": "gzip",
        "x-gzip": "gzip",
        "": None,
    }
    for _ in range(2):
        for accept, content_type in accepts.items():
            for encoding, coded in encodings.items():
                answer = stack.get(f"/simple/{project}/", {"Accept": accept, "Accept-Encoding": encoding})
                assert answer.content_type.partition(";")[0] == content_type, (accept, encoding)
                assert answer.headers.get("Content-Encoding") == coded, (accept, encoding)
                plain = gzip.decompress(answer.body) if coded else answer.body
                assert wheel.filename.encode() in plain
                assert plain.startswith(b"{") == (content_type == JSON_TYPE)


def test_repositories_are_kept_apart(stack: Stack, index: FakeIndex, project: str) -> None:
    """What one repository refuses, hides or does not have says nothing about the next, in whatever order they are asked."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    stack.add_rule(action="block", project=project, repositories=["strict"])
    path = f"files/{project}/{wheel.filename}"
    eventually(lambda: stack.get(f"/strict/{path}").status == 403, within_s=PROMISE_S)
    for _ in range(3):
        assert stack.get(f"/{path}").body == wheel.data
        assert stack.get(f"/strict/{path}").status == 403
        assert stack.get(f"/inside/{path}").status == 404
        assert "yanked" not in stack.page(project).file(wheel.filename)
        assert stack.page(project, repository="strict").filenames == []
        assert stack.page(project, repository="inside").status == 404
        assert stack.get(f"/default/{path}").body == wheel.data


def test_hosts_and_schemes_are_not_kept(stack: Stack, index: FakeIndex, project: str) -> None:
    """What a client says of host, scheme or prefix is in no page that the next client gets."""
    index.add(project, make_wheel(project, "1.0"))
    marks = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "evil",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example",
        "Origin": "https://evil.example",
        "Referer": "https://evil.example/",
        "X-Original-URL": "/evil",
    }
    for path in (
        f"/simple/{project}/",
        f"/simple/{project}",
        f"/why/{project}",
        "/simple/",
        f"/pypi/{project}/json",
    ):
        for headers in (marks, {}):
            answer = stack.get(path, {"Accept": PIP_ACCEPT, **headers})
            assert b"evil" not in answer.body
            assert "evil" not in str(answer.headers)
