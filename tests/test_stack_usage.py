"""Usage through the whole stack: what real installers leave behind, and that nothing of it is lost."""

import csv
import io
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fake_index import FakeIndex
from tests.installer import Installer
from tests.stack import PROMISE_S, Stack, eventually
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

SHOWN_WITHIN_S = (
    10.0  #: nginx holds lines back for a second, the collector looks twice a second, machines are busy
)


def records(stack: Stack, **query: str) -> list[dict[str, Any]]:
    answer = stack.api("GET", "/usage", None, headers=None, token=None, limit="1000", **query)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def wait_for(stack: Stack, count: int, **query: str) -> list[dict[str, Any]]:
    """So many records, once they are there."""

    def found() -> list[dict[str, Any]] | None:
        present = records(stack, **query)
        return present if len(present) >= count else None

    return eventually(found, within_s=SHOWN_WITHIN_S, what=f"{count} records")


def collector_of(stack: Stack) -> int | None:
    """The collector's process, while there is one."""
    found = [process.pid for process in stack.processes() if "-m decider.usage run/" in process.command]
    return found[0] if found else None


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_installers(stack: Stack, index: FakeIndex, project: str, tmp_path: Path, tool: str) -> None:
    """An install by pip or uv shows with its page, metadata and file, and with the installer's own words."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    ran = Installer(tmp_path, stack.simple_url).install(tool, "out", project)
    assert ran.code == 0, ran.output
    (file,) = wait_for(stack, 1, project=project)
    pages = wait_for(stack, 1, project=project, kind="page")
    assert (file["kind"], file["filename"], file["version"]) == ("file", wheel.filename, "1.0")
    assert (file["sha256"], file["verdict"], file["rule"]) == (wheel.sha256, "allow", None)
    assert (file["status"], file["bytes"], file["client"]) == (200, len(wheel.data), "127.0.0.1")
    assert (file["repository"], file["user"]) == ("default", None)
    assert file["installer"]["name"] == tool
    assert file["installer"]["system"] == "Linux"
    assert file["installer"]["python"].count(".") == 2
    assert file["installer"]["version"]
    assert {page["installer"]["name"] for page in pages} == {tool}
    assert pages[0]["filename"] is None
    for companion in records(stack, project=project, kind="metadata"):
        assert (companion["filename"], companion["version"]) == (wheel.filename, "1.0")


def test_cached_or_not(stack: Stack, index: FakeIndex, project: str) -> None:
    """Requests are recorded alike whether they were answered from caches or not, local files and 304 too."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    local = make_wheel(f"{project}-local", "1.0")
    stack.drop(local)
    etag = ""
    for _ in range(3):
        etag = str(stack.file(project, wheel.filename).headers["ETag"])
    stack.file(project, wheel.filename, If_None_Match=etag)
    eventually(
        lambda: stack.file(f"{project}-local", local.filename).status == 200, within_s=PROMISE_S, what="local"
    )
    found = wait_for(stack, 4, project=project)
    # Not in the order of the requests: a worker of nginx writes a line when it comes to it.
    assert Counter((one["status"], one["version"], one["sha256"]) for one in found) == {
        (304, "1.0", wheel.sha256): 1,
        (200, "1.0", wheel.sha256): 3,
    }
    assert {one["cache"] for one in found if one["status"] == 200} == {"MISS", "HIT"}
    served = wait_for(stack, 1, project=f"{project}-local", verdict="allow")[0]
    assert (served["version"], served["sha256"], served["cache"]) == ("1.0", local.sha256, None)


def test_refusals(stack: Stack, index: FakeIndex, project: str) -> None:
    """A refused request is recorded with verdict and rule; exposure tells who has what is refused now."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    assert stack.file(project, wheel.filename).status == 200
    wait_for(stack, 1, project=project)
    rule = stack.add_rule(action="block", project=project)
    eventually(lambda: stack.file(project, wheel.filename).status == 403, within_s=PROMISE_S)
    refused, *_ = wait_for(stack, 1, project=project, verdict="block")
    assert (refused["status"], refused["rule"], refused["version"]) == (403, rule["id"], "1.0")
    (exposed,) = stack.api("GET", f"/rules/{rule['id']}/exposure").json()["items"]
    assert (exposed["client"], exposed["filename"]) == ("127.0.0.1", wheel.filename)
    assert exposed["count"] == len(records(stack, project=project, verdict="allow"))


def test_strange_requests(stack: Stack, index: FakeIndex, project: str) -> None:
    """What clients spell strangely is recorded as it came, forges no field, and loses no other line."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    path = f"/files/{project}/{wheel.filename}".encode()
    for agent in (
        b'x"} \\ {"client":"203.0.113.1"',
        b"\xff\xfe\x80",
        b"tab\tand\x01control",
        b"a" * 8_000,
        b"",
    ):
        answer = stack.raw(
            b"GET "
            + path
            + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: "
            + agent
            + b"\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
    answer = stack.raw(
        f"GET /files/{project}/a%22b%27%C3%A9%FF.whl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")
    found = wait_for(stack, 6, project=project)
    assert {one["client"] for one in found} == {"127.0.0.1"}
    assert found[0]["filename"] == "a\"b'é\ufffd.whl"
    assert [one["installer"]["name"] for one in found if one["installer"]][-1] == "x"
    assert "usage.unreadable" not in stack.log.read_text()


def test_what_is_not_usage(stack: Stack, project: str) -> None:
    """Health, API, other places, preflights and refused methods are no usage; the access log has the first three."""
    stack.get("/healthz")
    stack.get(f"/nowhere/{project}")
    stack.get(f"/simple/{project}/", method="OPTIONS")
    stack.get(f"/simple/{project}/", method="DELETE")
    stack.page(project)
    (page,) = wait_for(stack, 1, project=project, kind="all")
    assert (page["kind"], page["status"]) == ("page", 404)
    access = (stack.data_dir / "logs" / "access.log").read_text()
    assert f"/nowhere/{project}" in access
    assert f"GET /simple/{project}/" not in access
    assert "uninitialized" not in (stack.data_dir / "logs" / "nginx.log").read_text()


def test_dry_run(stack: Stack, index: FakeIndex, project: str) -> None:
    """A dry run says what a rule would have refused."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    for _ in range(2):
        stack.file(project, wheel.filename)
    wait_for(stack, 2, project=project)
    body = {"action": "block", "project": project, "reason": "bad"}
    effects = stack.api("POST", "/rules", body, dry_run="true").json()["effects"]
    assert (effects["usage_total"]["downloads"], effects["usage_total"]["clients"]) == (2, 1)
    assert [one["filename"] for one in effects["usage"]] == [wheel.filename]
    told = "would have refused 2 downloads by 1 client in the last 30 days"
    block = [project, "--action", "block", "--reason", "bad"]
    assert stack.run("rules", "add", *block, "--dry-run").stdout == f"{told}\n"
    assert json.loads(stack.run("rules", "add", *block, "--dry-run", "--json").stdout).keys() == {
        "usage_total"
    }
    file = stack.folder / "feed.json"
    file.write_text(json.dumps({"rules": [body]}))
    assert told in stack.run("rules", "import", str(file), "--ruleset", project, "--dry-run").stdout
    assert stack.api("GET", "/rules", project=project).json()["items"] == []


def test_command_line(stack: Stack, index: FakeIndex, project: str) -> None:
    """`usage top|who|export` and `exposure` tell the same as the API."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    stack.file(project, wheel.filename, User_Agent="pdm/2.28.2")
    wait_for(stack, 1, project=project)
    top = stack.run("usage", "top", "--by", "filename,installer", "--project", project, "--since", "1h")
    assert top.returncode == 0, top.stderr
    assert [wheel.filename, "pdm", "1", "1"] == top.stdout.splitlines()[1].split()[:4]
    who = json.loads(stack.run("usage", "who", f"{project}==1.0", "--json").stdout)["items"]
    assert [(one["group"]["client"], one["count"]) for one in who] == [("127.0.0.1", 1)]
    assert json.loads(stack.run("usage", "who", f"{project}==1", "--json").stdout)["items"] == who
    assert "127.0.0.1" not in stack.run("usage", "who", f"{project}==2.0").stdout
    lines = stack.run("usage", "export", "--project", project).stdout.splitlines()
    assert [json.loads(line)["filename"] for line in lines] == [wheel.filename]
    text = stack.run("usage", "export", "--project", project, "--format", "csv").stdout
    assert [row["installer_name"] for row in csv.DictReader(io.StringIO(text))] == ["pdm"]
    rule = stack.add_rule(action="block", project=project, versions="==1.0")
    for target in (rule["id"], f"{project}==1.0"):
        ran = stack.run("exposure", str(target), "--json")
        assert ran.returncode == 0, ran.stderr
        (one,) = json.loads(ran.stdout)["items"]
        assert (one["client"], one["filename"], one["count"]) == ("127.0.0.1", wheel.filename, 1)
    assert wheel.filename in stack.run("exposure", f"{project}==1.0").stdout
    assert wheel.filename not in stack.run("exposure", f"{project}==2.0").stdout
    assert stack.run("exposure", "r999999").returncode == 1
    assert stack.run("usage", "top", "--by", "colour").returncode == 2
    assert stack.run("usage", "top", "--since", "soon").returncode == 2


def test_erase(own_stack: Stack, own_index: FakeIndex) -> None:
    """A client's records can be exported, and erased for good; by a token's name alike, but never those of nobody."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    own_stack.file("demo", wheel.filename)
    wait_for(own_stack, 1, project="demo")
    exported = own_stack.run("usage", "export", "--client", "127.0.0.1").stdout.splitlines()
    assert own_stack.run("usage", "export", "--user", "ann").stdout == ""
    assert json.loads(own_stack.run("usage", "erase", "--user", "ann", "--json").stdout) == {"erased": 0}
    assert own_stack.run("usage", "erase").returncode == 2
    assert own_stack.run("usage", "erase", "", "--user", "").returncode == 2
    ran = own_stack.run("usage", "erase", "127.0.0.1", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["erased"] >= len(exported) >= 1
    assert records(own_stack, kind="all") == []


def test_counted_once_whatever_happens(own_stack: Stack, own_index: FakeIndex) -> None:
    """With the collector killed and the log turned over amid traffic, every request is counted, once.

    DECIDER_TEST_KILLS makes it as often as one likes.
    """
    kills = int(os.environ.get("DECIDER_TEST_KILLS", "3"))
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    assert own_stack.file("demo", wheel.filename).status == 200
    logs = own_stack.data_dir / "logs"
    asked = 1

    def ask() -> int:
        return own_stack.file("demo", wheel.filename).status

    killed: set[int] = set()

    def next_collector() -> int | None:
        pid = collector_of(own_stack)
        return None if pid in killed else pid

    for turn in range(kills):
        collector = eventually(next_collector, within_s=30, what="a new collector")
        with ThreadPoolExecutor(4) as clients:
            pending = [clients.submit(ask) for _ in range(100)]
            os.kill(collector, signal.SIGKILL)
            killed.add(collector)
            (logs / "usage.log").rename(logs / f"usage.log.{turn}")
            assert {request.result() for request in pending} == {200}
        asked += 100
        os.kill(int((own_stack.data_dir / "run" / "nginx.pid").read_text()), signal.SIGUSR1)
        eventually((logs / "usage.log").exists, within_s=10)

    def count() -> int:
        found = own_stack.api("GET", "/usage/counts", by="project").json()["items"]
        return sum(one["count"] for one in found)

    eventually(lambda: count() >= asked, within_s=60, what="all records")
    own_stack.restart()
    assert count() == asked


def test_stopping_loses_nothing(own_stack: Stack, own_index: FakeIndex) -> None:
    """Requests answered right before SIGTERM are recorded, too."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    for _ in range(20):
        assert own_stack.file("demo", wheel.filename).status == 200
    own_stack.stop()
    lines = own_stack.run("usage", "export", "--kind", "file").stdout.splitlines()
    assert len(lines) == 20


def test_killing_the_supervisor_loses_nothing(own_stack: Stack, own_index: FakeIndex) -> None:
    """Requests answered right before `decider up` is killed are recorded, too; none twice."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    family = own_stack.processes()
    for _ in range(20):
        assert own_stack.file("demo", wheel.filename).status == 200
    assert own_stack.process is not None
    own_stack.process.kill()
    own_stack.process.wait()
    eventually(lambda: not any(process.alive for process in family), within_s=20, what="the others' end")
    own_stack.start()

    def count() -> int:
        found = own_stack.api("GET", "/usage/counts", by="project", kind="file").json()["items"]
        return sum(one["count"] for one in found)

    eventually(lambda: count() >= 20, within_s=30, what="all records")
    own_stack.restart()
    assert count() == 20


def test_hostile_user_agents(own_stack: Stack, own_index: FakeIndex) -> None:
    """No User-Agent keeps requests, its own or others', from being recorded, nor the next start from serving."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    path = f"/files/demo/{wheel.filename}"
    agents = [
        "pip/26.0 null",
        "pip/26.0 1",
        'pip/26.0 {"installer": 1}',
        'pip/26.0 {"installer":{"name":"\\ud800"}}',
    ]
    for agent in (*agents, "pip/26.0"):
        assert own_stack.get(path, {"User-Agent": agent}).status == 200
    assert len(wait_for(own_stack, len(agents) + 1, project="demo")) == len(agents) + 1
    for agent in agents:
        assert own_stack.get(path, {"User-Agent": agent}).status == 200
    own_stack.restart()
    assert len(wait_for(own_stack, 2 * len(agents) + 1, project="demo")) == 2 * len(agents) + 1


def test_disabled(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """Where usage is not wanted nothing is logged, stored or collected, until a reload says otherwise."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, tables="[usage]\nenabled = false\n")
    stack.start()
    assert stack.file("demo", wheel.filename).status == 200
    assert records(stack, kind="all") == []
    assert not (stack.data_dir / "logs" / "usage.log").exists()
    assert collector_of(stack) is None
    stack.config.write_text(stack.config.read_text().replace("enabled = false", "enabled = true"))
    assert stack.process is not None
    stack.process.send_signal(signal.SIGHUP)
    eventually((stack.data_dir / "logs" / "usage.log").exists, within_s=20)

    def is_recorded() -> bool:
        return stack.file("demo", wheel.filename).status == 200 and bool(records(stack))

    eventually(is_recorded, within_s=30, what="a record")


def test_pseudonyms(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """With pseudonyms no address is told, and the client is still found by its address."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, tables="[usage]\npseudonymise = true\n")
    stack.start()
    stack.file("demo", wheel.filename)
    (found,) = wait_for(stack, 1, project="demo")
    assert found["client"].startswith("p-")
    assert records(stack, client="127.0.0.1") == [found]
    stack.add_rule(action="hold", project="demo", reason="look first")
    eventually(lambda: stack.file("demo", wheel.filename).status == 403, within_s=PROMISE_S)
    (review,) = eventually(lambda: stack.api("GET", "/reviews").json()["items"], within_s=5)
    assert review["requested_by"] == [found["client"]]
