"""What each key of a configuration means, from decoded values to settings.

Faults are noted by key and do not stop the reading.
"""

import ipaddress
import os.path
import re
from collections.abc import Mapping
from pathlib import Path

from decider.addresses import (
    Address,
    is_loopback,
    parse_address,
    parse_base_url,
    parse_file_host,
    parse_store_url,
    parse_web_url,
    url_address,
)
from decider.certificates import find_ca_file, is_authority, is_key_pair
from decider.errors import Fault
from decider.pip_config import pip_index
from decider.settings.model import (
    DEFAULT_REPOSITORY,
    IndexSettings,
    RepositorySettings,
    Settings,
    UsageSettings,
    WebhookSettings,
    signing_key,
)
from decider.settings.proxies import read_egress, read_proxy
from decider.settings.table import Table, printable, suggestion

__all__ = ["RESERVED_REPOSITORIES", "Reader"]

RESERVED_REPOSITORIES = frozenset(
    {
        "api", "console", "files", "healthz", "indexes", "legacy", "metrics", "pypi", "readyz", "simple", "static",
        "why",
    }
)  # fmt: skip

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z", re.ASCII)
_SYSTEM_FOLDERS = frozenset(
    ("/", *"/bin /boot /dev /etc /home /lib /opt /proc /run /sbin /srv /sys /usr /var".split())  # noqa: SIM905 (reads as one line)
)
_NO_CERTIFICATE = "holds no certificate: must be a PEM file"
_NAME_FAULT = "no valid name: lower-case letters, digits and hyphens, at most 64, a hyphen not first"


def _leads_to(url: str, own: tuple[Address, ...], public_url: str | None) -> bool:
    """Whether asking `url` would be asking decider's own listeners, over and over."""
    host, port = url_address(url)
    host = "127.0.0.1" if host == "localhost" else host
    return bool(public_url and url.startswith(public_url)) or any(
        port == listener.port and (host == listener.host or (listener.is_wildcard and is_loopback(host)))
        for listener in own
    )


def _expand_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("names a user whose home is not known") from None


class Reader:
    """Reads one configuration; notes faults and goes on."""

    def __init__(self, top: Table, faults: list[Fault], environ: Mapping[str, str], *, base: Path) -> None:
        self.top = top
        self.faults = faults
        self.environ = environ
        self.base = base  #: the folder that relative paths count from
        self.index_names: list[str] = []  #: faulty ones too, so that a fault in one is told once

    def read(self, config_file: str | None, cpu_count: int) -> Settings:
        """The settings, of use only where no fault was noted."""
        top = self.top
        listen = top.parsed("listen", parse_address, Address("127.0.0.1", 8080))
        internal = self._internal_listen(listen)
        public_url = top.parsed("public_url", parse_base_url, None)
        settings = Settings(
            listen_host=listen.host,
            listen_port=listen.port,
            internal_host=internal.host,
            internal_port=internal.port,
            data_dir=self._data_dir(),
            store=top.parsed("store", parse_store_url, "sqlite"),
            workers=top.whole("workers", min(max(cpu_count, 1), 256), low=1, high=256),
            nginx_workers=top.whole("nginx_workers", 0, low=0, high=256),
            grace_s=top.duration_s("grace", 300),
            max_policy_age_s=top.duration_s("max_policy_age", 3600),
            public_url=public_url,
            read_access="token" if top.choice("read_access", ("open", "token")) == "token" else "open",
            tls_certificate=self._path(top, "tls_certificate"),
            tls_key=self._path(top, "tls_key"),
            trusted_proxies=self._trusted_proxies(),
            max_requests_per_s=top.whole("max_requests_per_s", 2000, low=1000, high=1_000_000),
            max_connections=top.whole("max_connections", 1000, low=10, high=1_000_000),
            files_cache_size=top.size_bytes("files_cache_size", 50 * 2**30),
            cache_dir=self._path(top, "cache_dir"),
            pages_cache_size=top.size_bytes("pages_cache_size", 4 * 2**30),
            indexes_cache_size=top.size_bytes("indexes_cache_size", 8 * 2**30),
            files_cache_inactive_s=top.duration_s("files_cache_inactive", 30 * 86_400),
            public_metrics=top.truth("public_metrics", default=False),
            ca_file=self._ca_file(),
            indexes=(indexes := self._indexes((listen, internal), public_url)),
            repositories=self._repositories(indexes),
            webhook=self._webhook(),
            usage=self._usage(),
            egress=read_egress(top, self.environ, self.faults),
            config_file=config_file,
        )
        if (settings.tls_certificate is None) != (settings.tls_key is None):
            top.add_fault("tls_key" if settings.tls_key is None else "tls_certificate", "must be set too")
        for key in ("tls_certificate", "tls_key"):
            file = getattr(settings, key)
            if file is not None and not os.access(file, os.R_OK):
                top.add_fault(key, "is no file that can be read")
        self._require_authorities(settings)
        top.finish()
        return settings

    def _require_authorities(self, settings: Settings) -> None:
        """(!) Without authorities no https index can prove who it is, and nobody is believed unproved."""
        needs = [index.url for index in settings.indexes if index.url and index.ca_file is None]
        needs += [settings.webhook.url] if settings.webhook else []
        is_told = any(fault.field == "ca_file" for fault in self.faults)
        if settings.ca_file is None and any(url.startswith("https:") for url in needs) and not is_told:
            self.top.add_fault(
                "ca_file", "none was found on this machine: install ca-certificates, or name a PEM file"
            )

    def _trusted_proxies(self) -> tuple[str, ...]:
        found = []
        for text in self.top.texts("trusted_proxies") or ():
            try:
                found.append(str(ipaddress.ip_network(text)))
            except ValueError:
                self.top.add_fault(
                    "trusted_proxies", f"`{printable(text)}` is no address or network, such as 10.0.0.0/8"
                )
        return tuple(found)

    def _internal_listen(self, listen: Address) -> Address:
        loopback = listen.host if is_loopback(listen.host) else "::1" if ":" in listen.host else "127.0.0.1"
        default = Address(loopback, listen.port + 1)
        internal = self.top.parsed("internal_listen", parse_address, default)
        if internal.port > 65_535:
            self.top.add_fault("internal_listen", "must be set: there is no port after the one of listen")
        elif internal.port == listen.port:
            self.top.add_fault("internal_listen", "must have another port than listen")
        elif not is_loopback(internal.host):
            # It serves unfiltered index pages to whoever reaches it.
            self.top.add_fault("internal_listen", "must be a loopback address, such as 127.0.0.1 or [::1]")
        return internal

    def _path(self, table: Table, key: str) -> str | None:
        def parse(text: str) -> str:
            # nginx's configuration has no way to write a `$` in a path.
            if not text.isprintable() or set(text) & set('"$\\'):
                raise ValueError('must not hold ", $, \\ or control characters')
            return os.path.normpath(self.base / _expand_home(text))

        return table.parsed(key, parse, None)

    def _data_dir(self) -> str:
        folder = self._path(self.top, "data_dir") or str(self.base / "var")
        # Its modes and owners are set by us: started by root in /, /var/cache and /run would be.
        if folder in _SYSTEM_FOLDERS:
            self.top.add_fault(
                "data_dir", f"must not be {folder}, which is the system's: name a folder of its own"
            )
        return folder

    def _ca_file(self) -> str | None:
        if self.top.has("ca_file"):
            file = self._path(self.top, "ca_file")
            if file and not Path(file).is_file():
                self.top.add_fault("ca_file", "is no file")
            elif file and not is_authority(file):
                self.top.add_fault("ca_file", _NO_CERTIFICATE)
            return file
        try:
            return find_ca_file(self.environ)
        except ValueError as error:
            self.top.add_fault("ca_file", f"is not set, and {error}")
            return None

    def _indexes(self, own: tuple[Address, Address], public_url: str | None) -> tuple[IndexSettings, ...]:
        tables = self.top.tables("indexes")
        self.index_names = list(tables)
        if not tables and not any(fault.field.startswith("indexes") for fault in self.faults):
            self.top.add_fault("indexes", "must name at least one index")
        found = []
        for name, table in tables.items():
            if not _NAME.match(name):
                self.faults.append(Fault(table.path, _NAME_FAULT))
            index = self._index(name, table)
            if index.url and _leads_to(index.url, own, public_url):
                table.add_fault("url", "points at decider itself")
            found.append(index)
        return tuple(found)

    def _index(self, name: str, table: Table) -> IndexSettings:
        defaults = IndexSettings(name=name)
        path = self._path(table, "path")
        url = table.parsed("url", parse_base_url, None)
        if table.has("path") and table.has("url"):
            table.add_fault("url", "contradicts path: an index is a directory or remote, not both")
        elif not table.has("path") and not table.has("url"):
            try:
                url = pip_index(self.environ)
            except ValueError as error:
                table.add_fault("url", str(error))
        is_local = table.has("path")
        internal = table.truth("internal", default=is_local)
        if is_local:
            self._refuse_remote_keys(table, internal=internal)
        index = IndexSettings(
            name=name,
            path=path,
            url=url,
            file_hosts=self._file_hosts(table),
            page_ttl_s=table.duration_s("page_ttl", defaults.page_ttl_s),
            stale_if_error_s=table.duration_s("stale_if_error", defaults.stale_if_error_s),
            internal=internal and not is_local,
            credentials=self._credentials(table),
            ca_file=self._authority(table, "ca_file"),
            client_certificate=self._readable(table, "client_certificate"),
            client_key=self._readable(table, "client_key"),
            proxy=read_proxy(table),
        )
        if (index.client_certificate is None) != (index.client_key is None):
            missing = "client_key" if index.client_key is None else "client_certificate"
            if not table.has(missing):
                table.add_fault(missing, "must be set too")
        elif index.client_certificate and index.client_key:
            files = index.client_certificate, index.client_key
            if all(os.access(file, os.R_OK) for file in files) and not is_key_pair(*files):
                table.add_fault("client_key", "is no PEM key of client_certificate, without a passphrase")
        table.finish()
        return index

    def _readable(self, table: Table, key: str) -> str | None:
        file = self._path(table, key)
        if file is not None and not os.access(file, os.R_OK):
            table.add_fault(key, "is no file that can be read")
        return file

    def _authority(self, table: Table, key: str) -> str | None:
        file = self._readable(table, key)
        if file is not None and os.access(file, os.R_OK) and not is_authority(file):
            table.add_fault(key, _NO_CERTIFICATE)
        return file

    def _refuse_remote_keys(self, table: Table, *, internal: bool) -> None:
        for key in (
            "file_hosts", "page_ttl", "stale_if_error", "credentials", "credentials_file", "ca_file", "client_certificate",
            "client_key", "proxy",
        ):  # fmt: skip
            if table.has(key):
                table.add_fault(key, "says nothing about a directory: remove it")
        if not internal:
            table.add_fault("internal", "cannot be false: a directory is internal")

    def _credentials(self, table: Table) -> str | None:
        """`user:password` for a remote index."""
        text = self._secret(table, "credentials")
        if text is not None and ":" not in text:
            table.add_fault("credentials", "must be user:password, in one line")
            return None
        return text

    def _secret(self, table: Table, key: str) -> str | None:
        """One line from the file that `<key>_file` names, or from the environment; never from the TOML itself."""
        text = table.text(key)
        file = self._path(table, f"{key}_file")
        if text is not None and not table.is_from_environment(key):
            table.add_fault(key, f"is a secret: give {key}_file, or set it in the environment")
            return None
        if file is not None:
            if text is not None:
                table.add_fault(f"{key}_file", f"contradicts {key}: give one of them")
            try:
                text = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                table.add_fault(f"{key}_file", "cannot be read")
                return None
        if text is not None and (not text or not text.isprintable()):
            table.add_fault(key, "must be one line of printable text")
            return None
        return None if text is None else str(text)  # no longer the environment's

    def _webhook(self) -> WebhookSettings | None:
        table = self.top.table("webhook")
        if table is None:
            return None
        url = table.parsed("url", parse_web_url, None)
        if not table.has("url"):
            table.add_fault("url", "must be set")
        secret = self._secret(table, "secret")
        try:
            signing_key(secret or "")
        except ValueError:
            table.add_fault("secret", "must be Base64 behind `whsec_`")
        table.finish()
        return None if url is None else WebhookSettings(url=url, secret=secret)

    def _usage(self) -> UsageSettings:
        defaults = UsageSettings()
        table = self.top.table("usage")
        if table is None:
            return defaults
        usage = UsageSettings(
            enabled=table.truth("enabled", default=defaults.enabled),
            folder=self._path(table, "folder"),
            retention_days=table.whole("retention_days", defaults.retention_days, low=1, high=36_500),
            max_size=table.size_bytes("max_size", defaults.max_size),
            pseudonymise=table.truth("pseudonymise", default=defaults.pseudonymise),
        )
        table.finish()
        return usage

    def _file_hosts(self, table: Table) -> tuple[str, ...]:
        found = []
        for host in table.texts("file_hosts") or ():
            try:
                found.append(parse_file_host(host))
            except ValueError as error:
                table.add_fault("file_hosts", f"an entry {error}")
        return tuple(found)

    def _repositories(self, indexes: tuple[IndexSettings, ...]) -> tuple[RepositorySettings, ...]:
        tables = self.top.tables("repositories")
        everything = tuple(index.name for index in sorted(indexes, key=lambda index: not index.is_internal))
        found = []
        for name, table in tables.items():
            if name in RESERVED_REPOSITORIES:
                self.faults.append(Fault(table.path, "reserved: decider's own URLs begin with this name"))
            elif not _NAME.match(name):
                self.faults.append(Fault(table.path, _NAME_FAULT))
            found.append(self._repository(name, table, everything))
        if DEFAULT_REPOSITORY not in tables:
            found.insert(0, RepositorySettings(name=DEFAULT_REPOSITORY, indexes=everything))
        return tuple(found)

    def _repository(self, name: str, table: Table, everything: tuple[str, ...]) -> RepositorySettings:
        indexes = table.texts("indexes")
        if name != DEFAULT_REPOSITORY and not table.has("indexes"):
            table.add_fault("indexes", "must be set")
        if indexes == ():
            table.add_fault("indexes", "must name at least one index")
        for index in indexes or ():
            if index not in self.index_names:
                close = suggestion(index, self.index_names)
                table.add_fault("indexes", f"no index `{printable(index)}` is configured{close}")
        hide = table.choice("refused_files", ("yanked", "hidden")) == "hidden"
        table.finish()
        return RepositorySettings(
            name=name, indexes=everything if indexes is None else indexes, hide_refused=hide
        )
