"""`python -m tests.benchmarks`: measure, print the tables, and write them as Markdown and JSON."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench import FULL, SMOKE, Bench
from tests.benchmarks.blocks import measure_blocks
from tests.benchmarks.cold_files import measure_cold_files
from tests.benchmarks.cold_pages import measure_cold_pages
from tests.benchmarks.decisions import measure_decisions, measure_uncached
from tests.benchmarks.figures import Report, Table
from tests.benchmarks.herd import measure_herd, measure_resolves
from tests.benchmarks.installs import measure_installs
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.memory import measure_memory, measure_soak
from tests.benchmarks.nginx_servers import PlainNginx, StandIn
from tests.benchmarks.peers import measure_peers
from tests.benchmarks.recording import make_up, record
from tests.benchmarks.serving import measure_files, measure_pages
from tests.benchmarks.starting import measure_starts
from tests.benchmarks.usage_log import measure_usage_log
from tests.benchmarks.usage_queries import measure_usage_queries

PARTS: Mapping[str, Callable[[Bench], Table]] = {
    "starts": measure_starts,
    "pages": measure_pages,
    "files": measure_files,
    "cold": measure_cold_pages,
    "cold-files": measure_cold_files,
    "decisions": measure_decisions,
    "uncached": measure_uncached,
    "installs": measure_installs,
    "blocks": measure_blocks,
    "herd": measure_herd,
    "resolves": measure_resolves,
    "memory": measure_memory,
    "usage": measure_usage_queries,
    "usage-log": measure_usage_log,
    "soak": measure_soak,
    "peers": measure_peers,
}
#: Parts that take ten minutes, or other programs: run where they are named.
APART = frozenset({"soak", "peers"})


def main(arguments: Sequence[str]) -> int:
    """Run the parts that are asked for."""
    options = _parse(arguments)
    scale = SMOKE if options.smoke else FULL
    report = Report(describe_machine())
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="decider-benchmark-")))
        folder.chmod(0o755)
        recording = make_up(folder / "made-up") if options.smoke else record(options.cache)
        stand_in = StandIn(folder / "index", recording)
        opened.callback(stand_in.stop)
        stand_in.start()
        plain = PlainNginx(folder / "plain", stand_in)
        opened.callback(plain.stop)
        plain.start()
        bench = Bench(folder, options.cache, scale, recording, stand_in, plain, opened)
        for name in options.parts:
            began = time.monotonic()
            table = PARTS[name](bench)
            report.tables.append(table)
            print(table.as_markdown(), flush=True)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "benchmark.md").write_text(report.as_markdown())
    (options.output / "benchmark.json").write_text(report.as_json())
    print(f"written: {options.output / 'benchmark.md'}, {options.output / 'benchmark.json'}")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"of: {', '.join(PARTS)}; default: all but {' and '.join(sorted(APART))}",
    )
    parser.add_argument("--smoke", action="store_true", help="a made-up index and as little as possible")
    parser.add_argument("--output", type=Path, default=Path("benchmark"), help="folder for the results")
    parser.add_argument("--cache", type=Path, default=_cache(), help="folder for what is recorded once")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options.parts = [name for name in PARTS if name in options.parts] or [
        name for name in PARTS if name not in APART
    ]
    return options


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "decider-benchmark"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
