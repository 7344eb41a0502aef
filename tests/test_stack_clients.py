"""Who clients are and what they may: tokens for reading, TLS, addresses behind a balancer, fair shares."""

import http.client
import json
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from decider.web.throttle import FAILURES
from tests.conftest import running
from tests.fake_index import FakeIndex
from tests.stack import ADMIN_TOKEN, PIP_ACCEPT, PROMISE_S, Answer, Stack, eventually, source_environment
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

READER = 'read_access = "token"'


def basic(secret: str, user: str = "__token__") -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{secret}".encode()).decode()}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# Reading with a token


@pytest.fixture
def wheel(own_index: FakeIndex) -> Distribution:
    """A file on the index."""
    return own_index.add("demo", make_wheel("demo", "1.0"))


@pytest.fixture
def closed(own_index: FakeIndex, new_stack: Callable[..., Stack], wheel: Distribution) -> Stack:
    """A stack that only holders of tokens may read; who asks for it may say from where."""
    assert wheel
    stack = new_stack(index_url=own_index.url, top=f'{READER}\ntrusted_proxies = ["127.0.0.1"]')
    stack.start()
    return stack


@pytest.fixture(scope="module")
def shared_closed(shared_index: FakeIndex) -> Iterator[Stack]:
    """The same for tests that leave nothing behind."""
    shared_index.add("demo", make_wheel("demo", "1.0"))
    with running(Stack(index_url=shared_index.url, top=READER)) as stack:
        yield stack


def make_token(stack: Stack, name: str, role: str = "reader") -> str:
    return stack.run("token", "create", name, "--role", role).stdout.strip()


def test_reading_takes_a_token(closed: Stack, wheel: Distribution) -> None:
    """Pages, lists and files are 401 without a token or with a wrong one, and 200 with one, as Basic or Bearer."""
    secret = make_token(closed, "ci")
    addresses = map("192.0.2.{}".format, range(256))
    assert closed.get("/simple/demo/", bearer(ADMIN_TOKEN)).status == 200
    for path in (
        "/simple/",
        "/simple/demo/",
        f"/files/demo/{wheel.filename}",
        f"/files/demo/{wheel.filename}.metadata",
        "/pypi/demo/json",
        "/pypi/demo/1.0/json",
        "/pypi/demo/1/json",
        "/default/simple/",
        "/simple/absent/",
        f"/files/demo/{wheel.filename}.provenance",
    ):
        for wrong in (
            {},
            basic("wrong"),
            bearer("wrong"),
            basic(secret, "ci"),
            {"Authorization": "Basic !"},
            basic(""),
        ):
            answer = closed.get(path, {"Accept": PIP_ACCEPT, "X-Forwarded-For": next(addresses), **wrong})
            assert (answer.status, answer.content_type) == (401, "application/problem+json"), (path, wrong)
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")
            assert answer.headers["Cache-Control"] == "no-store"
        for right in (basic(secret), bearer(secret)):
            status = 404 if "absent" in path or path.endswith(".provenance") else 200
            assert closed.get(path, {"Accept": PIP_ACCEPT, **right}).status == status, path


def test_explanations_take_a_token_too(closed: Stack, wheel: Distribution) -> None:
    """Who may not read a refusal is not told of one at /why either: not which names there are, nor which rules."""
    secret = make_token(closed, "ci")
    rule = closed.add_rule(action="block", project="demo", reason="a secret project")
    addresses = map("192.0.2.{}".format, range(256))
    for path in ("/why/demo", f"/why/demo/{wheel.filename}", "/default/why/Demo", "/why/absent"):
        for accept in ("text/html", "application/json"):
            for wrong in ({}, basic("wrong"), bearer("wrong")):
                answer = closed.get(path, {"Accept": accept, "X-Forwarded-For": next(addresses), **wrong})
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
                assert not any(word in answer.text for word in ("secret project", rule["id"], "public"))
    eventually(lambda: "a secret project" in closed.get("/why/demo", basic(secret)).text, within_s=PROMISE_S)


def test_cached_for_one_is_not_for_another(closed: Stack, wheel: Distribution) -> None:
    """What one client was just given is refused to the next that comes without a token: nothing crosses clients."""
    secret = make_token(closed, "ci")
    path = f"/files/demo/{wheel.filename}"
    for _ in range(5):
        assert closed.get(path, bearer(secret)).status == 200
        assert closed.get(path).status == 401
        assert closed.get(path, {**bearer(secret + "x"), "Range": "bytes=0-1"}).status == 401
        etag = closed.get(path, bearer(secret)).headers["ETag"]
        assert closed.get(path, {"If-None-Match": etag}).status == 401


def test_revoked_token_stops_reading(closed: Stack) -> None:
    """A revoked token reads nothing more within the promise."""
    secret = make_token(closed, "ci")
    assert closed.get("/simple/demo/", bearer(secret)).status == 200
    assert closed.run("token", "revoke", "ci").returncode == 0
    eventually(lambda: closed.get("/simple/demo/", bearer(secret)).status == 401, within_s=PROMISE_S)


def kept_decisions(stack: Stack) -> int:
    """How many decisions and refusals its nginx keeps now."""
    found = re.search(
        r'proxy_cache_path "(/[^"]+/decisions)"', (stack.data_dir / "run" / "nginx.conf").read_text()
    )
    assert found is not None
    return sum(one.is_file() for one in Path(found[1]).rglob("*"))


def test_wrong_tokens_do_not_shut_out_others(closed: Stack, wheel: Distribution) -> None:
    """Ten wrong tokens a minute of an address are 401, more 429; right ones from there are read with, and the API has its
    own ten."""
    secret = make_token(closed, "ci")
    file = f"/files/demo/{wheel.filename}"
    here, near, far = (
        {"X-Forwarded-For": one} for one in ("2001:db8::1", "2001:DB8:0:0:5::", "2001:db8:0:1::1")
    )
    # The very same ones count, too.
    for number in range(FAILURES):
        assert closed.get("/simple/demo/", {**here, **bearer(f"wrong-{number // 2}")}).status == 401
    kept = kept_decisions(closed)
    for path in (
        "/simple/",
        "/simple/demo/",
        file,
        f"{file}.metadata",
        "/pypi/demo/json",
        "/why/demo",
        "/simple/x/",
    ):
        accept = "application/json" if path == "/why/demo" else PIP_ACCEPT
        for number, client in enumerate((here, near, here, near)):
            wrong = basic(f"wrong-{number}") if number % 2 else bearer(f"wrong-{number}")
            answer = closed.get(path, {"Accept": accept, **client, **wrong})
            assert (answer.status, answer.content_type) == (429, "application/problem+json"), path
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            assert (answer.headers["Cache-Control"], answer.json()["status"]) == ("no-store", 429)
            assert closed.get(path, {**client}).status == 401, "who sends none is told to"
            right = closed.get(path, {"Accept": accept, **client, **bearer(secret)})
            assert right.status == (404 if path == "/simple/x/" else 200)
    assert closed.get("/simple/demo/", {**far, **bearer("wrong")}).status == 401
    # Of six places: decisions on the right one, decisions on none and the refusals that follow; and one more refusal.
    assert kept_decisions(closed) - kept <= 3 * 6 + 1
    for number in range(FAILURES + 1):
        answer = closed.get("/api/v1/rules", {**here, **bearer("wrong")})
        assert answer.status == (401 if number < FAILURES else 429)
        assert closed.get("/api/v1/rules", {**here, **bearer(secret)}).status == 200
        assert closed.get(file, {**here, **bearer(secret)}).body == wheel.data


def test_wrong_tokens_take_no_room(closed: Stack) -> None:
    """However many wrong tokens come, what was decided for right ones is kept, and none of them is."""
    secret = make_token(closed, "ci")
    assert closed.get("/simple/demo/", bearer(secret)).status == 200
    kept = kept_decisions(closed)
    for number in range(200):
        wrong = {"X-Forwarded-For": f"192.0.2.{number}", **bearer(f"wrong-{number}")}
        assert closed.get("/simple/demo/", wrong).status == 401
    assert kept_decisions(closed) == kept


def test_right_tokens_go_on_in_a_flood_of_wrong_ones(closed: Stack) -> None:
    """While four clients send nothing but wrong tokens, as fast as they can, right ones read and call without a no."""
    secret = make_token(closed, "ci")
    ended = threading.Event()

    def flood(number: int) -> int:
        count = 0
        connection = http.client.HTTPConnection("127.0.0.1", closed.port, timeout=20)
        while not ended.is_set():
            count += 1
            path = "/simple/demo/" if number % 2 else "/api/v1/rules"
            connection.request(
                "GET", path, headers={"X-Forwarded-For": "192.0.2.1", **bearer(f"w-{number}-{count}")}
            )
            answer = connection.getresponse()
            answer.read()
            assert answer.status in {401, 429}
        connection.close()
        return count

    with ThreadPoolExecutor(4) as pool:
        floods = [pool.submit(flood, number) for number in range(4)]
        try:
            waits = []
            for number in range(60):
                path = "/api/v1/rules" if number % 2 else f"/files/demo/demo-{number}.tar.gz"
                asked = time.monotonic()
                answer = closed.get(path, {"X-Forwarded-For": "192.0.2.1", **bearer(secret)})
                waits.append(time.monotonic() - asked)
                assert answer.status == (200 if number % 2 else 404)
        finally:
            ended.set()
        counts = [one.result() for one in floods]
    print(
        f"{counts} wrong ones; right ones waited for {sorted(waits)[len(waits) // 2]:.3f} s, {max(waits):.3f} s at most"
    )
    assert max(waits) < 5


def test_tokens_stay_off_the_disk(closed: Stack, wheel: Distribution) -> None:
    """No token lands in a log or in a file below data_dir; and what is kept in memory goes with the service."""
    secret = make_token(closed, "ci")
    header = basic(secret)
    for path in ("/simple/demo/", f"/files/demo/{wheel.filename}"):
        assert closed.get(path, header).status == 200
        assert closed.get(path, bearer("wrong-but-secret")).status == 401
    for path in ("/why/demo", "/simple/demo/", "/healthz", "/absent"):
        closed.get(path, basic("", user=secret))
        for query in (f"?access_token={secret}", f"?x=1&Token={secret}", f"?{secret}"):
            closed.get(path + query, {"Referer": f"http://x{path}{query}"})
        assert closed.get(f"/api/v1/rules?token={secret}").status == 401
    for host in (b"http://__token__:%s@x", b"http://%s@x"):
        closed.raw_get(host % secret.encode() + b"/absent")
    access = closed.data_dir / "logs" / "access.log"
    eventually(lambda: access.read_bytes().count(b"GET /absent ") >= 1, within_s=5, what="the log's lines")
    folders = [path for path in Path("/dev/shm").glob("decider-*/decisions") if path.stat().st_mode & 0o077]
    assert folders == [], "decisions in memory are for nginx's user alone"
    traces = [secret.encode(), header["Authorization"].split()[1].encode(), b"wrong-but-secret"]
    before = set(Path("/dev/shm").glob("decider-*"))
    closed.stop()
    assert before - set(Path("/dev/shm").glob("decider-*"))
    for file in closed.folder.rglob("*"):
        if file.is_file():
            assert not any(trace in file.read_bytes() for trace in traces), file


READING = (
    "/simple/",
    "/simple/demo/",
    "/files/demo/x-1.0.tar.gz",
    "/pypi/demo/json",
    "/why/demo",
    "/api/v1/rules",
)


@pytest.mark.parametrize("path", [*READING, "/nothing", "/healthz"])
def test_one_authorization_of_a_kilobyte(shared_closed: Stack, path: str) -> None:
    """An Authorization of up to 1,024 bytes is read, a longer one is 400 at nginx, and so are two of them; in our words."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n"
    right = f"Bearer {ADMIN_TOKEN}"
    for length, is_read in ((1024, True), (1025, False), (2000, False), (15_000, False), (20_000, False)):
        value = f"Bearer{' ' * (length - len(ADMIN_TOKEN) - 6)}{ADMIN_TOKEN}"
        assert len(value) == length
        answer = shared_closed.raw(f"{head}Authorization: {value}\r\nConnection: close\r\n\r\n".encode())
        said, _, body = answer.partition(b"\r\n\r\n")
        assert said.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404") if is_read else b"HTTP/1.1 400"), (
            length,
            said,
        )
        if not is_read:
            assert b"\r\nContent-Type: application/problem+json\r\n" in said
            assert (json.loads(body)["status"], "1 kB" in json.loads(body)["detail"]) == (400, True)
    for first, second in ((right, right), (right, "Bearer wrong"), ("Bearer wrong", right), (right, "")):
        two = f"Authorization: {first}\r\nauthorization: {second}\r\nConnection: close\r\n\r\n"
        said, _, body = shared_closed.raw(f"{head}{two}".encode()).partition(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 400"), (first, second)
        assert b"\r\nContent-Type: application/problem+json\r\n" in said
        assert json.loads(body)["status"] == 400


def test_decisions_fit_into_little_memory(
    own_index: FakeIndex, new_stack: Callable[..., Stack], wheel: Distribution
) -> None:
    """However many decisions with long names and long headers come, a small /dev/shm does not run full, and the right
    token has an answer each time."""
    in_little = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=6m tmpfs /dev/shm && exec "$@"', "sh")
    if subprocess.run([*in_little, "true"], capture_output=True, check=False).returncode:
        pytest.skip("takes a user who may mount")
    stack = new_stack(index_url=own_index.url, top=READER, run_by=in_little)
    stack.start()
    head = {"Authorization": f"Bearer{' ' * 900}{ADMIN_TOKEN}"}
    with ThreadPoolExecutor(4) as pool:
        names = [f"demo-{number}{'-x' * 110}-1.0.tar.gz" for number in range(1200)]
        statuses = list(pool.map(lambda name: stack.get(f"/files/demo/{name}", head).status, names))
    # On a machine that does other things too one may be told to come back, and is answered then.
    put_off = [name for name, status in zip(names, statuses, strict=True) if status == 503]
    assert len(put_off) < len(names) // 100
    assert set(statuses) <= {404, 503}
    assert {stack.get(f"/files/demo/{name}", head).status for name in put_off} <= {404}
    assert stack.get(f"/files/demo/{wheel.filename}", head).body == wheel.data
    assert "No space left" not in stack.log_text(1_000_000)


def test_other_sites_do_not_read_with_a_token(closed: Stack, wheel: Distribution) -> None:
    """Where reading takes a token no answer lets another site's script read it: no yes, no 401, no OPTIONS, no refusal."""
    local = closed.drop(make_wheel("local", "1.0"), "local").name
    origin = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    right = {**origin, **bearer(ADMIN_TOKEN)}
    eventually(
        lambda: closed.get(f"/files/local/{local}", bearer(ADMIN_TOKEN)).status == 200, within_s=PROMISE_S
    )
    file = f"/files/demo/{wheel.filename}"
    asked = {
        "/simple/": 200,
        "/simple/demo/": 200,
        "/simple/Demo/": 301,
        "/simple/absent/": 404,
        file: 200,
        f"{file}.metadata": 200,
        f"/files/local/{local}": 200,
        f"/files/local/{local}.metadata": 200,
        "/pypi/demo/json": 200,
        "/why/demo": 200,
    }
    for path, status in asked.items():
        # Twice: from where it was made, and from the caches.
        answers = [closed.get(path, right), closed.get(path, right), closed.get(path, origin)]
        assert [one.status for one in answers] == [status, status, 301 if status == 301 else 401], path
        answers.append(closed.get(path, origin, method="OPTIONS"))
        assert (answers[-1].status, answers[-1].headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        answers.append(closed.get(path, right, method="POST"))
        etag = answers[0].headers["ETag"]
        if etag:
            answers.append(closed.get(path, {**right, "If-None-Match": etag}))
            assert answers[-1].status == 304
        for answer in answers:
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")], path
    ranged = closed.get(file, {**right, "Range": f"bytes={len(wheel.data)}-"})
    assert (ranged.status, ranged.headers["Access-Control-Allow-Origin"]) == (416, None)


def test_installers_read_with_a_token(closed: Stack, tmp_path: Path) -> None:
    """pip and uv install with the token in the index URL."""
    secret = make_token(closed, "ci")
    url = closed.simple_url.replace("http://", f"http://__token__:{secret}@")
    environment = source_environment({"UV_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_CACHE_DIR": "1"})
    uv = shutil.which("uv", path=environment["PATH"])
    assert uv is not None
    pip_install = [sys.executable, "-m", "pip", "--isolated", "install"]
    for name, tool in (("pip", pip_install), ("uv", [uv, "pip", "install", "--no-config"])):
        command = [*tool, "--no-deps", "--index-url", url, "--target", str(tmp_path / name), "demo"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr


# TLS


def test_tls_listener(own_index: FakeIndex, new_stack: Callable[..., Stack], wheel: Distribution) -> None:
    """With a certificate `listen` speaks TLS and HTTP/2, and nothing in the clear; SIGHUP takes a renewed one over."""
    stack = new_stack(index_url=own_index.url, top='tls_certificate = "tls.pem"\ntls_key = "tls.key"')
    authority = trustme.CA()

    def write(certificate: trustme.LeafCert) -> None:
        certificate.private_key_pem.write_to_path(str(stack.folder / "tls.key"))
        for position, pem in enumerate(certificate.cert_chain_pems):
            pem.write_to_path(str(stack.folder / "tls.pem"), append=position > 0)

    write(authority.issue_cert("localhost"))
    stack.launch()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    def get(path: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPSConnection("localhost", stack.port, context=trust, timeout=10)
        try:
            connection.request("GET", path, headers={"Accept": PIP_ACCEPT})
            answer = connection.getresponse()
            return answer.status, answer.reason, answer.read()
        finally:
            connection.close()

    def serves() -> bool:
        try:
            return get("/readyz")[0] == 200
        except OSError:
            return False

    eventually(serves, within_s=40)
    assert get(f"/files/demo/{wheel.filename}")[::2] == (200, wheel.data)
    assert f"https://127.0.0.1:{stack.port}" in stack.log.read_text()
    assert stack.get("/simple/demo/").status == 400, "plain HTTP on the TLS port"
    offered = ssl.create_default_context()
    authority.configure_trust(offered)
    offered.set_alpn_protocols(["h2", "http/1.1"])

    def served() -> tuple[str | None, str | None, bytes | None]:
        with (
            socket.create_connection(("127.0.0.1", stack.port), timeout=10) as raw,
            offered.wrap_socket(raw, server_hostname="localhost") as wrapped,
        ):
            return wrapped.selected_alpn_protocol(), wrapped.version(), wrapped.getpeercert(binary_form=True)

    *spoken, before = served()
    assert spoken == ["h2", "TLSv1.3"]
    write(authority.issue_cert("localhost"))
    assert stack.process is not None
    stack.process.send_signal(signal.SIGHUP)
    eventually(lambda: served()[2] != before, within_s=10, what="the renewed certificate")


# Addresses and shares


def test_client_address_behind_a_trusted_proxy(
    own_index: FakeIndex, new_stack: Callable[..., Stack], wheel: Distribution
) -> None:
    """A trusted proxy's X-Forwarded-For names the client; others' is ignored; a spoofed first entry is not believed."""
    stack = new_stack(index_url=own_index.url, top='trusted_proxies = ["127.0.0.1"]')
    stack.start()
    stack.add_rule(action="hold", project="demo", reason="look first")
    path = f"/files/demo/{wheel.filename}"
    headers = {
        "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
        "X-Real-IP": "192.0.2.1",
        "X-Decider-Client": "192.0.2.2",
    }
    eventually(lambda: stack.get(path, headers).status == 403, within_s=PROMISE_S)
    requested = eventually(lambda: stack.api("GET", "/reviews").json()["items"], within_s=5)
    assert requested[0]["requested_by"] == ["198.51.100.7"]


def test_untrusted_client_cannot_name_its_address(
    own_index: FakeIndex, new_stack: Callable[..., Stack], wheel: Distribution
) -> None:
    """Without trusted proxies no header changes who a client is."""
    stack = new_stack(index_url=own_index.url)
    stack.start()
    stack.add_rule(action="hold", project="demo", reason="look first")
    path = f"/files/demo/{wheel.filename}"
    headers = {"X-Forwarded-For": "198.51.100.7", "X-Real-IP": "192.0.2.1", "X-Decider-Client": "192.0.2.2"}
    eventually(lambda: stack.get(path, headers).status == 403, within_s=PROMISE_S)
    requested = eventually(lambda: stack.api("GET", "/reviews").json()["items"], within_s=5)
    assert requested[0]["requested_by"] == ["127.0.0.1"]


def test_one_address_gets_a_fair_share(
    own_index: FakeIndex, new_stack: Callable[..., Stack], wheel: Distribution
) -> None:
    """An address that asks for far more than its share is told 429 and when to come back; others go on."""
    assert wheel
    stack = new_stack(
        index_url=own_index.url,
        top='trusted_proxies = ["127.0.0.1"]\nmax_requests_per_s = 1000\npublic_metrics = true',
    )
    stack.start()

    def ask(client: str, count: int) -> list[Answer]:
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
        answers = []
        for _ in range(count):
            connection.request(
                "GET", "/simple/demo/", headers={"Accept": PIP_ACCEPT, "X-Forwarded-For": client}
            )
            got = connection.getresponse()
            answers.append(Answer(got.status, got.reason, got.headers, got.read()))
            if got.status != 200:
                break
        connection.close()
        return answers

    # A whole second's share and the burst above it, from several connections at once.
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: ask("198.51.100.7", 3000), range(8)))
    refused = [run[-1] for run in runs if run[-1].status != 200]
    assert refused, "no connection met the limit"
    assert {(one.status, one.headers["Retry-After"], one.content_type) for one in refused} == {
        (429, "1", "application/problem+json")
    }
    assert ask("203.0.113.9", 1)[0].status == 200
    assert_few_rulesets_at_once(stack)
    assert_few_releases_at_once(stack)
    assert_one_share_of_everything(stack)


def assert_one_share_of_everything(stack: Stack) -> None:
    """Who has used up the share with pages gets nothing else of the decider either, while others do."""
    paths = (
        "/simple/Demo/",
        "/files/Demo/demo-1.0.tar.gz",
        "/pypi/Demo/json",
        "/api/v1/rules",
        "/readyz",
        "/metrics",
    )
    page = b"GET /simple/demo/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n"
    ended = threading.Event()

    def flood() -> None:
        while not ended.is_set():
            with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as made:
                for _ in range(40):
                    made.sendall(page * 200)
                    answers, begun = 0, b""
                    while answers < 200 and not ended.is_set():
                        got = begun + made.recv(1 << 20)
                        answers += got.count(b"HTTP/1.1 ")
                        begun = got[-8:]

    with ThreadPoolExecutor(2) as pool:
        flooding = [pool.submit(flood) for _ in range(2)]
        try:
            for path in paths:
                refused = eventually(
                    lambda path=path: (  # type: ignore[misc]
                        got
                        if (got := stack.get(path, {"X-Forwarded-For": "192.0.2.9"})).status == 429
                        else None
                    ),
                    within_s=20,
                    what=path,
                )
                assert (refused.headers["Retry-After"], "its share" in refused.text) == ("1", True), path
                other = stack.get(path, {"X-Forwarded-For": "192.0.2.10"})
                assert other.status in {200, 301, 401}, path
        finally:
            ended.set()
    for one in flooding:
        one.result()


def assert_few_releases_at_once(stack: Stack) -> None:
    """Releases one by one, known or made up, are for people, as /why is: forty at once, then twenty a second."""

    def ask(path: str, client: str) -> Answer:
        return stack.get(path, {"X-Forwarded-For": client})

    for number, (version, status) in enumerate((("1.0", 200), ("1.0.0", 200), ("9.9", 404))):
        client = f"192.0.2.2{number}"
        answers = [ask(f"/pypi/demo/{version}/json", client) for _ in range(200)]
        assert {answer.status for answer in answers[:40]} == {status}
        refused = [answer for answer in answers if answer.status == 429]
        assert refused, "no request met the limit"
        assert (refused[0].headers["Retry-After"], refused[0].content_type) == (
            "1",
            "application/problem+json",
        )
        assert ask("/pypi/demo/json", client).status == ask("/simple/demo/", client).status == 200
    assert ask("/pypi/demo/1.0/json", "192.0.2.30").status == 200


def assert_few_rulesets_at_once(stack: Stack) -> None:
    """One address fills no disk with bodies that are not here yet: four rulesets at a time."""
    head = (
        "PUT /api/v1/rulesets/feed HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {}\r\n"
        f"Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 60000000\r\n\r\n"
    )
    with ExitStack() as opened:

        def begin(client: str) -> socket.socket:
            made = opened.enter_context(socket.create_connection(("127.0.0.1", stack.port), timeout=10))
            made.sendall(head.format(client).encode())
            return made

        for one, others in (
            (["192.0.2.7", "::ffff:192.0.2.7"], "192.0.2.8"),
            ([f"2001:db8::{number:x}:1" for number in range(20)], "2001:db8:0:1::1"),
        ):
            begun = [begin(one[number % len(one)]) for number in range(20)]
            other = begin(others)
            eventually(
                lambda begun=begun: len(select.select(begun, [], [], 0)[0]) == 16,  # type: ignore[misc]
                within_s=5,
                what="sixteen answers",
            )
            answered = select.select([*begun, other], [], [], 0)[0]
            assert [one.recv(12) for one in answered] == [b"HTTP/1.1 429"] * 16
            assert other not in answered
