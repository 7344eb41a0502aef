"""Reviews end to end: pip is refused, the team decides, pip installs, or is told the team's reason (DESIGN 5, 6)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fake_index import FakeIndex
from tests.installer import Installer
from tests.stack import PROMISE_S, Stack, eventually
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack


def reviews(stack: Stack, project: str) -> dict[str, dict[str, Any]]:
    """By version."""
    items = stack.api("GET", "/reviews", project=project, state="open").json()["items"]
    return {item["version"]: item for item in items}


def test_from_refusal_to_installation(stack: Stack, index: FakeIndex, project: str, tmp_path: Path) -> None:
    """A held download opens a review; approved for a version and a while, that version installs within 2 s."""
    wheels = {version: index.add(project, make_wheel(project, version)) for version in ("1.0", "1.1")}
    hold = stack.add_rule(action="hold", project=project, reason="waits for security")
    installer = Installer(tmp_path, stack.simple_url)
    eventually(lambda: stack.file(project, wheels["1.0"].filename).status == 403, within_s=PROMISE_S)
    asked_before = stack.file(project, wheels["1.1"].filename)
    assert asked_before.status == 403
    refused = installer.pip_install("refused", f"{project}==1.1")
    assert refused.code != 0
    assert f"Held: waits for security ({hold['id']})" in refused.output

    found = eventually(
        lambda: both if len(both := reviews(stack, project)) == 2 else None, within_s=PROMISE_S
    )
    review = found["1.1"]
    assert (review["state"], review["rule"], review["filename"]) == (
        "open",
        hold["id"],
        wheels["1.1"].filename,
    )
    assert review["requested_by"] == ["127.0.0.1"]
    assert review["requests"] >= 1

    end = (datetime.now(UTC) + timedelta(days=14)).replace(microsecond=0)
    answer = stack.api(
        "POST",
        f"/reviews/{review['id']}",
        {
            "decision": "approve",
            "reason": "read by ann",
            "versions": "==1.1",
            "expires_at": end.isoformat(),
        },
    )
    assert answer.status == 200, answer.body
    written = answer.json()["written"]
    assert (written["action"], written["lifts"], written["versions"]) == ("allow", [hold["id"]], "==1.1")
    # What happens then: test_stack_races.py::test_waiver_ends.
    assert datetime.fromisoformat(written["expires_at"]) == end
    eventually(lambda: stack.file(project, wheels["1.1"].filename).status == 200, within_s=PROMISE_S)
    eventually(lambda: "yanked" not in stack.page(project).file(wheels["1.1"].filename), within_s=PROMISE_S)
    # pip's own request is decided apart from ours, and may have been just before.
    installed = eventually(
        lambda: ran if (ran := installer.pip_install("approved", project)).code == 0 else None,
        within_s=PROMISE_S,
    )
    assert f"{project}-1.1" in installed.output, installed.output
    assert installer.installed("approved") == {f"{project}-1.1"}
    assert stack.file(project, wheels["1.0"].filename).status == 403
    assert set(reviews(stack, project)) == {"1.0"}


def test_denied(stack: Stack, index: FakeIndex, project: str, tmp_path: Path) -> None:
    """A denied file is blocked with the team's reason, which pip prints; deciding twice is a conflict."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    hold = stack.add_rule(action="hold", project=project, reason="waits for security")
    eventually(lambda: stack.file(project, wheel.filename).status == 403, within_s=PROMISE_S)
    review = eventually(lambda: reviews(stack, project).get("1.0"), within_s=PROMISE_S)
    body = {"decision": "deny", "reason": "sends environment variables home"}
    answer = stack.api("POST", f"/reviews/{review['id']}", body)
    assert answer.status == 200, answer.body
    rule = answer.json()["written"]
    assert (rule["action"], rule["project"]) == ("block", project)
    eventually(
        lambda: stack.file(project, wheel.filename).headers["X-Decider-Rule"] == rule["id"],
        within_s=PROMISE_S,
    )
    refused = Installer(tmp_path, stack.simple_url).pip_install("denied", f"{project}==1.0")
    assert refused.code != 0
    assert f"Blocked: sends environment variables home ({rule['id']})" in refused.output
    assert stack.api("POST", f"/reviews/{review['id']}", body).status == 409
    stack.remove_rule(hold)
    assert stack.file(project, wheel.filename).status == 403
    (entry,) = [
        entry
        for entry in stack.api("GET", "/audit", rule=rule["id"]).json()["items"]
        if entry["action"] == "review.deny"
    ]
    assert (entry["actor"], entry["reason"]) == ("token:admin", body["reason"])
