"""Warm pages and files: decider beside plain nginx's own cache hit and static file, taking turns."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.bench import Bench, interleaved
from tests.benchmarks.figures import Cell, Figure, Table, ratio
from tests.benchmarks.load import GZIP, HTML, JSON, Load, wrk
from tests.benchmarks.machine import cpu_s
from tests.benchmarks.recording import BENCH_FILES, LARGE_FILE, SMALL_FILE
from tests.stack import Stack

__all__ = ["measure_files", "measure_pages"]

_IDLE = 15  #: processes of this niceness only use what others leave


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    path: str
    headers: Mapping[str, str]
    connections: int = 32
    times: int = 1  #: as often repeated as the others


@dataclass(frozen=True, slots=True)
class _Server:
    """Somewhere to ask, and the processes that answer."""

    port: int
    pids: Callable[[], Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Sample:
    load: Load
    cpu_us: float  #: that the server's processes spent for one request


def measure_pages(bench: Bench) -> Table:
    """Warm project pages."""
    sizes = bench.recording.sizes
    cases = [_Case(f"{size} JSON, gzip", f"/simple/{sizes[size]}/", {**JSON, **GZIP}) for size in sizes] + [
        _Case("medium HTML, gzip", f"/simple/{sizes['medium']}/", {**HTML, **GZIP}, times=3),
        _Case("medium JSON, plain", f"/simple/{sizes['medium']}/", JSON),
        _Case("large JSON, plain", f"/simple/{sizes['large']}/", JSON),
    ]
    with bench.decider() as stack:
        bench.publish(stack, list(sizes.values()), {})
        decider = _Server(stack.port, lambda: _serving(stack))
        return _table(bench, "Warm project pages, requests/s", decider, cases, _rate)


def measure_files(bench: Bench) -> Table:
    """Warm files."""
    cases = [
        _Case("60 kB file, requests/s", f"/files/{BENCH_FILES}/{SMALL_FILE}", {}, times=4),
        _Case("60 MB file, MB/s", f"/files/{BENCH_FILES}/{LARGE_FILE}", {}, connections=8),
    ]
    with bench.decider() as stack:
        bench.publish(stack, [], {BENCH_FILES: [SMALL_FILE, LARGE_FILE]})
        decider = _Server(stack.port, lambda: _serving(stack))
        return _table(bench, "Warm files", decider, cases, _rate_or_throughput)


def _serving(stack: Stack) -> list[int]:
    """Its processes but for the collector of usage, which runs when nobody else wants the processor."""
    pids = [process.pid for process in stack.processes()]
    return [pid for pid in pids if os.getpriority(os.PRIO_PROCESS, pid) < _IDLE]


def _rate(_: _Case, load: Load) -> float:
    return load.requests_per_s


def _rate_or_throughput(case: _Case, load: Load) -> float:
    return load.megabytes_per_s if "MB/s" in case.name else load.requests_per_s


def _table(
    bench: Bench,
    title: str,
    decider: _Server,
    cases: Sequence[_Case],
    value: Callable[[_Case, Load], float],
) -> Table:
    plain = bench.plain
    servers = {
        "cache hit": _Server(plain.hit, lambda: plain.pids),
        "decider": decider,
        "static": _Server(plain.static, lambda: plain.pids),
    }
    rows: list[Sequence[Cell]] = []
    for case in cases[: bench.scale.cases]:
        measures = {name: partial(_sample, bench, server, case) for name, server in servers.items()}
        if bench.scale.repetitions > 1:
            for measure in measures.values():
                measure()  # warm, and unmeasured
        samples = interleaved(measures, case.times * bench.scale.repetitions)
        rates = {name: Figure(tuple(value(case, s.load) for s in found)) for name, found in samples.items()}
        cpu = {name: Figure(tuple(s.cpu_us for s in found)) for name, found in samples.items()}
        tails = {name: Figure(tuple(s.load.p99_ms for s in found)) for name, found in samples.items()}
        rows.append(
            [
                case.name,
                rates["decider"],
                rates["cache hit"],
                rates["static"],
                ratio(rates["decider"], rates["cache hit"]),
                ratio(rates["decider"], rates["static"]),
                ratio(cpu["decider"], cpu["cache hit"]),
                tails["decider"],
                tails["cache hit"],
            ]
        )
    columns = ["", "decider", "nginx cache hit", "nginx static", "decider/hit", "decider/static"]
    columns += ["CPU, decider/hit", "p99 ms", "p99 ms, hit"]
    note = (
        f"wrk, 2 threads, 32 connections (8 for the large file), {bench.scale.load_s} s a time, "
        f"{bench.scale.repetitions} repetitions taking turns{_more(bench, cases)}. plain nginx has decider's own bytes. "
        "CPU: processor time of all serving processes for one request; noise on the machine hardly moves it."
    )
    return Table(title, columns, rows, [note])


def _more(bench: Bench, cases: Sequence[_Case]) -> str:
    """Which cases have more of them."""
    more = [f"{bench.scale.repetitions * case.times} of {case.name}" for case in cases if case.times > 1]
    return f" ({'; '.join(more)})" if more else ""


def _sample(bench: Bench, server: _Server, case: _Case) -> _Sample:
    pids = server.pids()
    before = cpu_s(pids)
    url = f"http://127.0.0.1:{server.port}{case.path}"
    load = wrk([url], case.headers, seconds=bench.scale.load_s, connections=case.connections)
    return _Sample(load, (cpu_s(pids) - before) / load.requests * 1e6)
