"""data_dir and its folders: made for this process and for nginx's own user, each with the mode that it needs."""

import os
import stat
from pathlib import Path

from decider.caches import decisions_folder
from decider.errors import CannotStart
from decider.settings import Settings
from decider.worker_user import WorkerUser

__all__ = ["prepare_data_dir", "replace_file"]


def prepare_data_dir(settings: Settings, user: WorkerUser | None) -> Path:
    """Make data_dir and its folders, for this process and for nginx's `user`; raise CannotStart.

    Without a configuration file the directory of packages is made too: the defaults have to serve as they are.
    """
    if settings.config_file is None:
        _make_default_packages(settings)
    data_dir = Path(settings.data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if user is not None and not data_dir.stat().st_mode & 0o001:
            # nginx's workers start inside it and go down from there; what is private has modes of its own.
            data_dir.chmod(data_dir.stat().st_mode | 0o011)
        for name in ("run", "cache", "temp", "logs", "metadata", "staged"):
            folder = data_dir / name
            folder.mkdir(exist_ok=True)
            # (!) Nobody else's: copies of packages whose own folder others may not read lie in `staged`.
            folder.chmod(0o750)
            if user is not None:
                os.chown(folder, user.uid if name in {"cache", "temp"} else 0, user.gid)
        if settings.cache_dir is not None:
            _prepare_cache_dir(Path(settings.cache_dir), data_dir, user)
        _prepare_decisions_folder(decisions_folder(settings), user)
    except OSError as error:
        raise CannotStart(f"data_dir {data_dir}: {error.strerror}") from error
    return data_dir


def _make_default_packages(settings: Settings) -> None:
    for index in settings.indexes:
        if index.path is not None:
            try:
                Path(index.path).mkdir(exist_ok=True)
            except OSError as error:
                raise CannotStart(f"index {index.name}: {index.path}: {error.strerror}") from error


def _prepare_cache_dir(folder: Path, data_dir: Path, user: WorkerUser | None) -> None:
    """Make the folder for what nginx keeps, of this decider alone, where its user can reach it; raise CannotStart."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    # (!) Two that share one would serve each other's pages of indexes that only have the same name.
    mark = folder / "data_dir"
    if not mark.exists():
        replace_file(mark, f"{data_dir}\n".encode(), 0o644)
    elif mark.read_text().rstrip("\n") != str(data_dir):
        raise CannotStart(f"cache_dir {folder}: belongs to the decider of {mark.read_text().strip()}")
    if user is not None:
        os.chown(folder, user.uid, user.gid)
        if not user.can_read(folder):
            raise CannotStart(f"cache_dir {folder}: {user.name}, whom nginx runs as, cannot reach it")


def _prepare_decisions_folder(folder: Path | None, user: WorkerUser | None) -> None:
    """Make the folder in memory for decisions, for nginx's own user alone: keys hold tokens; raise CannotStart."""
    if folder is None:
        return
    if not folder.parent.is_dir():
        raise CannotStart(f'read_access = "token" keeps decisions in memory, and there is no {folder.parent}')
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = user.uid if user is not None else os.geteuid()
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {owner, os.geteuid()}:
        raise CannotStart(f"{folder} belongs to someone else")
    folder.chmod(0o700)
    os.chown(folder, owner, -1)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once, so that who reads it sees the old or the new one."""
    fresh = path.with_name(path.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as handle:
        os.fchmod(handle.fileno(), mode)  # one that a crash left has the mode that it had
        handle.write(content)
    fresh.replace(path)
