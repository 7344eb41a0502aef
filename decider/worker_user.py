"""The unprivileged user that nginx's workers run as when the master is started as root."""

import os
import pwd
from dataclasses import dataclass
from grp import getgrgid
from pathlib import Path

from decider.errors import CannotStart
from decider.index.permissions import readable_by
from decider.settings import IndexSettings, Settings

__all__ = ["WorkerUser", "stage_folder", "worker_user"]

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


def stage_folder(settings: Settings, index: IndexSettings, user: WorkerUser | None) -> Path | None:
    """Where nginx finds a local index's files when its user cannot read them in place; None: in place."""
    if index.path is None or user is None or user.can_read(Path(index.path)):
        return None
    return Path(settings.data_dir) / "staged" / index.name
