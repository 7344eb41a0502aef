"""What nginx keeps of files: away with it where it is not as long as its page says.

nginx compares lengths before it keeps an answer (nginx/decisions.conf), where the answer has one: what comes in chunks it
takes for whole when they end properly, though it be the first part of a file, or an error page. Reading files may not
be added here.
"""

import logging
import os
import struct
from contextlib import suppress
from hashlib import md5
from pathlib import Path

__all__ = ["FILES", "discard_if_not", "path_of"]

log = logging.getLogger(__name__)

FILES = "files"  #: the cache's folder (nginx/caches.conf)
#: The beginning of ngx_http_file_cache_header_t (nginx, src/http/ngx_http_cache.h): its version, and where the body starts.
_HEADER = struct.Struct("@N44xHHH")
_VERSION = 5  #: since nginx 1.15; of another one we know nothing


def path_of(cache: Path, key: str) -> Path:
    """Where nginx keeps the file of that cache key: as `levels=1:2` has it."""
    name = md5(key.encode(), usedforsecurity=False).hexdigest()
    return cache / FILES / name[-1] / name[-3:-1] / name


def discard_if_not(cache: Path, key: str, *, size: int) -> bool:
    """Remove what nginx keeps under `key` unless it is `size` bytes; whether it was removed.

    nginx then fetches it anew. What is not there, or cannot be read, stays as it is.
    """
    path = path_of(cache, key)
    with suppress(OSError, struct.error):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            version, _, _, body_start = _HEADER.unpack(os.read(descriptor, _HEADER.size))
            length = os.fstat(descriptor).st_size - body_start
        finally:
            os.close(descriptor)
        if version == _VERSION and length != size:
            path.unlink()
            log.warning("cache.discarded", extra={"key": key, "bytes": length, "stated": size})
            return True
    return False
