"""data_dir: everything that is needed is made, and nothing of it is anybody else's to read or to change."""

import os
import stat
from itertools import product
from pathlib import Path

import msgspec
import pytest

from decider import caches
from decider.caches import decisions_folder
from decider.data_dir import prepare_data_dir, replace_file
from decider.errors import CannotStart
from decider.settings import IndexSettings, Settings
from decider.worker_user import WorkerUser

NOBODY = WorkerUser("nobody", "nogroup", 65_534, 65_534)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(caches, "_MEMORY", memory)
    packages = IndexSettings(name="internal", path=str(tmp_path / "packages"))
    return Settings(
        data_dir=str(tmp_path / "a" / "var"), indexes=(packages,), repositories=(), config_file="decider.toml"
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_made_and_made_again(settings: Settings) -> None:
    """Folders are made, whatever is above them, and left as they are the next time."""
    for _ in range(2):
        data_dir = prepare_data_dir(settings, None)
    assert {"run", "cache", "temp", "logs", "metadata", "staged"} <= {
        path.name for path in data_dir.iterdir()
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_others_see_nothing(settings: Settings, umask: int) -> None:
    """Other users can look into none of the folders, whatever the umask."""
    before = os.umask(umask)
    try:
        data_dir = prepare_data_dir(settings, None)
    finally:
        os.umask(before)
    for folder in data_dir.iterdir():
        assert mode(folder) & 0o007 == 0, folder


def test_loose_modes_are_tightened(settings: Settings) -> None:
    """Folders that an earlier version, or somebody, left open are closed."""
    data_dir = prepare_data_dir(settings, None)
    for folder in data_dir.iterdir():
        folder.chmod(0o777)
    prepare_data_dir(settings, None)
    assert all(mode(folder) & 0o007 == 0 for folder in data_dir.iterdir())


@pytest.mark.parametrize("name", ["run", "cache", "temp", "logs", "metadata", "staged"])
def test_somebody_elses_data_dir(settings: Settings, name: str) -> None:
    """Folders that hold somebody else's things, as those of `/var` do, are left as they are."""
    folder = Path(settings.data_dir) / name
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "theirs").touch()
    with pytest.raises(CannotStart, match=f"its folder `{name}` is not decider's"):
        prepare_data_dir(settings, NOBODY)
    assert mode(folder) == 0o755
    assert [path.name for path in Path(settings.data_dir).iterdir()] == [name]


@pytest.mark.parametrize("mark", ["decider.sqlite", "run/loopback.key", "run/up.lock", "run/accepted.json"])
def test_data_dir_of_an_earlier_version(settings: Settings, mark: str) -> None:
    """A data_dir that was begun before it had a mark is known all the same, and has it then."""
    path = Path(settings.data_dir) / mark
    for folder in (path.parent, Path(settings.data_dir) / "cache" / "files"):
        folder.mkdir(parents=True, exist_ok=True)
    path.touch()
    prepare_data_dir(settings, None)
    path.unlink()
    prepare_data_dir(settings, None)


def test_folders_that_were_made_before(settings: Settings) -> None:
    """Empty folders, and file systems of their own, may be there: a container's volumes."""
    for name in ("cache", "logs"):
        (Path(settings.data_dir) / name / "lost+found").mkdir(parents=True)
    prepare_data_dir(settings, None)


def test_somebody_elses_cache_dir(settings: Settings, tmp_path: Path) -> None:
    """A cache_dir that holds somebody else's things is left as it is; an empty one is taken."""
    shared = tmp_path / "srv"
    (shared / "theirs").mkdir(parents=True)
    shared.chmod(0o755)
    before = shared.stat()
    cached = msgspec.structs.replace(settings, cache_dir=str(shared))
    with pytest.raises(CannotStart, match="holds what is not decider's"):
        prepare_data_dir(cached, NOBODY)
    after = shared.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert [path.name for path in shared.iterdir()] == ["theirs"]
    (shared / "theirs").rename(shared / "lost+found")
    # A cache that was moved here.
    for name in ("pages", "files", "indexes", "arriving"):
        (shared / name).mkdir()
    prepare_data_dir(cached, None)
    prepare_data_dir(cached, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_nginx_gets_what_it_needs(settings: Settings) -> None:
    """nginx's user reaches what it reads and its own folders from data_dir, and owns none that nginx's master gives away."""
    user = NOBODY
    Path(settings.data_dir).mkdir(parents=True, mode=0o700)
    data_dir = prepare_data_dir(settings, user)
    assert mode(data_dir) & 0o011 == 0o011
    owners = {folder.name: (folder.stat().st_uid, folder.stat().st_gid) for folder in data_dir.iterdir()}
    for name in ("run", "cache", "temp", "logs", "metadata", "staged"):
        assert owners[name] == (0, user.gid), name
        assert mode(data_dir / name) == 0o750


def test_data_dir_that_cannot_be_made(settings: Settings, tmp_path: Path) -> None:
    """A file where a folder has to be is named."""
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(CannotStart, match=r"data_dir .*/a/var"):
        prepare_data_dir(settings, None)


def test_default_packages_are_made(settings: Settings, tmp_path: Path) -> None:
    """Without a configuration file the directory of packages is made, with one it has to be there already."""
    prepare_data_dir(settings, None)
    assert not (tmp_path / "packages").exists()
    prepare_data_dir(msgspec.structs.replace(settings, config_file=None), None)
    assert (tmp_path / "packages").is_dir()


def test_decisions_in_memory_are_private(settings: Settings, tmp_path: Path) -> None:
    """Where decisions are kept in memory nobody looks but ourselves, and nginx's user on its way to a folder of its own."""
    prepare_data_dir(settings, None)
    (folder,) = (tmp_path / "memory").iterdir()
    assert decisions_folder(settings) == folder / "decisions"
    folder.chmod(0o777)
    prepare_data_dir(settings, None)
    assert mode(folder) == 0o700
    if os.geteuid() == 0:
        prepare_data_dir(settings, NOBODY)
        assert (folder.stat().st_uid, folder.stat().st_gid, mode(folder)) == (0, NOBODY.gid, 0o710)


@pytest.mark.parametrize(
    ("trap", "by_hand"),
    [*product(["link", "dangling link", "file", "somebody's folder"], [False, True]), ("open folder", True)],
)
def test_somebody_was_first(settings: Settings, tmp_path: Path, trap: str, by_hand: bool) -> None:
    """What a local user has put where decisions will be kept in memory is told, and not touched."""
    place = decisions_folder(settings, by_hand=by_hand)
    assert place is not None
    place = place if by_hand else place.parent
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    match trap:
        case "link":
            place.symlink_to(target)
        case "dangling link":
            place.symlink_to(tmp_path / "absent")
        case "file":
            place.write_bytes(b"")
        case "somebody's folder":
            if os.geteuid() != 0:
                pytest.skip("only root gives folders away")
            place.mkdir(mode=0o700)
            os.chown(place, 12_345, 12_345)
        case "open folder":
            place.mkdir()
            place.chmod(0o777)
    before = place.lstat()
    with pytest.raises(CannotStart, match="belongs to someone else"):
        prepare_data_dir(settings, None)
    assert (place.lstat().st_uid, place.lstat().st_mode) == (before.st_uid, before.st_mode)
    assert (target.stat().st_uid, mode(target)) == (os.geteuid(), 0o755)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("there", [False, True])
def test_file_is_replaced_at_once(tmp_path: Path, there: bool) -> None:
    """A file is replaced as a whole, with its mode, and nothing is left beside it."""
    file = tmp_path / "accepted.json"
    if there:
        for old in (file, tmp_path / "accepted.json.new"):
            old.write_text("old, and longer")
            old.chmod(0o644)
    replace_file(file, b"new", 0o600)
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["accepted.json"]


# Caches elsewhere


def test_caches_elsewhere(settings: Settings, tmp_path: Path) -> None:
    """cache_dir is made, closed to others, and found again by the same decider."""
    place = tmp_path / "ssd" / "caches"
    elsewhere = msgspec.structs.replace(settings, cache_dir=str(place))
    for _ in range(2):
        prepare_data_dir(elsewhere, None)
    assert mode(place) & 0o007 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_links_in_the_caches_lead_nowhere(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nginx's user has left among its caches gets nothing of root's written elsewhere."""
    monkeypatch.setattr(WorkerUser, "can_read", lambda *_: True)  # it cannot reach a test's folders
    place = tmp_path / "ssd"
    place.mkdir()
    os.chown(place, NOBODY.uid, NOBODY.gid)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (place / "data_dir.new").symlink_to(victim)
    prepare_data_dir(msgspec.structs.replace(settings, cache_dir=str(place)), NOBODY)
    assert victim.read_text() == "precious"
    assert (place / "data_dir").read_text() == f"{settings.data_dir}\n"
    assert place.stat().st_uid == 0


def test_caches_of_another_decider(settings: Settings, tmp_path: Path) -> None:
    """Two deciders never share a cache_dir: indexes of one name may be different indexes."""
    elsewhere = msgspec.structs.replace(settings, cache_dir=str(tmp_path / "ssd"))
    prepare_data_dir(elsewhere, None)
    other = msgspec.structs.replace(elsewhere, data_dir=str(tmp_path / "other"))
    with pytest.raises(CannotStart, match=r"cache_dir .* belongs to the decider of .*/a/var"):
        prepare_data_dir(other, None)


def test_caches_out_of_reach(settings: Settings, tmp_path: Path) -> None:
    """Where nginx's user cannot reach cache_dir it is told before nginx fails."""
    if os.geteuid() != 0:
        pytest.skip("to give a folder to another user takes root")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(CannotStart, match="nobody, whom nginx runs as, cannot reach it"):
        prepare_data_dir(msgspec.structs.replace(settings, cache_dir=str(closed / "caches")), NOBODY)
