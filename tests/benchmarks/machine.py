"""The machine that a run is on, and what processes use of it; Linux, from /proc."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["cpu_s", "describe_machine", "family", "pss_mb", "rss_mb"]

_TICKS = os.sysconf("SC_CLK_TCK")


def describe_machine() -> dict[str, str]:
    """What a reader needs to know before comparing."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "nginx": _first_line("nginx", "-v"),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*command: str) -> str:
    path = shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        return "not installed"
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0]


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {number: int(fields[1]) for number, fields in _all_processes()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _all_processes() -> Iterable[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), fields


def _stat(pid: int) -> list[str]:
    """proc_pid_stat(5) from the state on; [] for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time that these processes have used so far, in user and kernel mode."""
    return sum(int(fields[11]) + int(fields[12]) for pid in pids if (fields := _stat(pid))) / _TICKS


def rss_mb(pids: Iterable[int]) -> float:
    """Resident memory, shared pages counted once for each process that has them."""
    return sum(_rollup(pid, "Rss:") for pid in pids)


def pss_mb(pids: Iterable[int]) -> float:
    """Resident memory, shared pages counted once in all."""
    return sum(_rollup(pid, "Pss:") for pid in pids)


def _rollup(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
