"""The unprivileged user that nginx's workers run as when the master is started as root."""

import os
import pwd
from dataclasses import dataclass
from grp import getgrgid
from pathlib import Path

from decider.errors import CannotStart
from decider.index.permissions import readable_by

__all__ = ["WorkerUser", "worker_user"]

# Debian's, the nginx project's own packages', and everyone's last resort.
_CANDIDATES = ("www-data", "nginx", "nobody")


@dataclass(frozen=True, slots=True)
class WorkerUser:
    """A user of this system, and its own group."""

    name: str
    group: str
    uid: int
    gid: int

    def can_read(self, path: Path) -> bool:
        """Whether its processes can reach and read `path`."""
        return readable_by(path, self.uid, self.gid)


def worker_user() -> WorkerUser | None:
    """The user to switch to; None when this process is not root and cannot switch. Raise CannotStart."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return WorkerUser(entry.pw_name, getgrgid(entry.pw_gid).gr_name, entry.pw_uid, entry.pw_gid)
    raise CannotStart(f"none of the users {', '.join(_CANDIDATES)} exists: nginx has no one to run as")
