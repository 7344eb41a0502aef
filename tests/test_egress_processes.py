"""The fetcher's process: who may open its socket, how another takes its place, how it ends."""

import http.client
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from decider.data_dir import prepare_data_dir
from decider.run_files import EGRESS_SOCKET
from decider.settings import IndexSettings, Settings, settings_to_json
from decider.unix_sockets import connect_unix
from decider.worker_user import worker_user
from tests.egress_harness import Host, Reply, reply
from tests.stack import eventually, source_environment

ACCEPTED = "run/accepted.json"


class Running:
    """`python -m decider.egress` over a data_dir."""

    def __init__(self, settings: Settings) -> None:
        self.data_dir = Path(settings.data_dir)
        prepare_data_dir(settings, worker_user())
        self.accept(settings)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "decider.egress", ACCEPTED], cwd=self.data_dir, env=source_environment()
        )
        eventually(lambda: self.ask("/alive")[0] == 200, within_s=20)

    def accept(self, settings: Settings) -> None:
        (self.data_dir / ACCEPTED).write_bytes(settings_to_json(settings))

    def ask(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body; 0 where nobody answers."""
        connection = http.client.HTTPConnection("fetcher", timeout=10)
        with suppress(OSError, http.client.HTTPException), socket.socket(socket.AF_UNIX) as client:
            connect_unix(client, self.data_dir / EGRESS_SOCKET)
            connection.sock = client
            connection.request(
                "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        return 0, b""


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as started:
        started.answers["/simple/demo/"] = started.answers["/other/demo/"] = reply(b"page")
        yield started


@pytest.fixture
def settings(tmp_path: Path, host: Host) -> Settings:
    return Settings(
        data_dir=str(tmp_path / "var"),
        indexes=(IndexSettings(name="public", url=f"{host.url}simple/"),),
        repositories=(),
    )


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[], Running]]:
    made: list[Running] = []

    def one() -> Running:
        made.append(Running(settings))
        return made[-1]

    yield one
    for running in made:
        running.process.kill()
        running.process.wait()


def test_fetches(start: Callable[[], Running], host: Host) -> None:
    """It fetches, on a socket that nobody else can open, as nginx's user where it was started as root."""
    running = start()
    assert running.ask("/page/public/demo/", X_Decider_Source=f"{host.url}simple/") == (200, b"page")
    found = (running.data_dir / EGRESS_SOCKET).stat()
    assert stat.S_IMODE(found.st_mode) & 0o007 == 0
    user = worker_user()
    if user is not None:
        assert (found.st_uid, found.st_gid) == (user.uid, user.gid)
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        for name, own in (("Uid", user.uid), ("Gid", user.gid)):
            assert f"{name}:\t" + "\t".join([str(own)] * 4) in status
        assert "Groups:\t \n" in status
        assert "CapEff:\t0000000000000000" in status


def test_another_takes_over(start: Callable[[], Running], settings: Settings, host: Host) -> None:
    """A new one has the socket at once, with the settings that were accepted since; the old one gives what it was giving."""
    going_on = threading.Event()
    host.answers["/simple/slow/"] = Reply(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npa", lambda: going_on.wait(20), b"ge"]
    )
    first = start()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(first.ask, "/page/public/slow/", X_Decider_Source=f"{host.url}simple/")
        eventually(lambda: "/simple/slow/" in host.paths(), within_s=10)
        moved = msgspec.structs.replace(
            settings, indexes=(IndexSettings(name="public", url=f"{host.url}other/"),)
        )
        second = Running(moved)
        try:
            # Until it is there the old one answers.
            eventually(
                lambda: (
                    second.ask("/page/public/demo/", X_Decider_Source=f"{host.url}other/") == (200, b"page")
                ),
                within_s=20,
            )
            assert first.process.poll() is None
            going_on.set()
            assert slow.result(10) == (200, b"page")
            assert first.process.wait(10) == 0
            assert second.ask("/alive")[0] == 200
        finally:
            second.process.kill()
            second.process.wait()


def test_end(start: Callable[[], Running]) -> None:
    """SIGTERM ends it soon."""
    running = start()
    started = time.monotonic()
    running.process.terminate()
    assert running.process.wait(20) == 0
    assert time.monotonic() - started < 10
