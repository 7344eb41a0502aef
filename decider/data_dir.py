"""data_dir and its folders: made for this process and for nginx's own user, each with the mode that it needs."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from decider.caches import decisions_folder
from decider.errors import CannotStart
from decider.settings import Settings
from decider.worker_user import WorkerUser

__all__ = ["prepare_data_dir", "replace_file"]

# login.defs(5), UID_MIN
_FIRST_PERSON = 1000
_NOBODY = 65_534
_FOLDERS = ("run", "cache", "temp", "logs", "metadata", "staged")
#: What nginx makes in a folder of caches: one that was moved here, or that was in use before it was named, has no mark yet.
_NGINXS = frozenset({"pages", "files", "indexes", "decisions", "arriving"})
_MARK = "run/decider"  #: says whose the folders are
_OLD_MARKS = (
    "decider.sqlite",
    "run/loopback.key",
    "run/up.lock",
    "run/accepted.json",
)  #: from before there was one


def prepare_data_dir(settings: Settings, user: WorkerUser | None) -> Path:
    """Make data_dir and its folders, for this process and for nginx's `user`; raise CannotStart.

    Without a configuration file the directory of packages is made too: the defaults have to serve as they are.
    """
    if settings.config_file is None:
        _make_default_packages(settings)
    data_dir = Path(settings.data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _require_ours(data_dir)
        if user is not None and not data_dir.stat().st_mode & 0o001:
            # nginx's workers start inside it and go down from there; what is private has modes of its own.
            data_dir.chmod(data_dir.stat().st_mode | 0o011)
        for name in _FOLDERS:
            folder = data_dir / name
            folder.mkdir(exist_ok=True)
            # (!) Nobody else's: copies of packages whose own folder others may not read lie in `staged`.
            folder.chmod(0o750)
            if user is not None:
                # (!) Not to nginx's user, who could put a link in the place of a folder that nginx, as root, gives it.
                os.chown(folder, 0, user.gid)
        (data_dir / _MARK).touch(mode=0o600)
        if settings.cache_dir is not None:
            _prepare_cache_dir(Path(settings.cache_dir), data_dir, user)
        _prepare_decisions_folder(decisions_folder(settings), user)
        _refuse_open(decisions_folder(settings, by_hand=True))
    except OSError as error:
        raise CannotStart(f"data_dir {data_dir}: {error.strerror}") from error
    return data_dir


def _require_ours(data_dir: Path) -> None:
    """Raise CannotStart where folders that we would give modes and owners are somebody else's: those of `/` or `/var`, say."""
    if any((data_dir / mark).exists() for mark in (_MARK, *_OLD_MARKS)):
        return
    for name in _FOLDERS:
        if _is_used(data_dir / name):
            raise CannotStart(
                f"data_dir {data_dir}: its folder `{name}` is not decider's; name a folder of decider's own"
            )


def _is_used(folder: Path, *, but: frozenset[str] = frozenset()) -> bool:
    """Whether there is anything in it, but for what a file system of its own begins with, or a crash of ours leaves."""
    unused = {"lost+found", "data_dir.new", *but}
    return folder.exists() and any(path.name not in unused for path in folder.iterdir())


def _make_default_packages(settings: Settings) -> None:
    for index in settings.indexes:
        if index.path is not None:
            try:
                Path(index.path).mkdir(exist_ok=True)
            except OSError as error:
                raise CannotStart(f"index {index.name}: {index.path}: {error.strerror}") from error


def _prepare_cache_dir(folder: Path, data_dir: Path, user: WorkerUser | None) -> None:
    """Make the folder for what nginx keeps, of this decider alone, where its user can reach it; raise CannotStart."""
    mark = folder / "data_dir"
    # (!) Before it gets an owner and a mode: `/` or `/srv` would be nobody else's any more.
    if not mark.exists() and _is_used(folder, but=_NGINXS):
        raise CannotStart(f"cache_dir {folder}: holds what is not decider's; name a folder of decider's own")
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    if user is not None:
        # (!) Ours before anything in it is written: nginx makes its own folders there, and gives them to its user.
        os.chown(folder, 0, user.gid)
        folder.chmod(0o750)
    # (!) Two that share one would serve each other's pages of indexes that only have the same name.
    if not mark.exists():
        replace_file(mark, f"{data_dir}\n".encode(), 0o644)
    elif mark.read_text().rstrip("\n") != str(data_dir):
        raise CannotStart(f"cache_dir {folder}: belongs to the decider of {mark.read_text().strip()}")
    if user is not None and not user.can_read(folder):
        raise CannotStart(f"cache_dir {folder}: {user.name}, whom nginx runs as, cannot reach it")


def _prepare_decisions_folder(folder: Path | None, user: WorkerUser | None) -> None:
    """Make the folder around the one in memory where nginx keeps decisions: keys hold tokens; raise CannotStart."""
    if folder is None:
        return
    place = folder.parent
    if not place.parent.is_dir():
        raise CannotStart(f'read_access = "token" keeps decisions in memory, and there is no {place.parent}')
    with suppress(FileExistsError):
        place.mkdir(mode=0o700)
    # (!) Whoever has an account here may have been first, with a folder or a link: what is opened is what is looked at.
    try:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise CannotStart(f"{place} belongs to someone else: remove it") from error
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise CannotStart(f"{place} belongs to someone else: remove it")
        if user is not None:
            os.fchown(handle, -1, user.gid)
        os.fchmod(handle, 0o700 if user is None else 0o710)
    finally:
        os.close(handle)


def _refuse_open(folder: Path | None) -> None:
    """Raise CannotStart where a person made, or can look into, what an nginx run by hand keeps decisions in."""
    if folder is None or not os.path.lexists(folder):
        return
    found = folder.lstat()
    # Which user that nginx has is not known here: ours, or one of those that are no person's.
    is_owned_well = found.st_uid in {os.geteuid(), _NOBODY} or found.st_uid < _FIRST_PERSON
    if not stat.S_ISDIR(found.st_mode) or not is_owned_well or found.st_mode & 0o077:
        raise CannotStart(f"{folder} belongs to someone else: remove it")


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once, so that who reads it sees the old or the new one."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)  # one that a crash left
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as handle:
        os.fchmod(handle.fileno(), mode)  # whatever the umask
        handle.write(content)
    fresh.replace(path)
