"""What a client is called in the records: its address, or a keyed hash of it (GDPR, article 4 (5)).

The key decides who can tell which client a pseudonym is; it is made once, lies beside the records of this machine with
mode 0600, and has to be the same on every node that shares a folder.
"""

import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

__all__ = ["KEY_FILE", "Clients", "load_key", "make_key"]

KEY_FILE = "client.key"
_PREFIX = "p-"
_HEX = 32  #: digits of a pseudonym: 128 bits


def make_key(folder: Path) -> bytes:
    """The key in `folder`, made now where there is none; raise OSError."""
    if (known := load_key(folder)) is not None:
        return known
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whole before it has its name: whoever reads it meanwhile must not take a part of it for the key.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{KEY_FILE}.") as fresh:  # mode 0600
        fresh.write(secrets.token_hex(32).encode() + b"\n")
        fresh.flush()
        os.fsync(fresh.fileno())
        with suppress(FileExistsError):  # another process was first
            (folder / KEY_FILE).hardlink_to(fresh.name)
    return (folder / KEY_FILE).read_bytes().strip()


def load_key(folder: Path) -> bytes | None:
    """The key in `folder`; None where clients were never pseudonymised here."""
    try:
        return (folder / KEY_FILE).read_bytes().strip()
    except FileNotFoundError:
        return None


class Clients:
    """Names clients; `key` None: by their addresses."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self.name = lru_cache(maxsize=65_536)(self._name)

    def _name(self, client: str) -> str:
        """What records call the client with that address, however nginx spells it."""
        address = _parse_address(client)
        return self._called(client if address is None else address.compressed)

    def names_of(self, client: str) -> tuple[str, ...]:
        """Everything that records may call the client that somebody asks for by address or pseudonym."""
        address = _parse_address(client)
        if address is None:
            return (client,)
        # Records from before addresses had one spelling keep theirs: nginx has an IPv4-mapped one with dots.
        spellings = [address.compressed, client]
        if isinstance(address, IPv4Address):
            high, low = divmod(int(address), 0x1_0000)
            spellings += [f"::ffff:{address}", f"::ffff:{high:x}:{low:x}"]
        return tuple(dict.fromkeys((*spellings, *map(self._called, spellings))))

    def _called(self, spelling: str) -> str:
        if self._key is None:
            return spelling
        return _PREFIX + hmac.new(self._key, spelling.encode(), sha256).hexdigest()[:_HEX]


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address, an IPv4-mapped one (RFC 4291, 2.5.5.2) as the IPv4 address that it means; None where it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
