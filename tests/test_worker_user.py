"""Whom nginx's workers run as, and what that user can read."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from decider import worker_user as module
from decider.errors import CannotStart
from decider.settings import IndexSettings, Settings
from decider.worker_user import WorkerUser, stage_folder, worker_user

STRANGER = WorkerUser("stranger", "strangers", 54_321, 54_321)


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a system with just these users, as root or not."""

    def have(*names: str, uid: int = 0) -> None:
        def getpwnam(name: str) -> SimpleNamespace:
            if name not in names:
                raise KeyError(name)
            return SimpleNamespace(pw_name=name, pw_uid=100 + names.index(name), pw_gid=200)

        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(pwd, "getpwnam", getpwnam)
        monkeypatch.setattr(module, "getgrgid", lambda gid: SimpleNamespace(gr_name=f"group{gid}"))

    return have


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(("nobody", "www-data", "nginx"), "www-data"), (("nobody", "nginx"), "nginx"), (("nobody",), "nobody")],
)
def test_root_steps_down(users: Callable[..., None], names: tuple[str, ...], chosen: str) -> None:
    """Started as root, workers run as the first unprivileged user that the system has, in its own group."""
    users(*names)
    found = worker_user()
    assert found == WorkerUser(chosen, "group200", 100 + names.index(chosen), 200)


def test_nobody_to_step_down_to(users: Callable[..., None]) -> None:
    """Where there is no such user, root does not serve clients itself."""
    users("root")
    with pytest.raises(CannotStart, match="www-data, nginx, nobody"):
        worker_user()


def test_others_stay_who_they_are(users: Callable[..., None]) -> None:
    """Who is not root cannot switch."""
    users("www-data", uid=1000)
    assert worker_user() is None


def make_settings(folder: Path, packages: Path) -> Settings:
    index = IndexSettings(name="internal", path=str(packages))
    return Settings(data_dir=str(folder / "var"), indexes=(index,), repositories=())


def test_where_files_are_served_from(tmp_path: Path) -> None:
    """Files are served in place where the user can read them, else from copies of decider's own."""
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
        if parent == Path("/tmp"):
            break
    packages = tmp_path / "packages"
    packages.mkdir()
    settings = make_settings(tmp_path, packages)
    (index,) = settings.indexes
    packages.chmod(0o755)
    assert stage_folder(settings, index, STRANGER) is None
    packages.chmod(0o750)
    assert stage_folder(settings, index, STRANGER) == tmp_path / "var" / "staged" / "internal"
    assert stage_folder(settings, index, None) is None


def test_remote_index_is_not_staged(tmp_path: Path) -> None:
    """Only a directory has files to copy."""
    settings = make_settings(tmp_path, tmp_path)
    index = IndexSettings(name="public", url="https://index.example/simple/")
    assert stage_folder(settings, index, STRANGER) is None
