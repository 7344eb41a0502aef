"""What nginx keeps of files: removed where it is not as long as the page says, and nothing else."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from decider import cached_files
from decider.cached_files import FILES, MAX_HASHED_BYTES, discard_if_not, path_of

KEY = "k" * 43
#: Where the body of a file in nginx 1.22's cache starts, and what stands before it.
HEAD = (
    (5).to_bytes(8, "little")
    + bytes(46)
    + (80).to_bytes(2, "little")
    + (100).to_bytes(2, "little")
    + bytes(42)
)


def keep(cache: Path, content: bytes) -> Path:
    path = path_of(cache, KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_path() -> None:
    """The path is made of the MD5 of the key, last digits first."""
    path = path_of(Path("cache"), "a")
    assert path == Path("cache") / FILES / "1" / "66" / "0cc175b9c0f1b6a831c399e269772661"


@pytest.mark.parametrize("length", [0, 29, 31, 1000])
def test_another_length(tmp_path: Path, length: int) -> None:
    """A file of another length than its page says goes."""
    path = keep(tmp_path, HEAD + bytes(length))
    assert discard_if_not(tmp_path, KEY, size=30, digest="")
    assert not path.exists()
    assert not discard_if_not(tmp_path, KEY, size=30, digest="")


@pytest.mark.parametrize(
    "content", [HEAD + bytes(30), b"", HEAD[:57], (6).to_bytes(8, "little") + HEAD[8:] + bytes(9)]
)
def test_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file of that length stays, and so does what an nginx of another kind has written."""
    path = keep(tmp_path, content)
    assert not discard_if_not(tmp_path, KEY, size=30, digest="")
    assert path.read_bytes() == content


def test_another_digest(tmp_path: Path) -> None:
    """Without a size the digest tells, of files that are not too long to read; without either nothing does."""
    path = keep(tmp_path, HEAD + b"good")
    good, bad = sha256(b"good").hexdigest(), sha256(b"bad").hexdigest()
    for size, digest in ((None, good), (None, ""), (4, bad)):
        assert not discard_if_not(tmp_path, KEY, size=size, digest=digest)
    path.write_bytes(HEAD + bytes(MAX_HASHED_BYTES + 1))
    assert not discard_if_not(tmp_path, KEY, size=None, digest=good)
    path.unlink()
    path.write_bytes(HEAD + b"bad!")
    assert discard_if_not(tmp_path, KEY, size=None, digest=good)
    assert not path.exists()


def test_read_once(tmp_path: Path) -> None:
    """A file is read once, and again when it is another one."""
    path = keep(tmp_path, HEAD + b"good")
    good = sha256(b"good").hexdigest()
    cached_files._digest.cache_clear()
    for _ in range(3):
        assert not discard_if_not(tmp_path, KEY, size=None, digest=good)
    assert cached_files._digest.cache_info().misses == 1
    (tmp_path / "new").write_bytes(HEAD + b"evil")
    (tmp_path / "new").replace(path)
    assert discard_if_not(tmp_path, KEY, size=None, digest=good)


def test_not_ours(tmp_path: Path) -> None:
    """What cannot be removed is no error."""
    path = keep(tmp_path, HEAD)
    path.unlink()
    path.mkdir()
    assert not discard_if_not(tmp_path, KEY, size=30, digest="")
    path.rmdir()
    os.mkfifo(path)
    assert not discard_if_not(tmp_path, KEY, size=30, digest="")
