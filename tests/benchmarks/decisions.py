"""What a decision costs against the number of rules about other projects, and how many a second a node gives."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from statistics import median

from decider.decision import decide_one, page_fingerprint
from decider.rules import Snapshot
from decider.run_files import SOCKET
from tests.benchmarks.bench import Bench, interleaved
from tests.benchmarks.decision_cost import big_page, listed, others, own, timings
from tests.benchmarks.figures import Cell, Figure, Table, percentile
from tests.benchmarks.load import wrk
from tests.benchmarks.machine import rss_mb
from tests.benchmarks.nginx_servers import Nginx
from tests.benchmarks.recording import BENCH_FILES, SMALL_FILE
from tests.samples import AT
from tests.stack import free_port, source_environment

__all__ = ["measure_decisions", "measure_uncached"]


def measure_decisions(bench: Bench) -> Table:
    """One decision, and a page of 4,300 files, among so many rules."""
    rows: list[Sequence[Cell]] = []
    for rules in bench.scale.rules:
        # A process each: what one number of rules has left in memory is not the next one's.
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.decisions", str(rules)],
            env=source_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        rows.append([f"{rules:,}", *(Figure((value,)) for value in found)])
    columns = ["rules", "compile s", "memory MB", "file ms", "file p99 ms", "fingerprint ms", "page ms"]
    note = (
        "memory: rules and snapshot. file: one of a page of 4,300 files. fingerprint: what a warm page's decision "
        "takes. page: all files decided and listed."
    )
    return Table("Decisions inside the process", columns, rows, [note])


def _measure(rules: int) -> list[float]:
    page = big_page()
    gc.collect()
    before = rss_mb([os.getpid()])
    rules_held = [*others(rules), *own()]
    start = time.perf_counter()
    snapshot = Snapshot(1, rules_held)
    compiled_s = time.perf_counter() - start
    gc.collect()
    memory_mb = rss_mb([os.getpid()]) - before
    name = page.files[3_000].filename
    one = timings(partial(decide_one, [page], name, snapshot, repository="default", at=AT))
    mark = timings(partial(page_fingerprint, [page], snapshot, repository="default", at=AT), 300)
    whole = timings(partial(listed, page, snapshot), 20)
    return [compiled_s, memory_mb, median(one), percentile(one, 99), median(mark), median(whole)]


def measure_uncached(bench: Bench) -> Table:
    """Decisions that nginx has not kept, over all processes of a node: what a crowd of different files costs."""
    rows: list[Sequence[Cell]] = []
    for workers in bench.scale.workers:
        with bench.decider(workers=workers) as stack:
            port = free_port()
            front = Nginx(bench.folder / f"front-{workers}", _front(port, f"{stack.data_dir}/{SOCKET}"), port)
            try:
                front.start()
                url = f"http://127.0.0.1:{port}"
                samples = interleaved(
                    {
                        kind: partial(wrk, [f"{url}/{kind}"], {}, seconds=bench.scale.load_s)
                        for kind in ("file", "page")[: bench.scale.cases]
                    },
                    bench.scale.repetitions,
                )
            finally:
                front.stop()
        row: list[Cell] = [str(workers)]
        for loads in samples.values():
            row += [
                Figure(tuple(load.requests_per_s for load in loads)),
                Figure(tuple(load.p99_ms for load in loads)),
            ]
        rows.append(row)
    columns = ["workers", "files/s", "p99 ms", "pages/s", "p99 ms, pages"][: len(rows[0])]
    note = "through a bare nginx in front of the decider's socket; 32 connections, so the tail holds their queue."
    return Table("Uncached decisions a second", columns, rows, [note])


def _front(port: int, socket: str) -> str:
    asked = (
        'proxy_set_header Connection "";\nproxy_set_header X-Decider-Repository default;\n'
        f"proxy_set_header X-Decider-Project {BENCH_FILES};\nproxy_set_header X-Decider-File {SMALL_FILE};\n"
        "proxy_set_header X-Decider-Format json;\n"
    )
    places = "".join(
        f"location = /{kind} {{ proxy_pass http://decider/-/decision/{kind}; }}\n"
        for kind in ("file", "page")
    )
    return (
        f"upstream decider {{ server unix:{socket}; keepalive 64; }}\n"
        f"server {{\nlisten 127.0.0.1:{port};\n{asked}{places}}}\n"
    )


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
