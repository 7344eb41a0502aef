"""Attacks on the whole: a hostile or sick index, a hostile client, a local user; each once succeeded, or nearly did."""

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_index import FakeIndex, Reply, _Handler, hang, headers, status
from tests.stack import JSON_TYPE, PIP_ACCEPT, Stack, eventually
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

AWAY = {502, 503, 504}


# An index


def test_index_may_give_its_pages_a_short_life(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """A page whose index gives it two seconds shows what is new after about that time, whatever page_ttl is."""
    own_index.cache_control = "max-age=2"
    own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url)
    stack.start()
    assert len(stack.page("demo").filenames) == 1
    own_index.add("demo", make_wheel("demo", "2.0"))
    eventually(lambda: len(stack.page("demo").filenames) == 2, within_s=10, what="the new file")


def test_index_page_does_not_live_for_ever(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """What an index once said with validators that match everything is forgotten when it says something else."""
    own_index.etag = False
    own_index.add("demo", make_wheel("demo", "6.6.6"))
    stack = new_stack(index_url=own_index.url, index='page_ttl = "1s"')
    stack.start()
    own_index.switch(
        "/simple/demo/", headers({"ETag": "*", "Last-Modified": "Fri, 01 Jan 2100 00:00:00 GMT"})
    )
    assert stack.page("demo").filenames == ["demo-6.6.6-py3-none-any.whl"]
    own_index.remove("demo", "demo-6.6.6-py3-none-any.whl")
    own_index.add("demo", make_wheel("demo", "1.0"))

    def literal(reply: Reply, wire: _Handler) -> None:
        """As RFC 9110, 13.1.2 and 13.1.3 have it."""
        conditions = wire.headers.get("If-None-Match") == "*" or wire.headers.get("If-Modified-Since")
        wire.send_reply(
            Reply(304) if conditions else replace(reply, headers={**reply.headers, "ETag": '"a"'})
        )

    own_index.switch("/simple/demo/", literal)
    eventually(
        lambda: stack.page("demo").filenames == ["demo-1.0-py3-none-any.whl"],
        within_s=10,
        what="the new page",
    )


def test_page_without_end(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """A page without end is 502 after one question, takes no more than its share of the disk, and is forgotten."""
    stack = new_stack(index_url=own_index.url)
    stack.start()
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    is_cut = threading.Event()

    def without_end(_: Reply, wire: _Handler) -> None:
        """Until it has been cut; then as if that had been all."""
        wire.send_reply(Reply(200, {"Content-Type": JSON_TYPE, "Transfer-Encoding": "chunked"}))
        part = b"100000\r\n" + b" " * 2**20 + b"\r\n"
        while not is_cut.is_set():
            wire.wfile.writelines([part] * 120)
            is_cut.wait(1)
        wire.wfile.write(b"0\r\n\r\n")

    own_index.switch("/simple/demo/", without_end)
    answer = stack.page("demo")
    assert (answer.status, "larger than" in answer.json()["detail"]) == (502, True)
    assert len(own_index.requests("/simple/demo/")) == 1
    eventually(lambda: "egress.page_failed" in stack.log.read_text(), within_s=20)
    cache = stack.data_dir / "cache" / "indexes"

    def takes_little() -> bool:
        taken = 0
        for path in cache.rglob("*"):
            with suppress(FileNotFoundError):  # nginx removes it meanwhile
                taken += path.stat().st_blocks * 512
        return taken < 2**20

    eventually(takes_little, within_s=10)
    is_cut.set()
    own_index.behave()
    eventually(lambda: stack.page("demo").status == 200, within_s=10)
    assert stack.page("demo").filenames == [wheel.filename]


def test_hanging_index_starves_nobody(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """While an index hangs and everybody asks for names of it, what others have is served as before."""
    stack = new_stack(index_url=own_index.url, environment={"DECIDER_WORKERS": "1"})
    local = stack.drop(make_wheel("local-demo", "1.0"))
    stack.start()
    own_index.switch("/simple/cold-*", hang)
    with ThreadPoolExecutor(60) as clients:
        waiting = [
            clients.submit(stack.get, f"/simple/cold-{number}/", {"Accept": PIP_ACCEPT})
            for number in range(60)
        ]
        eventually(
            lambda: len(own_index.requests("/simple/cold-")) >= 20, within_s=10, what="requests that hang"
        )
        for number in range(5):
            started = time.monotonic()
            # Each with a decision of its own: nothing of it comes from a cache.
            assert stack.get(f"/files/local-demo/{number}.zip").status == 404
            assert stack.file("local-demo", local.name).status == 200
            assert stack.get("/readyz").status == 200
            assert time.monotonic() - started < 5
        own_index.behave()
        assert {answer.result().status for answer in waiting} <= {404, *AWAY}


@pytest.mark.parametrize("code", [300, 304, 305, 401, 403, 404, 407, 412, 416, 418, 429, 451, 500, 508, 599])
def test_odd_status_of_a_file(stack: Stack, index: FakeIndex, project: str, code: int) -> None:
    """Whatever status an index answers with for a file, a client that asked for all of it gets all of it or an error."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    index.switch(f"/files/{project}/{wheel.filename}", status(code, text=b"not the wheel"))
    answer = stack.file(project, wheel.filename)
    assert answer.status in AWAY
    assert b"not the wheel" not in answer.body
    index.behave()
    assert stack.file(project, wheel.filename).body == wheel.data


def test_page_of_something_else_in_place_of_a_file(stack: Stack, index: FakeIndex, project: str) -> None:
    """A body that is not as long as the page says is not kept: the next client gets the file."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    index.switch(f"/files/{project}/{wheel.filename}", status(200, text=b"<html>We will be back soon"))
    stack.file(project, wheel.filename)
    index.behave()
    assert stack.file(project, wheel.filename).body == wheel.data


def test_provenance_elsewhere(stack: Stack, index: FakeIndex, project: str) -> None:
    """A provenance URL leads nginx to no host that files of the index may not come from."""
    with socket.create_server(("127.0.0.1", 0)) as inside:
        port = inside.getsockname()[1]
        wheel = make_wheel(project, "1.0")
        index.add(project, wheel, fields={"provenance": f"https://127.0.0.1:{port}/secret"})
        assert stack.get(f"/files/{project}/{wheel.filename}.provenance").status == 404
        inside.settimeout(0)
        with pytest.raises(BlockingIOError):
            inside.accept()


# A client


def test_client_that_goes_away(stack: Stack, index: FakeIndex, project: str) -> None:
    """A client that breaks off while a cold file is fetched leaves the next one nothing but the file."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    reached, released = threading.Event(), threading.Event()

    def slow(reply: Reply, wire: _Handler) -> None:
        reached.set()
        released.wait(20)
        wire.send_reply(reply)

    index.switch(f"/files/{project}/{wheel.filename}", slow)
    with socket.create_connection(("127.0.0.1", stack.port)) as client:
        client.sendall(f"GET /files/{project}/{wheel.filename} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert reached.wait(10)
    released.set()
    for _ in range(2):
        assert stack.file(project, wheel.filename).body == wheel.data


def test_bodies_reach_no_index(stack: Stack, index: FakeIndex, project: str) -> None:
    """What a client sends as the body of a GET ends here."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
    connection.request("GET", f"/files/{project}/{wheel.filename}", body=b"smuggled")
    assert connection.getresponse().read() == wheel.data
    connection.close()
    asked = index.requests(f"/{project}/")
    assert asked
    assert {seen.headers.get("content-length", "0") for seen in asked} == {"0"}


@pytest.mark.parametrize(
    "path", ["/simple/{upper}/?x=%ff", "/simple/{upper}/?x=\xff", "/simple/{upper}?\u20ac"]
)
def test_odd_bytes_behind_a_redirected_name(stack: Stack, project: str, path: str) -> None:
    """Bytes in a query that are no text, or no Latin one, make no redirect fail, and add no header."""
    raw = path.format(upper=project.upper()).encode("utf-8" if "\u20ac" in path else "latin-1")
    code, rest = stack.raw_get(raw)
    assert code in {301, 400, 404}
    if code == 301:
        assert f"{project}/?".encode() in rest


@pytest.mark.parametrize("blank", ["%20", "%09", "%c2%a0", "%e2%80%a8", "%0b"])
@pytest.mark.parametrize("place", ["{blank}{name}", "{name}{blank}"])
def test_blank_beside_a_file_name(
    stack: Stack, index: FakeIndex, project: str, blank: str, place: str
) -> None:
    """A file name with blanks around it is not that file's name: a header's trimming makes no second spelling."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    path = place.format(blank=blank, name=wheel.filename)
    assert stack.get(f"/files/{project}/{path}").status in {400, 404}


def test_long_accept_header(stack: Stack, index: FakeIndex, project: str) -> None:
    """The longest header that nginx takes is not too long for the decider."""
    index.add(project, make_wheel(project, "1.0"))
    answer = stack.get(f"/simple/{project}/", {"Accept": ", ".join(["text/html"] * 1400)})
    assert answer.status == 200


# Those who share the machine


def test_supervisor_outlives_the_master_alone(own_stack: Stack, own_index: FakeIndex) -> None:
    """nginx's master killed, as by a machine short of memory, and its workers left: it comes back all the same."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    assert own_stack.file("demo", wheel.filename).body == wheel.data
    before = [process for process in own_stack.processes() if "nginx" in process.command]
    (master,) = [process for process in before if "master" in process.command]
    os.kill(master.pid, signal.SIGKILL)
    eventually(
        lambda: any(
            "nginx: master" in process.command and process.pid != master.pid
            for process in own_stack.processes()
        ),
        within_s=20,
        what="a new master",
    )
    eventually(
        lambda: not any(process.alive for process in before), within_s=20, what="the end of the old workers"
    )
    eventually(own_stack.is_ready, within_s=20)
    assert own_stack.file("demo", wheel.filename).body == wheel.data


def test_packages_are_no_more_readable_than_they_were(new_stack: Callable[..., Stack]) -> None:
    """Packages in a folder that other users cannot read are not copied to one that they can."""
    stack = new_stack(index_url=None)
    wheel = make_wheel("demo", "1.0")
    stack.drop(wheel)
    stack.packages.chmod(0o700)
    stack.start()
    assert stack.file("demo", wheel.filename).body == wheel.data

    def is_copy(path: Path) -> bool:
        try:
            return path.is_file() and wheel.data in path.read_bytes()
        except FileNotFoundError:  # what is written goes by another name until it is whole
            return False

    for path in filter(is_copy, stack.data_dir.rglob("*")):
        ways = [path, *(parent for parent in path.parents if stack.data_dir in parent.parents)]
        modes = [way.stat().st_mode for way in ways]
        assert not all(
            mode & (0o004 if way == path else 0o001) for way, mode in zip(ways, modes, strict=True)
        )
