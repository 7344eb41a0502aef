"""When something fails (DESIGN 8; STANDARDS T80-T84, T92-T94): refused or stale, never open, and back by itself."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fake_index import (
    FakeIndex,
    Reply,
    _Handler,
    body,
    close_connection,
    gzip_bomb,
    hang,
    inflate,
    status,
    trickle,
    truncate,
)
from tests.stack import ALLOWED_S, PIP_ACCEPT, PROMISE_S, Answer, Process, Stack, eventually, free_port
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

BROWSER_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
AWAY = {502, 503, 504}


def decider_processes(stack: Stack) -> list[Process]:
    return [process for process in stack.processes() if "decider.wsgi" in process.command]


def nginx_processes(stack: Stack) -> list[Process]:
    return [process for process in stack.processes() if process.command.startswith("nginx")]


# An index


@pytest.mark.parametrize(
    ("name", "behaviour"),
    [
        ("reset", close_connection),
        ("500", status(500)),
        ("503", status(503, Retry_After="3600")),
        ("cut", truncate(50)),
        ("none", body(b"")),
    ],
)
def test_index_failure_of_an_uncached_page(
    stack: Stack, index: FakeIndex, project: str, name: str, behaviour: Callable[..., None]
) -> None:
    """What an index cannot say is 502, 503 or 504 with a clear body, soon again asked, and never 404 (T92, T93)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    index.switch(f"/simple/{project}/", behaviour)
    for answer in (stack.page(project), stack.file(project, wheel.filename)):
        assert answer.status in AWAY, name
        assert answer.content_type == "application/problem+json"
        assert "public" in answer.json()["detail"]
        retry = answer.headers.get("Retry-After")
        assert retry is None or 0 < int(retry) <= 30
    index.behave()
    eventually(lambda: stack.page(project).status == 200, within_s=10, what="recovery")
    assert stack.page(project).filenames == [wheel.filename]
    assert stack.file(project, wheel.filename).body == wheel.data


def test_index_hangs(stack: Stack, index: FakeIndex, project: str) -> None:
    """An index that hangs is answered for within 30 s, and others are served meanwhile (DESIGN 11)."""
    other = f"other-{project}"
    index.add(project, make_wheel(project, "1.0"))
    index.add(other, make_wheel(other, "1.0"))
    wheel = index.add(f"more-{project}", make_wheel(f"more-{project}", "1.0"))
    file = f"/files/more-{project}/{wheel.filename}"
    index.switch(f"/simple/{project}/", hang)
    index.switch(file, hang)
    slow: list[Answer] = []
    started = time.monotonic()

    with ExitStack() as asking:
        # Of those that want the same file each is answered in time, not one after the other.
        for path in (f"/simple/{project}/", file, file, file):
            asking.enter_context(
                running(lambda path=path: slow.append(stack.get(path, within_s=60)))  # type: ignore[misc]
            )
        assert stack.page(other).status == 200
        assert stack.get("/healthz").status == 200
    assert time.monotonic() - started <= 30
    assert len(slow) == 4
    assert {answer.status for answer in slow} <= AWAY
    assert len(index.requests(file)) == 1


@contextmanager
def running(action: Callable[[], None]) -> Iterator[None]:
    """Do that in a thread meanwhile; fail unless it ends within 30 s."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
    assert not thread.is_alive()


def test_answer_that_breaks_off(new_stack: Callable[..., Stack]) -> None:
    """A page whose index breaks off in the middle of the next answer goes on, and says so (DESIGN 8)."""
    with FakeIndex() as index:
        wheel = index.add("demo", make_wheel("demo", "1.0"))
        stack = new_stack(index_url=index.url, index='page_ttl = "1s"', workers=1)
        stack.start()
        assert stack.page("demo").filenames == [wheel.filename]
        index.add("demo", make_wheel("demo", "1.1"))
        index.switch("/simple/demo/", truncate(10))
        degraded = eventually(
            lambda: page if (page := stack.page("demo")).headers.get("X-Decider-Degraded") else None,
            within_s=10,
        )
        assert (degraded.status, degraded.filenames) == (200, [wheel.filename])
        index.behave()
        eventually(lambda: len(stack.page("demo").filenames) == 2, within_s=15)
        assert "X-Decider-Degraded" not in stack.page("demo").headers


def test_stale_page_goes_on(new_stack: Callable[..., Stack]) -> None:
    """Cached pages and files go on, stale, while their index is away, and say so (DESIGN 8)."""
    with FakeIndex() as index:
        wheel = index.add("demo", make_wheel("demo", "1.0"))
        stack = new_stack(index_url=index.url, index='page_ttl = "1s"')
        stack.start()
        assert stack.file("demo", wheel.filename).body == wheel.data
        assert stack.page("demo").filenames == [wheel.filename]
        index.go_down()
        eventually(
            lambda: "X-Decider-Degraded" in stack.page("demo").headers, within_s=10, what="degraded header"
        )
        assert stack.page("demo").filenames == [wheel.filename]
        assert stack.file("demo", wheel.filename).body == wheel.data
        absent = stack.page("absent")
        assert (absent.status in AWAY, absent.headers["X-Decider-Degraded"]) == (True, "index")
        ready = stack.get("/readyz")
        assert ready.status == 200
        stack.add_rule(action="block", project="demo")
        eventually(lambda: stack.file("demo", wheel.filename).status == 403, within_s=PROMISE_S)
        index.come_up()
        index.add("demo", make_wheel("demo", "1.1"))
        eventually(lambda: len(stack.page("demo").filenames) == 2, within_s=15, what="recovery")
        eventually(lambda: "X-Decider-Degraded" not in stack.page("demo").headers, within_s=15)


def test_stale_page_has_an_end(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """An index that is away for longer than `stale_if_error` is away, and a restart gives its pages no second life."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, index='page_ttl = "1s"\nstale_if_error = "4s"')
    stack.start()
    assert stack.file("demo", wheel.filename).body == wheel.data
    own_index.go_down()
    eventually(lambda: stack.page("demo").status in AWAY, within_s=15, what="the end")
    stack.restart()
    for answer in (stack.page("demo"), stack.file("demo", wheel.filename)):
        assert answer.status in AWAY
        assert "away for longer" in answer.json()["detail"]
    own_index.come_up()
    eventually(lambda: stack.page("demo").status == 200, within_s=15, what="recovery")


def test_slow_file_arrives(stack: Stack, index: FakeIndex, project: str) -> None:
    """A slow index makes a slow file, not a broken one."""
    wheel = index.add(project, make_wheel(project, "1.0", padding=20_000))
    index.switch(f"/files/{project}/{wheel.filename}", trickle(5_000, 0.3))
    assert stack.file(project, wheel.filename).body == wheel.data


def test_page_over_the_limit(stack: Stack, index: FakeIndex, project: str) -> None:
    """A page of more than 100 MB, packed or not, is 502, and decider lives on (DESIGN 11, limits)."""
    before = {process.pid for process in decider_processes(stack)}
    for number, behaviour in enumerate((gzip_bomb(128 * 1_048_576), inflate(110_000_000))):
        name = f"{project}-{number}"
        index.add(name, make_wheel(name, "1.0"))
        index.switch(f"/simple/{name}/", behaviour)
        assert stack.page(name).status == 502
    assert {process.pid for process in decider_processes(stack)} == before


def test_readyz_names_what_fails(new_stack: Callable[..., Stack]) -> None:
    """/readyz is 503 and names a required index that is away; a public one that is down is named and stays 200."""
    with FakeIndex() as corp, FakeIndex() as public:
        stack = new_stack(
            index_url=public.url,
            tables=f'[indexes.corp]\nurl = "{corp.url}"\ninternal = true\n',
            default=("internal", "corp", "public"),
        )
        stack.start()
        public.go_down()
        eventually(lambda: "public" in stack.get("/readyz").text, within_s=15, what="public named")
        assert stack.get("/readyz").status == 200
        corp.go_down()
        answer = eventually(
            lambda: found if (found := stack.get("/readyz")).status == 503 else None, within_s=15, what="503"
        )
        assert "corp" in answer.text
        assert stack.get("/healthz").status == 200
        corp.come_up()
        eventually(stack.is_ready, within_s=15)


@pytest.mark.parametrize("said", [b"down for maintenance", b"", b"PK" * 10_000])
def test_wrong_file_in_chunks(stack: Stack, index: FakeIndex, project: str, said: bytes) -> None:
    """An answer in chunks that ends properly, but is not as long as the page says, is 502, and does not stay in the cache."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    path = f"/files/{project}/{wheel.filename}"

    def in_chunks(_: Reply, wire: _Handler) -> None:
        wire.send_reply(Reply(200, {"Transfer-Encoding": "chunked"}))
        wire.wfile.write(b"%x\r\n%s\r\n" % (len(said), said) if said else b"")
        wire.wfile.write(b"0\r\n\r\n")

    index.switch(path, in_chunks)
    answer = stack.file(project, wheel.filename)
    assert (answer.status, answer.content_type) == (502, "application/problem+json")
    assert "bytes" in answer.json()["detail"]
    index.behave()
    eventually(lambda: stack.file(project, wheel.filename).body == wheel.data, within_s=5, what="the file")
    count = len(index.requests(path))
    assert stack.file(project, wheel.filename).body == wheel.data
    assert len(index.requests(path)) == count


def test_internal_index_that_says_back_soon(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """An internal index that answers every name with words about itself takes no name, and is not passed over either."""
    with FakeIndex() as corp:
        stack = new_stack(
            index_url=own_index.url,
            tables=f'[indexes.corp]\nurl = "{corp.url}"\ninternal = true\n',
            default=("corp", "public"),
        )
        stack.start()
        wheel = own_index.add("demo", make_wheel("demo", "1.0"))
        words = b"<html><body>Service temporarily down for maintenance</body></html>"
        for said in (words, b""):
            corp.switch("/simple/*", body(said, "text/html"))
            answer = stack.page("demo")
            assert answer.status in AWAY
            assert "corp" in (detail := answer.json()["detail"])
            assert "it lists nothing" in detail
            assert stack.file("demo", wheel.filename).status in AWAY
        assert stack.api("GET", "/rules", action="own").json()["items"] == []
        corp.behave()
        eventually(lambda: stack.page("demo").status == 200, within_s=15, what="recovery")
        assert stack.file("demo", wheel.filename).body == wheel.data


# decider


@contextmanager
def decider_away(stack: Stack) -> Iterator[None]:
    """Every decider process killed, and the supervisor kept from starting others."""
    supervisor = stack.processes()[0]
    os.kill(supervisor.pid, signal.SIGSTOP)
    try:
        killed = decider_processes(stack)
        assert killed
        for process in killed:
            os.kill(process.pid, signal.SIGKILL)
        yield
    finally:
        os.kill(supervisor.pid, signal.SIGCONT)


def test_decider_killed(own_stack: Stack, own_index: FakeIndex) -> None:
    """Without decider nothing undecided is served; killed, it comes back by itself."""
    seen = own_index.add("seen", make_wheel("seen", "1.0"))
    bad = own_index.add("bad", make_wheel("bad", "1.0"))
    own_stack.add_rule(action="block", project="bad")
    assert own_stack.file("seen", seen.filename).body == seen.data
    eventually(lambda: own_stack.file("bad", bad.filename).status == 403, within_s=PROMISE_S)
    before = {process.pid for process in decider_processes(own_stack)}
    unknown = own_index.add("unknown", make_wheel("unknown", "1.0"))
    with decider_away(own_stack):
        for path in (f"/files/unknown/{unknown.filename}", "/simple/unknown/"):
            answer = own_stack.get(path)
            assert answer.status == 503
            assert 0 < int(answer.headers["Retry-After"]) <= 30
            assert unknown.data[:30] not in answer.body
        assert own_stack.get("/healthz").status == 200
        assert own_stack.get("/readyz").status == 503
    eventually(
        lambda: bool(now := {p.pid for p in decider_processes(own_stack)}) and now.isdisjoint(before),
        within_s=20,
        what="new processes",
    )
    eventually(own_stack.is_ready, within_s=20, what="ready again")
    assert own_stack.file("seen", seen.filename).body == seen.data
    assert own_stack.file("bad", bad.filename).status == 403
    assert own_stack.file("unknown", unknown.filename).body == unknown.data


def test_grace(new_stack: Callable[..., Stack]) -> None:
    """While decider is away nginx goes on with decisions not older than `grace`, saying so, then answers 503."""
    with FakeIndex() as index:
        wheel = index.add("demo", make_wheel("demo", "1.0"))
        bad = index.add("bad", make_wheel("bad", "1.0"))
        stack = new_stack(index_url=index.url, top='grace = "6s"')
        stack.start()
        stack.add_rule(action="block", project="bad")
        eventually(lambda: stack.file("bad", bad.filename).status == 403, within_s=PROMISE_S)
        path = f"/files/demo/{wheel.filename}"
        asked = time.monotonic()
        assert stack.get(path).body == wheel.data
        assert stack.page("demo").status == 200
        release = stack.get("/pypi/demo/1.0/json")
        assert release.status == 200
        with decider_away(stack):
            degraded = eventually(
                lambda: got if "X-Decider-Degraded" in (got := stack.get(path)).headers else None,
                within_s=PROMISE_S,
            )
            assert degraded.body == wheel.data
            assert stack.page("demo").filenames == [wheel.filename]
            assert stack.get("/pypi/demo/1.0/json").body == release.body
            assert stack.get("/pypi/demo/9.9/json").status == 503, "nobody can say what it is"
            refused = stack.file("bad", bad.filename)
            assert (refused.status, refused.reason[:7]) == (403, "Blocked")
            assert bad.data[:30] not in refused.body
            for accept in (BROWSER_ACCEPT, "application/zip", PIP_ACCEPT):
                again = stack.file("bad", bad.filename, Accept=accept)
                assert (again.status, again.reason, again.body) == (403, refused.reason, refused.body)
            ended = eventually(lambda: got if (got := stack.get(path)).status != 200 else None, within_s=20)
            assert 6 <= time.monotonic() - asked <= 6 + ALLOWED_S + 1
            assert ended.status == 503
            assert 0 < int(ended.headers["Retry-After"]) <= 30
            assert stack.page("demo").status == 503
        eventually(lambda: stack.get(path).status == 200, within_s=20, what="recovery")


def test_revoked_token_while_the_decider_is_away(
    new_stack: Callable[..., Stack], own_index: FakeIndex
) -> None:
    """A token that was refused once reads nothing while the decider is away, though it was right within `grace`."""
    own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, top='read_access = "token"')
    stack.start()
    right, wrong = (
        {"Authorization": f"Bearer {stack.run('token', 'create', name, '--role', 'reader').stdout.strip()}"}
        for name in ("kept", "gone")
    )
    for token in (right, wrong):
        assert stack.get("/simple/demo/", token).status == 200
    assert stack.run("token", "revoke", "gone").returncode == 0
    eventually(lambda: stack.get("/simple/demo/", wrong).status == 401, within_s=PROMISE_S)
    with decider_away(stack):
        eventually(
            lambda: "X-Decider-Degraded" in stack.get("/simple/demo/", right).headers, within_s=PROMISE_S
        )
        for _ in range(5):
            assert stack.get("/simple/demo/", wrong).status in {401, 503}
        assert stack.get("/simple/demo/", right).status == 200


def test_supervisor_killed(own_stack: Stack, own_index: FakeIndex) -> None:
    """A supervisor that is killed leaves nothing running that would be in the way of the next start."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    family = own_stack.processes()
    assert own_stack.process is not None
    own_stack.process.kill()
    own_stack.process.wait()
    eventually(lambda: not any(process.alive for process in family), within_s=20, what="the others' end")
    own_stack.start()
    assert own_stack.file("demo", wheel.filename).body == wheel.data


def test_nginx_killed(own_stack: Stack, own_index: FakeIndex) -> None:
    """A killed nginx is started again."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    assert own_stack.file("demo", wheel.filename).body == wheel.data
    before = nginx_processes(own_stack)
    assert before
    for process in before:
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)
    eventually(
        lambda: (
            bool(now := nginx_processes(own_stack)) and {p.pid for p in now}.isdisjoint(p.pid for p in before)
        ),
        within_s=20,
        what="new nginx",
    )
    eventually(own_stack.is_ready, within_s=20)
    assert own_stack.file("demo", wheel.filename).body == wheel.data


def test_power_cut(own_stack: Stack, own_index: FakeIndex) -> None:
    """After kill -9 of everything no acknowledged rule is lost, and it starts again over its old sockets and pid files."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    rule = own_stack.add_rule(action="block", project="demo")
    own_stack.kill()
    own_stack.start()
    answer = own_stack.file("demo", wheel.filename)
    assert (answer.status, answer.headers["X-Decider-Rule"]) == (403, rule["id"])
    verified = own_stack.run("audit", "verify")
    assert verified.returncode == 0, verified.stderr


# The store


@contextmanager
def redis_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A Redis that keeps every acknowledged write, on a loopback port."""
    program = shutil.which("redis-server")
    assert program is not None, "redis-server is needed"
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    durable = ["--appendonly", "yes", "--appendfsync", "always"]
    with subprocess.Popen([program, *arguments, *durable], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_machines_share_a_redis_store(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """A block acknowledged at one nginx holds at another within 2 s; without the store rules go on, changes get 503."""
    port = free_port()
    with FakeIndex() as index:
        wheel = index.add("demo", make_wheel("demo", "1.0"))
        other = index.add("other", make_wheel("other", "1.0"))
        with redis_server(tmp_path, port):
            store = f'store = "redis://127.0.0.1:{port}/0"'
            first, second = (new_stack(index_url=index.url, top=store) for _ in range(2))
            first.start()
            second.start()
            for stack in (first, second):
                assert stack.file("demo", wheel.filename).status == 200
                assert stack.page("demo").status == 200
            first.add_rule(action="block", project="demo")
            eventually(lambda: second.file("demo", wheel.filename).status == 403, within_s=PROMISE_S)
            eventually(lambda: second.page("demo").json()["files"][0].get("yanked"), within_s=PROMISE_S)
        assert first.file("demo", wheel.filename).status == 403
        assert second.file("other", other.filename).body == other.data
        refused = first.api("POST", "/rules", {"action": "block", "project": "other", "reason": "x"})
        assert refused.status == 503
        eventually(lambda: first.get("/readyz").status == 503, within_s=10)
        with redis_server(tmp_path, port):
            eventually(first.is_ready, within_s=20, what="the store's return")
            rule = first.add_rule(action="block", project="other")
            eventually(lambda: second.file("other", other.filename).status == 403, within_s=PROMISE_S)
            assert second.api("GET", f"/rules/{rule['id']}").status == 200
            first.stop()
            second.stop()


def test_policy_too_old(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """Once the last snapshot is older than `max_policy_age`, decisions fail closed (DESIGN 7)."""
    port = free_port()
    with FakeIndex() as index:
        wheel = index.add("demo", make_wheel("demo", "1.0"))
        with redis_server(tmp_path, port):
            store = f'store = "redis://127.0.0.1:{port}/0"\nmax_policy_age = "3s"\ngrace = "1s"'
            stack = new_stack(index_url=index.url, top=store)
            stack.start()
            assert stack.file("demo", wheel.filename).status == 200
        eventually(
            lambda: stack.file("demo", wheel.filename).status == 503, within_s=20, what="failing closed"
        )
        assert stack.page("demo").status == 503
        with redis_server(tmp_path, port):
            eventually(lambda: stack.file("demo", wheel.filename).status == 200, within_s=20, what="recovery")
            stack.stop()
