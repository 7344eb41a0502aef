"""The settings, as frozen values, and how one process hands them to another."""

from base64 import b64decode
from typing import Literal

import msgspec

from decider.addresses import Address

__all__ = [
    "DEFAULT_REPOSITORY",
    "EgressSettings",
    "IndexSettings",
    "RepositorySettings",
    "Settings",
    "UsageSettings",
    "settings_from_json",
    "settings_to_json",
    "signing_key",
]

DEFAULT_REPOSITORY = "default"  #: what `/simple/` serves
_BASE64_SECRET = "whsec_"  # noqa: S105 (what such a secret begins with)


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One index."""

    name: str
    path: str | None = None  #: absolute; a directory of distributions; None for a remote index
    url: str | None = None  #: remote: simple API base, ends in "/", without credentials
    file_hosts: tuple[
        str, ...
    ] = ()  #: "host", "host:port" or a network; (): any https DNS name that the index points to
    page_ttl_s: int = 600
    stale_if_error_s: int = 7 * 86_400
    internal: bool = False  #: a remote index of our own
    credentials: str | None = (
        None  #: "user:password", sent to the index's own origin only; None: none are sent
    )
    ca_file: str | None = (
        None  #: absolute; certificates that this index's hosts are verified by; None: the general ones
    )
    client_certificate: str | None = None  #: absolute; PEM chain, shown to the index's own origin only
    client_key: str | None = None  #: absolute; PEM
    proxy: str | None = None  #: URL of the proxy that it is asked through; "": none; None: the general one

    @property
    def is_local(self) -> bool:
        """Whether it is a directory."""
        return self.path is not None

    @property
    def is_internal(self) -> bool:
        """Whether it claims its names."""
        return self.is_local or self.internal


class RepositorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a client points at."""

    name: str
    indexes: tuple[str, ...]  #: priority order
    hide_refused: bool = False  #: refused files leave the page instead of being listed as yanked


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who hears of changes."""

    url: str  #: http(s), without credentials
    secret: str | None = None  #: signs each event; see signing_key; None: events are not signed


def signing_key(secret: str) -> bytes:
    """What a webhook's secret signs with: the bytes that it spells in Base64 behind `whsec_`, as the libraries of
    Standard Webhooks make and read it (raise ValueError where it does not); else its text.
    """
    if not secret.startswith(_BASE64_SECRET):
        return secret.encode()
    return b64decode(secret.removeprefix(_BASE64_SECRET), validate=True)


class EgressSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the fetcher reaches what is outside."""

    http_proxy: str | None = None  #: URL, which may hold credentials; for http URLs; None: none is needed
    https_proxy: str | None = None  #: the same, for https URLs
    no_proxy: str = ""  #: hosts that are asked directly, as the environment variable has them
    max_file_size: int = 5 * 2**30  #: bytes of a file whose page states no size


class UsageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of who was served what."""

    enabled: bool = True
    folder: str | None = None  #: absolute; columnar files, shared by several nodes; None: `usage` in data_dir
    retention_days: int = 365
    max_size: int = 50 * 2**30  #: bytes of all columnar files; the oldest days go first
    pseudonymise: bool = False  #: clients are stored as keyed hashes


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decider.toml says."""

    listen_host: str = "127.0.0.1"  #: IPv6 without brackets
    listen_port: int = 8080
    internal_host: str = "127.0.0.1"  #: loopback, IPv6 without brackets
    internal_port: int = 8081
    data_dir: str  #: absolute
    store: str = "sqlite"
    workers: int = 2
    nginx_workers: int = 0  #: processes of nginx; 0: one for each core
    grace_s: int = 300
    max_policy_age_s: int = 3600
    public_url: str | None = None  #: ends in "/"
    read_access: Literal["open", "token"] = (
        "open"  #: who may read pages and files: all, or holders of a token
    )
    tls_certificate: str | None = None  #: absolute; PEM chain that `listen` serves TLS with; None: plain HTTP
    tls_key: str | None = None  #: absolute; PEM
    trusted_proxies: tuple[str, ...] = ()  #: networks whose X-Forwarded-For names the real client
    max_requests_per_s: int = 2000  #: of one client address, whatever it asks for
    max_connections: int = 1000  #: of one client address, at a time
    files_cache_size: int = (
        50 * 2**30
    )  #: bytes of cached distribution files; the least recently used go first
    cache_dir: str | None = None  #: absolute; pages and files that nginx keeps; None: `cache` in data_dir
    pages_cache_size: int = 4 * 2**30  #: bytes of finished pages
    indexes_cache_size: int = 8 * 2**30  #: bytes of raw index pages
    files_cache_inactive_s: int = 30 * 86_400  #: a cached file that nobody asked for in so long goes
    public_metrics: bool = False  #: /metrics on the public listener too
    ca_file: str | None = (
        None  #: absolute; certificates that indexes are verified by; None: none was found, and none is needed
    )
    indexes: tuple[IndexSettings, ...]
    repositories: tuple[RepositorySettings, ...]  #: `default` is always among them
    webhook: WebhookSettings | None = None  #: None: nobody hears of changes
    usage: UsageSettings = UsageSettings()
    egress: EgressSettings = EgressSettings()
    config_file: str | None = None  #: absolute; None: no file, defaults and environment

    @property
    def listen(self) -> Address:
        """Where nginx serves clients."""
        return Address(self.listen_host, self.listen_port)

    @property
    def internal_listen(self) -> Address:
        """Where nginx serves this machine alone: remote indexes, /metrics."""
        return Address(self.internal_host, self.internal_port)


def settings_to_json(settings: Settings) -> bytes:
    """Accepted settings as one process hands them to another."""
    return msgspec.json.encode(settings)


def settings_from_json(data: bytes) -> Settings:
    """The settings that settings_to_json wrote, not validated again."""
    return msgspec.json.decode(data, type=Settings)
