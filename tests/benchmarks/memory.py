"""What all processes hold before and after a great many requests of every kind, and minute by minute."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Cell, Figure, Table
from tests.benchmarks.load import GZIP, HTML, JSON, wrk
from tests.benchmarks.machine import pss_mb, rss_mb
from tests.stack import Stack

__all__ = ["measure_memory", "measure_soak"]

_MAX_S = 90  #: where a machine is too slow for all requests
_KINDS: Sequence[Mapping[str, str]] = ({**JSON, **GZIP}, {**HTML, **GZIP}, JSON)
_COLUMNS = ("", "requests", "RSS MB", "PSS MB", "of it to seal usage", "open files", "processes")
_NOTE = (
    "two workers, supervisor, collector and nginx. RSS counts shared pages for each process, PSS once. Recorded requests "
    "are sealed by a process that comes and goes."
)


def measure_memory(bench: Bench) -> Table:
    """Pages in three forms, files, metadata, refusals, redirects and what is not there."""
    rows: list[Sequence[Cell]] = []
    with bench.decider() as stack:
        rule = stack.add_rule(action="block", project=bench.recording.sizes["medium"])
        urls = _mixed(bench, stack)
        rows.append(_row(stack, "started", 0))
        wrk(urls, _KINDS[0], seconds=1, may_fail=True)
        rows.append(_row(stack, "after the first second", 0))
        done = spent_s = 0
        kinds = cycle(_KINDS)
        while done < bench.scale.mixed_requests and spent_s < _MAX_S:
            seconds = 1 if bench.scale.mixed_requests < 10_000 else 4
            done += wrk(urls, next(kinds), seconds=seconds, may_fail=True).requests
            spent_s += seconds
        rows.append(_row(stack, "after all", done))
        stack.remove_rule(rule)
    return Table("Memory of all processes", _COLUMNS, rows, [_NOTE])


def measure_soak(bench: Bench) -> Table:
    """The same mixture for ten minutes, while rules come and go."""
    rows: list[Sequence[Cell]] = []
    with bench.decider() as stack:
        urls = _mixed(bench, stack)
        rows.append(_row(stack, "started", 0))
        done = 0
        for step in range(1, bench.scale.soak_steps + 1):
            rule = stack.add_rule(action="block", project=bench.recording.sizes["medium"])
            for kind in _KINDS:
                done += wrk(
                    urls, kind, seconds=bench.scale.soak_step_s // len(_KINDS), may_fail=True
                ).requests
            stack.remove_rule(rule)
            rows.append(_row(stack, f"after {step * bench.scale.soak_step_s} s", done))
    return Table("Ten minutes of mixed load", _COLUMNS, rows, [_NOTE])


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
        Figure((pss_mb(pid for pid in pids if _is_sealing(pid)),)),
        Figure((sum(map(_open_files, pids)),)),
        Figure((len(pids),)),
    ]


def _is_sealing(pid: int) -> bool:
    try:
        return b"engine_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # gone meanwhile
        return False


def _open_files(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:  # gone meanwhile
        return 0
