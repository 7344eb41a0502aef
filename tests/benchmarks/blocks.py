"""From a rule's acknowledgement to the first refusal, on one node and on two that share a Redis."""

import http.client
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Cell, Figure, Table, percentile
from tests.redis_server import RedisServer
from tests.stack import PROMISE_S, Stack

__all__ = ["measure_blocks"]

_AT_ONCE = 10  #: files that are asked for at a time
_PAUSE_S = 0.005


def measure_blocks(bench: Bench) -> Table:
    """Each file is asked for all the time, so that its decision is always in nginx's cache when the rule comes."""
    rows: list[Sequence[Cell]] = []
    index = bench.recording
    recorded = [(project, name) for project in index.projects for name in index.files(project)]
    for nodes in bench.scale.nodes:
        name = "one node" if nodes == 1 else f"{nodes} nodes, one Redis"
        with _nodes(bench, nodes) as stacks:
            taken = _latencies(stacks, recorded, bench.scale.blocks)
        for number, latencies in enumerate(taken):
            where = name if nodes == 1 else f"{name}: {('asked', 'the other')[number]}"
            rows.append(
                [
                    where,
                    Figure(tuple(latencies)),
                    *(Figure((percentile(latencies, percent),)) for percent in (90, 99)),
                    Figure((sum(one > PROMISE_S * 1_000 for one in latencies),)),
                ]
            )
    columns = ["", "ms", "p90 ms", "p99 ms", f"over {PROMISE_S:.0f} s"]
    note = f"{bench.scale.blocks} rules, {_AT_ONCE} at a time, each about a file that is asked for every {_PAUSE_S * 1000:.0f} ms."
    return Table("Block acknowledged, then refused", columns, rows, [note])


@contextmanager
def _nodes(bench: Bench, count: int) -> Iterator[list[Stack]]:
    with ExitStack() as opened:
        if count == 1:
            yield [opened.enter_context(bench.decider())]
            return
        folder = bench.folder / "redis"
        folder.mkdir()
        server = RedisServer(folder)
        opened.callback(server.stop)
        server.start()
        top = f'store = "{server.url}"'
        yield [opened.enter_context(bench.decider(top=top)) for _ in range(count)]


def _latencies(stacks: Sequence[Stack], recorded: Sequence[tuple[str, str]], rules: int) -> list[list[float]]:
    """Milliseconds until each node refused, a list for each node."""
    free: SimpleQueue[tuple[str, str]] = SimpleQueue()
    for file in recorded[:_AT_ONCE]:
        free.put(file)

    def one(_: int) -> list[float]:
        project, filename = free.get()
        try:
            return _block(stacks, project, filename)
        finally:
            free.put((project, filename))

    with ThreadPoolExecutor(min(_AT_ONCE, len(recorded))) as pool:
        return [list(of_node) for of_node in zip(*pool.map(one, range(rules)), strict=True)]


def _block(stacks: Sequence[Stack], project: str, filename: str) -> list[float]:
    """Block a file while it is asked for, see it refused by every node, lift the block, see it served again."""
    with ThreadPoolExecutor(len(stacks)) as pool:
        path = f"/files/{project}/{filename}"
        waiting = [pool.submit(_until, stack, path, 403) for stack in stacks]
        # The moment of the rule within nginx's second is any.
        time.sleep(0.2 + random.random())
        rule = stacks[0].add_rule(action="block", project=project, filename=filename)
        acknowledged = time.perf_counter()
        refused = [future.result() for future in waiting]
        stacks[0].remove_rule(rule)
        for future in [pool.submit(_until, stack, path, 200) for stack in stacks]:
            future.result()
    return [(at - acknowledged) * 1_000 for at in refused]


def _until(stack: Stack, path: str, status: int) -> float:
    """When that status came first; asked for all the time."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
    give_up_at = time.perf_counter() + 20
    while time.perf_counter() < give_up_at:
        connection.request("HEAD", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status == status:
            connection.close()
            return time.perf_counter()
        time.sleep(_PAUSE_S)
    raise RuntimeError(f"{path}: no {status} within 20 s")
