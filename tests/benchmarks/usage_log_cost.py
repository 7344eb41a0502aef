"""What the usage log costs: warm requests with it and without it, side by side, through one running stack.

    PYTHONPATH=. python tests/benchmarks/usage_log_cost.py [--pairs 10] [--seconds 3]

Each pair runs wrk on the same nginx with and without the log, in turns; told are the medians, and nginx's own
processor time for each request, which other work on the machine disturbs less. Needs wrk.
"""

import argparse
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.stack import JSON_TYPE, Stack, eventually
from tests.uploads import make_wheel

AGENT = "pip/26.3 " + json.dumps(
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
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def workers(master: int) -> list[int]:
    """The workers of nginx that are not on their way out."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(child) for child in children if title(child).startswith(b"nginx: worker process\0")]


def title(pid: str) -> bytes:
    """What a process calls itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def processor_s(pids: list[int]) -> float:
    """Processor time that these processes have taken so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK_S


def measure(url: str, seconds: int, master: int) -> tuple[float, float]:
    """Requests a second, and nginx's microseconds for each."""
    pids = workers(master)
    before = processor_s(pids)
    command = [
        "wrk",
        "-t1",
        "-c16",
        f"-d{seconds}s",
        "-H",
        f"Accept: {JSON_TYPE}",
        "-H",
        "Accept-Encoding: gzip",
    ]
    ran = subprocess.run(
        [*command, "-H", f"User-Agent: {AGENT}", url], capture_output=True, text=True, check=True
    )
    taken = processor_s(pids) - before
    requests = re.search(r"(\d+) requests in", ran.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", ran.stdout)
    assert requests, ran.stdout
    assert rate, ran.stdout
    assert "Non-2xx" not in ran.stdout, ran.stdout
    return float(rate[1]), taken / int(requests[1]) * 1e6


def reload_with(stack: Stack, text: str, master: int) -> None:
    """Have nginx take that configuration over; return when only workers that know it are left."""
    old = set(workers(master))
    (stack.data_dir / "run" / "nginx.conf").write_text(text)
    os.kill(master, signal.SIGHUP)
    eventually(lambda: len(workers(master)) >= len(old) and not old & set(workers(master)), within_s=10)


def compare(stack: Stack, url: str, *, pairs: int, seconds: int) -> Iterator[tuple[str, float, float]]:
    master = int((stack.data_dir / "run" / "nginx.pid").read_text())
    with_log = (stack.data_dir / "run" / "nginx.conf").read_text()
    without = "\n".join(line for line in with_log.splitlines() if "logs/usage.log" not in line)
    assert without.count("\n") < with_log.count("\n")
    for pair in range(pairs):
        for name in ("with", "without") if pair % 2 else ("without", "with"):
            reload_with(stack, with_log if name == "with" else without, master)
            measure(url, 1, master)
            yield name, *measure(url, seconds, master)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    stack = Stack(index_url=None, top="max_requests_per_s = 1000000\nmax_connections = 10000")
    for version in range(40):
        stack.drop(make_wheel("demo", f"1.{version}"))
    wheel = make_wheel("demo", "1.0").filename
    stack.start()
    try:
        for what, path in (("file", f"/files/demo/{wheel}"), ("page", "/simple/demo/")):
            rates: dict[str, list[float]] = {"with": [], "without": []}
            costs: dict[str, list[float]] = {"with": [], "without": []}
            for name, rate, cost in compare(
                stack, stack.base_url + path, pairs=options.pairs, seconds=options.seconds
            ):
                rates[name].append(rate)
                costs[name].append(cost)
            middle = {name: median(found) for name, found in rates.items()}
            spent = {name: median(found) for name, found in costs.items()}
            print(
                f"warm {what}: {middle['with']:.0f} requests/s with the log, {middle['without']:.0f} without:"
                f" ratio {middle['with'] / middle['without']:.3f}; nginx {spent['with']:.1f} and {spent['without']:.1f}"
                f" µs a request: ratio {spent['with'] / spent['without']:.3f}",
                flush=True,
            )
    finally:
        stack.close()


if __name__ == "__main__":
    main()
