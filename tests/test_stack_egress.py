"""An index that writes the answer to a client's next question (RFC 9112, 11.2): what it once did to pip and uv.

A status below 200, or no status line, came to the client as it was; its body then was the next answers on that connection.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.fake_index import Behaviour, FakeIndex, Reply, _Handler
from tests.hostile import OWN_HEADERS, Relay, StrictClient, chunked, has_gone, head, plain
from tests.installer import Installer, Ran
from tests.stack import JSON_TYPE, PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

FORGED = make_wheel("acme-lib", "99.0")
OWN = make_wheel("acme-lib", "1.0")


def forged_answer(path: str, gleam: Distribution) -> bytes:
    """A whole answer of HTTP as decider would give it, if it had that from the public index."""
    if path.startswith("/simple/acme-lib/"):
        file = {
            "filename": FORGED.filename,
            "url": f"../../files/acme-lib/{FORGED.filename}",
            "hashes": {"sha256": FORGED.sha256},
            "core-metadata": True,
        }
        page = {"meta": {"api-version": "1.1"}, "name": "acme-lib", "files": [file], "versions": ["99.0"]}
        return plain(json.dumps(page).encode(), f"Content-Type: {JSON_TYPE}")
    bodies = {wheel.filename: wheel.data for wheel in (gleam, FORGED)}
    bodies |= {f"{wheel.filename}.metadata": wheel.metadata for wheel in (gleam, FORGED)}
    return plain(bodies.get(path.rpartition("/")[2], b""), "Content-Type: application/octet-stream")


def answers_ahead(line: str, relay: Relay, asked: str, gleam: Distribution) -> Behaviour:
    """That status line (none: HTTP/0.9), then whole answers to what is asked on the same connection, each in its time."""

    def send(_: Reply, wire: _Handler) -> None:
        wire.close_connection = True

        def put(answer: bytes) -> None:
            wire.wfile.write(chunked(answer, end=b"") if line else answer)

        wire.wfile.write(head(line, "Transfer-Encoding: chunked") if line else b"")
        put(forged_answer(asked, gleam))
        for path in relay.after(asked, until=partial(has_gone, wire.connection)):
            put(forged_answer(path, gleam))

    return send


@pytest.fixture(scope="module")
def public() -> Iterator[FakeIndex]:
    with FakeIndex() as index:
        yield index


@pytest.fixture(scope="module")
def attacked(public: FakeIndex) -> Iterator[Stack]:
    """A stack whose internal index owns `acme-lib`, which the public index has too."""
    stack = Stack(index_url=public.url, workers=1)
    try:
        public.add("acme-lib", FORGED)
        stack.drop(OWN)
        stack.start()
        stack.add_rule(action="own", project="acme-*", index="internal")
        eventually(lambda: stack.page("acme-lib").filenames == [OWN.filename], within_s=PROMISE_S)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def relay(attacked: Stack, public: FakeIndex) -> Iterator[Relay]:
    with Relay(attacked.port) as relay:
        yield relay
    public.behave()


def install_once(installer: Installer, tool: str, target: str, project: str) -> Ran:
    """Without asking again for some seconds where that fails, and without what is cached."""
    where = ["--target", str(installer.folder / target)]
    if tool == "pip":
        return installer.pip("install", *where, "--retries", "0", "--no-cache-dir", project)
    command = ["uv", "pip", "install", *where, "--default-index", installer.index_url, "--no-cache", project]
    return installer.run("env", "UV_HTTP_RETRIES=0", *command)


@pytest.mark.parametrize("tool", ["pip", "uv"])
@pytest.mark.parametrize(
    "line",
    ["HTTP/1.1 100 Continue", "HTTP/1.1 000 x", "HTTP/1.1 199 x", ""],
    ids=["100", "000", "199", "none"],
)
def test_installers_get_no_forged_answer(  # noqa: PLR0917 (fixtures)
    attacked: Stack, public: FakeIndex, relay: Relay, tmp_path: Path, project: str, line: str, tool: str
) -> None:
    """What an index sends as the body of its odd answer installs nothing under a name of ours."""
    gleam = public.add(project, make_wheel(project, "1.0", requires=["acme-lib"]))
    metadata = f"/files/{project}/{gleam.filename}.metadata"
    public.switch(metadata, answers_ahead(line, relay, metadata, gleam))
    installer = Installer(tmp_path, f"http://127.0.0.1:{relay.port}/simple/")
    ran = install_once(installer, tool, "out", project)
    assert metadata in {asked.path for asked in relay.asked}, ran.output
    right = {f"{project}-1.0", "acme-lib-1.0"}
    # Without a status line what is forged for the first question is a proper answer to it, and right.
    assert installer.installed("out") in ([set()] if line else [set(), right]), ran.output
    assert (ran.code == 0) == (installer.installed("out") == right), ran.output
    assert public.requests("acme") == []
    public.behave()
    eventually(lambda: attacked.get(metadata).body == gleam.metadata, within_s=PROMISE_S)
    ran = install_once(installer, tool, "after", project)
    assert ran.code == 0, ran.output
    assert installer.installed("after") == right


STATUS_LINES = [
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 101 Switching Protocols",
    "HTTP/1.1 102 Processing",
    "HTTP/1.1 103 Early Hints",
    "HTTP/1.1 199 x",
    "HTTP/1.1 000 x",
    "HTTP/1.1 001 x",
    "HTTP/1.1 099 x",
    "HTTP/1.1 201 Created",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 205 Reset Content",
    "HTTP/1.1 206 Partial Content",
    "HTTP/1.1 299 x",
    "HTTP/1.1 300 x",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 600 x",
    "HTTP/1.1 999 x",
    "HTTP/1.1 1000 x",
    "HTTP/1.1 20 x",
    "HTTP/1.1 -20 x",
    "HTTP/1.1x 200 OK",
    "\r\nHTTP/1.1 200 OK",
    " HTTP/1.1 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/0.9 200 OK",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1  200 OK",
    "http/1.1 200 OK",
    "ICY 200 OK",
    "RTSP/1.0 200 OK",
    "",
]
INTERIM = (["100"], ["102"], ["103"])
FRAMINGS = {
    "chunked": ("Transfer-Encoding: chunked",),
    "length": ("Content-Length: 1000000",),
    "upgrade": ("Connection: Upgrade", "Upgrade: x"),
    "close": (),
}


def answers_once_more(begun: bytes, relay: Relay, asked: str, *, is_chunked: bool) -> Behaviour:
    """Those bytes; then one whole answer at once, and one more once something has been asked behind `asked`."""

    def send(_: Reply, wire: _Handler) -> None:
        wire.close_connection = True
        wire.wfile.write(begun)
        # Without a status line these would be the answer, and a proper one.
        forged = (
            plain(b"forged", "Content-Type: application/octet-stream", "X-Forged: 1") if begun else b"<html>"
        )
        more = chunked(forged, end=b"") if is_chunked else forged
        wire.wfile.write(more)
        for _path in relay.after(asked, until=partial(has_gone, wire.connection)):
            wire.wfile.write(more)

    return send


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("line", STATUS_LINES)
def test_no_answer_but_ours(public: FakeIndex, relay: Relay, line: str, framing: str) -> None:
    """Whatever an index's answer begins with, a client that goes on asking on its connection gets the answer to each question."""
    begun = head(line, *FRAMINGS[framing]) if line else b""
    project = f"odd-{STATUS_LINES.index(line)}-{framing}"
    wheel = public.add(project, make_wheel(project, "1.0"))
    path = f"/files/{project}/{wheel.filename}"
    wishes = {"Connection": "Upgrade", "Upgrade": "x"} if framing == "upgrade" else {}
    with StrictClient(relay.port) as client:
        for asked in (path, f"{path}.metadata"):
            script = answers_once_more(begun, relay, asked, is_chunked=framing == "chunked" and bool(line))
            public.switch(asked, script)
            answer = client.get(asked, **wishes)
            assert answer.status == 502, answer
            assert answer.headers["content-type"] == "application/problem+json"
            # Behind an interim answer what is forged is the answer, of another size or digest than the page states.
            said = "its|it has" if line.split(" ")[1:2] in INTERIM else "its answer"
            assert re.search(f"did not give it: (?:{said}) ", json.loads(answer.body)["detail"]), answer.body
            assert set(answer.headers) <= OWN_HEADERS
            own = client.get("/simple/acme-lib/", Accept=JSON_TYPE)
            assert (own.status, OWN.filename in own.body.decode()) == (200, True)
            assert client.get(f"/files/acme-lib/{OWN.filename}").body == OWN.data
