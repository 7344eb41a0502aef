"""Many clients starting the same installation at the same moment."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Cell, Figure, Table, percentile, ratio
from tests.benchmarks.installs import memory_folder
from tests.benchmarks.load import GZIP, JSON, crowd
from tests.benchmarks.machine import pss_mb, rss_mb
from tests.installer import Installer

__all__ = ["measure_herd", "measure_resolves"]

_PROJECTS = 8


def measure_herd(bench: Bench) -> Table:
    """Light clients, each with one connection: pages, then metadata or a small file of each project."""
    recording = bench.recording
    paths = []
    for project in recording.projects:
        small = [n for n in recording.files(project) if _size(bench, project, n) < 200_000]
        if small:
            paths += [f"/simple/{project}/", f"/files/{project}/{small[0]}"]
    paths = paths[: 2 * _PROJECTS]
    clients = bench.scale.clients
    found: dict[str, list[float]] = {}
    bench.plain.forget()
    with bench.decider() as stack:
        for state in ("cold", "warm"):
            for name, port in (("plain", bench.plain.mirror), ("decider", stack.port)):
                found[f"{name} {state}"] = crowd(port, paths, {**JSON, **GZIP}, clients=clients)
    rows: list[Sequence[Cell]] = []
    for state in ("cold", "warm"):
        ours, plain = found[f"decider {state}"], found[f"plain {state}"]
        row: list[Cell] = [state]
        for taken in (ours, plain):
            row += [Figure((percentile(taken, 50),)), Figure((max(taken),))]
        rows.append([*row, Figure((max(ours) / max(plain),))])
    columns = ["", "decider s", "decider, last s", "plain nginx s", "plain nginx, last s", "last, ratio"]
    note = (
        f"{clients} clients at once, {len(paths)} requests each (pages and files under 200 kB), all answered with "
        "200. The clients are one process, which is most of what is measured warm."
    )
    return Table("Thundering herd", columns, rows, [note])


def _size(bench: Bench, project: str, filename: str) -> int:
    return (bench.recording.folder / "files" / project / filename).stat().st_size


def measure_resolves(bench: Bench) -> Table:
    """Real resolvers at once, warm; and the memory of everything after it."""
    found: dict[str, list[float]] = {"plain": [], "decider": []}
    bench.plain.forget()
    with bench.decider() as stack:
        urls = {"plain": f"http://127.0.0.1:{bench.plain.mirror}/simple/", "decider": stack.simple_url}
        for url in urls.values():
            _resolve_at_once(bench, url, 1)
        for _ in range(bench.scale.installs):
            for name, url in urls.items():
                found[name].append(_resolve_at_once(bench, url, bench.scale.resolves))
        pids = [process.pid for process in stack.processes()]
        memory: list[Cell] = [Figure((rss_mb(pids),)), Figure((pss_mb(pids),))]
    ours, plain = (Figure(tuple(found[name])) for name in ("decider", "plain"))
    row: list[Cell] = [f"{bench.scale.resolves} resolves, s", ours, plain, ratio(ours, plain), *memory]
    columns = ["", "decider", "plain nginx", "decider/plain", "RSS MB after", "PSS MB after"]
    note = "uv, warm proxies, an empty client cache each. Memory: all of decider's processes, two workers."
    return Table("Resolving at once", columns, [row], [note])


def _resolve_at_once(bench: Bench, index_url: str, clients: int) -> float:
    """Seconds until the last one was done."""
    with ExitStack() as opened:
        folders = [
            Path(opened.enter_context(TemporaryDirectory(dir=memory_folder()))) for _ in range(clients)
        ]
        for folder in folders:
            (folder / "wanted.in").write_text("\n".join(bench.recording.requirements) + "\n")

        def resolve(folder: Path) -> None:
            command = ["uv", "pip", "compile", "-q", "wanted.in", "--default-index", index_url]
            ran = Installer(folder, index_url).run(*command)
            if ran.code != 0:
                raise RuntimeError(f"uv from {index_url}: {ran.output}")

        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(resolve, folders))
        return time.perf_counter() - start
