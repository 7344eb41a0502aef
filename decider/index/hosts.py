"""Which hosts an index's files may come from (DESIGN, sections 4 and 11)."""

import ipaddress
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from decider.settings import IndexSettings

__all__ = ["FileHosts", "host_and_port"]

# RFC 6761, RFC 6762 (3 and appendix G): names that mean something in one network alone.
_NOT_PUBLIC = frozenset(
    {"arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "private"}
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def host_and_port(url: SplitResult) -> tuple[str, int] | None:
    """Lower-case host and effective port; None where the URL has none or an impossible one."""
    try:
        port = url.port or _DEFAULT_PORTS.get(url.scheme)
    except ValueError:
        return None
    return (url.hostname, port) if url.hostname and port else None


def _is_public_dns_name(host: str) -> bool:
    """Whether `host` is a name that public DNS may give a meaning: no IP literal in any spelling, no localhost.

    (!) Not whether it leads to a public address: nginx resolves it, and what it was a moment ago proves nothing then
    (deploy/operating.md says what does).
    """
    labels = host.removesuffix(".").split(".")
    if len(labels) < 2 or labels[-1] in _NOT_PUBLIC:
        return False
    # A last label of digits (also hexadecimal) makes resolvers read the whole as an IPv4 address: 127.1, 0x7f.1.
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return all(labels) and all(
            c.isascii() and (c.isalnum() or c in "-_") for label in labels for c in label
        )
    return False


class FileHosts:
    """The hosts that one index's pages may send clients' bytes from."""

    def __init__(self, index: IndexSettings) -> None:
        self._own = host_and_port(urlsplit(index.url or ""))
        self._listed = frozenset(index.file_hosts)
        self.allows = lru_cache(maxsize=1024)(self._allows)

    def _allows(self, scheme: str, netloc: str) -> bool:
        url = urlsplit(f"{scheme}://{netloc}/")
        place = host_and_port(url)
        if place is None or url.username is not None or url.password is not None:
            return False
        if place == self._own:
            return True
        host, port = place
        if self._listed:
            ports = {_DEFAULT_PORTS[scheme], *([self._own[1]] if self._own else [])}
            return f"{host}:{port}" in self._listed or (host in self._listed and port in ports)
        return scheme == "https" and port == _DEFAULT_PORTS["https"] and _is_public_dns_name(host)

    def is_allowed(self, url: SplitResult) -> bool:
        """Whether files may come from the host of `url` (an http or https URL)."""
        return url.scheme in _DEFAULT_PORTS and self.allows(url.scheme, url.netloc)
