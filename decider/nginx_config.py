"""Renders the nginx configuration from the files in `nginx/` and the settings.

What nginx does stands in those files; here is only what they cannot know: addresses, paths, resolvers.
"""

import re
import resource
from collections.abc import Mapping
from importlib.resources import files as package_files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from decider.caches import cache_space, decisions_folder
from decider.errors import Fault, InvalidSettings
from decider.run_files import EGRESS_SOCKET, INDEXES_SOCKET, SOCKET
from decider.settings import Settings
from decider.worker_user import WorkerUser

__all__ = ["file_paths", "render_nginx_config", "template_folder"]

DECISIONS_EXTRA_S = 60
MAX_OPEN_FILES = 65_536


def template_folder() -> Path:
    """The nginx files: inside the installed package, or beside it in a checkout."""
    installed = Path(str(package_files("decider"))) / "_nginx"
    return installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "nginx"


def render_nginx_config(settings: Settings, *, prefix: str, user: WorkerUser | None) -> str:
    """The whole configuration as one text.

    `prefix` stands before every path below data_dir: "" when nginx is started in that folder, so that its workers
    need no access to the folders above it; else data_dir and a slash. `user` is whom the workers run as; None keeps
    the master's own.
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
    local = [index for index in settings.indexes if index.path is not None]
    values = {
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
        "egress_socket": EGRESS_SOCKET,
        "indexes_socket": INDEXES_SOCKET,
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
        "usage": settings.usage.enabled,
        "public_metrics": settings.public_metrics,
        "local_indexes": local,
    }
    _refuse_unsafe(
        paths={
            "data_dir": f"{prefix}{values['decisions_folder']}",
            "cache_dir": settings.cache_dir or "",
            "tls_certificate": settings.tls_certificate or "",
            "tls_key": settings.tls_key or "",
        }
        | {f"indexes.{index.name}.path": str(index.path) for index in local},
        words={
            "listen": settings.listen_host,
            "internal_listen": settings.internal_host,
            "trusted_proxies": "".join(settings.trusted_proxies),
        },
    )
    return environment.get_template("nginx.conf").render(values)


def file_paths(settings: Settings) -> tuple[str, ...]:
    """The folders below which files are found, each the same; a repository's own name comes first."""
    names = {repository.name for repository in settings.repositories}
    return ("files",) if "packages" in names else ("files", "packages")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
