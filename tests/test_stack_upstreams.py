"""Upstreams as they are in the field: indexes that redirect to object stores, and indexes that want credentials."""

import re
import signal
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fake_index import FakeIndex, Reply, headers, redirect, status
from tests.stack import JSON_TYPE, PROMISE_S, Stack, eventually
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack


@pytest.fixture
def object_store() -> Iterator[FakeIndex]:
    """Another host, where an index keeps its bytes."""
    with FakeIndex() as store:
        yield store


@pytest.fixture
def redirecting(own_index: FakeIndex, object_store: FakeIndex, new_stack: Callable[..., Stack]) -> Stack:
    """A stack whose index may send files from the object store."""
    own = new_stack(index_url=own_index.url, index=f'file_hosts = ["127.0.0.1:{object_store.port}"]')
    own.start()
    return own


def test_redirected_file(redirecting: Stack, own_index: FakeIndex, object_store: FakeIndex) -> None:
    """A file whose index redirects to an allowed host is served from there, and then from the cache (DESIGN 11)."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    object_store.add("demo", wheel)
    own_index.switch(
        f"/files/demo/{wheel.filename}",
        redirect(f"{object_store.origin}/files/demo/{wheel.filename}?signed=1"),
    )
    for _ in range(2):
        answer = redirecting.file("demo", wheel.filename)
        assert (answer.status, answer.body) == (200, wheel.data)
    assert len(object_store.requests("/files/")) == 1
    assert redirecting.file("demo", wheel.filename, Range="bytes=0-3").body == wheel.data[:4]


LARGE = {"Content-Security-Policy": "default-src " + "x" * 4_000, "X-Report": "y" * 4_000}


def test_large_headers(redirecting: Stack, own_index: FakeIndex, object_store: FakeIndex) -> None:
    """Pages and files come through with 8 kB of headers, and so do 8 kB of a redirect's address, 4 kB of a page's."""
    direct = own_index.add("demo", make_wheel("demo", "1.0"))
    moved = object_store.add("demo", make_wheel("demo", "2.0"))
    own_index.add("demo", moved)
    signed = make_wheel("demo", "3.0")
    own_index.add("demo", signed, url=f"{own_index.origin}/files/demo/{signed.filename}?signed={'s' * 3_950}")
    for path in ("/simple/demo/", f"/files/demo/{direct.filename}", f"/files/demo/{signed.filename}"):
        own_index.switch(path, headers(LARGE))
    target = f"{object_store.origin}/files/demo/{moved.filename}"
    own_index.switch(f"/files/demo/{moved.filename}", redirect(f"{target}?signed={'s' * 8_000}"))
    object_store.switch(f"/files/demo/{moved.filename}", headers(LARGE))
    for _ in range(2):
        assert redirecting.page("demo").filenames == [direct.filename, moved.filename, signed.filename]
        for wheel in (direct, moved, signed):
            answer = redirecting.file("demo", wheel.filename)
            assert (answer.status, answer.body) == (200, wheel.data), wheel.filename
    assert len(own_index.requests(f"/files/demo/{direct.filename}")) == 1
    assert len(object_store.requests("/files/")) == 1


def test_relative_redirects(redirecting: Stack, own_index: FakeIndex) -> None:
    """Redirects may be relative, and up to three in a row; a fourth is one too many."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    other = own_index.add("other", make_wheel("other", "1.0"))
    own_index.project("hops").files["a"] = own_index.project("demo").files[wheel.filename]
    own_index.switch(f"/files/demo/{wheel.filename}", redirect("../hops/1"))
    own_index.switch("/files/hops/1", redirect("2"))
    own_index.switch("/files/hops/2", redirect("a"))
    assert redirecting.file("demo", wheel.filename).body == wheel.data
    own_index.switch(f"/files/other/{other.filename}", redirect("../hops/0"))
    own_index.switch("/files/hops/0", redirect("1"))
    assert redirecting.file("other", other.filename).status == 502


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/x",
        "http://localhost:{port}/x",
        "ftp://127.0.0.1/x",
        "http://u:p@127.0.0.1:{port}/x",
        "//[::1]:{port}/x",
        "",
    ],
)
def test_redirect_to_another_host(
    redirecting: Stack, own_index: FakeIndex, object_store: FakeIndex, target: str
) -> None:
    """A redirect of a file to a host that the index may not use is not followed: 502, and that host hears nothing."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    own_index.switch(f"/files/demo/{wheel.filename}", redirect(target.format(port=object_store.port)))
    answer = redirecting.file("demo", wheel.filename)
    assert (answer.status, answer.content_type) == (502, "application/problem+json")
    assert object_store.requests() == []
    assert "Location" not in answer.headers


def test_redirect_of_a_blocked_file(redirecting: Stack, own_index: FakeIndex) -> None:
    """A refused file is refused before any upstream is asked, wherever that would redirect."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    own_index.switch(f"/files/demo/{wheel.filename}", redirect("/anything"))
    redirecting.add_rule(action="block", project="demo", reason="malware")
    eventually(lambda: "yanked" in redirecting.page("demo").file(wheel.filename), within_s=PROMISE_S)
    assert redirecting.file("demo", wheel.filename).status == 403
    assert own_index.requests("/files/") == []


def test_index_has_moved(redirecting: Stack, own_index: FakeIndex, object_store: FakeIndex) -> None:
    """Once the configuration names another index nothing of the one before is served, however fresh it is in the caches."""
    before = own_index.add("demo", make_wheel("demo", "1.0"))
    after = object_store.add("demo", make_wheel("demo", "2.0"))
    assert redirecting.page("demo").filenames == [before.filename]
    config = redirecting.config.read_text()
    redirecting.config.write_text(config.replace(f"{own_index.url}", f"{object_store.url}"))
    assert redirecting.process is not None
    redirecting.process.send_signal(signal.SIGHUP)
    # While the old processes go on they may be told that the index has another address.
    eventually(lambda: after.filename in redirecting.page("demo").text, within_s=15, what="the other")
    assert redirecting.page("demo").filenames == [after.filename]
    assert redirecting.file("demo", after.filename).body == after.data
    assert redirecting.file("demo", before.filename).status == 404
    projects = redirecting.get("/simple/", {"Accept": JSON_TYPE})
    assert [project["name"] for project in projects.json()["projects"]] == ["demo"]


EXPECTED = "Basic " + b64encode(b"reader:s3cret").decode()


@pytest.fixture(params=["environment"])
def private(
    request: pytest.FixtureRequest,
    own_index: FakeIndex,
    object_store: FakeIndex,
    new_stack: Callable[..., Stack],
) -> Stack:
    """A stack that has credentials for its index, from the environment or from a file."""
    is_file = request.param == "file"
    lines = [f'file_hosts = ["127.0.0.1:{object_store.port}"]', "internal = true"]
    own = new_stack(
        index_url=own_index.url,
        index="\n".join([*lines, 'credentials_file = "secret"'] if is_file else lines),
        environment={} if is_file else {"DECIDER_INDEXES__PUBLIC__CREDENTIALS": "reader:s3cret"},
    )
    if is_file:
        secret = own.folder / "secret"
        secret.write_text("reader:s3cret\n")
        secret.chmod(0o600)
    own.start()
    return own


@pytest.mark.parametrize("private", ["environment", "file"], indirect=True)
def test_credentials_reach_the_index_and_nobody_else(
    private: Stack, own_index: FakeIndex, object_store: FakeIndex
) -> None:
    """An index's credentials go with pages and files to its own origin, and to no host that it points or redirects to."""
    here = own_index.add("demo", make_wheel("demo", "1.0"))
    there = object_store.add("demo", make_wheel("demo", "2.0"))
    moved = own_index.add("demo", make_wheel("demo", "3.0"))
    object_store.add("demo", moved)
    own_index.add("demo", there, url=f"{object_store.origin}/files/demo/{there.filename}")
    own_index.switch(
        f"/files/demo/{moved.filename}", redirect(f"{object_store.origin}/files/demo/{moved.filename}")
    )
    for wheel in (here, there, moved):
        assert private.file("demo", wheel.filename).body == wheel.data
    asked = own_index.requests("/simple/demo/") + own_index.requests("/files/demo/")
    assert len(asked) >= 3
    assert {seen.headers.get("authorization") for seen in asked} == {EXPECTED}
    assert len(object_store.requests()) == 2
    assert all("authorization" not in seen.headers for seen in object_store.requests())


def test_secrets_are_in_no_log_and_no_readable_file(private: Stack, own_index: FakeIndex) -> None:
    """An index's credentials are in no log, no answer, and no file that others may read."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    assert private.file("demo", wheel.filename).status == 200
    own_index.switch("/simple/*", status(401))
    answers = [private.get(path).body for path in ("/simple/other/", "/why/other", "/readyz")]
    secrets = (b"s3cret", EXPECTED.removeprefix("Basic ").encode())
    assert not any(secret in body for secret in secrets for body in answers)
    config = (private.data_dir / "run" / "nginx.conf").read_text()
    decisions = Path(re.findall(r'proxy_cache_path "(/[^"]+)/decisions"', config)[0])
    for path in (*private.data_dir.rglob("*"), *decisions.rglob("*")):
        if path.is_file() and any(secret in path.read_bytes() for secret in secrets):
            assert path.stat().st_mode & 0o077 == 0, path
    assert not any(secret.decode() in private.log_text() for secret in secrets)


def test_no_is_kept_too(private: Stack, own_index: FakeIndex) -> None:
    """Whether an internal index has a name, which is asked before any public one, is not asked of it each time."""
    asked = [private.index_page("absent", own_index.url) for _ in range(3)]
    assert [(answer.status, answer.headers["X-Decider-Cache"]) for answer in asked] == [
        (404, "MISS"),
        (404, "HIT"),
        (404, "HIT"),
    ]
    assert private.page("absent").status == 404
    assert private.get("/why/absent").status == 404
    assert len(own_index.requests("/simple/absent/")) == 1


def test_index_that_wants_other_credentials(private: Stack, own_index: FakeIndex) -> None:
    """An index that answers 401 cannot be asked: 502 or 503 for pages, no prompt for the client's own credentials."""
    own_index.switch(
        "/simple/demo/", lambda _, wire: wire.send_reply(Reply(401, {"WWW-Authenticate": "Basic"}, b"no"))
    )
    answer = private.page("demo")
    assert answer.status in {502, 503}
    assert "WWW-Authenticate" not in answer.headers
