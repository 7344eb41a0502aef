"""What nginx keeps of files: away with it where it is not what its page says.

nginx compares lengths before it keeps an answer (nginx/decisions.conf), where both the answer and the page state one: what
comes in chunks it takes for whole when they end properly, though it be the first part of a file, or an error page. What
clients are sent is not looked at here.
"""

import logging
import os
import struct
from contextlib import suppress
from functools import lru_cache
from hashlib import md5, sha256
from pathlib import Path

__all__ = ["FILES", "discard_if_not", "path_of"]

log = logging.getLogger(__name__)

FILES = "files"  #: the cache's folder (nginx/caches.conf)
#: The beginning of ngx_http_file_cache_header_t (nginx, src/http/ngx_http_cache.h): its version, and where the body starts.
_HEADER = struct.Struct("@N44xHHH")
_VERSION = 5  #: since nginx 1.15; of another one we know nothing
MAX_HASHED_BYTES = 1 << 20


def path_of(cache: Path, key: str) -> Path:
    """Where nginx keeps the file of that cache key: as `levels=1:2` has it."""
    name = md5(key.encode(), usedforsecurity=False).hexdigest()
    return cache / FILES / name[-1] / name[-3:-1] / name


def discard_if_not(cache: Path, key: str, *, size: int | None, digest: str) -> bool:
    """Remove what nginx keeps under `key` unless it is `size` bytes of the SHA-256 `digest`; whether it was removed.

    None and "": the page does not state it. Without a size digests are compared, of files of MAX_HASHED_BYTES at most: an
    error page is shorter. nginx fetches anew what was removed; what is not there, or cannot be read, stays as it is.
    """
    path = path_of(cache, key)
    with suppress(OSError, struct.error):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            version, _, _, body_start = _HEADER.unpack(os.read(descriptor, _HEADER.size))
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        length = status.st_size - body_start
        if version != _VERSION:
            return False
        if size is not None:
            is_right = length == size
        elif digest and length <= MAX_HASHED_BYTES:
            is_right = _digest(path, body_start, status.st_ino, status.st_mtime_ns) == digest
        else:
            is_right = True
        if not is_right:
            path.unlink()
            log.warning("cache.discarded", extra={"key": key, "bytes": length, "stated": size or digest})
            return True
    return False


@lru_cache(maxsize=20_000)
def _digest(path: Path, body_start: int, inode: int, modified_ns: int) -> str:  # noqa: ARG001 (name this very file)
    """Hex SHA-256 of what the file holds behind nginx's own lines; once for each file, however often it is decided on."""
    return sha256(path.read_bytes()[body_start:]).hexdigest()
