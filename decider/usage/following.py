"""nginx's usage log on disk: which files there are, whole lines from a place on, turning them over.

`usage.log` is what nginx writes now, `usage.log.<anything>` or `usage.log-<anything>` what it wrote before. A log is known by its first line,
whatever it is called and wherever it was copied to. Keeping places and reading lines may not be added here.
"""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

__all__ = ["LOG", "Chunk", "Log", "logs_in", "nginx_pid", "reopen", "turn_over"]

LOG = "usage.log"
CHUNK_BYTES = 1024 * 1024
QUIET_S = (
    600.0  #: a log that was turned over and has rested so long is taken for finished, where nothing tells
)
_PACKED = (".gz", ".xz", ".zst", ".bz2")


class Chunk(NamedTuple):
    """Some lines of a log."""

    lines: list[bytes]
    position: int  #: behind them


class Log:
    """One log, open, so that its inode is nobody else's meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open it; raise OSError."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self.inode = (status.st_dev, status.st_ino)
        self._first = b""  #: the first line, once it is whole
        self._head: str | None = None

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    @property
    def size(self) -> int:
        """Bytes now."""
        return os.fstat(self._descriptor).st_size

    @property
    def head(self) -> str | None:
        """Names the log; None while its first line is not whole."""
        if self._head is None:
            first, end, _ = os.pread(self._descriptor, CHUNK_BYTES, 0).partition(b"\n")
            if end or len(first) == CHUNK_BYTES:
                self._first, self._head = first, sha256(first).hexdigest()
        return self._head

    def is_begun_anew(self) -> bool:
        """Whether it does not begin any more as it did: somebody emptied it in place."""
        return os.pread(self._descriptor, len(self._first), 0) != self._first

    def read(self, position: int) -> Chunk:
        """Whole lines from there on, at most CHUNK_BYTES; none, where none is whole yet."""
        data = os.pread(self._descriptor, CHUNK_BYTES, position)
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) == CHUNK_BYTES:
            return Chunk([data], position + len(data))  # no line of ours: cut through, and unreadable
        return Chunk(data[:end].split(b"\n")[:-1], position + end)

    def is_finished(self) -> bool:
        """Whether nobody will write to it any more, now that it has another name."""
        try:
            # A read lease is given only where nobody has the file open for writing (fcntl(2)).
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EBUSY}:
                return False
            return time.time() - os.fstat(self._descriptor).st_mtime > QUIET_S
        fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True


def logs_in(folder: Path) -> Iterator[Path]:
    """The logs there are, the present one last."""
    turned = [path for path in folder.glob(f"{LOG}[.-]*") if path.suffix not in _PACKED]
    yield from sorted(turned)
    if (folder / LOG).exists():
        yield folder / LOG


def nginx_pid(pid_file: Path) -> int | None:
    """The running nginx that wrote the file, if this process may signal it; None otherwise."""
    with suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        # The file outlives an nginx that was killed, and its number may be somebody else's by now.
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"nginx: master"):
            os.kill(pid, 0)
            return pid
    return None


def turn_over(folder: Path, pid: int) -> None:
    """Give the present log another name and have nginx begin a new one; raise OSError."""
    (folder / LOG).rename(folder / f"{LOG}.{time.time_ns()}")
    reopen(pid)


def reopen(pid: int) -> None:
    """Have nginx write what it holds back and open its logs again, by their names."""
    os.kill(pid, signal.SIGUSR1)
