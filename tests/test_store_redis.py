"""What only the Redis store has: a server that may be away, slow, full, or set up wrongly."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from decider.errors import Conflict, RecordNotFound, StoreUnavailable
from decider.store import ReviewState, Role, open_store
from decider.store.redis import RedisStore
from decider.store.redis_keys import NONCES
from tests.breaking_proxy import Break, BreakingProxy
from tests.redis_server import CONF, RedisServer, free_port
from tests.stores import AT, BLOCK, StoreKind, actions, add, block, identity, request


def open_redis(url: str) -> RedisStore:
    store = open_store(url, path="unused")
    assert isinstance(store, RedisStore)
    return store


@pytest.fixture
def redis_store(redis_server: RedisServer) -> Iterator[RedisStore]:
    redis_server.flush()
    with closing(open_redis(redis_server.url)) as store:
        yield store


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may treat as it likes."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def every_call(store: RedisStore) -> list[Callable[[], object]]:
    return [
        store.ping,
        store.durability_fault,
        store.revision,
        store.load_rules,
        lambda: store.changes_since(0),
        lambda: store.get_rule("r0000001"),
        lambda: store.list_rules(at=AT),
        lambda: add(store),
        lambda: store.change_rule("r0000001", BLOCK, actor="ann", at=AT),
        lambda: store.remove_rule("r0000001", actor="ann", at=AT),
        store.list_rulesets,
        lambda: store.get_ruleset("feed"),
        lambda: store.replace_ruleset("feed", [BLOCK], actor="ann", at=AT),
        lambda: store.replace_ruleset("feed", [BLOCK], actor="ann", at=AT, dry_run=True),
        lambda: store.remove_ruleset("feed", actor="ann", at=AT),
        lambda: store.add_token("ci", Role.READER, "hash", actor="ann", at=AT),
        lambda: store.find_token("hash"),
        lambda: store.touch_token("k0000001", at=AT),
        store.list_tokens,
        lambda: store.revoke_token("ci", actor="ann", at=AT),
        lambda: request(store),
        lambda: store.get_review("q0000001"),
        store.list_reviews,
        lambda: store.decide_review("q0000001", ReviewState.DENIED, BLOCK, reason="no", actor="ann", at=AT),
        lambda: store.note_first_seen("public", "acme", [identity("a.whl")], at=AT),
        lambda: store.first_seen("public", "acme"),
        store.list_audit,
        lambda: list(store.iterate_audit()),
        store.verify_audit,
        lambda: list(store.dump()),
    ]


# -- A server that is not there for us


def test_server_is_away() -> None:
    """While Redis is away every call says so at once; opening the store does not need it yet."""
    with closing(open_redis(f"redis://ann:secret@127.0.0.1:{free_port()}/0")) as store:
        for call in every_call(store):
            with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:[0-9]+/0: ") as caught:
                call()
            assert "secret" not in str(caught.value)


def test_server_comes_back(own_server: RedisServer) -> None:
    """A store goes on where it was once its Redis is back, without being opened again."""
    with closing(open_redis(own_server.url)) as store:
        rule = add(store)
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            store.revision()
        with pytest.raises(StoreUnavailable):
            add(store)
        own_server.start()
        assert store.load_rules() == (1, (rule,))
        assert add(store).id == "r0000002"


def test_server_hangs(own_server: RedisServer) -> None:
    """A Redis that does not answer holds up nobody who decides for more than some two seconds."""
    with closing(open_redis(own_server.url)) as store:
        rule = add(store)
        own_server.signal(signal.SIGSTOP)
        began = time.monotonic()
        for call in (store.revision, lambda: store.first_seen("public", "acme")):
            with pytest.raises(StoreUnavailable, match=r"[Tt]ime"):
                call()
        assert time.monotonic() - began < 5
        own_server.signal(signal.SIGCONT)
        assert store.load_rules() == (1, (rule,))


def test_wrong_password(tmp_path: Path) -> None:
    """Redis refusing us is StoreUnavailable, and no text of it holds the password, ours or theirs."""
    server = RedisServer(tmp_path, "--requirepass", "theirs")
    server.start()
    try:
        for credentials in ("", ":ours-wrong@", "ann:ours-wrong@"):
            with closing(open_redis(server.url.replace("//", f"//{credentials}"))) as store:
                with pytest.raises(StoreUnavailable) as caught:
                    store.revision()
                assert not re.search("ours-wrong|theirs", f"{caught.value} {caught.value.__cause__}")
        with closing(open_redis(server.url.replace("//", "//:theirs@"))) as store:
            assert add(store).id == "r0000001"
    finally:
        server.stop()


@contextmanager
def configured(client: Any, **settings: Any) -> Iterator[None]:
    before = {name.replace("_", "-"): client.config_get(name.replace("_", "-")) for name in settings}
    for name, value in settings.items():
        client.config_set(name.replace("_", "-"), value)
    try:
        yield
    finally:
        for found in before.values():
            for name, value in found.items():
                client.config_set(name, value)


def test_memory_is_full(redis_store: RedisStore, client: Any) -> None:
    """When its memory is full Redis refuses changes as a whole; rules are never evicted, and reading goes on."""
    rule = add(redis_store)
    review = request(redis_store)
    drafts = [block(f"p{number}") for number in range(1000)]
    changes: list[Callable[[], object]] = [
        lambda: add(redis_store),
        lambda: redis_store.remove_rule(rule.id, actor="ann", at=AT),
        lambda: redis_store.replace_ruleset("manual", drafts, actor="ann", at=AT),
        lambda: redis_store.note_first_seen("public", "acme", [identity("a.whl")], at=AT),
        lambda: request(redis_store),
    ]
    with configured(client, maxmemory=1):
        for change in changes:
            with pytest.raises(StoreUnavailable, match=r"OOM|memory"):
                change()
        assert redis_store.load_rules() == (1, (rule,))
        assert redis_store.get_review(review.id) == review
        assert redis_store.verify_audit() == (2, ())
    assert add(redis_store).id == "r0000002"


def test_replica(redis_store: RedisStore, client: Any) -> None:
    """A replica takes no changes; its rules can be read."""
    rule = add(redis_store)
    client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable, match="read only replica"):
            add(redis_store)
        assert redis_store.load_rules() == (1, (rule,))
    finally:
        client.replicaof("NO", "ONE")
    assert redis_store.verify_audit() == (1, ())


def test_newer_layout_is_refused(redis_store: RedisStore, client: Any) -> None:
    """Data that a newer decider laid out is left alone."""
    add(redis_store)
    client.hset("decider:head", "layout", 99)
    for call in (redis_store.ping, lambda: add(redis_store), lambda: redis_store.get_rule("r0000001")):
        with pytest.raises(StoreUnavailable, match="has layout 99, this decider knows 2"):
            call()


def test_older_layout_is_taken_over(redis_store: RedisStore, client: Any, redis_server: RedisServer) -> None:
    """The first change to the data of an older decider keeps that one from reading what it would misunderstand."""
    StoreKind(redis_server.url, Path("unused")).make_old()
    redis_store.ping()
    assert client.hget("decider:head", "layout") == b"1"
    add(redis_store)
    assert client.hget("decider:head", "layout") == b"2"


def test_damaged_rule(redis_store: RedisStore, client: Any) -> None:
    """A rule that cannot be read makes the rules unavailable: nothing is decided without it."""
    add(redis_store)
    client.hset("decider:rules", "r0000001", b'{"action": "blick"}')
    for call in (redis_store.load_rules, lambda: redis_store.changes_since(0)):
        with pytest.raises(StoreUnavailable, match="a record cannot be read"):
            call()


# -- Set up


def test_redis_conf_is_durable(redis_store: RedisStore, client: Any) -> None:
    """deploy/redis.conf makes Redis sync each change before it replies; anything else is named as a fault."""
    assert redis_store.durability_fault() is None
    with configured(client, appendfsync="everysec"):
        assert "`appendfsync everysec`" in (redis_store.durability_fault() or "")
    with configured(client, appendonly="no"):
        assert "`appendonly no`" in (redis_store.durability_fault() or "")
    assert redis_store.durability_fault() is None


def test_durability_is_not_told(client: Any, redis_server: RedisServer) -> None:
    """A Redis that does not let us ask how it is set up may be one that loses changes: that is a fault too."""
    client.acl_setuser(
        "guest", enabled=True, passwords=["+pass"], keys=["decider:*"], categories=["+@all", "-@admin"]
    )
    try:
        with closing(open_redis(redis_server.url.replace("//", "//guest:pass@"))) as store:
            assert "does not tell its `appendonly`" in (store.durability_fault() or "")
    finally:
        client.acl_deluser("guest")


def test_user_of_redis_conf(client: Any, redis_server: RedisServer) -> None:
    """The user that deploy/redis.conf proposes may do all that decider does, and nothing else."""
    (line,) = re.findall(r"^#user (decider .*)$", CONF.read_text(), re.MULTILINE)
    name, *rules = line.replace("<password>", "pass").split()
    redis_server.flush()
    client.execute_command("ACL", "SETUSER", name, *rules)
    try:
        url = redis_server.url.replace("//", "//decider:pass@")
        with closing(open_redis(url)) as store:
            add(store)
            request(store)
            for call in every_call(store):
                with suppress(RecordNotFound, Conflict):
                    call()
            assert store.verify_audit()[1] == ()
        with redis.Redis.from_url(url) as guest:
            for command in (
                ["FLUSHALL"],
                ["CONFIG", "SET", "appendonly", "no"],
                ["KEYS", "*"],
                ["GET", "other"],
            ):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    guest.execute_command(*command)
    finally:
        client.acl_deluser("decider")


@pytest.mark.parametrize("missing", ["info", "bgrewriteaof"])
def test_user_who_may_not_rewrite(client: Any, redis_server: RedisServer, missing: str) -> None:
    """A user who may not have the file written anew after a start still makes changes."""
    rules = ["on", ">pass", "~decider:*", "+@all", "-@admin", "+info"]
    client.execute_command("ACL", "SETUSER", "weaker", *rules, f"-{missing}")
    client.delete("decider:run")
    try:
        with closing(open_redis(redis_server.url.replace("//", "//weaker:pass@"))) as store:
            add(store)
            assert store.verify_audit()[1] == ()
        assert client.get("decider:run") is None
    finally:
        client.acl_deluser("weaker")


def test_all_keys_are_ours(redis_store: RedisStore, client: Any) -> None:
    """Everything lies under `decider:`, so that Redis may be shared; and what is kept to settle doubts is bounded."""
    for call in every_call(redis_store)[7:9]:
        call()
    redis_store.add_token("ci", Role.READER, "hash", actor="ann", at=AT)
    review = request(redis_store)
    redis_store.decide_review(review.id, ReviewState.DENIED, BLOCK, reason="no", actor="ann", at=AT)
    redis_store.note_first_seen("public", "acme", [identity("a.whl")], at=AT)
    redis_store.remove_rule("r0000001", actor="ann", at=AT)
    for _ in range(250):
        request(redis_store)
    keys = list(client.scan_iter())
    assert all(key.startswith(b"decider:") for key in keys)
    assert client.llen(NONCES) == 200


# -- Connections that break


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[BreakingProxy]:
    proxy = BreakingProxy(redis_server.port, b"EXEC\r\n")
    yield proxy
    proxy.close()


def test_reply_gets_lost(redis_store: RedisStore, proxy: BreakingProxy) -> None:
    """A change whose acknowledgement got lost is found to have been made: once, and reported as done."""
    with closing(open_redis(f"redis://127.0.0.1:{proxy.port}/0")) as store:
        for number in range(3):
            proxy.arm(Break.AFTER)
            rule = add(store, block(f"p{number}"))
            assert redis_store.get_rule(rule.id) == rule
    assert proxy.broken == 3
    assert [rule.project for rule in redis_store.load_rules()[1]] == ["p0", "p1", "p2"]
    assert redis_store.verify_audit() == (3, ())


@pytest.mark.parametrize("how", [Break.BEFORE, Break.LATE])
def test_change_gets_lost(redis_store: RedisStore, proxy: BreakingProxy, how: Break) -> None:
    """A change that was refused for a broken connection is never made, not even by what arrives later."""
    with closing(open_redis(f"redis://127.0.0.1:{proxy.port}/0")) as store:
        first = add(store)
        proxy.arm(how)
        with pytest.raises(StoreUnavailable):
            add(store, block("lost"))
        proxy.release()
        assert store.load_rules() == (1, (first,))
        assert add(store).id == "r0000002"
    assert redis_store.verify_audit() == (2, ())
    assert proxy.broken == 1


def test_outcome_is_not_known(
    redis_store: RedisStore, proxy: BreakingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Redis stays away after a change was sent, nobody claims to know whether it was made."""
    monkeypatch.setattr("decider.store.redis_changes._SETTLE_PAUSES_S", (0, 0))
    with closing(open_redis(f"redis://127.0.0.1:{proxy.port}/0")) as store:
        add(store)
        proxy.close()  # the connection there is stays, no other comes through
        proxy.arm(Break.AFTER)
        with pytest.raises(StoreUnavailable, match="whether it took effect is not known"):
            add(store, block("made"))
    assert [rule.project for rule in redis_store.load_rules()[1]] == ["acme", "made"]


def test_patience_ends(redis_store: RedisStore, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that cannot get its turn gives up in the end, and has changed nothing; the next one goes on."""
    monkeypatch.setattr("decider.store.redis_changes._PATIENCE_S", 0.1)
    client.set("decider:turn", "another")
    with pytest.raises(StoreUnavailable, match="other changes came first for too long"):
        add(redis_store)
    client.delete("decider:turn")
    assert add(redis_store).id == "r0000001"


def test_slow_change_gets_its_turn(redis_store: RedisStore, redis_server: RedisServer) -> None:
    """A change that takes long among many quick ones is not starved by them, and they go on after it."""
    done = threading.Event()
    quick_changes = 0

    def hurry() -> None:
        nonlocal quick_changes
        with closing(open_redis(redis_server.url)) as other:
            while not done.is_set():
                add(other)
                quick_changes += 1

    attempts = 0

    def take_long(tx: Any) -> None:
        nonlocal attempts
        attempts += 1
        seen = quick_changes
        deadline = time.monotonic() + 0.3
        while quick_changes == seen and time.monotonic() < deadline:  # until we have lost, or nobody races us
            time.sleep(0.001)
        tx.state.take_numbers("token", 100)

    thread = threading.Thread(target=hurry)
    thread.start()
    redis_store.write(take_long)
    before = redis_store.revision()
    while redis_store.revision() < before + 3:
        pass
    done.set()
    thread.join()
    assert 1 < attempts < 20
    assert redis_store.verify_audit() == (quick_changes, ())
    assert redis_store.add_token("ci", Role.READER, "hash", actor="ann", at=AT).id == "k0000101"


# -- TLS and sentinels


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    for name, subject in (("ca", "/CN=an authority"), ("other", "/CN=another authority")):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", subject,
                "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem")  # fmt: skip
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=store",
            "-keyout", tmp_path / "server.key", "-out", tmp_path / "server.csr")  # fmt: skip
    openssl("x509", "-req", "-in", tmp_path / "server.csr", "-CA", tmp_path / "ca.pem", "-CAkey", tmp_path / "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", tmp_path / "names", "-out", tmp_path / "server.pem")  # fmt: skip
    return tmp_path


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def test_tls(certificates: Path) -> None:
    """rediss:// talks to a server whose certificate is good for its name, and to no other."""
    tls_port = free_port()
    files = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}
    options = [
        part for name, file in files.items() for part in (f"--tls-{name}-file", str(certificates / file))
    ]
    server = RedisServer(certificates, "--tls-port", str(tls_port), "--tls-auth-clients", "no", *options)
    server.start()
    try:
        with closing(
            open_redis(f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificates}/ca.pem")
        ) as store:
            assert add(store).id == "r0000001"
        for host, authority in (
            ("localhost", f"?ssl_ca_certs={certificates}/other.pem"),
            ("localhost", ""),
            ("127.0.0.1", f"?ssl_ca_certs={certificates}/ca.pem"),
        ):
            with (
                closing(open_redis(f"rediss://{host}:{tls_port}/0{authority}")) as store,
                pytest.raises(StoreUnavailable, match="certificate"),
            ):
                store.revision()
    finally:
        server.stop()


def test_sentinel(tmp_path: Path) -> None:
    """With sentinels the store follows the master: after it fails, to the replica that takes over."""
    folders = [tmp_path / name for name in ("first", "second", "sentinel")]
    for folder in folders:
        folder.mkdir()
    first = RedisServer(folders[0], "--requirepass", "pass", "--masterauth", "pass")
    second = RedisServer(
        folders[1], "--requirepass", "pass", "--masterauth", "pass", "--replicaof", f"127.0.0.1 {first.port}"
    )
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"sentinel monitor decider 127.0.0.1 {first.port} 1\n"
        "sentinel auth-pass decider pass\n"
        "sentinel down-after-milliseconds decider 300\n"
        "sentinel failover-timeout decider 3000\n"
        "requirepass sentinels\n"
    )
    sentinel = RedisServer(folders[2], "--sentinel", conf=conf)
    url = f"redis+sentinel://:pass@127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/decider/0"
    try:
        for server in (first, second, sentinel):
            server.start()
        with closing(open_redis(f"{url}?sentinel_password=sentinels")) as store:
            rule = add(store)
            assert store.durability_fault() is None
            with redis.Redis(port=second.port, password="pass") as replica:
                wait_for(lambda: replica.hget("decider:head", "revision") == b"1")
            with redis.Redis(port=sentinel.port, password="sentinels", protocol=2) as watch:
                wait_for(lambda: watch.execute_command("SENTINEL", "replicas", "decider") != [])
            first.kill()
            wait_for(lambda: is_writable(store))
            assert store.load_rules()[1][0] == rule
            assert store.verify_audit()[1] == ()
        with closing(open_redis(url)) as store, pytest.raises(StoreUnavailable) as caught:
            store.revision()
        assert "pass@" not in str(caught.value)
    finally:
        for server in (first, second, sentinel):
            server.stop()


def is_writable(store: RedisStore) -> bool:
    try:
        add(store, block("after"))
    except StoreUnavailable:
        return False
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_actions_are_seen_by_all(redis_store: RedisStore, redis_server: RedisServer) -> None:
    """Every machine sees one log of what all did, in one order."""
    with closing(open_redis(redis_server.url)) as other:
        add(redis_store)
        add(other)
        other.add_token("ci", Role.READER, "hash", actor="bob", at=AT)
        assert actions(redis_store) == actions(other) == ["rule.add", "rule.add", "token.add"]
