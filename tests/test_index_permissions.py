"""Whether another user may read a path."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from decider.index.permissions import readable_by

ME, MINE = os.getuid(), os.getgid()
STRANGER = 61_234  # in no group of ours


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose parents everyone may pass through."""
    with TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "expected"),
    [
        (0o644, STRANGER, STRANGER, True),
        (0o640, STRANGER, STRANGER, False),
        (0o640, STRANGER, MINE, True),
        (0o604, STRANGER, MINE, False),  # the group's bits decide alone
        (0o600, STRANGER, MINE, False),
        (0o000, 0, 0, True),
    ],
)
def test_file(folder: Path, mode: int, uid: int, gid: int, *, expected: bool) -> None:
    """A file is readable by its owner, its group or others, each by the bits of the first class that fits."""
    path = folder / "file"
    path.write_bytes(b"")
    path.chmod(mode)
    assert readable_by(path, uid, gid) is expected


def test_owner(folder: Path) -> None:
    """An owner may be shut out of what others may read."""
    path = folder / "file"
    path.write_bytes(b"")
    if ME == 0:
        os.chown(path, STRANGER, STRANGER)
    owner = STRANGER if ME == 0 else ME
    path.chmod(0o044)
    assert not readable_by(path, owner, MINE)
    path.chmod(0o400)
    assert readable_by(path, owner, MINE)


@pytest.mark.parametrize(("mode", "expected"), [(0o755, True), (0o711, True), (0o744, False), (0o700, False)])
def test_parent(folder: Path, mode: int, *, expected: bool) -> None:
    """Every parent must be traversable; listing it is not needed."""
    (folder / "a/b").mkdir(parents=True)
    path = folder / "a/b/file"
    path.write_bytes(b"")
    (folder / "a").chmod(mode)
    assert readable_by(path, STRANGER, STRANGER) is expected
    (folder / "a").chmod(0o700)


@pytest.mark.parametrize(("mode", "expected"), [(0o755, True), (0o711, False), (0o744, False)])
def test_folder(folder: Path, mode: int, *, expected: bool) -> None:
    """A folder is readable when it can be listed and traversed."""
    inner = folder / "inner"
    inner.mkdir()
    inner.chmod(mode)
    assert readable_by(inner, STRANGER, STRANGER) is expected
    inner.chmod(0o700)


def test_link(folder: Path) -> None:
    """A symbolic link is as readable as the place it leads to."""
    (folder / "closed").mkdir()
    (folder / "closed/file").write_bytes(b"")
    link = folder / "link"
    link.symlink_to(folder / "closed/file")
    assert readable_by(link, STRANGER, STRANGER)
    (folder / "closed").chmod(0o700)
    assert not readable_by(link, STRANGER, STRANGER)


def test_missing(folder: Path) -> None:
    """What is not there, or leads nowhere, is not readable."""
    (folder / "loop").symlink_to(folder / "loop")
    assert not readable_by(folder / "missing", 0, 0)
    assert not readable_by(folder / "loop", 0, 0)
