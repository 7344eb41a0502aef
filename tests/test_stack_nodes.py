"""Several nodes: two nginx and decider over one Redis, each in a network of its own, behind a load balancer.

The balancer is what deploy/operating.md recommends: nginx, which asks the other node where one does not answer or says 503.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.fake_index import FakeIndex
from tests.redis_server import RedisServer
from tests.stack import ALLOWED_S, PIP_ACCEPT, PROMISE_S, Process, Stack, eventually, free_port
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

CLIENTS = 6
CALM = 200  #: answers
COUNTED = 20  #: requests
BACK_S = 20.0


def ip(*words: str) -> None:
    """Run ip(8); skip the test where this may not be."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"networks of one's own take rights that are not here: {done.stderr.strip()}")


@dataclass(frozen=True)
class Network:
    """A network namespace with one cable to this machine."""

    name: str
    cable: str  #: its end here
    outside: str  #: this machine's address there
    inside: str

    @property
    def run_by(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)


@contextmanager
def network(number: int) -> Iterator[Network]:
    """A network of its own, gone in the end."""
    if shutil.which("ip") is None:
        pytest.skip("networks of one's own take ip(8): apt-get install iproute2")
    unique = os.getpid() % 100_000
    made = Network(
        f"node{number}-{unique}", f"cab{number}-{unique}", f"10.203.{number}.1", f"10.203.{number}.2"
    )
    inner = f"in{number}-{unique}"
    ip("netns", "add", made.name)
    try:
        ip("link", "add", made.cable, "type", "veth", "peer", "name", inner)
        ip("link", "set", inner, "netns", made.name)
        ip("addr", "add", f"{made.outside}/24", "dev", made.cable)
        ip("link", "set", made.cable, "up")
        for words in (
            ("addr", "add", f"{made.inside}/24", "dev", inner),
            ("link", "set", inner, "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", made.name, *words)
        ip("-n", made.name, "route", "add", "default", "via", made.outside)
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", made.name], check=False)
        subprocess.run(["ip", "link", "del", made.cable], capture_output=True, check=False)


BALANCER = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream nodes {{
    {servers}
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://nodes;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_connect_timeout 500ms;
      proxy_read_timeout 3s;
      proxy_next_upstream error timeout http_502 http_503 http_504;
      add_header X-Node $upstream_addr always;
    }}
  }}
  server {{
    listen {outside}:{index_port};
    location / {{ proxy_pass http://127.0.0.1:{index_port}; }}
  }}
}}
"""


@contextmanager
def balancer(folder: Path, nodes: list[Stack], *, port: int, index_port: int, outside: str) -> Iterator[None]:
    """nginx in front of the nodes; it also stands for the index in their networks."""
    folder.mkdir()
    servers = " ".join(f"server {node.host}:{node.port} max_fails=3 fail_timeout=1s;" for node in nodes)
    text = BALANCER.format(folder=folder, servers=servers, port=port, index_port=index_port, outside=outside)
    (folder / "nginx.conf").write_text(text)
    command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


class Load:
    """Clients that ask through the balancer all the time, and what became of it."""

    def __init__(self, port: int, good: Distribution, bad: Distribution) -> None:
        self._port = port
        self._good, self._bad = good, bad
        self._stop = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.calm: Counter[str] = (
            Counter()
        )  #: node → answers at the first try since the last that took another
        self.retried = 0
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def run(self) -> None:
        while not self._stop.is_set():
            for path, look in (
                (f"/files/good/{self._good.filename}", self._is_good_file),
                (f"/files/bad/{self._bad.filename}", self._is_refusal),
                ("/simple/good/", self._is_page),
            ):
                outcome = self._ask(path, look)
                with self._lock:
                    self.outcomes[outcome] += 1

    def stop(self) -> None:
        self._stop.set()

    def _ask(self, path: str, look: Callable[[int, bytes], bool]) -> str:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path, headers={"Accept": PIP_ACCEPT})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException):
            return "failed"
        finally:
            connection.close()
        if answer.status in {502, 503, 504}:
            return "failed"
        asked = answer.headers.get("X-Node", "")
        with self._lock:
            if "," in asked:
                self.retried += 1
                self.calm.clear()
            else:
                self.calm[asked] += 1
        if not look(answer.status, body):
            self.wrong.append(f"{path}: {answer.status} {body[:200]!r}")
        return "answered"

    def _is_good_file(self, status: int, body: bytes) -> bool:
        return status == 200 and body == self._good.data

    def _is_refusal(self, status: int, body: bytes) -> bool:
        return status == 403 and self._bad.data[:30] not in body

    def _is_page(self, status: int, body: bytes) -> bool:
        return status == 200 and self._good.filename.encode() in body


@dataclass
class Cluster:
    """Two nodes under load."""

    nodes: list[Stack]
    networks: list[Network]
    redis: RedisServer
    load: Load

    @contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        """While it lasts, and until both nodes are ready again, no more requests fail than were under way."""
        # The balancer has forgotten that there was ever any trouble.
        self.load.calm.clear()
        names = [f"{node.host}:{node.port}" for node in self.nodes]
        eventually(
            lambda: all(self.load.calm[name] >= CALM for name in names),
            within_s=BACK_S,
            what=f"{what}: calm before it",
        )
        before = self.load.outcomes.copy()
        yield
        for node in self.nodes:
            eventually(node.is_ready, within_s=BACK_S, what=f"{what}: {node.host} ready again")
        happened = self.load.outcomes - before
        assert self.load.wrong == [], what
        assert happened["failed"] <= CLIENTS, (what, happened)

    def await_load(self, count: int) -> None:
        """Wait until that many requests more have been answered."""
        enough = self.load.outcomes["answered"] + count
        eventually(
            lambda: self.load.outcomes["answered"] >= enough, within_s=BACK_S, what="requests answered"
        )


def kill(processes: list[Process]) -> None:
    for process in processes:
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)


def part(node: Stack, word: str) -> list[Process]:
    found = [process for process in node.processes() if word in process.command]
    assert found, word
    return found


def kill_one(node: Stack, word: str) -> None:
    """Kill one process alone, no other's parent, and wait until another is in its place."""
    present = set(part(node, word))
    parents = {process.parent for process in present}
    victim = next(process for process in present if process.pid not in parents)
    kill([victim])

    def is_replaced() -> bool:
        found = {process for process in node.processes() if word in process.command}
        return victim not in found and len(found) >= len(present)

    eventually(is_replaced, within_s=BACK_S, what=f"another {victim.command}")


def kill_supervisor(node: Stack) -> None:
    """Kill `decider up` alone, and wait until all that it started has ended."""
    family = node.processes()
    kill(family[:1])
    assert node.process is not None
    assert node.process.wait() == -signal.SIGKILL
    eventually(
        lambda: not any(process.alive for process in family), within_s=BACK_S, what="the end of its processes"
    )


def served(node: Stack, project: str) -> int:
    """How many files of a project this node has recorded as served."""
    answer = node.api("GET", "/usage/counts", by="project", project=project, verdict="allow", kind="file")
    return sum(one["count"] for one in answer.json()["items"])


@pytest.fixture
def cluster(tmp_path: Path, own_index: FakeIndex) -> Iterator[Cluster]:
    """Two nodes over one Redis, behind a balancer, with clients that ask all the time."""
    good = own_index.add(
        "good", make_wheel("good", "1.0", padding=20_000), url="../../files/good/good-1.0-py3-none-any.whl"
    )
    bad = own_index.add("bad", make_wheel("bad", "1.0"), url="../../files/bad/bad-1.0-py3-none-any.whl")
    (tmp_path / "redis").mkdir()
    port = free_port()
    with ExitStack() as opened:
        networks = [opened.enter_context(network(number)) for number in (1, 2)]
        outside = networks[0].outside
        redis = RedisServer(tmp_path / "redis", "--bind", "127.0.0.1", outside, "--protected-mode", "no")
        opened.callback(redis.stop)
        redis.start()
        nodes = []
        for one in networks:
            node = Stack(
                index_url=f"http://{outside}:{own_index.port}/simple/",
                top=f'store = "redis://{outside}:{redis.port}/0"\ntrusted_proxies = ["{one.outside}"]',
                host=one.inside,
                run_by=one.run_by,
            )
            opened.callback(node.close)
            nodes.append(node)
        opened.enter_context(
            balancer(tmp_path / "balancer", nodes, port=port, index_port=own_index.port, outside=outside)
        )
        for node in nodes:
            node.launch()
        for node in nodes:
            eventually(node.is_ready, within_s=40, what="both nodes ready")
        nodes[0].add_rule(action="block", project="bad")
        for node in nodes:
            eventually(lambda node=node: node.file("bad", bad.filename).status == 403, within_s=PROMISE_S)  # type: ignore[misc]
        load = Load(port, good, bad)
        clients = opened.enter_context(ThreadPoolExecutor(CLIENTS))
        opened.callback(load.stop)
        jobs = [clients.submit(load.run) for _ in range(CLIENTS)]
        yield Cluster(nodes, networks, redis, load)
        load.stop()
        for job in jobs:
            job.result()


def test_any_one_may_fail(cluster: Cluster, own_index: FakeIndex) -> None:
    """Whatever process or node stops: no wrong answer, none fails but those under way; a block holds at both within 2 s."""
    first, second = cluster.nodes
    also = own_index.add("also", make_wheel("also", "1.0"), url="../../files/also/also-1.0-py3-none-any.whl")
    cluster.await_load(100)
    with cluster.trouble("a worker of nginx killed"):
        kill_one(first, "nginx: worker process")
        cluster.await_load(100)
    with cluster.trouble("a worker of a decider killed"):
        kill_one(second, "decider.wsgi")
        cluster.await_load(100)
    with cluster.trouble("a collector of usage killed"):
        for _ in range(COUNTED):
            assert first.file("also", also.filename).body == also.data
        # nginx holds their lines back for a second: it is killed before it has read them.
        kill_one(first, "-m decider.usage run/")
        for _ in range(COUNTED):
            assert first.file("also", also.filename).body == also.data
        eventually(lambda: served(first, "also") == 2 * COUNTED, within_s=BACK_S, what="all counted")
    with cluster.trouble("a supervisor killed"):
        kill_supervisor(first)
        second.add_rule(action="block", project="also")
        cluster.await_load(100)
        first.start()
        assert first.file("also", also.filename).status == 403
    with cluster.trouble("a decider killed"):
        kill(part(first, "decider.wsgi"))
        cluster.await_load(100)
    with cluster.trouble("an nginx killed"):
        kill(part(second, "nginx"))
        cluster.await_load(100)
    with cluster.trouble("a cable pulled"):
        retried = cluster.load.retried
        ip("link", "set", cluster.networks[1].cable, "down")
        eventually(lambda: cluster.load.retried > retried, within_s=BACK_S, what="a node that is not reached")
        cluster.await_load(100)
        ip("link", "set", cluster.networks[1].cable, "up")
    with cluster.trouble("a node killed"):
        first.kill()
        cluster.await_load(100)
        first.start()
    with cluster.trouble("the store stopped"):
        cluster.redis.kill()
        for node in cluster.nodes:
            eventually(
                lambda node=node: node.page("good").headers.get("X-Decider-Degraded") == "store",  # type: ignore[misc]
                within_s=5,
                what="word of the store",
            )
        cluster.await_load(100)
        cluster.redis.start()

    more = own_index.add("more", make_wheel("more", "1.0"), url="../../files/more/more-1.0-py3-none-any.whl")
    for node in cluster.nodes:
        assert node.file("more", more.filename).body == more.data
    second.add_rule(action="block", project="more")
    acknowledged = time.monotonic()
    for node in cluster.nodes:
        eventually(lambda node=node: node.file("more", more.filename).status == 403, within_s=PROMISE_S)  # type: ignore[misc]
    assert time.monotonic() - acknowledged <= ALLOWED_S
    # The collectors that came after, each reading the same log, have counted nothing again.
    assert served(first, "also") == 2 * COUNTED
