"""Where a Redis store is: URLs to frozen addresses that never show a password.

`redis://[user:password@]host[:port][/database]`, `rediss://` for TLS with a verified certificate (`?ssl_ca_certs=FILE`
for a private authority), and `redis+sentinel://[user:password@]host[:port],host[:port]/master[/database]`, where
`?sentinel_username=` and `?sentinel_password=` are for the sentinels themselves.
"""

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from decider.errors import Fault, InvalidSettings

__all__ = ["RedisAddress", "parse_address"]

_PORT = 6379
_SENTINEL_PORT = 26379
_PARAMETERS = {
    "redis": frozenset[str](),
    "rediss": frozenset({"ssl_ca_certs"}),
    "redis+sentinel": frozenset({"sentinel_username", "sentinel_password"}),
}


@dataclass(frozen=True, slots=True, repr=False)
class RedisAddress:
    """Where Redis, or those who know where it is, answer."""

    hosts: tuple[tuple[str, int], ...]  #: one, or the sentinels
    master: str | None = None  #: the name that the sentinels know; None: `hosts` is Redis itself
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None  #: certificates to trust; None: those that the machine trusts
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show."""
        return tuple(secret for secret in (self.password, self.sentinel_password) if secret)

    def __repr__(self) -> str:
        return f"RedisAddress({self})"

    def __str__(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        if self.master is not None:
            return f"redis+sentinel://{hosts}/{self.master}/{self.database}"
        return f"{'rediss' if self.tls else 'redis'}://{hosts}/{self.database}"


def parse_address(url: str) -> RedisAddress:
    """The address that `url` spells; raise InvalidSettings, without repeating any of it."""
    try:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _invalid("is no URL") from None
    known = _PARAMETERS.get(parts.scheme)
    if known is None:
        raise _invalid("must be `sqlite`, or begin with redis://, rediss:// or redis+sentinel://")
    if parts.fragment or not known.issuperset(parameters):
        raise _invalid(f"{parts.scheme}:// takes {_names(known)} after `?`")
    is_sentinel = parts.scheme == "redis+sentinel"
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    master, database = _parse_path(parts, is_sentinel=is_sentinel)
    return RedisAddress(
        hosts=_parse_hosts(hosts, is_sentinel=is_sentinel),
        master=master,
        database=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=parts.scheme == "rediss",
        ca_file=parameters.get("ssl_ca_certs"),
        sentinel_username=parameters.get("sentinel_username"),
        sentinel_password=parameters.get("sentinel_password"),
    )


def _parse_hosts(text: str, *, is_sentinel: bool) -> tuple[tuple[str, int], ...]:
    hosts = text.split(",")
    if len(hosts) > 1 and not is_sentinel:
        raise _invalid("several hosts need redis+sentinel://")
    return tuple(_parse_host(host, _SENTINEL_PORT if is_sentinel else _PORT) for host in hosts)


def _parse_host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _invalid("has a host or port that cannot be read") from None
    if not host:
        raise _invalid("names no host")
    return host, default_port if port is None else port


def _parse_path(parts: SplitResult, *, is_sentinel: bool) -> tuple[str | None, int]:
    segments = [unquote(segment) for segment in parts.path.split("/")[1:]]
    if not is_sentinel:
        segments = ["", *segments]
    elif not segments or not segments[0]:
        raise _invalid("needs the master's name: redis+sentinel://host:port,host:port/master/database")
    master, *rest = segments
    database = rest[0] if rest else ""
    if len(rest) > 1 or not (database == "" or (database.isascii() and database.isdigit())):
        raise _invalid("must end in the number of a database")
    return master or None, int(database or 0)


def _names(parameters: frozenset[str]) -> str:
    return " or ".join(f"`{name}`" for name in sorted(parameters)) or "nothing"


def _invalid(detail: str) -> InvalidSettings:
    return InvalidSettings([Fault("store", detail)])
