"""What a user would pick instead: other proxies of an index, each in an environment of its own, on the same pages.

None of them decides on anything; see each project's own documentation for how it is started here.
"""

import base64
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import requests

from tests.benchmarks.bench import Bench, interleaved
from tests.benchmarks.figures import Cell, Figure, Table
from tests.benchmarks.load import GZIP, JSON, wrk
from tests.benchmarks.machine import family, rss_mb
from tests.benchmarks.recording import BENCH_FILES, SMALL_FILE
from tests.stack import eventually, free_port

__all__ = ["measure_peers"]

_START_WITHIN_S = 60
_CONNECTIONS = 16
_DEVPI_MIRROR = "root/pypi"  #: user and index of devpi's own mirror
_SLOW = 60  #: requests/s below which one measurement has to do


@dataclass(frozen=True, slots=True)
class _Running:
    """A proxy that serves, as its clients see it."""

    simple_url: str
    pids: Callable[[], Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Peer:
    """How one project is installed and started."""

    packages: Sequence[str]
    simple_path: str
    #: its environment's programs, a folder of its own, the run, a port → a command
    command: Callable[[Path, Path, Bench, int], Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)  #: {index} stands for the stand-in's URL
    prepare: Callable[[str, str], None] | None = None  #: own URL, the stand-in's URL; once it answers


def measure_peers(bench: Bench) -> Table:
    """Warm pages, as installers ask for them, and a small file."""
    rows: list[Sequence[Cell]] = []
    with bench.decider() as stack:
        decider = _Running(stack.simple_url, lambda: [process.pid for process in stack.processes()])
        rows.append(_row(bench, "decider", decider))
    mirror = f"http://127.0.0.1:{bench.plain.mirror}/simple/"
    rows.append(_row(bench, "nginx cache, decides nothing", _Running(mirror, lambda: bench.plain.pids)))
    for name, peer in _PEERS.items():
        with _running(bench, name, peer) as found:
            rows.append(_row(bench, name, found))
    columns = ["", "small page/s", "medium page/s", "large page/s", "60 kB file/s", "RSS MB after"]
    note = (
        f"wrk, {_CONNECTIONS} connections, {bench.scale.load_s} s a time. JSON and gzip are asked for; what a project "
        "has instead is taken. pypiserver cannot mirror: it serves a folder of the same wheels."
    )
    return Table("Beside other proxies", columns, rows, [note])


def _row(bench: Bench, name: str, proxy: _Running) -> Sequence[Cell]:
    pages = [f"{proxy.simple_url}{project}/" for project in bench.recording.sizes.values()]
    row: list[Cell] = [name, *(_rate(bench, url) for url in pages)]
    row.append(_rate(bench, _file_url(f"{proxy.simple_url}{BENCH_FILES}/")))
    return [*row, Figure((rss_mb(proxy.pids()),))]


def _rate(bench: Bench, url: str) -> Cell:
    """Requests a second; words where there is nothing to measure."""
    headers = {**JSON, **GZIP}
    try:
        answer = requests.get(url, headers=headers, timeout=60, allow_redirects=False)
        if answer.status_code != 200:
            return "redirects" if answer.is_redirect else f"status {answer.status_code}"
        first = wrk([url], headers, seconds=bench.scale.load_s, connections=_CONNECTIONS)
        if first.requests == 0:
            return f"none in {bench.scale.load_s} s"
        repetitions = 1 if first.requests_per_s < _SLOW else bench.scale.repetitions
        again = interleaved(
            {"": lambda: wrk([url], headers, seconds=bench.scale.load_s, connections=_CONNECTIONS)},
            repetitions,
        )
    except (requests.RequestException, RuntimeError) as error:
        return f"fails: {type(error).__name__}"
    return Figure(tuple(load.requests_per_s for load in again[""]))


def _file_url(page_url: str) -> str:
    """Where that page says the small file is."""
    answer = requests.get(page_url, headers=JSON, timeout=60)
    if "json" in answer.headers.get("Content-Type", ""):
        found = [file["url"] for file in answer.json()["files"] if file["filename"] == SMALL_FILE]
    else:
        found = [
            part.partition('"')[0]
            for part in answer.text.split('href="')
            if f"/{SMALL_FILE}" in part.partition('"')[0]
        ]
    return urljoin(answer.url, found[0].partition("#")[0]) if found else page_url


@contextmanager
def _running(bench: Bench, name: str, peer: _Peer) -> Iterator[_Running]:
    programs = _install(bench.cache / "peers" / name, peer.packages)
    folder = bench.folder / name
    folder.mkdir()
    port = free_port()
    index = bench.stand_in.plain_url
    environment = {key: value.format(index=index) for key, value in peer.environment.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            peer.command(programs, folder, bench, port),
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    own = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(own), within_s=_START_WITHIN_S, what=name)
        if peer.prepare is not None:
            peer.prepare(own, index)
        yield _Running(f"{own}{peer.simple_path}", lambda: family(process.pid))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        requests.get(url, timeout=5)
    except requests.RequestException:
        return False
    return True


def _install(folder: Path, packages: Sequence[str]) -> Path:
    """An environment with these packages, made once; the folder of its programs."""
    programs = folder / "bin"
    done = folder / "installed"
    if not done.is_file():
        print(f"installing {', '.join(packages)}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
        done.touch()
    return programs


def _devpi(programs: Path, folder: Path, _: Bench, port: int) -> Sequence[str]:
    subprocess.run(
        [programs / "devpi-init", "--serverdir", folder / "server"], check=True, capture_output=True
    )
    return [str(programs / "devpi-server"), "--serverdir", str(folder / "server"), "--port", str(port)]


def _point_devpi_at(own: str, index: str) -> None:
    """Let its mirror follow the stand-in: a new server's root has an empty password."""
    login = requests.post(f"{own}/+login", json={"user": "root", "password": ""}, timeout=30).json()
    token = base64.b64encode(f"root:{login['result']['password']}".encode()).decode()
    answer = requests.patch(
        f"{own}/{_DEVPI_MIRROR}", json=[f"mirror_url={index}"], headers={"X-Devpi-Auth": token}, timeout=30
    )
    answer.raise_for_status()


def _pypiserver(programs: Path, folder: Path, bench: Bench, port: int) -> Sequence[str]:
    served = folder / "wheels"
    served.mkdir()
    for project in bench.recording.projects:
        for name in bench.recording.files(project):
            (served / name).symlink_to(bench.recording.folder / "files" / project / name)
    return [str(programs / "pypi-server"), "run", "-p", str(port), "-i", "127.0.0.1", str(served)]


_PEERS: Mapping[str, _Peer] = {
    "simple-repository-server": _Peer(
        ["simple-repository-server"],
        "/simple/",
        lambda programs, _, bench, port: [
            str(programs / "simple-repository-server"),
            "--port",
            str(port),
            bench.stand_in.plain_url,
        ],
    ),
    "proxpi": _Peer(
        ["proxpi", "gunicorn"],
        "/index/",
        lambda programs, _, __, port: [
            str(programs / "gunicorn"),
            "--preload",
            "--threads=2",
            f"--bind=127.0.0.1:{port}",
            "proxpi.server:app",
        ],
        environment={"PROXPI_INDEX_URL": "{index}"},
    ),
    "devpi-server": _Peer(["devpi-server"], f"/{_DEVPI_MIRROR}/+simple/", _devpi, prepare=_point_devpi_at),
    "pypiserver": _Peer(["pypiserver"], "/simple/", _pypiserver),
}
