"""The word by which nginx's loopback listener knows that it is the decider who asks for a part of a file.

Whoever knows it may have any address fetched; so it is made once for a data_dir, readable by its owner alone, and never
leaves the machine.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["loopback_key"]

_FILE = "run/loopback.key"


def loopback_key(data_dir: Path) -> str:
    """The key of this data_dir, hexadecimal, made when there is none; raise OSError when it cannot be kept."""
    path = data_dir / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # Written elsewhere and linked: who reads it meanwhile reads all of it, and of two makers one wins.
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    return path.read_text(encoding="ascii")
