"""STANDARDS.md, section 4, row by row, against the real thing; the table is `tests/standards.py`."""

import ast
import gzip
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import pytest
import trustme

from tests.conftest import running
from tests.fake_index import FakeIndex, body
from tests.installer import Installer
from tests.stack import JSON_TYPE, PIP_ACCEPT, PROMISE_S, Answer, Process, Stack, eventually
from tests.standards import FOO_FILES, IDS, ROWS, Ask, Row
from tests.uploads import Distribution, make_sdist, make_wheel

pytestmark = pytest.mark.stack

MANY_FILES = 30_000
MANY_FILES_S = 10.0  #: the promise is 2 s, on a machine of its own
MANY_FILES_MB = 200.0
HOPS = 2


@pytest.fixture(scope="module")
def world() -> Iterator[Stack]:
    """The projects that the rows speak of, and their rules."""
    with FakeIndex() as index, running(Stack(index_url=index.url)) as stack:
        for version in ("1.0", "1.1", "2.0"):
            index.add("demo", make_wheel("demo", version))
        index.add("demo", make_sdist("demo", "1.1"), metadata=False)
        for name in ("bad", "foo-bar", "foo-bar-baz", "friendly-bard", "0", "1-2-3"):
            index.add(name, make_wheel(name, "1.0"))
        for filename in (*FOO_FILES, "other-1.0-py3-none-any.whl"):
            _add_named(index, "foo", filename)
        for filename in ("zope.interface-4.0.5.zip", "Zope_Interface-4.0.5-py3-none-any.whl"):
            _add_named(index, "zope-interface", filename)
        stack.add_rule(action="block", project="demo", versions="==2.0")
        stack.add_rule(action="block", project="bad")
        stack.add_rule(action="block", project="foo", versions="==1.0.post2", file_type="sdist")
        blocked = ("bad/bad-1.0-py3-none-any.whl", "demo/demo-2.0-py3-none-any.whl", "foo/foo-1.0-2.tar.gz")
        eventually(
            lambda: all(stack.get(f"/files/{path}").status == 403 for path in blocked), within_s=PROMISE_S
        )
        yield stack


def _add_named(index: FakeIndex, project: str, filename: str) -> None:
    """List a file of that name; what is in it makes no difference to a page."""
    index.add(project, Distribution(filename, filename.encode(), b""), metadata=False)


def test_table_is_whole() -> None:
    """Every row of the section is in the table, in its order, and is shown, covered or decided against."""
    assert tuple(ROWS) == IDS
    assert [name for name, row in ROWS.items() if not (row.asks or row.covered or row.against)] == []


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.covered])
def test_covering_test_is_there(name: str) -> None:
    """The tests that a row names exist, and say what they show."""
    missing = []
    for reference in ROWS[name].covered:
        module, _, test = reference.partition("::")
        path = Path(__file__).parent / f"test_{module}.py"
        functions = {
            node.name: ast.get_docstring(node)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        if not functions.get(test):
            missing.append(reference)
    assert missing == []


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, row in ROWS.items() if row.asks])
def test_row(world: Stack, name: str, row: Row) -> None:
    """Each request of the row gets the answer that the row asks for."""
    assert name in IDS
    for ask in row.asks:
        _require(ask, _exchange(world, ask))


def _exchange(world: Stack, ask: Ask) -> Answer:
    if isinstance(ask.path, bytes):
        status, rest = world.raw_get(ask.path)
        return Answer(status, "", world.get("/healthz").headers, rest)
    answer = world.get(ask.path, ask.sent, method=ask.method)
    if ask.leads_to is None:
        return answer
    path = ask.path
    for _ in range(HOPS):
        if answer.status not in {301, 302, 307, 308}:
            break
        location = answer.headers["Location"]
        # Relative or root-relative, and not what begins another host.
        assert not location.startswith("//"), location
        assert "://" not in location, location
        # One slash: a client that resolves a reference below a doubled one has a host there.
        path = urljoin("/" + path.lstrip("/"), location)
        answer = world.get(path, ask.sent)
    assert unquote(path) == ask.leads_to, f"{ask.path} led to {path}"
    return answer


def _require(ask: Ask, answer: Answer) -> None:
    told = f"{ask.method} {ask.path!r:.80} {dict(ask.sent)}: {answer.status} {answer.headers.items()}"
    wanted = ask.status if isinstance(ask.status, tuple) else (ask.status,)
    assert answer.status in wanted, told
    if ask.media_type is not None:
        assert answer.content_type.partition(";")[0] == ask.media_type, told
    for header, part in ask.headers.items():
        values = answer.headers.get_all(header, [])
        assert values, f"{header} is missing. {told}"
        assert any(part in value for value in values), f"{header} is {values}. {told}"
    assert [header for header in ask.absent if header in answer.headers] == [], told
    text = answer.body.decode(errors="replace")
    assert [part for part in ask.contains if part not in text] == [], f"{told}\n{text[:2000]}"
    assert [part for part in ask.lacks if part in text] == [], f"{told}\n{text[:2000]}"
    if ask.method == "HEAD":
        assert answer.body == b"", told


def memory_mb(process: Process, field: str) -> float:
    """A line of /proc/<pid>/status."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def test_two_accept_lines(world: Stack) -> None:
    """Of two Accept lines at least the first is read, which is all that nginx before 1.23 knows of them (T30)."""
    lines = f"Accept: {JSON_TYPE}\r\nAccept: text/html;q=0.1\r\n"
    answer = world.raw(f"GET /simple/demo/ HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Type: {JSON_TYPE}".encode() in answer


@pytest.mark.parametrize("path", ["/simple/demo/", "/simple/"])
def test_304_has_vary(world: Stack, path: str) -> None:
    """A 304 has no body, and names what the page varies by and how long it may be kept (T32, T86)."""
    sent = {"Accept": PIP_ACCEPT}
    tag = world.get(path, sent).headers["ETag"]
    assert not tag.startswith("W/")
    answer = world.get(path, {**sent, "If-None-Match": tag})
    assert (answer.status, answer.body) == (304, b"")
    assert "Accept" in answer.headers["Vary"]
    assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == (tag, "max-age=0")


@dataclass(frozen=True)
class Http2:
    """A stack that speaks TLS, and curl to ask it over HTTP/2."""

    stack: Stack
    curl: str
    authorities: Path

    def ask(self, path: str, *options: str) -> str:
        """Head and body of the answer; "" where there is none."""
        url = f"https://127.0.0.1:{self.stack.port}{path}"
        done = subprocess.run(
            [self.curl, "--silent", "--include", "--http2", "--cacert", str(self.authorities), *options, url],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.stdout.replace("\r\n", "\n")


@pytest.fixture
def http2(own_index: FakeIndex, new_stack: Callable[..., Stack], tmp_path: Path) -> Http2:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl to speak HTTP/2")
    own_index.add("demo", make_wheel("demo", "1.0"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stack = new_stack(index_url=own_index.url, top='tls_certificate = "tls.pem"\ntls_key = "tls.key"')
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(stack.folder / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(stack.folder / "tls.pem")
    stack.launch()
    made = Http2(stack, curl, tmp_path / "ca.pem")
    eventually(lambda: made.ask("/readyz").startswith("HTTP/2 200"), within_s=40, what="readiness")
    return made


def test_refusal_over_http2(http2: Http2) -> None:
    """Over HTTP/2, which has no reason phrase, the problem body carries the refusal, under exactly its type (T95, C13).

    What is refused of a header is refused of HTTP/2's, too.
    """
    path = "/files/demo/demo-1.0-py3-none-any.whl"
    added = http2.stack.run("rules", "add", "demo", "--action", "block", "--reason", "leaks secrets")
    assert added.returncode == 0, added.stderr

    def refusal() -> str:
        answer = http2.ask(path)
        return answer if answer.startswith("HTTP/2 403") else ""

    head, _, body = eventually(refusal, within_s=PROMISE_S).partition("\n\n")
    assert "content-type: application/problem+json\n" in f"{head}\n"
    found = json.loads(body)
    assert (found["status"], found["title"]) == (403, "Blocked")
    assert "leaks secrets" in found["detail"]
    for bad in (("-HAuthorization: a", "-HAuthorization: b"), (f"-HAuthorization: {'x' * 1025}",)):
        head, _, body = http2.ask(path, *bad).partition("\n\n")
        assert head.startswith("HTTP/2 400"), head
        assert json.loads(body)["status"] == 400


def test_rulesets_over_http2(http2: Http2, tmp_path: Path) -> None:
    """Over HTTP/2, too, a large ruleset is taken of those who may replace one, and refused without them."""
    rules = [{"action": "yank", "project": f"p{number}", "reason": "x" * 1_000} for number in range(3_000)]
    (tmp_path / "rules.json").write_text(json.dumps({"rules": rules}))
    content = ("-HContent-Type: application/json", "-XPUT", "--data-binary", f"@{tmp_path / 'rules.json'}")
    for header, status in ((), 401), (("-HAuthorization: Bearer no",), 401):
        head, _, body = http2.ask("/api/v1/rulesets/feed", *content, *header).partition("\n\n")
        assert head.startswith(f"HTTP/2 {status}"), head
        assert json.loads(body)["status"] == status
    right = f"-HAuthorization: Bearer {http2.stack.token}"
    head, _, body = http2.ask("/api/v1/rulesets/feed", *content, right).partition("\n\n")
    assert (head.split("\n")[0].strip(), json.loads(body)["added"]) == ("HTTP/2 200", 3_000)
    head, _, body = http2.ask("/api/v1/rulesets/feed", right).partition("\n\n")
    assert (head.split("\n")[0].strip(), len(json.loads(body)["rules"])) == ("HTTP/2 200", 3_000)


def test_page_of_30000_files(own_index: FakeIndex, new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """A page of 30,000 files is whole, in time, in bounded memory, and pip and uv read it (T57)."""
    stack = new_stack(index_url=own_index.url)
    stack.start()
    newest = own_index.add("many", make_wheel("many", "9.0"))
    own_index.switch("/simple/many/", body(_many_files(own_index.url, newest)))
    workers = [process for process in stack.processes() if "decider.wsgi" in process.command]
    started = time.monotonic()
    answer = stack.get("/simple/many/", {"Accept": PIP_ACCEPT, "Accept-Encoding": "gzip"})
    cold_s = time.monotonic() - started
    page = json.loads(gzip.decompress(answer.body))
    assert (len(page["files"]), len({file["filename"] for file in page["files"]})) == (MANY_FILES, MANY_FILES)
    assert len(page["versions"]) == MANY_FILES // 2 + 1
    assert cold_s < MANY_FILES_S
    started = time.monotonic()
    again = stack.get("/simple/many/", {"Accept": PIP_ACCEPT, "Accept-Encoding": "gzip"})
    assert again.body == answer.body
    assert time.monotonic() - started < cold_s
    assert {worker.pid: mb for worker in workers if (mb := memory_mb(worker, "VmHWM")) > MANY_FILES_MB} == {}
    installer = Installer(tmp_path, stack.simple_url)
    for tool in ("pip", "uv"):
        ran = installer.install(tool, tool, "many")
        assert ran.code == 0, ran.output
        assert installer.installed(tool) == {"many-9.0"}


def _many_files(url: str, newest: Distribution) -> bytes:
    """A page with a wheel and an sdist for each release, and the newest one, which is the only one to be had."""
    entries: list[dict[str, Any]] = [
        {
            "filename": f"many-1.{number // 200}.{number % 200}{ending}",
            "url": f"{url}many-1.{number // 200}.{number % 200}{ending}",
            "hashes": {"sha256": f"{number:064x}"},
            "size": 12_345,
            "upload-time": "2024-01-02T03:04:05.678901Z",
            "requires-python": ">=3.8",
            "core-metadata": {"sha256": f"{number:064x}"},
        }
        for number in range(MANY_FILES // 2)
        for ending in ("-py3-none-any.whl", ".tar.gz")
    ][1:]
    own = {
        "filename": newest.filename,
        "url": urljoin(url, f"/files/many/{newest.filename}"),
        "hashes": {"sha256": newest.sha256},
        "size": len(newest.data),
    }
    versions = sorted({entry["filename"].split("-")[1].removesuffix(".tar.gz") for entry in entries})
    page = {
        "meta": {"api-version": "1.1"},
        "name": "many",
        "files": [*entries, own],
        "versions": [*versions, "9.0"],
    }
    return json.dumps(page).encode()
