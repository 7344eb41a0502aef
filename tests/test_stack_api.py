"""The decision API through nginx, with several processes behind it."""

import pytest

from decider.web.throttle import FAILURES
from tests.stack import Stack

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
    assert 0 < int(refused.headers["Retry-After"]) <= 60
