"""The key by which nginx knows the decider."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from decider.index.loopback_key import loopback_key


def test_made_once(tmp_path: Path) -> None:
    """The key is made once, also where many ask at the same time, long, and its owner's alone."""
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: loopback_key(tmp_path), range(64)))
    (key,) = found
    assert len(key) == 64
    assert int(key, 16) > 0
    (path,) = (tmp_path / "run").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert loopback_key(tmp_path) == key


def test_another_data_dir(tmp_path: Path) -> None:
    """Another data_dir has another key."""
    assert loopback_key(tmp_path / "a") != loopback_key(tmp_path / "b")
