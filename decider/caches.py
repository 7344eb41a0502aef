"""Where nginx's caches are, and how much they may hold on this machine."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from decider.settings import Settings

__all__ = ["CacheSpace", "cache_folder", "cache_space", "decisions_folder"]

_MEMORY = Path("/dev/shm")  # noqa: S108 (what lies there is closed to others, and refused where they made it)
_MB = 1024 * 1024
_DECISIONS_BYTES = 512 * _MB  #: at most, and half of what the file system in memory holds
#: An entry of one page of memory, and what the kernel keeps of it; and one whose key holds a token (an Authorization of up to
#: 1 kB, nginx/nginx.conf), or a long name, which takes a second one, and a third while it is written anew.
_DECISION_BYTES = {"open": 5 * 1024, "token": 12 * 1024}
_KEYS_PER_KB = 8_000 / 1024  #: https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_cache_path
_MIN_ZONE_KB = 8 * os.sysconf("SC_PAGE_SIZE") // 1024  #: nginx takes no smaller one
_MIN_FREE_BYTES = 1024 * _MB  #: left free on a disk of caches, but no more than a twentieth of it


@dataclass(frozen=True, slots=True)
class CacheSpace:
    """What caches.conf takes for sizes."""

    decisions_size: int  #: bytes
    decisions_zone_kb: int
    min_free: int  #: bytes


def decisions_folder(settings: Settings, *, by_hand: bool = False) -> Path | None:
    """Where decisions are kept: in memory; None where there is no such place, and in data_dir then.

    Decisions with readers' tokens in their keys never go to a disk: their place is named even where it is not there.
    (!) Everybody may write to the place itself, so the folder lies in one that only we can write to: nginx, as root,
    gives it to its own user by name. `by_hand`: for an nginx that others start, which makes one beside that by itself.
    """
    if settings.read_access != "token" and not os.access(_MEMORY, os.W_OK | os.X_OK):
        return None
    ours = f"decider-{sha256(settings.data_dir.encode()).hexdigest()[:16]}"
    return _MEMORY / f"{ours}-by-hand" if by_hand else _MEMORY / ours / "decisions"


def cache_folder(settings: Settings) -> Path:
    """Where pages and files are kept."""
    return Path(settings.cache_dir or Path(settings.data_dir) / "cache")


def cache_space(settings: Settings) -> CacheSpace:
    """How much the caches may hold here."""
    size = _DECISIONS_BYTES
    if _MEMORY.is_dir():
        size = min(size, _total_bytes(_MEMORY) // 2)
    keys = size // _DECISION_BYTES[settings.read_access]
    return CacheSpace(
        decisions_size=size,
        decisions_zone_kb=max(int(keys / _KEYS_PER_KB), _MIN_ZONE_KB),
        min_free=min(
            _total_bytes(_existing(Path(settings.cache_dir or settings.data_dir))) // 20, _MIN_FREE_BYTES
        ),
    )


def _total_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())
