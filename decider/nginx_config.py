"""Renders the nginx configuration from the files in `nginx/` and the settings.

What nginx does stands in those files; here is only what they cannot know: addresses, paths, resolvers.
"""

import ipaddress
import re
import resource
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from decider import __version__
from decider.caches import cache_space, decisions_folder
from decider.errors import Fault, InvalidSettings
from decider.index.hosts import host_and_port
from decider.index.location import upstream_group
from decider.run_files import SOCKET
from decider.settings import IndexSettings, Settings
from decider.worker_user import WorkerUser

__all__ = ["file_paths", "render_nginx_config", "template_folder"]

NEGATIVE_TTL_S = 60  #: how long an index's "no such project" is kept
DECISIONS_EXTRA_S = 60
MAX_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True)
class _RemoteIndex:
    """What indexes.conf and upstreams.conf say of one remote index."""

    name: str
    group: str
    scheme: str
    address: str
    base_path: str
    host_header: str
    tls_name: str
    page_ttl_s: int
    negative_ttl_s: int
    is_resolved: bool  #: whether the host has an address now
    authorization: str  #: a whole header value; "" when the index asks for none


def template_folder() -> Path:
    """The nginx files: inside the installed package, or beside it in a checkout."""
    installed = Path(str(package_files("decider"))) / "_nginx"
    return installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "nginx"


def render_nginx_config(
    settings: Settings, *, prefix: str, user: WorkerUser | None, loopback_key: str = ""
) -> str:
    """The whole configuration as one text.

    `prefix` stands before every path below data_dir: "" when nginx is started in that folder, so that its workers
    need no access to the folders above it; else data_dir and a slash. `user` is whom the workers run as; None keeps
    the master's own. `loopback_key` is what the decider shows to be given parts of files; "": nobody is.
    """
    environment = Environment(
        loader=FileSystemLoader(template_folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (no HTML: every value is checked below)
    )
    open_files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], MAX_OPEN_FILES)
    resolvers, has_ipv6 = _resolvers(Path("/etc/resolv.conf")), _has_ipv6()
    remote = [_remote(index) for index in settings.indexes if index.url is not None]
    local = [index for index in settings.indexes if index.path is not None]
    webhook = settings.webhook.url if settings.webhook else ""
    values = {
        "version": __version__,
        "prefix": prefix,
        # A root that does not begin with a slash is taken from nginx's own prefix.
        "serve_prefix": prefix,
        "worker_user": user.name if user else "",
        "worker_group": user.group if user else "",
        "worker_processes": settings.nginx_workers or "auto",
        "open_files": open_files,
        "worker_connections": max(open_files // 4, 512),
        "listen": _address(settings.listen_host, settings.listen_port),
        "internal_listen": _address(settings.internal_host, settings.internal_port),
        "decider_address": f"unix:{prefix}{SOCKET}",
        "decisions_inactive_s": settings.grace_s + DECISIONS_EXTRA_S,
        "indexes_inactive_s": max(
            [index.stale_if_error_s + index.page_ttl_s for index in settings.indexes], default=0
        )
        + DECISIONS_EXTRA_S,
        "files_max_size": settings.files_cache_size,
        "pages_max_size": settings.pages_cache_size,
        "indexes_max_size": settings.indexes_cache_size,
        "files_inactive_s": settings.files_cache_inactive_s,
        "max_requests_per_s": settings.max_requests_per_s,
        "max_connections": settings.max_connections,
        "trusted_proxies": settings.trusted_proxies,
        "tls_certificate": settings.tls_certificate,
        "tls_key": settings.tls_key,
        "by_token": settings.read_access == "token",
        "reader_key": "$http_authorization|" if settings.read_access == "token" else "",
        "decisions_folder": str(decisions_folder(settings, by_hand=bool(prefix)) or ""),
        "cache_folder": settings.cache_dir or f"{prefix}cache",
        "space": cache_space(settings),
        "repositories": "|".join(repository.name for repository in settings.repositories),
        "file_paths": f"(?:{'|'.join(file_paths(settings))})",
        "resolvers": " ".join(resolvers),
        "has_ipv6": has_ipv6,
        "ca_file": settings.ca_file,
        "usage": settings.usage.enabled,
        "public_metrics": settings.public_metrics,
        "webhook_url": webhook,
        "webhook_host": urlsplit(webhook).netloc,
        "webhook_tls_name": urlsplit(webhook).hostname or "",
        "loopback_key": loopback_key,
        "remote_indexes": remote,
        "local_indexes": local,
    }
    _refuse_unsafe(
        paths={
            "data_dir": f"{prefix}{values['decisions_folder']}",
            "cache_dir": settings.cache_dir or "",
            "ca_file": settings.ca_file or "",
            "tls_certificate": settings.tls_certificate or "",
            "tls_key": settings.tls_key or "",
        }
        | {f"indexes.{index.name}.path": str(index.path) for index in local},
        words={
            "listen": settings.listen_host,
            "internal_listen": settings.internal_host,
            "trusted_proxies": "".join(settings.trusted_proxies),
            "webhook.url": webhook,
        }
        | {
            f"indexes.{index.name}.url": f"{index.address}{index.base_path}{index.host_header}"
            for index in remote
        },
    )
    if settings.ca_file is None:
        # nginx would say so too, in words that name no key of ours.
        raise InvalidSettings(
            [Fault("ca_file", "none was found on this machine: install ca-certificates, or name a PEM file")]
        )
    return environment.get_template("nginx.conf").render(values)


def file_paths(settings: Settings) -> tuple[str, ...]:
    """The folders below which files are found, each the same; a repository's own name comes first."""
    names = {repository.name for repository in settings.repositories}
    return ("files",) if "packages" in names else ("files", "packages")


def _remote(index: IndexSettings) -> _RemoteIndex:
    url = urlsplit(index.url or "")
    place = host_and_port(url)
    if place is None:  # pragma: no cover (settings refuse such a URL)
        raise ValueError(f"index `{index.name}` has no host")
    return _RemoteIndex(
        name=index.name,
        group=upstream_group(index.name),
        scheme=url.scheme,
        address=_address(*place),
        base_path=url.path,
        host_header=url.netloc,
        tls_name=place[0],
        page_ttl_s=index.page_ttl_s,
        negative_ttl_s=min(NEGATIVE_TTL_S, index.page_ttl_s),
        is_resolved=_is_resolved(*place),
        authorization=_basic(index.credentials),
    )


def _is_resolved(host: str, port: int) -> bool:
    try:
        return bool(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:
        return False


def _basic(credentials: str | None) -> str:
    """RFC 7617; base64 has no character that means anything to nginx."""
    return f"Basic {b64encode(credentials.encode()).decode()}" if credentials else ""


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolvers(file: Path) -> list[str]:
    """The system's name servers, in nginx's spelling; link-local ones with a zone are left out (nginx has no zones)."""
    found: list[str] = []
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1])
            except ValueError:
                continue
            if "%" in words[1]:
                continue
            found.append(f"[{address}]" if address.version == 6 else str(address))
    return found


def _has_ipv6() -> bool:
    """Whether this machine has a route to public IPv6 addresses; no packet is sent."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 53))  # RFC 3849: documentation addresses
    except OSError:
        return False
    return True


# What means something to nginx: between words, and inside the quotes that the templates put around paths.
_UNSAFE_WORD = re.compile(r"[\s\"';{}$\\\x00-\x1f\x7f]")
_UNSAFE_PATH = re.compile(r"[\"$\\\x00-\x1f\x7f]")


def _refuse_unsafe(*, paths: Mapping[str, str], words: Mapping[str, str]) -> None:
    """Raise InvalidSettings where a setting would become nginx syntax."""
    faults = [
        Fault(key, f"`{text}` holds a character that nginx's configuration cannot hold")
        for texts, unsafe in ((paths, _UNSAFE_PATH), (words, _UNSAFE_WORD))
        for key, text in texts.items()
        if unsafe.search(text)
    ]
    if faults:
        raise InvalidSettings(faults)
