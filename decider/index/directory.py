"""What lies in a directory of distributions, flat or one folder a project: candidates, found by stat alone.

Opening files may not be added here.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from decider.errors import InvalidName
from decider.index.permissions import Reader
from decider.names import NormalizedName, parse_project_name

__all__ = ["Candidate", "Contents", "LocalFault", "Readers", "fault", "has_moved", "look_into"]

_READ_BITS = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_TEMPORARY_ENDINGS = ("~", ".part", ".partial", ".filepart", ".tmp")


class LocalFault(NamedTuple):
    """A file or folder that is left out."""

    path: str  #: below the index's root; printable, so not always the very name
    why: str  #: goes on after the path: lower-case, one line


class Readers(Enum):
    """Who may read a file."""

    NOBODY = 0  #: but root, who may read what nobody is meant to
    OURSELVES = 1
    NGINX = 2  #: in place


class Candidate(NamedTuple):
    """A file; equal as long as its contents need not be read again."""

    path: str  #: below the root, as found
    served: str  #: below the root, symbolic links resolved
    filename: str
    folder: NormalizedName | None  #: the project whose folder it is in; None directly in the root
    size: int
    mtime_ns: int
    inode: int
    readers: Readers = Readers.NGINX
    why: str | None = None  #: it cannot be listed, but its name may speak of a project

    def is_still(self, found: os.stat_result) -> bool:
        """Whether that is this very file, as it was found; no link, whose place in the system's tables may be the same."""
        same = (found.st_size, found.st_mtime_ns, found.st_ino) == (self.size, self.mtime_ns, self.inode)
        return same and stat.S_ISREG(found.st_mode)


class Contents(NamedTuple):
    """Everything found at one look."""

    candidates: list[Candidate]  #: by path
    folders: frozenset[NormalizedName]  #: projects that have a folder, readable or not
    unreadable: dict[NormalizedName, str]  #: projects whose folder could not be listed, and why
    faults: list[LocalFault]
    moments: dict[str, int]  #: folders that were listed, and their modification times in ns before that


def look_into(root: Path, reader: Reader | None = None) -> Contents:
    """What lies in `root` and one level below; raise OSError when `root` itself cannot be listed.

    `reader`: nginx's user, where it is another than ours.
    """
    return _Look(root, reader).contents()


def has_moved(moments: Mapping[str, int]) -> bool:
    """Whether names came or went in one of these folders; cheap. A file that is written in place moves nothing."""
    try:
        return any(os.stat(folder).st_mtime_ns != moment for folder, moment in moments.items())  # noqa: PTH116 (fast)
    except OSError:
        return True


def fault(path: str, why: str) -> LocalFault:
    """The fault of `path`, whose name may hold control characters or be no UTF-8: neither goes into a log."""
    text = os.fsencode(path).decode(errors="replace")
    return LocalFault("".join(character if character.isprintable() else "?" for character in text), why)


class _Look:
    def __init__(self, root: Path, reader: Reader | None) -> None:
        self._root = str(root)
        self._reader = reader
        self._can_enter: dict[str, bool] = {}  #: by folder
        self._real_root = os.path.realpath(root)
        self._candidates: list[Candidate] = []
        self._folders: set[NormalizedName] = set()
        self._unreadable: dict[NormalizedName, str] = {}
        self._faults: list[LocalFault] = []
        self._moments: dict[str, int] = {}

    def contents(self) -> Contents:
        for entry in self._listed(self._root):
            self._note(entry, entry.name, entry.name, None)
        self._candidates.sort(key=attrgetter("path"))
        folders, faults = frozenset(self._folders), sorted(self._faults)
        return Contents(self._candidates, folders, self._unreadable, faults, self._moments)

    def _listed(self, folder: str) -> list[os.DirEntry[str]]:
        moment = os.stat(folder).st_mtime_ns  # noqa: PTH116 (fast)
        found = list(_entries(folder))
        self._moments[folder] = moment
        return found

    def _note(self, entry: os.DirEntry[str], path: str, served: str, folder: NormalizedName | None) -> None:
        try:
            if entry.is_symlink():
                self._note_link(entry, path, folder)
            elif not entry.is_dir():
                self._note_file(entry.stat(follow_symlinks=False), path, served, folder, entry.path)
            elif folder is None:
                self._note_folder(entry.path, path, served)
        except FileNotFoundError:
            return  # it went away while we looked
        except OSError as error:
            self._faults.append(fault(path, f"cannot be looked at: {error.strerror}"))

    def _note_link(self, entry: os.DirEntry[str], path: str, folder: NormalizedName | None) -> None:
        real = Path(entry.path).resolve()
        if not real.is_relative_to(self._real_root):
            self._note_fault(path, folder, "is a symbolic link that leaves the directory")
        elif not real.exists():
            self._note_fault(path, folder, "is a symbolic link to nothing")
        elif not real.is_dir():
            self._note_file(real.stat(), path, str(real.relative_to(self._real_root)), folder, str(real))
        elif folder is None:
            self._note_folder(str(real), path, str(real.relative_to(self._real_root)))

    def _note_folder(self, place: str, path: str, served: str) -> None:
        try:
            project = parse_project_name(path)
        except InvalidName:
            self._faults.append(fault(path, "is a folder whose name is no project name"))
            return
        self._folders.add(project)
        try:
            entries = self._listed(place)
        except OSError as error:
            self._unreadable[project] = f"the folder `{path}` cannot be read: {error.strerror}"
            self._faults.append(fault(path, f"is a folder that cannot be read: {error.strerror}"))
            return
        for entry in entries:
            self._note(entry, f"{path}/{entry.name}", f"{served}/{entry.name}", project)

    def _note_file(
        self, found: os.stat_result, path: str, served: str, folder: NormalizedName | None, place: str
    ) -> None:
        if not stat.S_ISREG(found.st_mode):
            self._note_fault(path, folder, "is no regular file")
            return
        filename = path.rpartition("/")[2]
        readers = self._readers(found, place.rpartition("/")[0])
        self._candidates.append(
            Candidate(path, served, filename, folder, found.st_size, found.st_mtime_ns, found.st_ino, readers)
        )

    def _note_fault(self, path: str, folder: NormalizedName | None, why: str) -> None:
        filename = path.rpartition("/")[2]
        self._candidates.append(Candidate(path, path, filename, folder, 0, 0, 0, Readers.NOBODY, why))

    def _readers(self, found: os.stat_result, parent: str) -> Readers:
        if not found.st_mode & _READ_BITS:
            return Readers.NOBODY
        if self._reader is None:
            return Readers.NGINX
        if parent not in self._can_enter:
            self._can_enter[parent] = self._reader.can_enter(Path(parent))
        is_open = self._can_enter[parent] and self._reader.can_read(found)
        return Readers.NGINX if is_open else Readers.OURSELVES


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """All but hidden ones and those that uploaders use while they write."""
    with os.scandir(folder) as found:
        for entry in found:
            if not entry.name.startswith((".", "~")) and not entry.name.endswith(_TEMPORARY_ENDINGS):
                yield entry
