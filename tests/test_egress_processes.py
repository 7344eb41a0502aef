"""The fetcher's processes: who may open its socket, what a reload changes, how it ends."""

import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from decider.data_dir import prepare_data_dir
from decider.run_files import EGRESS_SOCKET
from decider.settings import IndexSettings, Settings, settings_to_json
from decider.unix_sockets import connect_unix
from decider.worker_user import worker_user
from tests.egress_harness import Host, reply
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
    """The processes fetch, on a socket that nobody else can open, as nginx's user where they were started as root."""
    running = start()
    assert running.ask("/page/public/demo/", X_Decider_Source=f"{host.url}simple/") == (200, b"page")
    found = (running.data_dir / EGRESS_SOCKET).stat()
    assert stat.S_IMODE(found.st_mode) & 0o007 == 0
    user = worker_user()
    if user is not None:
        assert (found.st_uid, found.st_gid) == (user.uid, user.gid)
        pid = running.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")

        def owners() -> list[int]:
            return [Path(f"/proc/{worker}").stat().st_uid for worker in children.read_text().split()]

        eventually(lambda: owners() == [user.uid] * 2, within_s=10)


def test_reload(start: Callable[[], Running], settings: Settings, host: Host) -> None:
    """SIGHUP takes over what was accepted since; nobody finds the socket closed meanwhile."""
    running = start()
    moved = msgspec.structs.replace(
        settings, indexes=(IndexSettings(name="public", url=f"{host.url}other/"),)
    )
    running.accept(moved)
    running.process.send_signal(signal.SIGHUP)
    statuses = set()

    def is_taken_over() -> bool:
        status, body = running.ask("/page/public/demo/", X_Decider_Source=f"{host.url}other/")
        statuses.add(status)
        return (status, body) == (200, b"page")

    eventually(is_taken_over, within_s=20)
    assert statuses <= {200, 502}


def test_end(start: Callable[[], Running]) -> None:
    """SIGTERM ends it soon, and leaves no process."""
    running = start()
    pid = running.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    started = time.monotonic()
    running.process.terminate()
    assert running.process.wait(20) == 0
    assert time.monotonic() - started < 10
    eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in children), within_s=5)


def test_worker_that_dies(start: Callable[[], Running], host: Host) -> None:
    """A worker that is killed is replaced; meanwhile the other answers."""
    running = start()
    pid = running.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    before = children.read_text().split()
    os.kill(int(before[0]), signal.SIGKILL)
    eventually(lambda: set(children.read_text().split()) - set(before), within_s=10)
    got = eventually(
        lambda: running.ask("/page/public/demo/", X_Decider_Source=f"{host.url}simple/"), within_s=5
    )
    assert got == (200, b"page")
