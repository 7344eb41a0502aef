"""Names in a sorted file: found, walked and counted as a set would, and never held."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decider.index import project_names
from decider.index.project_names import ProjectNames, write_names, write_sorted_names
from decider.names import NormalizedName, ProjectPattern, parse_pattern

NAMES = st.from_regex(r"[ab0]{1,3}(-[ab0]{1,2}){0,2}", fullmatch=True).map(NormalizedName)
PATTERNS = st.one_of(NAMES, NAMES.map("{}*".format), NAMES.map("{}-*".format), st.just("*")).map(
    parse_pattern
)


def kept(folder: Path, names: set[NormalizedName]) -> ProjectNames:
    return ProjectNames(folder, write_names(folder, names))


@settings(deadline=None)  # it writes files
@given(st.sets(NAMES, max_size=60), st.sets(NAMES), st.lists(PATTERNS))
def test_as_a_set(
    names: set[NormalizedName], others: set[NormalizedName], patterns: list[ProjectPattern]
) -> None:
    """A kept list has the names that it was written with, in order, and no other."""
    with TemporaryDirectory() as folder:
        found = kept(Path(folder), names)
        assert list(found) == sorted(names)
        assert len(found) == len(names)
        assert {name for name in names | others if name in found} == names
        for pattern in patterns:
            assert list(found.matching(pattern)) == [name for name in sorted(names) if pattern.matches(name)]


def test_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces end with a line, wherever they are cut, and together are the whole."""
    names = {NormalizedName(f"name-{'x' * (number % 7)}{number}") for number in range(500)}
    found = kept(tmp_path, names)
    whole = "".join(f"{name}\n" for name in sorted(names)).encode()
    for size in (1, 9, 10, 11, 4096, len(whole), 1 << 20):
        monkeypatch.setattr(project_names, "_CHUNK", size)
        pieces = list(found.chunks())
        assert b"".join(pieces) == whole
        assert all(piece.endswith(b"\n") for piece in pieces)


def test_no_names(tmp_path: Path) -> None:
    """A list of nothing is a list."""
    found = kept(tmp_path, set())
    assert (list(found), len(found), list(found.chunks()), "demo" in found) == ([], 0, [], False)


def test_not_a_name(tmp_path: Path) -> None:
    """What is no name is in no list, nor is a part of one, or two of them."""
    found = kept(tmp_path, {NormalizedName("demo"), NormalizedName("foo-bar")})
    absent: list[object] = [None, 1, b"demo", "dem", "demos", "emo", "foo", "demo\nfoo-bar", "", "\n", "é"]
    assert [one for one in absent if one in found] == []


def test_digest(tmp_path: Path) -> None:
    """The same names have the same digest, in whatever order they came, and other names another."""
    assert write_names(tmp_path, ["b", "a", "b"]) == write_sorted_names(tmp_path, iter(["a", "b"]))
    assert write_names(tmp_path, ["a"]) != write_names(tmp_path, ["b"])
    assert len(list(tmp_path.iterdir())) == 3


def test_read_after_removal(tmp_path: Path) -> None:
    """Who holds a list may go on reading it when its file is gone."""
    found = kept(tmp_path, {NormalizedName("demo")})
    for path in tmp_path.iterdir():
        path.unlink()
    assert ("demo" in found, list(found)) == (True, ["demo"])
    with pytest.raises(FileNotFoundError):
        ProjectNames(tmp_path, found.digest)


def test_set_operations(tmp_path: Path) -> None:
    """It goes together with sets in memory."""
    found = kept(tmp_path, {NormalizedName("a"), NormalizedName("b")})
    other = frozenset({NormalizedName("b"), NormalizedName("c")})
    assert found & other == {"b"}
    assert other | found == {"a", "b", "c"}
    assert isinstance(found | other, frozenset)
