"""Where nginx finds the bytes of a listed file, or of its companions, as data."""

from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec

from decider.files import DistributionFile
from decider.index.hosts import host_and_port
from decider.settings import IndexSettings

__all__ = ["COMPANIONS", "Companion", "Location", "locate_local", "locate_remote", "upstream_group"]

Companion = Literal["", ".metadata", ".provenance", ".asc"]
COMPANIONS: tuple[Companion, ...] = (".metadata", ".provenance", ".asc")

# What may stand in a request line as it is; everything else (blanks, non-ASCII) is percent-encoded, and `%` stays,
# because the page's URL is already encoded.
_SAFE = "/%?&=+~!$'()*,;:@-._"


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Either `root` and `path` (bytes on disk), or `url` and what goes with it (bytes behind an upstream)."""

    root: str = ""  #: "index:<name>" or "metadata": nginx's name for a folder
    path: str = ""  #: below the root
    url: str = ""  #: for nginx's proxy_pass: the host may be the name of an upstream group
    host: str = ""  #: Host header
    tls_name: str = ""  #: name that the upstream's certificate must carry
    key: str = ""  #: cache key: where the bytes are, and their digest as the page states it
    etag: str = ""  #: quoted strong ETag made of the stated SHA-256; "" when the page states none


def upstream_group(index: str) -> str:
    """The name of nginx's upstream block for an index's own host."""
    return f"index-{index}"


def locate_local(index: str, file: DistributionFile, companion: Companion) -> Location | None:
    """Where a local index keeps the bytes; None when there is no such companion."""
    if companion == "" and file.path is not None:
        return Location(root=f"index:{index}", path=file.path)
    if companion == ".metadata" and file.metadata_path is not None:
        return Location(root="metadata", path=file.metadata_path)
    return None


def locate_remote(index: IndexSettings, file: DistributionFile, companion: Companion) -> Location | None:
    """Where a remote index's page says the bytes are; None when it offers no such companion."""
    digest = file.sha256 or ""
    if companion == ".metadata":
        if not file.core_metadata:
            return None
        digest = "" if file.core_metadata is True else file.core_metadata.get("sha256", "")
    elif companion == ".provenance":
        if file.provenance is None:
            return None
        digest = ""
    page_url = file.provenance if companion == ".provenance" and file.provenance else file.url
    parts = urlsplit(page_url)
    place = host_and_port(parts)
    if place is None:
        return None
    path = parts.path + (".metadata" if companion == ".metadata" else "")
    target = quote(path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    own = host_and_port(urlsplit(index.url or ""))
    # The index's own host has an upstream block: kept connections, and names that only the system's files know.
    through = (
        upstream_group(index.name)
        if place == own and parts.scheme == urlsplit(index.url or "").scheme
        else parts.netloc
    )
    return Location(
        url=f"{parts.scheme}://{through}{target}",
        host=parts.netloc,
        tls_name=place[0],
        key=f"{index.name}|{parts.scheme}://{parts.netloc}{target}|{digest}",
        etag=f'"{digest}"' if digest else "",
    )
