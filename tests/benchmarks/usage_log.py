"""What the usage log costs: warm requests with it and without it, in turns, through one nginx."""

import json
import os
import re
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.bench import Bench, interleaved
from tests.benchmarks.figures import Cell, Figure, Table, ratio
from tests.benchmarks.load import GZIP, JSON, wrk
from tests.benchmarks.machine import cpu_s
from tests.benchmarks.recording import BENCH_FILES, SMALL_FILE
from tests.stack import Stack, eventually, free_port

__all__ = ["measure_usage_log"]

#: Of the length and with the quotation marks that pip's has.
_AGENT = "pip/26.3 " + json.dumps(
    {
        "ci": None,
        "cpu": "x86_64",
        "distro": {
            "id": "bookworm",
            "libc": {"lib": "glibc", "version": "2.36"},
            "name": "Debian",
            "version": "12",
        },
        "implementation": {"name": "CPython", "version": "3.11.7"},
        "installer": {"name": "pip", "version": "26.3"},
        "openssl_version": "OpenSSL 3.0.19 27 Jan 2026",
        "python": "3.11.7",
        "setuptools_version": "65.5.0",
        "system": {"name": "Linux", "release": "6.18.44"},
    }
)
_HEADERS = {**JSON, **GZIP, "User-Agent": _AGENT}


def measure_usage_log(bench: Bench) -> Table:
    """Requests a second, and the processor time of nginx and of the collector for each: other work moves that least."""
    cases = {
        "60 kB file": f"/files/{BENCH_FILES}/{SMALL_FILE}",
        "medium page": f"/simple/{bench.recording.sizes['medium']}/",
    }
    rows: list[Sequence[Cell]] = []
    with bench.decider() as stack:
        twins, collector = _Twins(stack), _Collector(stack)
        for name, path in list(cases.items())[: bench.scale.cases]:
            measures = {
                kind: partial(_sample, bench, twins, collector, f"{url}{path}")
                for kind, url in twins.urls.items()
            }
            # Twice as often as elsewhere: what is looked for is smaller than what a machine does by itself.
            found = interleaved(measures, max(1, 2 * bench.scale.repetitions * (bench.scale.cases > 1)))
            rates = {kind: Figure(tuple(one.rate for one in values)) for kind, values in found.items()}
            cpu = {
                kind: Figure(tuple(one.nginx_us for one in values), "µs") for kind, values in found.items()
            }
            rows.append(
                [
                    name,
                    rates["with"],
                    rates["without"],
                    ratio(rates["with"], rates["without"]),
                    cpu["with"],
                    cpu["without"],
                    ratio(cpu["with"], cpu["without"]),
                    Figure(tuple(one.collector_us for one in found["with"]), "µs"),
                ]
            )
    columns = [
        "warm, requests/s",
        "with",
        "without",
        "ratio",
        "nginx µs, with",
        "without it",
        "CPU ratio",
        "collector µs",
    ]
    note = (
        f"wrk, 2 threads, 32 connections, {bench.scale.load_s} s a time, in turns on one nginx, each time after the "
        "collector has read what there was. It reads beside the requests, at the lowest priority."
    )
    return Table("What the usage log costs", columns, rows, [note])


class _Sample(NamedTuple):
    rate: float  #: requests a second
    nginx_us: float  #: a request
    collector_us: float  #: a request, also after the last of them


class _Collector:
    """The process that reads the log."""

    def __init__(self, stack: Stack) -> None:
        self._pids = [process.pid for process in stack.processes() if "decider.usage" in process.command]
        if not self._pids:
            raise RuntimeError("nobody reads the usage log")

    def cpu_s(self) -> float:
        """What it has used once it rests: it looks at the log twice a second, and at nothing else."""
        seen: list[tuple[float, float]] = []

        def rests() -> bool:
            now, used = time.monotonic(), cpu_s(self._pids)
            seen.append((now, used))
            before = [earlier for at, earlier in seen if at <= now - 1.2]
            return bool(before) and used - before[-1] < 0.03

        eventually(rests, within_s=120, what="a collector at rest")
        return seen[-1][1]


class _Twins:
    """One stack's nginx with a second server that writes no usage log: the same workers, caches and decisions."""

    def __init__(self, stack: Stack) -> None:
        config = stack.data_dir / "run" / "nginx.conf"
        text = config.read_text()
        begin = text.index("\n  server {\n")
        end = text.index("\n  }\n", begin) + len("\n  }\n")
        server = text[begin:end]
        port = free_port()
        silent = re.sub(r"^ *access_log [^\n]*logs/usage\.log[^\n]*\n", "", server, flags=re.MULTILINE)
        # Else it would write to what is outside of servers, too.
        silent = silent.replace("server {\n", "server {\n    access_log off;\n", 1)
        silent = silent.replace(f"listen 127.0.0.1:{stack.port};", f"listen 127.0.0.1:{port};")
        if silent.count("usage.log") or f":{port};" not in silent:
            raise RuntimeError("this nginx writes no usage log that could be turned off")
        self._master = int((stack.data_dir / "run" / "nginx.pid").read_text())
        old = set(self.workers())
        config.write_text(text[:begin] + server + silent + text[end:])
        os.kill(self._master, signal.SIGHUP)
        eventually(lambda: len(new := self.workers()) >= len(old) and not old & set(new), within_s=10)
        self.urls = {"with": stack.base_url, "without": f"http://127.0.0.1:{port}"}

    def workers(self) -> list[int]:
        """Those that are not on their way out."""
        children = Path(f"/proc/{self._master}/task/{self._master}/children").read_text().split()
        return [int(child) for child in children if _title(child).startswith(b"nginx: worker process\0")]


def _title(pid: str) -> bytes:
    """What a process calls itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _sample(bench: Bench, twins: _Twins, collector: _Collector, url: str) -> _Sample:
    if bench.scale.repetitions > 1:
        wrk([url], _HEADERS, seconds=1)  # connections, caches: unmeasured
    rested = collector.cpu_s()
    before = cpu_s(twins.workers())
    load = wrk([url], _HEADERS, seconds=bench.scale.load_s)
    nginx_s = cpu_s(twins.workers()) - before
    collector_s = collector.cpu_s() - rested
    return _Sample(load.requests_per_s, nginx_s / load.requests * 1e6, collector_s / load.requests * 1e6)
