"""HTTP over the unix sockets of this machine: nginx's for the decider, and the fetcher's.

Who may connect is what the folder around a socket says. What is asked for may not be added here.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

__all__ = ["UnixPool", "connect_unix", "left_s"]

CONNECT_S = 2.0


def connect_unix(client: socket.socket, path: Path) -> None:
    """Connect to a socket whose own path may be too long for an address (unix(7): 108 bytes); raise OSError."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)


class _UnixConnection(HTTPConnection):
    path: Path

    def _new_conn(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        try:
            # Absent, or a word of the library for none: only numbers are set here.
            client.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
            connect_unix(client, self.path)
        except OSError as error:
            client.close()
            raise NewConnectionError(self, f"{self.path.name}: {error.strerror or error}") from error
        return client


class UnixPool(HTTPConnectionPool):
    """Kept connections to the server that listens at a path; `connections` of them, more are opened in a burst."""

    def __init__(self, path: Path, *, connections: int) -> None:
        super().__init__("decider", maxsize=connections, block=False)
        self._path = path

    def _new_conn(self) -> HTTPConnection:
        connection = _UnixConnection("decider", timeout=self.timeout.connect_timeout)
        connection.path = self._path
        return connection

    def get(self, path: str, *, headers: Mapping[str, str], deadline: float) -> BaseHTTPResponse:
        """The answer as it comes, neither read nor decoded; raise urllib3's HTTPError, or OSError.

        `deadline`, of the monotonic clock, limits the wait for the first byte.
        """
        return self.request(
            "GET",
            path,
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
            timeout=Timeout(connect=CONNECT_S, read=left_s(deadline)),
        )


def left_s(deadline: float) -> float:
    """Seconds until then; never 0, which would mean not to wait at all."""
    return max(deadline - time.monotonic(), 0.1)
