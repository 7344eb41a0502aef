"""A TCP proxy that breaks the connection around one command."""

import select
import socket
import threading
from contextlib import suppress
from enum import Enum

__all__ = ["Break", "BreakingProxy"]


class Break(Enum):
    """What becomes of the command that the proxy was told to break."""

    BEFORE = "never reaches the server"
    AFTER = "is carried out, the reply gets lost"
    LATE = "reaches the server only when told to"


class BreakingProxy:
    """Forwards to `port`, but for the first chunk that holds `command` after `arm`."""

    def __init__(self, port: int, command: bytes) -> None:
        self._server_port = port
        self._command = command
        self._break: Break | None = None
        self._held: list[tuple[socket.socket, bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.broken = 0  #: connections that were broken
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, how: Break) -> None:
        self._break = how

    def release(self) -> None:
        """Let the server have what was held back, and wait until it has dealt with it."""
        for server, data in self._held:
            server.sendall(data)
            server.recv(65_536)
            server.close()
        self._held.clear()

    def close(self) -> None:
        """Let nobody through any more; those who are connected stay."""
        with suppress(OSError):
            self._listener.shutdown(
                socket.SHUT_RDWR
            )  # close() alone would still let one in, who is being waited for
        self._listener.close()
        for server, _ in self._held:
            server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while True:
            for ready in select.select([client, server], [], [])[0]:
                try:
                    data = ready.recv(65_536)
                except OSError:
                    data = b""
                how = self._break if ready is client and self._command in data else None
                if how is not None:
                    self._break_off(how, server, data)
                if how is not None or not data:
                    client.close()
                    if how is not Break.LATE:
                        server.close()
                    return
                other[ready].sendall(data)

    def _break_off(self, how: Break, server: socket.socket, data: bytes) -> None:
        self._break = None
        self.broken += 1
        if how is Break.AFTER:
            server.sendall(data)
            server.recv(65_536)
        elif how is Break.LATE:
            self._held.append((server, data))
