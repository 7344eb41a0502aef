"""HTTP over unix sockets."""

import socket
from pathlib import Path

import pytest
from urllib3.exceptions import HTTPError

from decider.unix_sockets import UnixPool, connect_unix
from tests.listener import Listener, Said


def test_socket_in_a_deep_folder(tmp_path: Path) -> None:
    """A socket is reached in a folder whose path is too long for an address."""
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    (deep / "run").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(deep)
        server.bind("run/decider.sock")
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            connect_unix(client, deep / "run" / "decider.sock")


def test_pool() -> None:
    """Answers of a server at a path are answers of HTTP; where nobody listens it is the library's own error."""
    with Listener() as listener:
        listener.answers["/x"] = Said(body=b"here")
        pool = UnixPool(listener.socket, connections=2)
        assert [pool.request("GET", "/x").data for _ in range(3)] == [b"here"] * 3
        pool.close()
    with pytest.raises(HTTPError):
        UnixPool(listener.socket, connections=1).request("GET", "/x", retries=False)
