"""Real Redis servers, set up by deploy/redis.conf, on free ports and in folders of their own."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

from decider.store.redis_keys import RUN

__all__ = ["RedisServer", "free_port"]

CONF = Path(__file__).parents[1] / "deploy" / "redis.conf"
START_S = 20
READY = (b"Ready to accept connections", b"+monitor master")  # a server, a sentinel


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class RedisServer:
    """One server; `options` override deploy/redis.conf, or replace it where `conf` is another file."""

    def __init__(self, folder: Path, *options: str, conf: Path = CONF) -> None:
        if shutil.which("redis-server") is None:
            pytest.fail("redis-server is not installed: the Redis store cannot be tested without it")
        self.folder = folder
        self.port = free_port()
        own_conf = folder / "redis.conf"
        shutil.copy(
            conf, own_conf
        )  # sentinels rewrite the file that they, and their servers, were started with
        self._command = ["redis-server", str(own_conf)]
        self._options = ["--dir", str(folder), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start on the port and the data of before, and wait until it answers."""
        log = self.folder / "redis.log"
        log.touch()
        before = log.stat().st_size
        with log.open("ab") as output:
            command = [*self._command, "--port", str(self.port), *self._options]
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_S
        # Its own word for it: whoever answers on the port could be another run's server.
        while not any(sign in log.read_bytes()[before:] for sign in READY):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail("redis-server did not start:\n" + log.read_text()[-2000:])
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a crash or the kernel would: no chance to write anything more."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def flush(self) -> None:
        """Forget all data, but not that the file of this start was written anew: that takes its time."""
        with redis.Redis.from_url(self.url) as client:
            run = client.get(RUN)
            client.flushall()
            if run:
                client.set(RUN, run)
