"""Where the bytes of a listed file, or of its companions, are, as data."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from decider.files import DistributionFile, strongest_digest
from decider.hosts import FileHosts, host_and_port
from decider.settings import IndexSettings

__all__ = [
    "COMPANIONS",
    "Companion",
    "Location",
    "locate_local",
    "locate_remote",
]

Companion = Literal["", ".metadata", ".provenance", ".asc"]
COMPANIONS: tuple[Companion, ...] = (".metadata", ".provenance", ".asc")

# What may stand in a request line as it is; everything else (blanks, non-ASCII) is percent-encoded, and `%` stays,
# because the page's URL is already encoded.
_SAFE = "/%?&=+~!$'()*,;:@-._"
#: What nginx kept before there was a fetcher was held to no digest, and has its hosts' headers.
_KEPT_BY = "fetcher"


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Either `root` and `path` (bytes on disk), or `url` and what goes with it (bytes that the fetcher gets)."""

    root: str = ""  #: "index:<name>", "staged:<name>" or "metadata": nginx's name for a folder; "made": the decider makes the bytes
    path: str = ""  #: below the root
    url: str = ""  #: as the index's page has it
    index: str = ""  #: whose page says so
    digest: tuple[str, str] | None = (
        None  #: algorithm and hex that the page states; None where it states none
    )
    size: int | None = None  #: bytes, as the page states them; None where it does not
    key: str = (
        ""  #: cache key: made of the index, of where the bytes are, and of their digest as the page states it
    )

    @property
    def etag(self) -> str:
        """The file's quoted strong ETag: the stated digest; "" when the page states none."""
        return f'"{self.digest[1]}"' if self.digest else ""

    @property
    def expected(self) -> str:
        """What the fetcher holds the bytes to (decider/egress/files.py): index, digest, size; `-` for unknown."""
        digest = "=".join(self.digest) if self.digest else "-"
        return f"{self.index} {digest} {'-' if self.size is None else self.size}"


def _cache_key(index: str, source: str, digest: str) -> str:
    """43 characters instead of some two hundred, which nginx would read, and digest, with each hit.

    SHA-256 because nginx makes MD5 of it, of which somebody who names URLs could find two that are the same.
    """
    made = sha256(f"{_KEPT_BY}|{index}|{source}|{digest}".encode()).digest()
    return urlsafe_b64encode(made).rstrip(b"=").decode("ascii")


def locate_local(index: str, file: DistributionFile, companion: Companion) -> Location | None:
    """Where a local index keeps the bytes; None when there is no such companion."""
    if companion == "" and file.path is not None:
        return Location(root=f"{'staged' if file.is_staged else 'index'}:{index}", path=file.path)
    if companion == ".metadata" and file.metadata_path is not None:
        return Location(root="metadata", path=file.metadata_path)
    return None


def locate_remote(index: IndexSettings, file: DistributionFile, companion: Companion) -> Location | None:
    """Where a remote index's page says the bytes are; None when it offers no such companion."""
    if companion == "":
        return _locate(index, file.url, digest=strongest_digest(file.hashes), size=file.size)
    if companion == ".metadata" and file.is_metadata_ours:
        return Location(root="made", index=index.name, key=_cache_key(index.name, "made", file.sha256 or ""))
    if companion == ".metadata" and file.core_metadata:
        hashes = {} if file.core_metadata is True else file.core_metadata
        parts = urlsplit(file.url)
        url = urlunsplit(parts._replace(path=f"{parts.path}.metadata"))
        return _locate(index, url, digest=strongest_digest(hashes))
    if companion == ".provenance" and file.provenance is not None:
        # A page may relay any provenance URL to clients; we fetch from where files may come from, and nowhere else.
        is_allowed = FileHosts(index).is_allowed(urlsplit(file.provenance))
        return _locate(index, file.provenance) if is_allowed else None
    return None


def _locate(
    index: IndexSettings, url: str, *, digest: tuple[str, str] | None = None, size: int | None = None
) -> Location | None:
    """Where `url`, taken from a page of `index`, leads; None where it names no host."""
    parts = urlsplit(url)
    if host_and_port(parts) is None:
        return None
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    source = f"{parts.scheme}://{parts.netloc}{quote(parts.path or '/', safe=_SAFE)}{query}"
    return Location(
        url=source,
        index=index.name,
        key=_cache_key(index.name, source, "=".join(digest) if digest else ""),
        digest=digest,
        size=size,
    )
