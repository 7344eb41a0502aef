"""What all processes hold before and after a great many requests of every kind."""

from collections.abc import Sequence

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Cell, Figure, Table
from tests.benchmarks.load import GZIP, HTML, JSON, wrk
from tests.benchmarks.machine import pss_mb, rss_mb
from tests.stack import Stack

__all__ = ["measure_memory"]

_MAX_S = 90  #: where a machine is too slow for all requests


def measure_memory(bench: Bench) -> Table:
    """Pages in three forms, files, metadata, refusals, redirects and what is not there."""
    rows: list[Sequence[Cell]] = []
    with bench.decider() as stack:
        blocked = bench.recording.sizes["medium"]
        rule = stack.add_rule(action="block", project=blocked)
        urls = _mixed(bench, stack)
        rows.append(_row(stack, "started", 0))
        wrk(urls, {**JSON, **GZIP}, seconds=1, may_fail=True)
        rows.append(_row(stack, "after the first second", 0))
        done = spent_s = 0
        kinds = ({**JSON, **GZIP}, {**HTML, **GZIP}, JSON)
        while done < bench.scale.mixed_requests and spent_s < _MAX_S:
            seconds = 1 if bench.scale.mixed_requests < 10_000 else 4
            done += wrk(urls, kinds[spent_s // seconds % len(kinds)], seconds=seconds, may_fail=True).requests
            spent_s += seconds
        rows.append(_row(stack, "after all", done))
        stack.remove_rule(rule)
    note = "two workers, supervisor and nginx. RSS counts shared pages for each process, PSS once."
    return Table("Memory of all processes", ["", "requests", "RSS MB", "PSS MB", "processes"], rows, [note])


def _mixed(bench: Bench, stack: Stack) -> list[str]:
    paths = []
    for project in bench.recording.projects:
        paths += [f"/simple/{project}/", f"/simple/{project.upper()}", f"/simple/{project}-not-there/"]
        for name in bench.recording.files(project):
            paths.append(f"/files/{project}/{name}.metadata")
            if (bench.recording.folder / "files" / project / name).stat().st_size < 1_000_000:
                paths.append(f"/files/{project}/{name}")
    return [f"{stack.base_url}{path}" for path in paths]


def _row(stack: Stack, when: str, requests: int) -> Sequence[Cell]:
    pids = [process.pid for process in stack.processes()]
    return [
        when,
        f"{requests:,}",
        Figure((rss_mb(pids),)),
        Figure((pss_mb(pids),)),
        Figure((len(pids),)),
    ]
