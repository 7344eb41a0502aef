"""Where nginx finds the bytes of a listed file, or of its companions, as data."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Literal
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import msgspec

from decider.files import DistributionFile
from decider.index.hosts import FileHosts, host_and_port
from decider.settings import IndexSettings

__all__ = [
    "COMPANIONS",
    "Companion",
    "Location",
    "locate_local",
    "locate_redirect",
    "locate_remote",
    "locate_url",
    "upstream_group",
]

Companion = Literal["", ".metadata", ".provenance", ".asc"]
COMPANIONS: tuple[Companion, ...] = (".metadata", ".provenance", ".asc")

# What may stand in a request line as it is; everything else (blanks, non-ASCII) is percent-encoded, and `%` stays,
# because the page's URL is already encoded.
_SAFE = "/%?&=+~!$'()*,;:@-._"


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Either `root` and `path` (bytes on disk), or `url` and what goes with it (bytes behind an upstream)."""

    root: str = ""  #: "index:<name>", "staged:<name>" or "metadata": nginx's name for a folder; "made": the decider makes the bytes
    path: str = ""  #: below the root
    url: str = ""  #: for nginx's proxy_pass: the host may be the name of an upstream group
    source: str = ""  #: the same, as the page has it
    host: str = ""  #: Host header
    index: str = ""  #: whose page says so
    is_own_host: bool = False  #: on the index's own origin: its credentials may go there
    tls_name: str = ""  #: name that the upstream's certificate must carry
    key: str = (
        ""  #: cache key: made of the index, of where the bytes are, and of their digest as the page states it
    )
    size: int | None = None  #: bytes, as the page states them; None where it does not
    etag: str = ""  #: quoted strong ETag made of the stated SHA-256; "" when the page states none

    @property
    def upstream(self) -> str:
        """How nginx gets the bytes, as it takes it apart again (nginx/decisions.conf): one header, read where it is needed.

        Host, name of the certificate, index, and again the index where its credentials may go there, else `-`; with a
        blank between, which none of them holds. "" for bytes on disk.
        """
        if not self.url:
            return ""
        fields = (self.host, self.tls_name, self.index)
        return " ".join((*fields, self.index if self.is_own_host else "-"))


def _cache_key(index: str, source: str, digest: str) -> str:
    """43 characters instead of some two hundred, which nginx would read, and digest, with each hit.

    SHA-256 because nginx makes MD5 of it, of which somebody who names URLs could find two that are the same.
    """
    made = sha256(f"{index}|{source}|{digest}".encode()).digest()
    return urlsafe_b64encode(made).rstrip(b"=").decode("ascii")


def upstream_group(index: str) -> str:
    """The name of nginx's upstream block for an index's own host."""
    return f"index-{index}"


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
        return locate_url(index, file.url, key_digest=file.sha256 or "", size=file.size)
    if companion == ".metadata" and file.is_metadata_ours:
        return Location(root="made", index=index.name, key=_cache_key(index.name, "made", file.sha256 or ""))
    if companion == ".metadata" and file.core_metadata:
        digest = "" if file.core_metadata is True else file.core_metadata.get("sha256", "")
        parts = urlsplit(file.url)
        return locate_url(index, urlunsplit(parts._replace(path=f"{parts.path}.metadata")), key_digest=digest)
    if companion == ".provenance" and file.provenance is not None:
        # A page may relay any provenance URL to clients; nginx fetches from where files may come from, and nowhere else.
        is_allowed = FileHosts(index).is_allowed(urlsplit(file.provenance))
        return locate_url(index, file.provenance, key_digest="") if is_allowed else None
    return None


def locate_url(
    index: IndexSettings, url: str, *, key_digest: str, size: int | None = None
) -> Location | None:
    """How nginx gets `url`, taken from a page of `index`; None where it names no host.

    `key_digest`: SHA-256 that the page states for the bytes, "" when it states none.
    """
    parts = urlsplit(url)
    place = host_and_port(parts)
    if place is None:
        return None
    target = quote(parts.path or "/", safe=_SAFE) + (
        f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    )
    base = urlsplit(index.url or "")
    is_own = parts.scheme == base.scheme and place == host_and_port(base)
    # The index's own host has an upstream block: kept connections, and names that only the system's files know.
    through = upstream_group(index.name) if is_own else parts.netloc
    return Location(
        url=f"{parts.scheme}://{through}{target}",
        source=f"{parts.scheme}://{parts.netloc}{target}",
        host=parts.netloc,
        tls_name=place[0],
        index=index.name,
        is_own_host=is_own,
        key=_cache_key(index.name, f"{parts.scheme}://{parts.netloc}{target}", key_digest),
        etag=f'"{key_digest}"' if key_digest else "",
        size=size,
    )


def locate_redirect(index: IndexSettings, source: str, target: str) -> Location | None:
    """Where a redirect of a file from the URL `source` to `target` leads; None where `index` does not allow it."""
    if not source or not target:
        return None
    try:
        url = urljoin(source, target)
        parts = urlsplit(url)
    except ValueError:
        return None
    is_downgrade = source.startswith("https:") and parts.scheme != "https"
    if is_downgrade or not url.isascii() or not url.isprintable() or not FileHosts(index).is_allowed(parts):
        return None
    return locate_url(index, url, key_digest="")
