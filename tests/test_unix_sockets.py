"""HTTP over unix sockets: whatever the folder, kept connections, errors that say no path."""

import socket
from pathlib import Path

import pytest
from urllib3.exceptions import HTTPError, ReadTimeoutError

from decider.unix_sockets import UnixPool, connect_unix
from tests.listener import Asked, Listener, Said


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


def test_nobody_there(tmp_path: Path) -> None:
    """Where nothing listens, or there is no such folder, the error has the socket's name, and no path."""
    for path in (tmp_path / "some.sock", tmp_path / "absent" / "some.sock"):
        with pytest.raises(HTTPError, match=r"some\.sock: No such file or directory") as caught:
            UnixPool(path, connections=1).request("GET", "/", retries=False)
        assert str(tmp_path) not in str(caught.value)


def test_pool() -> None:
    """A connection is kept, and a server that hangs is waited for as long as was said."""
    with Listener() as listener:
        pool = UnixPool(listener.socket, connections=1)
        listener.answers["/a"] = Said(body=b"a")

        def hang(_: Asked) -> Said:
            listener.stopping.wait(10)
            return Said()

        listener.answers["/slow"] = hang
        assert [pool.request("GET", "/a", retries=False).data for _ in range(3)] == [b"a"] * 3
        assert listener.connections == 1
        with pytest.raises(ReadTimeoutError):
            pool.request("GET", "/slow", retries=False, timeout=0.2)
        assert pool.request("GET", "/a", retries=False).data == b"a"
