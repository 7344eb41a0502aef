"""What all connections for one index go by: its origin, the hosts of its files, its certificates, its proxy.

Connecting may not be added here.
"""

import ssl
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # unknown to typeshed

from decider.egress.tls import other_context, own_context
from decider.hosts import FileHosts, host_and_port
from decider.settings import EgressSettings, IndexSettings

__all__ = ["Target", "make_target"]


class Target:
    """What all connections for one index go by."""

    def __init__(
        self,
        *,
        index: IndexSettings | None,
        egress: EgressSettings,
        own_tls: ssl.SSLContext,
        other_tls: ssl.SSLContext,
    ) -> None:
        """`index`: None for a webhook, whose address is the operator's choice. `own_tls`: for the index's own origin."""
        self.hosts = FileHosts(index) if index is not None else None
        self.index = index
        self.own_tls, self.other_tls = own_tls, other_tls
        self._egress = egress

    def is_own(self, url: SplitResult) -> bool:
        """Whether it is on the index's own origin, where its credentials go."""
        base = urlsplit(self.index.url or "") if self.index is not None else None
        return base is not None and url.scheme == base.scheme and host_and_port(url) == host_and_port(base)

    def proxy_for(self, url: SplitResult) -> str | None:
        """The URL of the proxy that it is asked through; None for none."""
        host = url.hostname or ""
        if self.index is not None and self.index.proxy is not None:
            return self.index.proxy or None
        proxy = self._egress.https_proxy if url.scheme == "https" else self._egress.http_proxy
        return None if not proxy or _is_asked_directly(host, self._egress.no_proxy) else proxy


def make_target(index: IndexSettings | None, *, egress: EgressSettings, ca_file: str | None) -> Target:
    """The target of an index, or of a webhook; raise OSError (ssl.SSLError too) where a certificate cannot be read."""
    other = other_context(index, ca_file)
    own = other if index is None else own_context(index, ca_file)
    return Target(index=index, egress=egress, own_tls=own, other_tls=other)


def _is_asked_directly(host: str, no_proxy: str) -> bool:
    """What `no_proxy` says of a host; this machine itself is never asked through a proxy."""
    try:
        address = ip_address(host)
    except ValueError:
        if host == "localhost":
            return True
    else:
        for entry in no_proxy.split(","):
            try:
                if address in ip_network(entry.strip(), strict=False):
                    return True
            except ValueError:
                continue
        if address.is_loopback:
            return True
    return bool(proxy_bypass_environment(host, {"no": no_proxy}))
