"""Bytes under way: large files, many clients for one, slow ones, impatient ones; and logs of it all."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest

from decider.log_files import MAX_BYTES
from decider.wsgi import THREADS
from tests.fake_index import Behaviour, FakeIndex, Reply, _Handler, body
from tests.stack import PIP_ACCEPT, Stack, eventually, source_environment
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

MB = 1024 * 1024


def zeros(size: int, *, pause_after: int = 0, until: threading.Event | None = None) -> Behaviour:
    """Send that many zero bytes; after `pause_after` of them wait until told to go on."""

    def send(reply: Reply, wire: _Handler) -> None:
        wire.send_reply(replace(reply, body=b""), length=size)
        block = bytes(MB)
        for start in range(0, size, MB):
            if until is not None and start >= pause_after:
                until.wait(30)
            wire.wfile.write(block[: size - start])

    return send


def add_large(index: FakeIndex, project: str, size: int, behaviour: Behaviour) -> str:
    """List a file of that size, whose bytes `behaviour` sends; its path here."""
    wheel = make_wheel(project, "1.0")
    digest = sha256(bytes(size)).hexdigest()
    index.add(project, wheel, fields={"size": size, "hashes": {"sha256": digest}}, metadata=False)
    path = f"/files/{project}/{wheel.filename}"
    index.switch(path, behaviour)
    return path


def count_bytes(stack: Stack, path: str, **headers: str) -> tuple[int, int]:
    """Status and length of a body that is not kept."""
    connection = HTTPConnection("127.0.0.1", stack.port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    length = 0
    while part := answer.read(MB):
        length += len(part)
    connection.close()
    return answer.status, length


def test_large_file_streams(stack: Stack, index: FakeIndex, project: str) -> None:
    """The first bytes of a large file reach the client before its index has sent the last."""
    go_on = threading.Event()
    path = add_large(index, project, 20 * MB, zeros(20 * MB, pause_after=10 * MB, until=go_on))
    connection = HTTPConnection("127.0.0.1", stack.port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    first = answer.read(5 * MB)
    assert not go_on.is_set()
    go_on.set()
    assert len(first) + len(answer.read()) == 20 * MB
    connection.close()


def test_large_file_is_fetched_once(stack: Stack, index: FakeIndex, project: str) -> None:
    """200 clients at once for a cold file of 500 MB are one fetch, and each gets what it asked for (T82)."""
    size = 500 * MB
    path = add_large(index, project, size, zeros(size))

    def ask(number: int) -> tuple[int, int]:
        wanted = {} if number == 100 else {"Range": f"bytes={number * MB}-{number * MB + 999}"}
        return count_bytes(stack, path, **wanted)

    with ThreadPoolExecutor(200) as clients:
        answers = list(clients.map(ask, range(200)))
    assert answers.pop(100) == (200, size)
    assert set(answers) == {(206, 1000)}
    assert len(index.requests(path)) == 1


def test_impatient_installers_wait_for_one_fetch(
    own_index: FakeIndex, new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    """An installer that gets nothing while another's fetch is under way asks again, and has the file when it is there."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0", padding=2 * MB))
    path = f"/files/demo/{wheel.filename}"
    go_on = threading.Event()

    def slow(reply: Reply, wire: _Handler) -> None:
        """Bytes all the time, for longer than an installer waits for the first one."""
        wire.send_reply(replace(reply, body=b""), length=len(reply.body))
        position = 0
        while position < len(reply.body):
            step = len(reply.body) if go_on.wait(0.2) else 1000
            wire.wfile.write(reply.body[position : position + step])
            position += step

    own_index.switch(path, slow)
    stack = new_stack(index_url=own_index.url)
    stack.start()

    command = [sys.executable, "-m", "pip", "--isolated", "download", "--no-deps", "--no-cache-dir"]
    wishes = ["--timeout", "1", "--retries", "9", "--index-url", stack.simple_url, "demo"]
    said = [tmp_path / f"{number}.txt" for number in range(3)]
    with ExitStack() as opened:
        opened.callback(go_on.set)
        pips = [
            opened.enter_context(
                subprocess.Popen(
                    [*command, "--dest", str(tmp_path / words.stem), *wishes],
                    stdout=opened.enter_context(words.open("wb")),
                    stderr=subprocess.STDOUT,
                    env=source_environment(),
                )
            )
            for words in said
        ]
        eventually(
            lambda: sum(b"Read timed out" in words.read_bytes() for words in said) >= 2,
            within_s=30,
            what="two that got nothing in time",
        )
        go_on.set()
        assert [pip.wait(30) for pip in pips] == [0, 0, 0], [words.read_text() for words in said]
    assert [file.read_bytes() == wheel.data for file in tmp_path.glob("*/*.whl")] == [True] * 3
    assert [seen.path for seen in own_index.requests(path)].count(path) == 1


def large_page(project: str) -> bytes:
    """A page of 6 MB: more than what the kernel's and nginx's buffers hold of an answer that nobody reads."""
    names = (f"{project.replace('-', '_')}-1.{number}-py3-none-{'x' * 200}.whl" for number in range(4500))
    files = [
        {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": "0" * 64}, "yanked": "y" * 480}
        for name in names
    ]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": project, "files": files}).encode()


@pytest.fixture
def slow_clients() -> Iterator[Callable[[Stack, str], None]]:
    """Ask for a path and read nothing of the answer, as long as the test takes."""
    with ExitStack() as opened:

        def ask(stack: Stack, path: str) -> None:
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", stack.port))
            client.sendall(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {PIP_ACCEPT}\r\nAccept-Encoding: identity\r\n\r\n".encode()
            )
            assert client.recv(12) == b"HTTP/1.1 200"

        yield ask


def test_slow_clients_hold_no_thread(
    own_index: FakeIndex, new_stack: Callable[..., Stack], slow_clients: Callable[[Stack, str], None]
) -> None:
    """More clients that read nothing than the decider has threads, each with a page of its own, keep nobody waiting."""
    stack = new_stack(index_url=own_index.url, workers=1)
    stack.start()
    for number in range(THREADS + 2):
        own_index.switch(f"/simple/large-{number}/", body(large_page(f"large-{number}")))
        slow_clients(stack, f"/simple/large-{number}/")
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    assert stack.page("demo").filenames == [wheel.filename]
    assert stack.file("demo", wheel.filename).body == wheel.data


def test_large_log_is_turned_over(own_stack: Stack) -> None:
    """A log that has grown large is put aside, and nginx writes to a new one."""
    access = own_stack.data_dir / "logs" / "access.log"
    os.truncate(access, MAX_BYTES)
    eventually(lambda: access.with_name("access.log.1").exists(), within_s=15, what="the old log")
    assert own_stack.get("/healthz").status == 200
    eventually(lambda: b"/healthz" in access.read_bytes(), within_s=5, what="a line in the new log")
