"""Which hosts, and which addresses, an index's files may come from.

Two questions, both pure. `allows` judges what a page or a redirect names, before anything is resolved. `may_reach` judges
the address that a name was resolved to, and the fetcher connects to that very address: a name that leads elsewhere a
moment later leads nowhere. Resolving may not be added here.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from decider.settings import IndexSettings

__all__ = ["FileHosts", "host_and_port", "is_public"]

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


def _is_dns_name(host: str) -> bool:
    """Whether resolvers read `host` as a name: no IP literal in any spelling."""
    labels = host.removesuffix(".").split(".")
    # A last label of digits (also hexadecimal) makes resolvers read the whole as an IPv4 address: 127.1, 0x7f.1.
    if labels[-1].isdigit() or labels[-1].startswith("0x") or _address(host) is not None:
        return False
    return all(labels) and all(c.isascii() and (c.isalnum() or c in "-_") for label in labels for c in label)


def _is_public_dns_name(host: str) -> bool:
    """Whether `host` is a name that public DNS may give a meaning: no IP literal, no localhost."""
    labels = host.removesuffix(".").split(".")
    return len(labels) > 1 and labels[-1] not in _NOT_PUBLIC and _is_dns_name(host)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


_NAT64 = ip_network("64:ff9b::/96")  #: RFC 6052
_GLOBAL_UNICAST = ip_network("2000::/3")  #: all that IANA has given out of IPv6
_TEREDO = ip_network("2001::/32")
#: RFC 5737, RFC 3849: nobody's, inside or outside. A closed network may have its stand-in for the internet there.
_DOCUMENTATION = tuple(
    map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)


def is_public(address: str) -> bool:
    """Whether the address is one of the internet: not private, loopback, link-local, CGNAT, multicast or reserved.

    An IPv6 address that stands for an IPv4 one (IPv4-mapped; NAT64, RFC 6052; 6to4, RFC 3056) is judged as that one.
    """
    found = _address(address)
    if found is not None and any(found in network for network in _DOCUMENTATION):
        return True
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return False
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is None:
            return (
                found in _GLOBAL_UNICAST
                and found not in _TEREDO
                and found.is_global
                and not found.is_multicast
            )
        found = inner
    return found is not None and found.is_global and not found.is_multicast


class FileHosts:
    """The hosts that one index's pages may send clients' bytes from."""

    def __init__(self, index: IndexSettings) -> None:
        self._own = host_and_port(urlsplit(index.url or ""))
        self._named = frozenset(entry for entry in index.file_hosts if "/" not in entry)
        self._networks = tuple(ip_network(entry) for entry in index.file_hosts if "/" in entry)
        self.allows = lru_cache(maxsize=1024)(self._allows)

    def _allows(self, scheme: str, netloc: str) -> bool:
        url = urlsplit(f"{scheme}://{netloc}/")
        place = host_and_port(url)
        if place is None or url.username is not None or url.password is not None:
            return False
        host, port = place
        # Where an entry without a port is meant: the scheme's own, and the index's.
        usual = {_DEFAULT_PORTS[scheme], *([self._own[1]] if self._own else [])}
        if self._is_named(host, port, is_usual_port=port in usual):
            return True
        if self._networks:
            is_literal = _address(host) is not None
            return port in usual and (self._is_listed(host) if is_literal else _is_dns_name(host))
        if self._named:
            return False
        return scheme == "https" and port == _DEFAULT_PORTS["https"] and _is_public_dns_name(host)

    def _is_named(self, host: str, port: int, *, is_usual_port: bool) -> bool:
        """Whether the operator has named that very host: it may have whatever address."""
        spelled = f"[{host}]" if ":" in host else host
        return (
            (host, port) == self._own
            or f"{spelled}:{port}" in self._named
            or (is_usual_port and spelled in self._named)
        )

    def _is_listed(self, address: str) -> bool:
        found = _address(address)
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        return found is not None and any((mapped or found) in network for network in self._networks)

    def may_reach(self, host: str, port: int, address: str) -> bool:
        """Whether the fetcher may connect to `address` for that host and port of an allowed URL.

        What the operator has named may lie anywhere. Any other host has to be on the internet, or in a listed network.
        """
        if self._is_named(host.lower(), port, is_usual_port=True):
            return True
        return self._is_listed(address) if self._networks else is_public(address)

    def is_allowed(self, url: SplitResult) -> bool:
        """Whether files may come from the host of `url` (an http or https URL)."""
        return url.scheme in _DEFAULT_PORTS and self.allows(url.scheme, url.netloc)
