"""Listening addresses and base URLs as people write them in settings.

Texts of the ValueErrors raised here are fit for a fault: lower-case, one line, and never a part of the input, which
may hold a secret.
"""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

__all__ = [
    "Address",
    "is_loopback",
    "parse_address",
    "parse_base_url",
    "parse_file_host",
    "parse_proxy_url",
    "parse_store_url",
    "parse_web_url",
    "url_address",
]

_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z", re.ASCII)
_ONLY_DIGITS_AND_DOTS = re.compile(r"[0-9.]+\Z", re.ASCII)
_WITH_PORT = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})\Z", re.ASCII)
# `$` and quotes mean something in nginx's configuration, where these URLs end up; a URL can spell them %24, %22.
_URL_PATH = re.compile(r"[A-Za-z0-9._~!&()*+,=:@%/-]*\Z", re.ASCII)
_STORE_SCHEMES = frozenset({"redis", "rediss", "redis+sentinel"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A host, without the brackets of IPv6, and a port."""

    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Whether a listener there has all addresses of the machine."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 (compared, not bound)

    def __str__(self) -> str:
        """As URLs and nginx write it: `[::1]:8080`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse_host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError("has no valid IPv6 address between its brackets") from None
    if _ONLY_DIGITS_AND_DOTS.match(text):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError("has no valid IPv4 address") from None
    if not _HOST_NAME.match(text) or ".." in text:
        raise ValueError("has no valid host")
    return text.lower()


def _parse_port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65_535:
        raise ValueError("has no valid port: 1 to 65535")
    return port


def parse_address(text: str) -> Address:
    """The address that `host:port` or `[IPv6]:port` spells; raise ValueError."""
    found = _WITH_PORT.match(text)
    if found is None:
        raise ValueError('must be "host:port", such as "0.0.0.0:8080" or "[::1]:8080"')
    return Address(_parse_host(found["host"]), _parse_port(found["port"]))


def parse_file_host(text: str) -> str:
    """`host`, `host:port` or a network such as `10.0.0.0/8`, in its canonical spelling; raise ValueError."""
    if "*" in text:
        raise ValueError("wildcards are not supported: name each host")
    if "/" in text and "://" not in text:
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            raise ValueError(
                "must be a network such as 10.0.0.0/8, with no bits set behind its prefix"
            ) from None
    found = _WITH_PORT.match(text)
    if found is not None:
        return str(Address(_parse_host(found["host"]), _parse_port(found["port"])))
    if "/" in text or "@" in text:
        raise ValueError('must be a "host", "host:port" or a network, not a URL')
    host = _parse_host(text)
    return f"[{host}]" if ":" in host else host


def _split(text: str) -> tuple[SplitResult, str, str | None]:
    try:
        parts = urlsplit(text)
    except ValueError:  # its text quotes the input
        raise ValueError("is no valid URL") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must be an http or https URL")
    if "@" in parts.netloc:
        raise ValueError("must not carry credentials")
    bare = parts.netloc.endswith("]") or ":" not in parts.netloc
    host, _, port = (parts.netloc, "", "") if bare else parts.netloc.rpartition(":")
    if not host:
        raise ValueError("has no host")
    if port and not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII):
        raise ValueError("has no valid port: 1 to 65535")
    return parts, host, port or None


def parse_base_url(text: str) -> str:
    """The http(s) URL in its canonical spelling, with a slash at its end; raise ValueError.

    Credentials, queries and fragments are refused: what is built below a base URL ends up in logs and caches.
    """
    if text != text.strip() or not text.isprintable() or "\\" in text:
        raise ValueError("holds a character that no URL may hold")
    parts, raw_host, raw_port = _split(text)
    if "?" in text or "#" in text:
        raise ValueError("must not carry a query or a fragment")
    host = _parse_host(raw_host)
    port = _parse_port(raw_port) if raw_port else None
    if not _URL_PATH.match(parts.path):
        raise ValueError("holds a character in its path that must be percent-encoded")
    if any(part in {".", ".."} for part in parts.path.split("/")):
        raise ValueError("must not have `.` or `..` in its path")
    where = f"[{host}]" if ":" in host else host
    explicit = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{where}{explicit}{parts.path.rstrip('/')}/"


def parse_web_url(text: str) -> str:
    """An http(s) URL with path and query as given, fit for nginx's configuration; raise ValueError."""
    if not text.isascii() or not text.isprintable() or set(text) & set(" \"'\\;{}$`<>"):
        raise ValueError("holds a character that must be percent-encoded")
    parts, raw_host, raw_port = _split(text)
    _parse_host(raw_host)
    if raw_port:
        _parse_port(raw_port)
    if "#" in text:
        raise ValueError("must not carry a fragment")
    return text if parts.path else f"{text}/"


def parse_proxy_url(text: str) -> str:
    """The URL of an HTTP proxy, which may hold credentials; raise ValueError, without any part of it."""
    full = text if "://" in text else f"http://{text}"
    if not full.isascii() or not full.isprintable() or " " in full:
        raise ValueError("holds a character that no URL may hold")
    scheme, _, rest = full.partition("://")
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("must be an http or https URL: other proxies are not supported")
    credentials, at, place = rest.rstrip("/").rpartition("@")
    _, host, port = _split(f"{scheme}://{place}/")
    _parse_host(host)
    if port:
        _parse_port(port)
    if any(c in place for c in "/?#"):
        raise ValueError("must be no more than a host and a port")
    return f"{scheme}://{credentials}{at}{place}"


def url_address(url: str) -> Address:
    """Where a URL that parse_base_url gave points to."""
    parts = urlsplit(url)
    return Address(parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])


def parse_store_url(text: str) -> str:
    """`sqlite`, or the URL of a Redis, which may hold a password; raise ValueError."""
    if text == "sqlite":
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is no valid URL") from None
    if parts.scheme not in _STORE_SCHEMES:
        raise ValueError('must be "sqlite" or a redis://, rediss:// or redis+sentinel:// URL')
    if not parts.netloc.rpartition("@")[2]:
        raise ValueError("has no host")
    return text
