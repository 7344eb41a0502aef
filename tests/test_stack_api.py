"""The decision API through nginx, with several processes behind it."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from decider.web.throttle import FAILURES
from tests.stack import Stack, eventually

pytestmark = pytest.mark.stack

PROBLEM = "application/problem+json"


def test_problems_pass_nginx(stack: Stack) -> None:
    """Problem bodies of every status reach the client with exactly their media type."""
    answers = {
        401: stack.get("/api/v1/rules"),
        404: stack.api("GET", "/rules/none"),
        405: stack.api("PUT", "/rules"),
        412: stack.api(
            "DELETE",
            f"/rules/{stack.add_rule(action='yank', project='api-412')['id']}",
            headers={"If-Match": '"0"'},
        ),
        415: stack.api("POST", "/rules", headers={"Content-Type": "text/plain"}),
        422: stack.api("POST", "/rules", {"action": "block"}),
        428: stack.api("PATCH", f"/rules/{stack.add_rule(action='yank', project='api-428')['id']}", {}),
    }
    for status, answer in answers.items():
        assert (answer.status, answer.headers["Content-Type"]) == (status, PROBLEM)
        assert answer.json()["status"] == status
    assert answers[401].headers["WWW-Authenticate"].startswith("Bearer")
    assert answers[405].headers["Allow"]


def test_large_bodies(stack: Stack, project: str) -> None:
    """A ruleset may be far larger than any other body; those end at 1 MB."""
    rules = [
        {"action": "yank", "project": f"{project}-{number}", "reason": "x" * 1_000, "key": str(number)}
        for number in range(3_000)
    ]
    assert stack.api("PUT", f"/rulesets/{project}", {"rules": rules}).json()["added"] == 3_000
    assert stack.api("DELETE", f"/rulesets/{project}").status == 204
    refused = stack.api("POST", "/rules", {"action": "yank", "project": project, "reason": "x" * 1_100_000})
    assert (refused.status, refused.headers["Content-Type"]) == (413, PROBLEM)


@pytest.fixture
def put_head(stack: Stack) -> Callable[..., bytes]:
    """The head of a request that replaces a ruleset by 64 MB."""

    def head(token: str | None, *, dry_run: bool = False, more: str = "Content-Length: 64000000") -> bytes:
        authorization = "" if token is None else f"Authorization: Bearer {token}\r\n"
        query = "?dry_run=true" if dry_run else ""
        return (
            f"PUT /api/v1/rulesets/feed{query} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"{authorization}{more}\r\n\r\n"
        ).encode()

    assert stack.is_ready()
    return head


def spooled(stack: Stack) -> list[str]:
    """What nginx has on disk of bodies that it is reading: open files, since it takes their names away at once."""
    found = []
    for process in stack.processes():
        if process.command.startswith("nginx"):
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                with suppress(OSError):
                    found.append(str(descriptor.readlink()))
    return [path for path in found if "/temp/body/" in path]


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LENGTHS = (
    "Content-Length: 64000000",
    "Transfer-Encoding: chunked",
    "Content-Length: 64000000\r\nExpect: 100-continue",
)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("whose", ["nobody's", "wrong", "a reader's"])
def test_large_body_of_nobody(
    stack: Stack, put_head: Callable[..., bytes], whose: str, length: str, project: str
) -> None:
    """A ruleset of 64 MB of somebody who may not replace one is refused before any of it is read, and never on disk."""
    token = {"nobody's": None, "wrong": "wrong", "a reader's": reader_of(stack, project)}[whose]
    status, more = (403, ', error="insufficient_scope"') if whose == "a reader's" else (401, "")
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(put_head(token, more=length))
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65_536)
        # (nginx lets a body come that it throws away.)
        said, _, body = answer.removeprefix(CONTINUE).partition(b"\r\n\r\n")
        head = said.decode().split("\r\n")
        assert head[0].split()[1] == str(status)
        assert f'WWW-Authenticate: Bearer realm="decider"{more}' in head
        assert {f"Content-Type: {PROBLEM}", "Cache-Control: no-store"} <= set(head)
        assert json.loads(body)["status"] == status
        # Who sends it all the same sends it nowhere.
        part = b"x" * 1_000_000
        sent = part if "Length" in length else b"%x\r\n%s\r\n" % (len(part), part)
        with suppress(ConnectionError):
            for _ in range(4):
                connection.sendall(sent)
                assert spooled(stack) == []


def reader_of(stack: Stack, name: str) -> str:
    return stack.run("token", "create", f"reader-{name}", "--role", "reader").stdout.strip()


def test_large_body_of_those_who_may(stack: Stack, put_head: Callable[..., bytes], project: str) -> None:
    """Who may replace a ruleset, or try what it would do, is waited for: the body is read, and 100 said where that is asked."""
    for token, dry_run in ((stack.token, False), (reader_of(stack, project), True)):
        with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
            connection.sendall(put_head(token, dry_run=dry_run, more=LENGTHS[2]))
            assert connection.recv(100) == CONTINUE
            connection.sendall(b"x" * 3_000_000)
            eventually(lambda: spooled(stack), within_s=5, what="the body")
        eventually(lambda: not spooled(stack), within_s=5, what="nothing left")


def test_other_methods_take_no_large_body(stack: Stack, project: str) -> None:
    """What is not a ruleset's replacement has no more than a megabyte, and the API's own answers."""
    path = f"/rulesets/{project}"
    assert stack.api("PUT", path, {"rules": []}).status == 200
    for method, status in (("GET", 200), ("HEAD", 200), ("POST", 405), ("PATCH", 405), ("DELETE", 204)):
        large = stack.api(method, path, "x" * 1_100_000)
        assert large.status == 413, method
        answer = stack.api(method, path)
        assert answer.status == status, method
        if method == "GET":
            assert answer.json()["name"] == project
    assert stack.get("/-/rulesets/x").status == 404
    assert stack.api("GET", "/rulesets/a%20b%3Fc%25").json()["detail"] == "no ruleset `a b?c%`"


@pytest.mark.parametrize(("length", "status"), [(5_000, 422), (15_000, 422), (20_000, 414)])
def test_long_queries(stack: Stack, length: int, status: int) -> None:
    """A long query is read and refused; one that is too long is refused as a problem, too."""
    answer = stack.api("GET", "/rules", cursor="x" * length)
    assert (answer.status, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert answer.json()["status"] == status


def test_life_of_a_rule(stack: Stack, project: str) -> None:
    """Location, ETag and If-Match work through nginx as they do without it."""
    made = stack.api("POST", "/rules", {"action": "yank", "project": project, "reason": "x"})
    path = made.headers["Location"].removeprefix("/api/v1")
    got = stack.api("GET", path)
    assert (got.json(), got.headers["ETag"]) == (made.json(), made.headers["ETag"])
    changed = stack.api("PATCH", path, {"reason": "y"}, headers={"If-Match": got.headers["ETag"]})
    assert changed.json()["reason"] == "y"
    assert stack.api("DELETE", path, headers={"If-Match": got.headers["ETag"]}).status == 412
    assert stack.api("DELETE", path, headers={"If-Match": changed.headers["ETag"]}).status == 204


def test_docs(stack: Stack) -> None:
    """The document and the readable docs need no token."""
    assert stack.get("/api/v1/openapi.json").json()["openapi"].startswith("3.1")
    assert b"<title>" in stack.get("/api/v1/docs").body


def test_failed_logins(own_stack: Stack) -> None:
    """Failed logins are counted for all processes together, whatever address the client claims to have; right ones pass."""

    def log_in(number: int) -> int:
        claimed = {"X-Decider-Client": f"192.0.2.{number}", "X-Forwarded-For": f"192.0.2.{number}"}
        return own_stack.api("GET", "/rules", token="wrong", headers=claimed).status

    assert [log_in(number) for number in range(FAILURES + 5)] == [401] * FAILURES + [429] * 5
    refused = own_stack.api("GET", "/rules", token="wrong")
    assert (refused.status, refused.headers["Content-Type"]) == (429, PROBLEM)
    assert [own_stack.api("GET", "/rules").status for _ in range(20)] == [200] * 20
    # The same, of a body that is not read for it.
    refused = own_stack.api("PUT", "/rulesets/feed", {"rules": []}, token="wrong")
    assert (refused.status, refused.headers["Content-Type"]) == (429, PROBLEM)
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert own_stack.api("PUT", "/rulesets/feed", {"rules": []}).status == 200
    assert 0 < int(refused.headers["Retry-After"]) <= 60
