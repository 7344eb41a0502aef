"""Where the fetcher may go, and who may ask it: names that lead inside, the listeners and sockets of this machine."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from decider.run_files import EGRESS_SOCKET, INDEXES_SOCKET, SOCKET
from decider.unix_sockets import connect_unix
from tests.fake_index import FakeIndex, redirect
from tests.stack import Stack
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

INSIDE = {
    "loop": "127.0.0.1",
    "loop-other": "127.8.9.10",
    "loop-six": "::1",
    "any": "0.0.0.0",
    "ten": "10.1.2.3",
    "one-seven-two": "172.16.0.1",
    "one-nine-two": "192.168.7.7",
    "cloud": "169.254.169.254",
    "carrier": "100.64.0.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "unique-local": "fd00::1",
    "link-local": "fe80::1",
    "mapped": "::ffff:127.0.0.1",
    "nat64": "64:ff9b::7f00:1",
    "six-to-four": "2002:7f00:1::1",
    "teredo": "2001:0:7f00:1::1",
}
#: No name of these is looked up.
SPELLINGS = [
    "127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "[::ffff:127.0.0.1]", "localhost",
    "LOCALHOST.", "ip6-localhost", "app.localhost", "printer.local", "10.0.0.1", "metadata.google.internal",
]  # fmt: skip


def in_names(hosts: Path) -> tuple[str, ...]:
    """A command that runs commands where `hosts` is /etc/hosts."""
    return ("unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names under example.net that lead inside."""
    if os.geteuid() != 0:
        pytest.skip("takes a user who may mount")
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    lines += [f"{address} {name}.example.net" for name, address in INSIDE.items()]
    folder = tmp_path_factory.mktemp("names")
    folder.chmod(0o755)
    path = folder / "hosts"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o644)
    return path


@contextmanager
def stack_among(hosts: Path, index: FakeIndex, file_hosts: str = "") -> Iterator[Stack]:
    stack = Stack(
        index_url=index.url,
        workers=1,
        index=f"file_hosts = [{file_hosts}]" if file_hosts else "",
        run_by=in_names(hosts),
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="module")
def public() -> Iterator[FakeIndex]:
    with FakeIndex() as index:
        yield index


@pytest.fixture(scope="module")
def strict(hosts: Path, public: FakeIndex) -> Iterator[Stack]:
    """A stack whose public index, on loopback, lists no hosts."""
    with stack_among(hosts, public) as stack:
        yield stack


@pytest.fixture(scope="module")
def listed(hosts: Path) -> Iterator[tuple[Stack, FakeIndex]]:
    """A stack whose public index lists two networks."""
    with FakeIndex() as index, stack_among(hosts, index, '"127.0.0.0/8", "fd12::/16"') as stack:
        yield stack, index


def add(index: FakeIndex, project: str, url: str) -> Distribution:
    """A file that the page says is there."""
    wheel = make_wheel(project, "1.0")
    return index.add(project, wheel, url=url.format(path=f"/files/{project}/{wheel.filename}"))


@pytest.mark.parametrize("name", INSIDE)
def test_name_that_leads_inside(strict: Stack, public: FakeIndex, project: str, name: str) -> None:
    """A name of the internet that has an address of this machine, or of a network inside, is not connected to."""
    wheel = add(public, project, f"https://{name}.example.net{{path}}")
    moved = public.add(f"{project}-moved", make_wheel(f"{project}-moved", "1.0"))
    path = f"/files/{project}-moved/{moved.filename}"
    public.switch(path, redirect(f"https://{name}.example.net{path}"))
    for answer in (strict.file(project, wheel.filename), strict.get(path)):
        assert answer.status == 502, answer
        words = f"its host has the address {INSIDE[name]}, which is not on the internet"
        assert words in answer.json()["detail"]
    assert public.requests(wheel.filename) == []


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_spelling_of_an_address_inside(
    strict: Stack, public: FakeIndex, project: str, spelling: str, scheme: str
) -> None:
    """No spelling of an address inside leads there, nor a name that only means something inside, over TLS neither."""
    for port in ("", f":{public.port}") if spelling != "127.0.0.1" else ("", f":{public.port + 1}"):
        name = f"{project}{'-port' if port else ''}"
        wheel = add(public, name, f"{scheme}://{spelling}{port}{{path}}")
        moved = public.add(f"{name}-moved", make_wheel(f"{name}-moved", "1.0"))
        path = f"/files/{name}-moved/{moved.filename}"
        public.switch(path, redirect(f"{scheme}://{spelling}{port}/elsewhere/{name}"))
        answer = strict.file(name, wheel.filename)
        assert answer.status in {404, 502}, (port, answer)
        answer = strict.get(path)
        assert answer.status == 502
        assert "it redirects to a place that it may not lead to" in answer.json()["detail"]
        assert public.requests(wheel.filename) == []
    assert public.requests("/elsewhere/") == []


def test_listed_network(listed: tuple[Stack, FakeIndex], project: str) -> None:
    """A network in file_hosts lets in the names that lead there, at the index's own port; these and no others."""
    stack, index = listed
    found = {}
    for name in INSIDE:
        wheel = add(index, f"{project}-{name}", f"http://{name}.example.net:{index.port}{{path}}")
        moved = index.add(f"{project}-{name}-moved", make_wheel(f"{project}-{name}-moved", "1.0"))
        path = f"/files/{project}-{name}-moved/{moved.filename}"
        index.switch(
            path, redirect(f"http://{name}.example.net:{index.port}/files/{project}-{name}/{wheel.filename}")
        )
        answer = stack.file(f"{project}-{name}", wheel.filename)
        found[name] = answer.body == wheel.data
        redirected = stack.get(path)
        assert redirected.status == 502  # the other file's bytes, where it comes so far
        kind = "its page states" if found[name] else "which is not on the internet"
        if name == "loop-other":  # the index listens at one address of the network
            kind = "no connection with it"
        assert (name, kind in redirected.json()["detail"]) == (name, True), redirected
    assert {name for name in found if found[name]} == {"loop", "mapped"}


def test_page_that_redirects_inside(strict: Stack, public: FakeIndex, project: str) -> None:
    """A page may not lead elsewhere at all."""
    public.switch(f"/simple/{project}/", redirect(f"http://loop.example.net:{public.port}/simple/{project}/"))
    answer = strict.page(project)
    assert answer.status in {502, 503}
    assert "it redirects to a place that it may not lead to" in answer.json()["detail"]


# Who may ask


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_loopback_listener_gives_nothing(stack: Stack, index: FakeIndex, project: str, method: str) -> None:
    """Any user of this machine can ask there: no page, no part, no event, and the index hears of nothing."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    url = f"{index.origin}/files/{project}/{wheel.filename}"
    headers = {
        "X-Decider-Source": index.url,
        "X-Decider-Url": url,
        "X-Decider-Expect": "public - -",
        "X-Decider-Key": "x",
        "Range": "bytes=0-9",
    }
    index.forget_requests()
    for path in (
        f"/indexes/public/{project}/", "/indexes/public/", "/-/part", "/part", "/file", f"/page/public/{project}/",
        "/-/webhook", "/event", "/nginx", "/alive", "/-/ready", "/simple/", f"/files/{project}/{wheel.filename}",
        "http://fetcher/file", "//part",
    ):  # fmt: skip
        for name in ("x", "fetcher", "decider"):
            sent = {**headers, "Host": name}
            answer = stack.get(path, sent, method=method, port=stack.internal_port)
            assert answer.status in {404, 405}, (path, answer)
    assert index.requests() == []
    assert stack.get("/-/ping", port=stack.internal_port).status == 200


SOCKETS = (SOCKET, EGRESS_SOCKET, INDEXES_SOCKET)


@contextmanager
def somebody_else() -> Iterator[None]:
    """Another user of this machine, for a moment."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(54_321)
    os.seteuid(54_321)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        connect_unix(client, path)


@pytest.mark.parametrize("name", SOCKETS)
def test_sockets_are_closed_to_others(stack: Stack, name: str) -> None:
    """Nobody but decider's and nginx's users reaches a socket: their folder lets nobody else in."""
    path = stack.data_dir / name
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert path.parent.stat().st_mode & 0o007 == 0
    _connect(path)
    if os.geteuid() != 0:
        pytest.skip("takes root to be somebody else")
    with somebody_else(), pytest.raises(PermissionError):
        _connect(path)
    assert path.parent.name == "run"


def test_fetchers_socket_is_closed_by_itself(stack: Stack) -> None:
    """The fetcher's socket is closed to others by its own mode too, whatever becomes of its folder."""
    assert (stack.data_dir / EGRESS_SOCKET).stat().st_mode & 0o007 == 0
