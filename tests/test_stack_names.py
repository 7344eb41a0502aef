"""Strict routes: no spelling of a path gets around a decision (STANDARDS T06-T16, T78; DESIGN 2, routing)."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fake_index import FakeIndex
from tests.stack import ADMIN_TOKEN, JSON_TYPE, PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Blocked:
    """A project that is blocked whole after page and file were cached; or one that another index owns."""

    project: str
    wheel: Distribution


@pytest.fixture(scope="module")
def blocked(shared_stack: Stack, shared_index: FakeIndex) -> Iterator[Blocked]:
    project = "malicious"
    wheel = shared_index.add(project, make_wheel(project, "2.0+evil"))
    assert shared_stack.file(project, wheel.filename).body == wheel.data
    assert shared_stack.page(project).status == 200
    rule = shared_stack.add_rule(action="block", project=project)

    def holds() -> bool:
        """Each is decided, and kept for its moment, on its own."""
        pages = [shared_stack.page(project, accept=accept).body for accept in ("text/html", JSON_TYPE)]
        file = shared_stack.file(project, wheel.filename)
        return file.status == 403 and all(b"CVE-2026-1" in page for page in pages)

    eventually(holds, within_s=PROMISE_S)
    yield Blocked(project, wheel)
    shared_stack.remove_rule(rule)


@pytest.mark.parametrize(
    "name",
    [
        b"demo.",
        b"-demo",
        b"_demo",
        b"demo-",
        b"..",
        b"...",
        b"d%C3%A9mo",
        "d\u00e9mo".encode(),
        b"%ff",
        b"%zz",
        b"%E2%84%AAeras",
        b"%C5%BFix",
        b"%EF%BD%84emo",
        b"demo%0a",
        b"demo%0A%0d",
        b"demo%00",
        b"%20demo",
        b"demo%20",
        b"demo;x=1",
        b"demo%3Fx",
        b"demo%23",
        b"a%2Fb",
        b"a%5Cb",
        b"demo%2F",
        b"demo%252F",
        b"demo\x7f",
        b"$(id)",
        b"'\"",
        b"<script>",
        b"%3Cscript%3E",
        b"*",
        b"a" * 300,
        b"a" * 9000,
    ],
)
def test_invalid_names_are_turned_away(stack: Stack, index: FakeIndex, name: bytes) -> None:
    """What is no project name gives 400 or 404 (414 when endless), reaches no index and is not reflected (T07-T14)."""
    for known in ("demo", "keras", "six", "a", "b"):
        index.add(known, make_wheel(known, "1.0"))
    index.forget_requests()
    for tail in (b"/", b""):
        status, rest = stack.raw_get(b"/simple/" + name + tail)
        assert status in {400, 404, 414, 431}, rest[:400]
        assert b"<script>" not in rest
        assert b"demo-1.0" not in rest
    assert [seen.path for seen in index.requests("/simple/")] == []


@pytest.mark.parametrize("name", ["0", "1-2-3", "x" * 200])
def test_unusual_names_are_names(stack: Stack, index: FakeIndex, name: str) -> None:
    """Digits alone are a name, and so are 200 characters (T13, DESIGN 11)."""
    index.add(name, make_wheel(name, "1.0"))
    assert stack.page(name).status == 200


@pytest.fixture(scope="module")
def owned(shared_stack: Stack, shared_index: FakeIndex) -> Iterator[Blocked]:
    """A file that the public index has under a name that the internal one owns."""
    project = "malicious-twin"
    wheel = shared_index.add(project, make_wheel(project, "2.0+evil"))
    rule = shared_stack.add_rule(action="own", project=project, index="internal")
    eventually(lambda: shared_stack.page(project).status == 404, within_s=PROMISE_S)
    yield Blocked(project, wheel)
    shared_stack.remove_rule(rule)


@pytest.fixture(params=["blocked", "owned"])
def forbidden(request: pytest.FixtureRequest) -> Blocked:
    """A file that nobody gets, whether a rule refuses it or its index may not give it."""
    found: Blocked = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    "path",
    [
        "/simple/{0}/",
        "/simple/{upper}/",
        "/simple/%6D{tail}/",
        "/simple//{0}/",
        "//simple/{0}/",
        "/simple/./{0}/",
        "/simple/x/../{0}/",
        "/simple/%2e%2e/simple/{0}/",
        "/default/simple/{0}/",
        "/default/../simple/{0}/",
        "/strict/simple/{0}/",
        "/strict//simple/{0}/",
        "/simple/{0}/?format=application/vnd.pypi.simple.v1%2Bjson",
        "/simple/{0}/#x",
        "/simple/{0}",
    ],
)
def test_no_spelling_shows_the_page_unfiltered(stack: Stack, blocked: Blocked, path: str) -> None:
    """However the path of a blocked project's page is spelled, its file is never listed without the refusal (T06, T08)."""
    spelled = path.format(blocked.project, upper=blocked.project.upper(), tail=blocked.project[1:])
    for accept in (b"text/html", b"application/vnd.pypi.simple.v1+json"):
        answer = stack.raw(
            b"GET "
            + spelled.encode()
            + b" HTTP/1.1\r\nHost: x\r\nAccept: "
            + accept
            + b"\r\nConnection: close\r\n\r\n"
        )
        status = int(answer.split()[1])
        assert status in {200, 301, 308, 400, 404}
        listed = blocked.wheel.filename.encode() in answer or b"malicious-2.0" in answer
        assert not listed or b"CVE-2026-1: bad things" in answer


SPELLINGS = [
    "/files/{p}/{f}",
    "/files/{p}/{q}",
    "/files/{p}/{lower}",
    "/files/{p}/%6Dalicious{ftail}",
    "/files/%6Dalicious/{f}",
    "/files/{P}/{f}",
    "/files/{p}//{f}",
    "/files//{p}/{f}",
    "//files/{p}/{f}",
    "/files/./{p}/{f}",
    "/files/{p}/./{f}",
    "/files/{p}/x/../{f}",
    "/files/demo/../{p}/{f}",
    "/files/demo/%2e%2e/{p}/{f}",
    "/files/demo/%2E%2E%2F{p}%2F{f}",
    "/files/demo/..%252F{p}%252F{f}",
    "/files/{p}%2F{f}",
    "/files/{p}/{f}/",
    "/files/{p}/{f}?x=1",
    "/files/{p}/{f}?",
    "/files/{p}/{f};x",
    "/files/{p}/{f}%00",
    "/files/{p}/{f}%0a",
    "/files/{p}/{f}%20",
    "/files/{p}/{f}.",
    "/files/{p}/{f}%23",
    "/files/{p}/{f}.metadata",
    "/files/{p}/{f}.metadata.metadata",
    "/files/{p}/{f}%2Emetadata",
    "/files/{p}/{f}.provenance",
    "/files/{p}/{f}.asc",
    "/default/files/{p}/{f}",
    "/strict/files/{p}/{f}",
    "/strict/files/{p}/{f}.metadata",
    "/simple/{p}/{f}",
    "/simple/{p}/../../files/{p}/{f}",
    "/indexes/public/files/{p}/{f}",
    "/indexes/public/simple/{p}/",
    "/packages/{p}/{f}",
    "http://localhost/files/{p}/{f}",
    "http://127.0.0.1:{port}/files/{p}/{f}",
    "/var/{f}",
    "/../packages/{f}",
    # UTF-8 that is longer than it may be, or none
    "/files/{p}%c0%af{f}",
    "/files/{p}%e0%80%af{f}",
    "/files/demo/%c0%ae%c0%ae/{p}/{f}",
    "/files/{p}/{f}%c0%80",
    "/files/{p}/{f}%c0%ae",
    "/files/{p}/%ff{f}",
    "/files/{p}/\u200b{f}",
    # what other servers take for a slash, a dot or an end
    "/files\\{p}\\{f}",
    "/files/{p}%5c{f}",
    "/files/{p}%255c{f}",
    "/files/demo/..;/{p}/{f}",
    "/files/{p};/{f}",
    "/files/{p}./{f}",
    "/files/{p}/{f}..",
    "/files/{p}/{f}\x00",
    "/files/{p}/{f}\t",
    "/files/{p}/{f}#x",
    "/files/{p}/{f}%3fx",
    # as long as it may be, and longer
    "{climb}/files/{p}/{f}",
    "/files/{p}/{dots}{f}",
    "/files/{p}/{f}?{long}",
    "/files/{p}/{long}",
    "/{long}/../files/{p}/{f}",
]


@pytest.mark.parametrize("path", SPELLINGS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_no_spelling_gives_the_blocked_bytes(
    stack: Stack, index: FakeIndex, forbidden: Blocked, path: str, method: bytes
) -> None:
    """However the path of a blocked file, or of one under an owned name, is spelled, no byte of it comes (T77, T78)."""
    name = forbidden.wheel.filename
    spelled = path.format(
        p=forbidden.project,
        P=forbidden.project.upper(),
        climb="/x/.." * 300,
        dots="./" * 3000,
        long="x" * 20_000,
        f=name,
        q=name.replace("+", "%2B"),
        lower=name.replace("+", "%2b"),
        ftail=name[len("malicious") :],
        port=index.port,
    )
    answer = stack.raw(
        method + b" " + spelled.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert int(answer.split()[1]) in {301, 308, 400, 403, 404, 414}, answer[:300]
    assert forbidden.wheel.data[:30] not in answer
    assert forbidden.wheel.metadata not in answer


@pytest.mark.parametrize(
    "path",
    [
        "%41" * 5_000,
        "%25" * 5_000,
        "%" + "25" * 7_000,
        "%25" * 5_000 + "%2f",
        "%" * 15_000,
        "%" + "25" * 60 + "2f",
    ],
)
def test_many_escapes(stack: Stack, path: str) -> None:
    """However many escapes a URI has, it is a wrong one, and no failure of nginx's patterns."""
    code, _ = stack.raw_get(f"/files/demo/{path}".encode())
    assert code in {400, 404}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Original-URI": "/healthz"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"X-Accel-Redirect": "/healthz"},
        {"X-Decider-Verdict": "allow"},
        {"X-Decider-File": "other"},
        {"X-Decider-Project": "demo"},
        {"X-Decider-Degraded": "", "Degraded": "", "Record": "verdict=allow", "User": "root"},
        {"X-Decider-Root": "index:internal", "X-Decider-Path": "decider.toml"},
        {"Root": "index:internal", "Path": "decider.toml"},
        {"X-Decider-Url": "http://127.0.0.1/x", "X-Decider-Upstream": "127.0.0.1 127.0.0.1 public public"},
        {
            "Url": "http://127.0.0.1/x",
            "Upstream": "127.0.0.1 127.0.0.1 public public",
            "Key": "x",
            "Tag": "x",
        },
        {"X-Decider-Failed": '{"title": "OK", "status": 200}'},
        {"Failed": '{"title": "OK", "status": 200}'},
        {"X-Decider-Part-Key": "0" * 64},
        {"X-Forwarded-Uri": "/files/demo/x"},
        {"X-HTTP-Method-Override": "OPTIONS"},
        {"Range": "bytes=0-10"},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT"},
        {"If-Match": "*"},
        {"Authorization": f"Bearer {ADMIN_TOKEN}"},
        {"Cookie": "verdict=allow"},
        {"Host": "localhost"},
        {"Cache-Control": "only-if-cached"},
        {"Pragma": "no-cache"},
        {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"},
        {"Expect": "100-continue"},
        {"Connection": "X-Decider-Verdict, close"},
    ],
    ids=lambda headers: next(iter(headers)) + "=" + next(iter(headers.values()))[:12],
)
def test_no_header_lifts_a_block(stack: Stack, blocked: Blocked, headers: dict[str, str]) -> None:
    """No header that a client can send reaches or changes a decision (T77, DESIGN 8)."""
    answer = stack.get(f"/files/{blocked.project}/{blocked.wheel.filename}", headers)
    assert answer.status == 403
    assert answer.reason.startswith("Blocked: CVE-2026-1: bad things")
    assert blocked.wheel.data[:30] not in answer.body


@pytest.mark.parametrize(
    "method", [b"OPTIONS", b"POST", b"PUT", b"PATCH", b"TRACE", b"PROPFIND", b"FOO", b"get"]
)
def test_no_method_gives_the_blocked_bytes(stack: Stack, blocked: Blocked, method: bytes) -> None:
    """No method but GET has a body worth having, and none gets around the block."""
    path = f"/files/{blocked.project}/{blocked.wheel.filename}".encode()
    answer = stack.raw(method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert int(answer.split()[1]) in {200, 204, 400, 403, 405, 501}
    assert blocked.wheel.data[:30] not in answer


def test_smuggled_request_is_decided(stack: Stack, blocked: Blocked) -> None:
    """A request hidden in another's body, or pipelined behind it, is refused like any other."""
    path = f"/files/{blocked.project}/{blocked.wheel.filename}".encode()
    inner = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    heads = (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: " + str(len(inner)).encode() + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
    )
    for head in heads:
        answer = stack.raw(head + inner, within_s=3)
        assert answer.startswith(b"HTTP/1.1 ")
        assert blocked.wheel.data[:30] not in answer
    for junk in (
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 100,
    ):
        stack.raw(junk, within_s=1)
    assert stack.get("/healthz").status == 200


def test_unknown_names_do_not_fill_the_cache(stack: Stack, index: FakeIndex) -> None:
    """Queries, fragments and case are no part of any cache key: a hundred spellings make one request (DESIGN 8)."""
    index.add("one-key", make_wheel("one-key", "1.0"))
    assert stack.page("one-key").status == 200
    index.forget_requests()
    for number in range(50):
        assert stack.get(f"/simple/one-key/?{number}", {"Accept": f"text/html, x/y{number}"}).status == 200
        assert stack.get(f"/simple/One_Key/?{number}").status == 301
    assert len(index.requests("one-key")) <= 1
