"""Clients of a benchmark: wrk, one patient client, and many at once."""

import asyncio
import http.client
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GZIP", "HTML", "JSON", "Load", "OneClient", "crowd", "wrk"]

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
HTML = {"Accept": "application/vnd.pypi.simple.v1+html"}
GZIP = {"Accept-Encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk found."""

    requests_per_s: float
    megabytes_per_s: float
    p99_ms: float
    requests: int


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_SIZES = {"B": 1e-6, "KB": 1e-3, "MB": 1.0, "GB": 1e3}


def wrk(
    urls: Sequence[str],
    headers: Mapping[str, str],
    *,
    seconds: int,
    connections: int = 32,
    may_fail: bool = False,
) -> Load:
    """Ask for those URLs (of one server) in turn for so long; raise unless all were answered, with 2xx."""
    path = shutil.which("wrk")
    if path is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    command = [path, "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "20s"]
    command += [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    with tempfile.TemporaryDirectory() as folder:
        if len(urls) > 1:
            script = Path(folder) / "paths.lua"
            script.write_text(_script(urls))
            command += ["-s", str(script)]
        done = subprocess.run([*command, urls[0]], capture_output=True, text=True, check=True)
    if not may_fail and re.search(r"Non-2xx|Socket errors", done.stdout):
        raise RuntimeError(f"{urls[0]}: {done.stdout}")
    return _read(done.stdout)


def _script(urls: Sequence[str]) -> str:
    paths = ", ".join(f'"/{url.split("/", 3)[3]}"' for url in urls)
    return (
        f"local paths = {{{paths}}}\nlocal n = 0\n"
        "request = function() n = n % #paths + 1 return wrk.format(nil, paths[n]) end\n"
    )


def _read(text: str) -> Load:
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    transfer = re.search(r"Transfer/sec:\s*([\d.]+)([KMG]?B)", text)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", text)
    total = re.search(r"(\d+) requests in", text)
    if rate is None or transfer is None or tail is None or total is None:
        raise RuntimeError(f"wrk says something else: {text}")
    return Load(
        requests_per_s=float(rate[1]),
        megabytes_per_s=float(transfer[1]) * _SIZES[transfer[2]],
        p99_ms=float(tail[1]) * _UNITS[tail[2]],
        requests=int(total[1]),
    )


class OneClient:
    """One kept connection, one request after the other."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str, headers: Mapping[str, str]) -> tuple[bytes, float]:
        """The body and the milliseconds it took; raise unless the status is 200."""
        start = time.perf_counter()
        self._connection.request("GET", path, headers=dict(headers))
        answer = self._connection.getresponse()
        body = answer.read()
        taken_ms = (time.perf_counter() - start) * 1_000
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.reason}")
        return body, taken_ms

    def close(self) -> None:
        self._connection.close()


def crowd(port: int, paths: Sequence[str], headers: Mapping[str, str], *, clients: int) -> list[float]:
    """Seconds that each of so many clients took for all paths, one kept connection each, all starting at once."""

    async def one(start: asyncio.Event) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await start.wait()
        began = time.perf_counter()
        for path in paths:
            await _get(reader, writer, path, headers)
        taken = time.perf_counter() - began
        writer.close()
        return taken

    return asyncio.run(_all_at_once(one, clients))


async def _all_at_once(one: Callable[[asyncio.Event], Awaitable[float]], clients: int) -> list[float]:
    start = asyncio.Event()
    waiting = [asyncio.ensure_future(one(start)) for _ in range(clients)]
    await asyncio.sleep(0)
    start.set()
    return list(await asyncio.wait_for(asyncio.gather(*waiting), 120))


async def _get(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, headers: Mapping[str, str]
) -> None:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{path}: {head[:200]!r}")
    length = re.search(rb"(?i)\r\nContent-Length: (\d+)\r\n", head)
    if length is None:
        raise RuntimeError(f"{path}: no Content-Length")
    await reader.readexactly(int(length[1]))
