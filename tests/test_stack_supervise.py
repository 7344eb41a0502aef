"""`decider up` as one supervised whole, and the commands around it (DESIGN 4, 11)."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fake_index import FakeIndex, status
from tests.stack import PROMISE_S, ROOT, START_WITHIN_S, Stack, eventually, source_environment
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack


def test_prints_the_base_url_once_it_serves(stack: Stack) -> None:
    """`up` prints the base URL, on standard output, when it serves."""
    assert stack.base_url in stack.log.read_text()
    assert stack.get("/healthz").status == 200


def test_interrupt_stops_it_too(own_stack: Stack) -> None:
    """Ctrl-C at a terminal, which signals every process, stops it as cleanly as SIGTERM."""
    assert own_stack.process is not None
    family = own_stack.processes()
    os.killpg(own_stack.process.pid, signal.SIGINT)
    assert own_stack.process.wait(20) in {0, 130}
    eventually(lambda: not [process for process in family if process.alive], within_s=5)
    assert b"Traceback" not in own_stack.log.read_bytes()


def test_sigterm_in_the_middle_of_requests(own_stack: Stack, own_index: FakeIndex) -> None:
    """SIGTERM amid requests, even twice, ends with status 0 and cuts no answer short."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    assert own_stack.file("demo", wheel.filename).body == wheel.data
    assert own_stack.process is not None
    with ThreadPoolExecutor(4) as clients:
        pending = [clients.submit(lambda: own_stack.file("demo", wheel.filename)) for _ in range(40)]
        own_stack.process.send_signal(signal.SIGTERM)
        own_stack.process.send_signal(signal.SIGTERM)
        for request in pending:
            # Either whole or turned away, as a closed port does; never a part.
            failure = request.exception()
            if failure is None:
                assert request.result().body == wheel.data
            else:
                assert isinstance(failure, OSError | http.client.RemoteDisconnected)
        assert own_stack.process.wait(20) == 0


def test_after_a_killed_one(own_stack: Stack, own_index: FakeIndex) -> None:
    """What a killed `up` left, and ends late, is waited for: it takes nothing from the one that follows."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    family = own_stack.processes()
    head = next(one for one in family if "decider.wsgi" in one.command and one.parent == family[0].pid)
    os.kill(head.pid, signal.SIGSTOP)
    try:
        os.kill(family[0].pid, signal.SIGKILL)
        assert own_stack.process is not None
        own_stack.process.wait()
        own_stack.launch()
        eventually(lambda: "up.waits" in own_stack.log_text(), within_s=10, what="word of the waiting")
    finally:
        os.kill(head.pid, signal.SIGCONT)
    eventually(lambda: not any(one.alive for one in family), within_s=20, what="the end of the old one")
    eventually(own_stack.is_ready, within_s=START_WITHIN_S, what="readiness")
    assert own_stack.file("demo", wheel.filename).body == wheel.data


def test_after_a_killed_one_whose_nginx_was_killed_too(own_stack: Stack, own_index: FakeIndex) -> None:
    """Workers of nginx that nobody told to end, and that keep its port, are ended by the `up` that follows."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    family = own_stack.processes()
    for process in (family[0], next(one for one in family if "nginx: master" in one.command)):
        os.kill(process.pid, signal.SIGKILL)
    assert own_stack.process is not None
    own_stack.process.wait()
    assert any(one.alive and "nginx: worker" in one.command for one in family)
    own_stack.start()
    assert not any(one.alive for one in family)
    assert own_stack.file("demo", wheel.filename).body == wheel.data


def test_rules_survive_a_restart(own_stack: Stack, own_index: FakeIndex) -> None:
    """A restart keeps rules, and the caches of nginx."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    kept = own_index.add("kept", make_wheel("kept", "1.0"))
    own_stack.add_rule(action="block", project="demo")
    assert own_stack.file("kept", kept.filename).body == kept.data
    own_stack.restart()
    assert own_stack.file("demo", wheel.filename).status == 403
    own_index.switch("/files/*", status(500))
    assert own_stack.file("kept", kept.filename).body == kept.data


def test_reload(own_stack: Stack, own_index: FakeIndex) -> None:
    """SIGHUP rereads the configuration without dropping a request; a faulty file is logged and changes nothing."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    assert own_stack.get("/later/simple/demo/").status == 404
    good = own_stack.config.read_text()
    assert own_stack.process is not None

    own_stack.config.write_text(good + "\nnonsense = [")
    own_stack.process.send_signal(signal.SIGHUP)
    eventually(
        lambda: "nonsense" in own_stack.log_text() or "TOML" in own_stack.log_text(),
        within_s=10,
        what="complaint",
    )
    assert own_stack.file("demo", wheel.filename).body == wheel.data

    own_stack.config.write_text(good + '\n[repositories.later]\nindexes = ["public"]\n')
    with ThreadPoolExecutor(4) as clients:
        running = [clients.submit(lambda: own_stack.file("demo", wheel.filename)) for _ in range(200)]
        own_stack.process.send_signal(signal.SIGHUP)
        assert {(request.result().status, request.result().body) for request in running} == {
            (200, wheel.data)
        }
    eventually(
        lambda: own_stack.get("/later/simple/demo/").status == 200, within_s=15, what="the new repository"
    )
    assert own_stack.get(f"/later/files/demo/{wheel.filename}").body == wheel.data


def test_weak_admin_token(new_stack: Callable[..., Stack]) -> None:
    """With an administrator's token that could be guessed nothing starts: the variable is named, its value is not."""
    stack = new_stack(index_url=None)
    stack.token = "short-and-secret"
    for command in ("check", "nginx-config", "serve", "up"):
        result = stack.run(command)
        assert (result.returncode, result.stdout) == (2, ""), command
        assert result.stderr.startswith("decider: DECIDER_ADMIN_TOKEN: must have 32 "), command
        assert "short" not in result.stderr
    assert not stack.data_dir.exists()


def test_all_faults_at_once(new_stack: Callable[..., Stack]) -> None:
    """A faulty configuration stops `up` and `check` with every fault, by key, and without a traceback."""
    stack = new_stack(index_url="http://127.0.0.1:9/simple/", workers=0, top='grace = "soon"\nsurprise = 1')
    for command in ("up", "check"):
        ran = stack.run(command)
        assert ran.returncode not in {0, None}
        said = ran.stdout + ran.stderr
        for key in ("grace", "workers", "surprise"):
            assert key in said
        assert "Traceback" not in said


def test_port_taken(new_stack: Callable[..., Stack]) -> None:
    """A port that is taken ends `up` with a status and a message that names it."""
    stack = new_stack(index_url="http://127.0.0.1:9/simple/")
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.port))
        other.listen()
        ran = stack.run("up")
        assert ran.returncode not in {0, None}
        assert str(stack.port) in ran.stdout + ran.stderr


def test_environment_overrides(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """A scalar of the file can be overridden from the environment (DESIGN 4)."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(
        index_url="http://127.0.0.1:9/simple/", environment={"DECIDER_INDEXES__PUBLIC__URL": own_index.url}
    )
    stack.start()
    assert stack.page("demo").filenames == [wheel.filename]


def test_first_token_is_printed_once(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """Without any token `up` makes one and prints it once; the next start prints none and it still works."""
    stack = new_stack(index_url=own_index.url)
    stack.token = ""
    # A start that fails has printed none, and so must have made none: it could never be shown again.
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.port))
        other.listen()
        assert stack.run("up").returncode == 1
    stack.start()

    def token() -> str | None:
        words = re.findall(r"[\w.-]{20,}", stack.log.read_text())
        return next((word for word in words if stack.api("GET", "/audit", token=word).status == 200), None)

    made = eventually(token, within_s=10, what="a token in the output")
    stored = b"".join(path.read_bytes() for path in stack.data_dir.rglob("*") if path.is_file())
    assert made.encode() not in stored
    stack.log.write_text("")
    stack.restart()
    assert made not in stack.log.read_text()
    assert stack.api("GET", "/audit", token=made).status == 200


def test_folder_with_a_space(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """A folder with blanks and quotes in its name is a folder like any other."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, folder_name="a folder; with #odd 'chars' ")
    stack.drop(make_wheel("local-demo", "1.0"))
    stack.start()
    assert stack.file("demo", wheel.filename).body == wheel.data
    assert stack.file("local-demo", make_wheel("local-demo", "1.0").filename).status == 200


def test_private_files_are_private(stack: Stack) -> None:
    """What data_dir holds of rules and tokens is not readable by others."""
    stack.add_rule(action="block", project="rules-are-private")
    databases = [path for path in stack.data_dir.rglob("*sqlite*") if path.is_file()]
    assert databases
    for path in databases:
        reachable = path.stat().st_mode & 0o077
        parents = [parent for parent in path.parents if stack.data_dir in (parent, *parent.parents)]
        assert not reachable or any(not parent.stat().st_mode & 0o007 for parent in parents), path


def test_metrics_stay_inside(stack: Stack, index: FakeIndex, project: str) -> None:
    """/metrics is Prometheus text on the loopback listener, and 404 on the public one (DESIGN 3)."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    assert stack.file(project, wheel.filename).status == 200
    answer = stack.get("/metrics", port=stack.internal_port)
    assert answer.status == 200
    assert answer.content_type.startswith("text/plain")
    assert re.search(r"^# TYPE decider_\w+ (counter|gauge|histogram)$", answer.text, re.MULTILINE)
    assert stack.get("/metrics").status == 404


def test_internal_listener_is_loopback_only(stack: Stack) -> None:
    """Both listeners are on the addresses that the configuration gives, not on all."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    for port in (stack.port, stack.internal_port):
        bound = {line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")}
        assert bound == {f"0100007F:{port:04X}"}


def test_check(own_stack: Stack, own_index: FakeIndex) -> None:
    """`check` says ok of a good configuration, as text and as JSON, and fails when a required part fails."""
    good = own_stack.run("check")
    assert good.returncode == 0, good.stdout + good.stderr
    as_json = own_stack.run("check", "--json")
    assert as_json.returncode == 0
    json.loads(as_json.stdout)
    own_index.go_down()
    own_stack.drop(make_wheel("broken", "1.0")).write_bytes(b"no zip archive")
    # A file that was written a moment ago is not looked at yet.
    found = eventually(
        lambda: ran if "broken-1.0-py3-none-any.whl" in (ran := own_stack.run("check")).stdout else None,
        within_s=20,
    )
    assert "public" in found.stdout
    assert found.stderr == "", "findings are printed once, and no events beside them"


def test_nginx_config_is_accepted_by_nginx(stack: Stack) -> None:
    """`nginx-config` prints a configuration that nginx itself accepts."""
    ran = stack.run("nginx-config")
    assert ran.returncode == 0, ran.stderr
    file = stack.folder / "rendered.conf"
    file.write_text(ran.stdout)
    tested = subprocess.run(
        ["nginx", "-t", "-c", str(file), "-p", str(stack.folder)],
        env=source_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr


def test_rules_by_command_line(stack: Stack, index: FakeIndex, project: str) -> None:
    """Rules added, listed, exported, removed and imported by the command line hold as those of the API do."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    assert stack.file(project, wheel.filename).status == 200
    added = stack.run("rules", "add", project, "--action", "block", "--reason", "said no")
    assert added.returncode == 0, added.stderr
    eventually(lambda: stack.file(project, wheel.filename).status == 403, within_s=PROMISE_S)
    listed = json.loads(stack.run("rules", "list", "--json").stdout)
    items = listed["items"] if isinstance(listed, dict) else listed
    (rule,) = [item for item in items if item["project"] == project]
    assert rule["reason"] == "said no"
    explained = stack.run("explain", f"{project}==1.0")
    assert "said no" in explained.stdout
    exported = stack.run("rules", "export")
    assert exported.returncode == 0, exported.stderr
    removed = stack.run("rules", "remove", rule["id"])
    assert removed.returncode == 0, removed.stderr
    eventually(lambda: stack.file(project, wheel.filename).status == 200, within_s=PROMISE_S)


def test_tokens_by_command_line(stack: Stack) -> None:
    """`token create` prints a token alone, good for its role until it is revoked (DESIGN 11)."""
    made = stack.run("token", "create", "ci", "--role", "reader")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert len(token.split()) == 1
    assert stack.api("GET", "/rules", token=token).status == 200
    rule = {"action": "block", "project": "demo", "reason": "x"}
    assert stack.api("POST", "/rules", rule, token=token).status == 403
    assert stack.run("token", "revoke", "ci").returncode == 0
    eventually(lambda: stack.api("GET", "/rules", token=token).status == 401, within_s=PROMISE_S)


def test_version_and_help() -> None:
    """`--help` names every command; nothing needs a configuration for that."""
    ran = subprocess.run(
        [sys.executable, "-m", "decider", "--help"],
        cwd=ROOT,
        env=source_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for command in ("up", "nginx-config", "serve", "check", "rules", "explain", "token", "audit"):
        assert re.search(rf"^\s+{command}\b", ran.stdout, re.MULTILINE)
