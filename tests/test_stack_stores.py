"""The stores as they are run: Redis with a password, TLS, sentinels; stores that go away; moving between stores."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import redis
import trustme

from tests.fake_index import FakeIndex
from tests.redis_server import RedisServer
from tests.stack import PROMISE_S, Stack, eventually, free_port
from tests.stores import StoreKind
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

PASSWORD = "a-password-for-tests-only"
AWAY_S = 20.0  #: until every process has noticed that the store is away, or back


@pytest.fixture
def wheels(own_index: FakeIndex) -> dict[str, Distribution]:
    """A wheel of each of a few projects on the public index."""
    return {name: own_index.add(name, make_wheel(name, "1.0")) for name in ("one", "two", "three")}


@dataclass(frozen=True)
class Tls:
    """A Redis that speaks TLS and wants a password."""

    server: RedisServer
    url: str


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Tls]:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", PASSWORD]
    for name, file in (("cert", "cert.pem"), ("key", "key.pem"), ("ca-cert", "ca.pem")):
        options += [f"--tls-{name}-file", str(tmp_path / file)]
    server = RedisServer(tmp_path, *options)
    server.start()
    yield Tls(server, f"rediss://:{PASSWORD}@localhost:{port}/1?ssl_ca_certs={tmp_path}/ca.pem")
    server.stop()


def is_refused(stack: Stack, wheels: dict[str, Distribution], project: str) -> bool:
    return stack.file(project, wheels[project].filename).status == 403


def agree(one: Stack, other: Stack, wheels: dict[str, Distribution], project: str) -> None:
    """A rule made at one stack holds at the other, and so does taking it back there."""
    assert not is_refused(one, wheels, project)
    assert not is_refused(other, wheels, project)
    rule = one.add_rule(action="block", project=project)
    eventually(lambda: is_refused(other, wheels, project), within_s=PROMISE_S)
    eventually(lambda: "yanked" in other.page(project).json()["files"][0], within_s=PROMISE_S)
    other.remove_rule(rule)
    eventually(lambda: not is_refused(one, wheels, project), within_s=PROMISE_S)


def degraded(stack: Stack, wheels: dict[str, Distribution], project: str) -> tuple[int, str | None]:
    answer = stack.file(project, wheels[project].filename)
    return answer.status, answer.headers["X-Decider-Degraded"]


def change_status(stack: Stack) -> int:
    return stack.api("POST", "/rules", {"action": "block", "project": "never", "reason": "x"}).status


def assert_fails_closed(stack: Stack, wheels: dict[str, Distribution]) -> None:
    """What holds while the store is away: the last rules decide and say so, changes are refused, then nothing goes."""
    eventually(lambda: degraded(stack, wheels, "one") == (403, "store"), within_s=AWAY_S)
    eventually(lambda: degraded(stack, wheels, "two") == (200, "store"), within_s=PROMISE_S)
    assert stack.page("two").headers["X-Decider-Degraded"] == "store"
    assert change_status(stack) == 503
    ready = eventually(
        lambda: got if (got := stack.get("/readyz")).status != 200 else None, within_s=PROMISE_S + 1
    )
    assert (ready.status, ready.json()["failing"]) == (503, ["store"])
    eventually(lambda: degraded(stack, wheels, "two")[0] == 503, within_s=AWAY_S, what="failing closed")
    answer = stack.page("two")
    assert (answer.status, "max_policy_age" in answer.json()["detail"]) == (503, True)
    assert degraded(stack, wheels, "one")[0] in {403, 503}


def assert_back(stack: Stack, wheels: dict[str, Distribution]) -> None:
    eventually(lambda: degraded(stack, wheels, "two") == (200, None), within_s=AWAY_S, what="recovery")
    eventually(lambda: degraded(stack, wheels, "one") == (403, None), within_s=AWAY_S)
    eventually(stack.is_ready, within_s=AWAY_S)
    rule = stack.add_rule(action="block", project="three")
    eventually(lambda: is_refused(stack, wheels, "three"), within_s=PROMISE_S)
    stack.remove_rule(rule)
    verified = stack.run("audit", "verify")
    assert (verified.returncode, verified.stderr) == (0, "")


# Long enough for a command to be run meanwhile, on a busy machine too. Deciders of one process each, below: a second one
# may not have heard of a rule yet when the store goes away.
POLICY_AGE = 'max_policy_age = "15s"\ngrace = "1s"'


def test_redis_with_password_and_tls(
    new_stack: Callable[..., Stack], own_index: FakeIndex, wheels: dict[str, Distribution], tls: Tls
) -> None:
    """Two machines on one Redis with TLS and a password agree; without it they fail closed, and come back."""
    top = f'store = "{tls.url}"\n{POLICY_AGE}'
    one, other = (new_stack(index_url=own_index.url, top=top, workers=1) for _ in range(2))
    one.start()
    other.start()
    agree(one, other, wheels, "two")
    agree(other, one, wheels, "three")
    one.add_rule(action="block", project="one")
    eventually(lambda: is_refused(other, wheels, "one"), within_s=PROMISE_S)
    tls.server.kill()
    assert_fails_closed(other, wheels)
    tls.server.start()
    assert_back(other, wheels)
    agree(other, one, wheels, "two")
    for stack in (one, other):
        assert PASSWORD not in stack.log_text()
        holding = [
            path
            for path in stack.data_dir.rglob("*")
            if path.is_file() and PASSWORD.encode() in path.read_bytes()
        ]
        assert all(path.stat().st_mode & 0o077 == 0 for path in holding), holding


def test_redis_behind_sentinels(
    new_stack: Callable[..., Stack],
    own_index: FakeIndex,
    wheels: dict[str, Distribution],
    tmp_path: Path,
) -> None:
    """When the master dies decisions go on by the last rules, and changes once a replica has taken over."""
    folders = [tmp_path / name for name in ("first", "second", "sentinel")]
    for folder in folders:
        folder.mkdir()
    secret = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    first = RedisServer(folders[0], *secret)
    second = RedisServer(folders[1], *secret, "--replicaof", f"127.0.0.1 {first.port}")
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"sentinel monitor decider 127.0.0.1 {first.port} 1\nsentinel auth-pass decider {PASSWORD}\n"
        "sentinel down-after-milliseconds decider 1000\nsentinel failover-timeout decider 3000\n"
    )
    sentinel = RedisServer(folders[2], "--sentinel", conf=conf)
    try:
        for server in (first, second, sentinel):
            server.start()
        url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{sentinel.port}/decider/0"
        stack = new_stack(index_url=own_index.url, top=f'store = "{url}"')
        stack.start()
        stack.add_rule(action="block", project="one")
        revision = stack.add_rule(action="block", project="three")["revision"]
        eventually(lambda: is_refused(stack, wheels, "one"), within_s=PROMISE_S)
        with redis.Redis(port=second.port, password=PASSWORD) as replica:
            eventually(
                lambda: replica.hget("decider:head", "revision") == str(revision).encode(), within_s=AWAY_S
            )
        with redis.Redis(port=sentinel.port, protocol=2) as watch:
            eventually(lambda: watch.execute_command("SENTINEL", "replicas", "decider"), within_s=AWAY_S)
        first.kill()
        answers = set()

        def is_changed() -> bool:
            answers.add(stack.file("one", wheels["one"].filename).status)
            return change_status(stack) == 201

        eventually(is_changed, within_s=40, what="the failover")
        assert answers == {403}
        stack.add_rule(action="block", project="two")
        eventually(lambda: is_refused(stack, wheels, "two"), within_s=PROMISE_S)

        def verified() -> CompletedProcess[str] | None:
            """What was said of the chain, once the store could be read: a busy machine may keep a new master from answering."""
            ran = stack.run("audit", "verify")
            return ran if ran.stdout else None

        found = eventually(verified, within_s=AWAY_S)
        assert (found.returncode, found.stderr) == (0, "")
        stack.stop()
    finally:
        for server in (first, second, sentinel):
            server.stop()


def test_sqlite_away(
    new_stack: Callable[..., Stack], own_index: FakeIndex, wheels: dict[str, Distribution]
) -> None:
    """A database that is moved away is a store that is away, whatever a command makes in its place; put back, it is back."""
    stack = new_stack(index_url=own_index.url, top=POLICY_AGE, workers=1)
    stack.start()
    stack.add_rule(action="block", project="one")
    eventually(lambda: is_refused(stack, wheels, "one"), within_s=PROMISE_S)
    parts = [path for path in stack.data_dir.iterdir() if path.name.startswith("decider.sqlite")]
    away = stack.folder / "away"
    away.mkdir()
    for path in parts:
        path.rename(away / path.name)
    # Run by a cron job, say: it finds no database and makes one. That one has no rules.
    assert stack.run("rules", "list").returncode == 0
    assert_fails_closed(stack, wheels)
    for path in parts:
        (away / path.name).rename(path)
    assert_back(stack, wheels)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_store_of_an_older_decider(
    new_stack: Callable[..., Stack], own_index: FakeIndex, redis_server: RedisServer, kind: str
) -> None:
    """After the upgrade files without upload time are as old as they were, from the first request on; what is uploaded
    in their place is new.
    """
    redis_server.flush()
    url = "sqlite" if kind == "sqlite" else redis_server.url
    stack = new_stack(index_url=own_index.url, top=f"store = {json.dumps(url)}")
    stack.data_dir.mkdir()
    StoreKind(url, stack.data_dir).make_old()  # with a cooldown of `demo` and times of 1.0 and 1.1
    versions = {version: make_wheel("demo", version) for version in ("1.0", "1.1", "2.0")}
    for wheel in versions.values():
        own_index.add("demo", wheel, omit=("upload-time",))
    stack.start()

    def held() -> set[str]:
        entries = {version: stack.page("demo").file(wheel.filename) for version, wheel in versions.items()}
        return {version for version, entry in entries.items() if "Held" in str(entry.get("yanked"))}

    with ThreadPoolExecutor(8) as threads:
        first = [threads.submit(held) for _ in range(8)]
    assert [one.result() for one in first] == [{"2.0"}] * 8
    old, other = versions["1.0"], make_wheel("demo", "1.0", padding=3_200)
    assert [stack.file("demo", wheel.filename).status for wheel in versions.values()] == [200, 200, 403]

    own_index.add("demo", other, omit=("upload-time",))
    assert stack.api("POST", "/indexes/public/refresh", {"project": "demo"}).status == 200
    eventually(lambda: stack.file("demo", old.filename).status == 403, within_s=PROMISE_S)
    eventually(lambda: held() == {"1.0", "2.0"}, within_s=PROMISE_S)
    stack.restart()
    assert held() == {"1.0", "2.0"}
    assert stack.file("demo", versions["1.1"].filename).body == versions["1.1"].data


@pytest.mark.parametrize(("option", "value"), [("appendfsync", "everysec"), ("appendonly", "no")])
def test_check_warns_of_a_redis_that_loses_changes(
    new_stack: Callable[..., Stack], tmp_path: Path, option: str, value: str
) -> None:
    """`decider check` names what keeps a Redis from being durable, as a warning."""
    server = RedisServer(tmp_path, f"--{option}", value)
    server.start()
    try:
        stack = new_stack(index_url=None, top=f'store = "{server.url}"')
        checked = stack.run("check", "--json")
        found = [one for one in json.loads(checked.stdout)["findings"] if one["part"] == "store"]
        assert [one["level"] for one in found] == ["ok", "warning"]
        assert f"`{option} {value}`" in found[1]["detail"]
        assert checked.returncode == 0
    finally:
        server.stop()


def facts(stack: Stack, wheels: dict[str, Distribution], token: str) -> dict[str, Any]:
    """What has to be the same on either store."""
    return {
        "rules": stack.api("GET", "/rules", token=token).json(),
        "rulesets": stack.api("GET", "/rulesets", token=token).json(),
        "reviews": stack.api("GET", "/reviews", token=token).json(),
        "audit": stack.api("GET", "/audit", token=token).json()["items"],
        "files": {name: stack.file(name, wheel.filename).status for name, wheel in wheels.items()},
    }


def test_migration_both_ways(
    new_stack: Callable[..., Stack],
    own_index: FakeIndex,
    wheels: dict[str, Distribution],
    redis_server: RedisServer,
) -> None:
    """A store with a history moves from SQLite to Redis and back: rules, tokens, reviews, and the chain of the audit log."""
    redis_server.flush()
    stack = new_stack(index_url=own_index.url)
    stack.start()
    stack.add_rule(action="block", project="one")
    hold = stack.add_rule(action="hold", project="two")
    stack.remove_rule(stack.add_rule(action="yank", project="three"))
    for feed in (["x", "y"], ["y", "z"]):
        rules = [{"action": "block", "project": name, "reason": "feed"} for name in feed]
        assert stack.api("PUT", "/rulesets/feed", {"rules": rules}).status == 200
    token = stack.run("token", "create", "auditor", "--role", "reader").stdout.strip()
    eventually(lambda: is_refused(stack, wheels, "two"), within_s=PROMISE_S)
    (review,) = eventually(lambda: stack.api("GET", "/reviews").json()["items"], within_s=PROMISE_S)
    assert review["rule"] == hold["id"]
    before = facts(stack, wheels, token)
    assert before["files"] == {"one": 403, "two": 403, "three": 200}

    configuration = stack.config.read_text()

    def move(source: str, target: str) -> None:
        stack.stop()
        stack.config.write_text(f"store = {json.dumps(target)}\n{configuration}")
        moved = stack.run("store", "migrate", source, target)
        assert (moved.returncode, moved.stderr) == (0, "")
        stack.start()

    move("sqlite", redis_server.url)
    assert facts(stack, wheels, token) == before
    approved = stack.api("POST", f"/reviews/{review['id']}", {"decision": "approve", "reason": "read"})
    assert approved.status == 200, approved.body
    eventually(lambda: not is_refused(stack, wheels, "two"), within_s=PROMISE_S)
    after = facts(stack, wheels, token)
    verified = stack.run("audit", "verify").stdout
    assert verified == f"{len(after['audit'])} audit entries: whole\n"

    for path in stack.data_dir.glob("decider.sqlite*"):
        path.unlink()
    move(redis_server.url, "sqlite")
    assert facts(stack, wheels, token) == after
    assert stack.run("audit", "verify").stdout == verified
    assert stack.add_rule(action="block", project="three")["id"] > approved.json()["written"]["id"]
    eventually(lambda: is_refused(stack, wheels, "three"), within_s=PROMISE_S)
    exported = [json.loads(line) for line in stack.run("audit", "export").stdout.splitlines()]
    assert exported[:-1] == after["audit"]
    assert (exported[-1]["action"], exported[-1]["previous_hash"]) == ("rule.add", exported[-2]["hash"])
