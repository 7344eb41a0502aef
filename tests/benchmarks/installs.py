"""pip and uv installing a pinned set, each time with an empty cache of their own: decider beside plain nginx."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Cell, Figure, Table, ratio
from tests.installer import Installer

__all__ = ["measure_installs", "memory_folder"]


def memory_folder() -> str | None:
    """Where clients' files go: into memory where that can be, or the disk's time would hide the servers'."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def measure_installs(bench: Bench) -> Table:
    """Cold: the proxy has just started and has nothing. Warm: the same installation again."""
    found: dict[str, list[float]] = {}
    for _ in range(bench.scale.installs):
        for tool in bench.scale.tools:
            install = partial(_install, bench, tool)
            found.setdefault(f"{tool} direct", []).append(install(bench.stand_in.plain_url))
            bench.plain.forget()
            plain_url = f"http://127.0.0.1:{bench.plain.mirror}/simple/"
            for state in ("cold", "warm"):
                found.setdefault(f"{tool} {state} plain", []).append(install(plain_url))
            with bench.decider() as stack:
                for state in ("cold", "warm"):
                    found.setdefault(f"{tool} {state} decider", []).append(install(stack.simple_url))
    figures = {name: Figure(tuple(taken)) for name, taken in found.items()}
    rows: list[Sequence[Cell]] = []
    for tool in bench.scale.tools:
        for state in ("cold", "warm"):
            ours, plain = figures[f"{tool} {state} decider"], figures[f"{tool} {state} plain"]
            rows.append([f"{tool}, {state}", ours, plain, figures[f"{tool} direct"], ratio(ours, plain)])
    count = len(bench.recording.requirements)
    note = f"{count} pinned packages. uv installs, pip downloads; both resolve, from an empty cache."
    columns = ["", "decider s", "plain nginx s", "direct s", "decider/plain"]
    return Table("Installing", columns, rows, [note])


def _install(bench: Bench, tool: str, index_url: str) -> float:
    """Seconds that one installation took."""
    with TemporaryDirectory(dir=memory_folder()) as name:
        folder = Path(name)
        wanted = folder / "requirements.txt"
        wanted.write_text("\n".join(bench.recording.requirements) + "\n")
        client = Installer(folder, index_url)
        start = time.perf_counter()
        if tool == "uv":
            ran = client.uv_install("target", "--link-mode", "copy", "-r", str(wanted))
        else:
            ran = client.pip("download", "--quiet", "--dest", str(folder / "files"), "-r", str(wanted))
        taken_s = time.perf_counter() - start
    if ran.code != 0:
        raise RuntimeError(f"{tool} from {index_url}: {ran.output}")
    return taken_s
