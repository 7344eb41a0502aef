"""nginx's logs that nobody collects: turned over before they fill the disk.

The usage log is its collector's (`usage.following`). What other programs turn over, logrotate say, never grows so large
that anything is done here.
"""

from pathlib import Path

from decider.usage.following import nginx_pid, reopen

__all__ = ["MAX_BYTES", "turn_over_large"]

MAX_BYTES = 64 * 1024 * 1024
KEEP = 4  #: of each, `.1` the youngest
_LOGS = ("nginx.log", "access.log")


def turn_over_large(data_dir: Path) -> list[str]:
    """Put aside the logs that have grown large, and have nginx begin new ones; their names. Raise OSError."""
    folder = data_dir / "logs"
    pid = nginx_pid(data_dir / "run" / "nginx.pid")
    large = [
        name for name in _LOGS if (folder / name).is_file() and (folder / name).stat().st_size >= MAX_BYTES
    ]
    if pid is None or not large:
        return []
    for name in large:
        _put_aside(folder / name)
    reopen(pid)
    return large


def _put_aside(log: Path) -> None:
    for number in range(KEEP, 0, -1):
        younger = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
        if younger.exists():
            younger.replace(log.with_name(f"{log.name}.{number}"))
