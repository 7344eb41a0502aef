"""What the usage log costs: warm requests with it and without it, in turns, through the nginx of one running stack."""

import json
import os
import re
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks.bench import Bench, interleaved
from tests.benchmarks.figures import Cell, Figure, Table, ratio
from tests.benchmarks.load import GZIP, JSON, wrk
from tests.benchmarks.machine import cpu_s
from tests.benchmarks.recording import BENCH_FILES, SMALL_FILE
from tests.stack import Stack, eventually

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
    """Requests a second, and nginx's own processor time for each: what else the machine does moves that least."""
    cases = {
        "60 kB file": f"/files/{BENCH_FILES}/{SMALL_FILE}",
        "medium page": f"/simple/{bench.recording.sizes['medium']}/",
    }
    rows: list[Sequence[Cell]] = []
    with bench.decider() as stack:
        switch = _Switch(stack)
        for name, path in list(cases.items())[: bench.scale.cases]:
            url = f"{stack.base_url}{path}"
            measures = {
                kind: partial(_sample, bench, switch, url, is_logged=kind == "with")
                for kind in ("with", "without")
            }
            # Twice as often as elsewhere: what is looked for is smaller than what a machine does by itself.
            found = interleaved(measures, max(1, 2 * bench.scale.repetitions * (bench.scale.cases > 1)))
            rates = {kind: Figure(tuple(rate for rate, _ in values)) for kind, values in found.items()}
            cpu = {kind: Figure(tuple(us for _, us in values), "µs") for kind, values in found.items()}
            rows.append(
                [
                    name,
                    rates["with"],
                    rates["without"],
                    ratio(rates["with"], rates["without"]),
                    cpu["with"],
                    cpu["without"],
                    ratio(cpu["with"], cpu["without"]),
                ]
            )
        switch.turn(is_logged=True)
    columns = ["warm, requests/s", "with", "without", "ratio", "nginx µs, with", "without it", "CPU ratio"]
    note = f"wrk, 2 threads, 32 connections, {bench.scale.load_s} s a time, in turns on the same nginx."
    return Table("What the usage log costs", columns, rows, [note])


class _Switch:
    """Turns the log of one stack's nginx on and off."""

    def __init__(self, stack: Stack) -> None:
        self._config = stack.data_dir / "run" / "nginx.conf"
        self._master = int((stack.data_dir / "run" / "nginx.pid").read_text())
        self._logged = self._config.read_text()
        self._unlogged = re.sub(
            r"^ *access_log [^\n]*logs/usage\.log[^\n]*\n", "", self._logged, flags=re.MULTILINE
        )
        if self._unlogged == self._logged:
            raise RuntimeError("this nginx writes no usage log")

    def workers(self) -> list[int]:
        """Those that are not on their way out."""
        children = Path(f"/proc/{self._master}/task/{self._master}/children").read_text().split()
        return [int(child) for child in children if _title(child).startswith(b"nginx: worker process\0")]

    def turn(self, *, is_logged: bool) -> None:
        """Return when only workers are left that know it."""
        old = set(self.workers())
        self._config.write_text(self._logged if is_logged else self._unlogged)
        os.kill(self._master, signal.SIGHUP)
        eventually(lambda: len(new := self.workers()) >= len(old) and not old & set(new), within_s=10)


def _title(pid: str) -> bytes:
    """What a process calls itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _sample(bench: Bench, switch: _Switch, url: str, *, is_logged: bool) -> tuple[float, float]:
    """Requests a second, and nginx's microseconds for each."""
    switch.turn(is_logged=is_logged)
    if bench.scale.repetitions > 1:
        wrk([url], _HEADERS, seconds=1)  # connections, caches: unmeasured
    workers = switch.workers()
    before = cpu_s(workers)
    load = wrk([url], _HEADERS, seconds=bench.scale.load_s)
    return load.requests_per_s, (cpu_s(workers) - before) / load.requests * 1e6
