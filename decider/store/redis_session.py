"""Talking to Redis: short sessions on pooled connections, plain replies, every error as StoreUnavailable.

The client library's own pipeline is not used for changes: it reports a connection that broke while EXEC was under
way like a lost race, and a change that took effect would be made again. What is stored may not be said here.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import Connection, ConnectionPool, SSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from decider.errors import StoreUnavailable
from decider.store.encoding import coding_errors
from decider.store.redis_address import RedisAddress
from decider.store.redis_keys import index_range

__all__ = ["CHUNK", "Command", "Session", "Sessions", "indexed_ids", "pairs"]

Command = tuple[str | bytes | int, ...]

CHUNK = 200  #: records read at a time by a listing
_CONNECT_TIMEOUT_S = 1.0
_PIECE_BYTES = 65_536
_BATCH = 1000  # commands sent before their replies are read: neither side has to buffer more


class Session:
    """A connection that is ours for a while; replies come as Redis sends them: bytes, ints, lists, None."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        #: EXEC was sent and not answered: the commands may have taken effect, or yet may
        self.in_doubt = False

    def call(self, *command: str | bytes | int) -> Any:
        """The reply to one command."""
        self._connection.send_packed_command([_pack(command)])
        return self._connection.read_response()

    def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to many commands, sent together; not atomic."""
        replies: list[Any] = []
        for start in range(0, len(commands), _BATCH):
            batch = commands[start : start + _BATCH]
            self._connection.send_packed_command(list(_pack_all(batch)))
            replies.extend(self._connection.read_response() for _ in batch)
        return replies

    def execute(self, commands: Sequence[Command]) -> list[Any] | None:
        """The replies to commands that take effect together; None where a watched key changed: none did then."""
        self.call("MULTI")
        self.call_all(commands)  # raises where one is refused, and nothing takes effect
        self.in_doubt = True
        try:
            replies: list[Any] | None = self.call("EXEC")
        except ResponseError:
            self.in_doubt = False
            raise
        self.in_doubt = False
        for reply in replies or ():
            if isinstance(reply, ResponseError):
                raise reply
        return replies


class Sessions:
    """Sessions with one Redis; safe to share between threads, and after a fork."""

    def __init__(self, address: RedisAddress, *, timeout_s: float) -> None:
        self._address = address
        self._pool = _make_pool(address, timeout_s)

    @contextmanager
    def open(self) -> Iterator[Session]:
        """A session; raise StoreUnavailable for whatever goes wrong with Redis inside."""
        with self._errors():
            connection: Any = self._pool.get_connection()
            try:
                yield Session(connection)
            except BaseException:
                connection.disconnect()  # replies may be under way, or keys watched
                raise
            finally:
                self._pool.release(connection)

    def close(self) -> None:
        """Disconnect all."""
        self._pool.disconnect()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with coding_errors(str(self._address)):
                yield
        except (RedisError, OSError) as error:
            text = " ".join(str(error).split())
            if any(secret in text for secret in self._address.secrets):
                raise StoreUnavailable(f"{self._address}: {type(error).__name__}") from None
            raise StoreUnavailable(f"{self._address}: {text}") from error


def indexed_ids(session: Session, index: str, wanted: tuple[str, str], after: str) -> Iterator[list[bytes]]:
    """The ids of the records of one value of an index, oldest first, those after the id `after`."""
    start: str | bytes
    start, end = index_range(*wanted, after)
    while members := session.call("ZRANGEBYLEX", index, start, end, "LIMIT", 0, CHUNK):
        yield [member.rpartition(b" ")[2] for member in members]
        start = b"(" + members[-1]


def pairs(reply: Sequence[bytes]) -> dict[bytes, bytes]:
    """A hash, from fields and values in turn."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _pack(command: Command) -> bytes:
    # As the protocol wants it (RESP); the client library takes five times as long over a feed's million values.
    parts = [b"*%d\r\n" % len(command)]
    for value in command:
        data = value if isinstance(value, bytes) else str(value).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _pack_all(commands: Iterable[Command]) -> Iterator[bytes]:
    """The commands, joined to pieces that are worth a system call each."""
    piece = b""
    for command in commands:
        piece += _pack(command)
        if len(piece) > _PIECE_BYTES:
            yield piece
            piece = b""
    yield piece


def _make_pool(address: RedisAddress, timeout_s: float) -> ConnectionPool:
    common: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        # Sent twice, a change could be made twice; and a decision has no time for a second try.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if address.master is not None:
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # the library has no types here
            list(address.hosts),
            sentinel_kwargs={
                "username": address.sentinel_username,
                "password": address.sentinel_password,
                "socket_timeout": _CONNECT_TIMEOUT_S,
                "socket_connect_timeout": _CONNECT_TIMEOUT_S,
                "retry": Retry(NoBackoff(), 0),
                "protocol": 2,
            },
        )
        return SentinelConnectionPool(address.master, sentinel, **common)  # type: ignore[no-untyped-call]
    ((host, port),) = address.hosts
    if not address.tls:
        return ConnectionPool(Connection, host=host, port=port, **common)
    verified: dict[str, Any] = {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": address.ca_file,
    }
    return ConnectionPool(SSLConnection, host=host, port=port, **common, **verified)
