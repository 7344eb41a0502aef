"""Large files that nobody has asked for yet: decider beside plain nginx, and what the fetcher holds meanwhile."""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Cell, Figure, Table, ratio
from tests.benchmarks.machine import pss_mb, rss_mb
from tests.benchmarks.recording import BENCH_FILES, LARGE_FILE
from tests.stack import JSON_TYPE, Stack

__all__ = ["measure_cold_files"]

PROJECT = "cold-files"
_READ = 1 << 20
_MEMORY_EVERY_S = 0.1


def measure_cold_files(bench: Bench) -> Table:
    """60 MB files one after the other, then many at once; each is new to every cache."""
    count = bench.scale.repetitions + 2 * bench.scale.cold_files
    try:
        return _measure(bench, _publish(bench, count))
    finally:
        for folder in _folders(bench):
            shutil.rmtree(folder)


def _folders(bench: Bench) -> tuple[Path, Path]:
    """Of the files, and of their page; other parts know nothing of them."""
    root = bench.recording.folder
    return root / "files" / PROJECT, root / "simple" / PROJECT


def _measure(bench: Bench, names: Sequence[str]) -> Table:
    rounds, at_once = bench.scale.repetitions, bench.scale.cold_files
    size = (bench.recording.folder / "files" / PROJECT / names[0]).stat().st_size
    bench.plain.forget()
    singles: dict[str, list[float]] = {"decider": [], "plain nginx": []}
    many: dict[str, list[float]] = {"decider": [], "plain nginx": []}
    with bench.decider() as stack:
        ports = {"decider": stack.port, "plain nginx": bench.plain.mirror}
        for name in names[:rounds]:
            for server, port in ports.items():
                taken_s = _download(port, name, size)
                singles[server].append(size / taken_s / 1e6)
        peak = _Peak(stack)
        for start in (rounds, rounds + at_once):
            for server, port in ports.items():
                with peak.watched(on=server == "decider"):
                    taken_s = _download_all(port, names[start : start + at_once], size)
                many[server].append(at_once * size / taken_s / 1e6)
    rows: list[Sequence[Cell]] = [
        _row("one after the other", singles),
        _row(f"{at_once} at once", many),
        [
            f"the fetcher meanwhile: PSS, RSS, MB at {peak.times} looks",
            Figure((peak.pss,)),
            Figure((peak.rss,)),
            "",
        ],
    ]
    note = (
        f"{size / 1e6:.0f} MB each, over TLS from the stand-in, MB/s; both nginx keep what they fetch on the same disk. decider "
        "holds each to its SHA-256."
    )
    return Table("Cold files", ["", "decider", "plain nginx", "decider/plain"], rows, [note])


def _row(name: str, rates: dict[str, list[float]]) -> Sequence[Cell]:
    decider, plain = (Figure(tuple(rates[server])) for server in ("decider", "plain nginx"))
    return [name, decider, plain, ratio(decider, plain)]


def _publish(bench: Bench, count: int) -> list[str]:
    """List the one large file under as many names, on a page of the stand-in."""
    root = bench.recording.folder
    source = root / "files" / BENCH_FILES / LARGE_FILE
    digest, size = sha256(source.read_bytes()).hexdigest(), source.stat().st_size
    folder, page = _folders(bench)
    folder.mkdir(exist_ok=True)
    page.mkdir(exist_ok=True)
    names = [f"cold_files-{number}.0-py3-none-any.whl" for number in range(count)]
    for name in names:
        if not (folder / name).exists():
            os.link(source, folder / name)
    files = [
        {"filename": name, "url": f"../../files/{PROJECT}/{name}", "hashes": {"sha256": digest}, "size": size}
        for name in names
    ]
    listed = {"meta": {"api-version": "1.1"}, "name": PROJECT, "versions": [], "files": files}
    (page / "index.json").write_text(json.dumps(listed))
    (page / "index.json.gz").unlink(missing_ok=True)
    return names


def _download(port: int, name: str, size: int) -> float:
    """Seconds for the whole file; fail where it is not whole."""
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        request = f"GET /files/{PROJECT}/{name} HTTP/1.0\r\nHost: x\r\nAccept: {JSON_TYPE}\r\n\r\n"
        client.sendall(request.encode())
        buffer, received = bytearray(_READ), 0
        head = b""
        while got := client.recv_into(buffer):
            received += got
            if len(head) < 4096:
                head += bytes(buffer[:got])
    assert head.startswith(b"HTTP/1.1 200"), head[:200]
    assert received - head.index(b"\r\n\r\n") - 4 == size, received
    return time.perf_counter() - started


def _download_all(port: int, names: Sequence[str], size: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: _download(port, name, size), names))
    return time.perf_counter() - started


class _Peak:
    """The most memory that the fetcher's processes had together."""

    def __init__(self, stack: Stack) -> None:
        self._pids = [process.pid for process in stack.processes() if "decider.egress" in process.command]
        self.pss = self.rss = 0.0
        self.times = 0

    def watched(self, *, on: bool) -> "_Watch":
        return _Watch(self._look if on else None)

    def _look(self) -> None:
        self.pss = max(self.pss, pss_mb(self._pids))
        self.rss = max(self.rss, rss_mb(self._pids))
        self.times += 1


class _Watch:
    """Looks again and again while its block runs."""

    def __init__(self, look: Callable[[], None] | None) -> None:
        self._look = look
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while self._look is not None and not self._done.wait(_MEMORY_EVERY_S):
            self._look()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
