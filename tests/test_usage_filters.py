"""Which versions are meant by one that is asked for."""

import sqlite3

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from decider.usage.clients import Clients
from decider.usage.filters import UsageFilter, condition_of

#: As records have them: normalized, but for one that an index made up.
RECORDED = (
    *("0", "0.0", "1", "1.0", "1.0.0", "1.0.1", "1.0.10", "1.00.x", "10", "10.0", "3.1", "3.1.0", "1!3.1", "1!3.1.0.0"),
    *("3.1+cpu", "3.1.0+cpu", "3.1.0+cpu.2", "3.1+cuda", "3.10+cpu", "1!3.1+cpu", "3.1.dev0", "3.1.0.dev0+cpu"),
    *("3.1rc1", "3.1.0rc1", "3.1.0rc1.post2.dev3", "3.1.post0", "3.1.0.post1", "3.1.post1+cpu", "3.1" + ".0" * 18),
)  # fmt: skip


def found(version: str) -> list[str]:
    """The recorded versions that are found: the same ones in both databases."""
    condition = condition_of(UsageFilter(kind=None, version=version), Clients(None))
    query = f'SELECT "version" FROM records WHERE {condition.text}'
    answers = []
    for database in (sqlite3.connect(":memory:"), duckdb.connect()):
        database.execute('CREATE TABLE records ("version" VARCHAR)')
        for one in RECORDED:
            database.execute("INSERT INTO records VALUES (?)", (one,))
        answers.append([one for (one,) in database.execute(query, condition.parameters).fetchall()])
        database.close()
    of_sqlite, of_duckdb = answers
    assert sorted(of_sqlite) == sorted(of_duckdb)
    return sorted(of_sqlite, key=RECORDED.index)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("3.1.0+cpu", ["3.1+cpu", "3.1.0+cpu"]),
        ("v3.1.0+CPU", ["3.1+cpu", "3.1.0+cpu"]),
        ("3.1", ["3.1", "3.1.0", "3.1+cpu", "3.1.0+cpu", "3.1.0+cpu.2", "3.1+cuda", "3.1" + ".0" * 18]),
        ("3.1" + ".0" * 18, ["3.1", "3.1.0", "3.1+cpu", "3.1.0+cpu", "3.1.0+cpu.2", "3.1+cuda", "3.1" + ".0" * 18]),
        ("3.1" + ".0" * 40, ["3.1", "3.1.0", "3.1+cpu", "3.1.0+cpu", "3.1.0+cpu.2", "3.1+cuda", "3.1" + ".0" * 18]),
        ("3.1" + ".1" * 30, []),
        ("1!3.1", ["1!3.1", "1!3.1.0.0", "1!3.1+cpu"]),
        ("3.1.0-RC.1", ["3.1rc1", "3.1.0rc1"]),
        ("3.1-1", ["3.1.0.post1", "3.1.post1+cpu"]),
        ("3.1.0.0.dev", ["3.1.dev0", "3.1.0.dev0+cpu"]),
        ("0.0.0", ["0", "0.0"]),
        ("10", ["10", "10.0"]),
        ("1.00.x", ["1.00.x"]),
        ("3.1.*", []),
        ("3.1+", []),
        ("", []),
        ("9" * 5_000, []),
    ],
)  # fmt: skip
def test_versions(asked: str, expected: list[str]) -> None:
    """A version is asked for in any spelling that PEP 440 holds equal; what is no version is found as it is."""
    assert found(asked) == expected


def _version_texts() -> st.SearchStrategy[str]:
    def optional(*texts: str) -> st.SearchStrategy[str]:
        return st.sampled_from(("", *texts))

    release = st.lists(st.sampled_from("0013"), min_size=1, max_size=4).map(".".join)
    return st.tuples(
        optional("0!", "1!"), release, optional("rc1", "a0"), optional(".post1"), optional(".dev0"), optional("+cpu")
    ).map("".join)  # fmt: skip


@given(_version_texts())
def test_versions_as_specifiers_have_them(asked: str) -> None:
    """What is found is what `==` matches."""
    equal = SpecifierSet(f"=={asked}")
    assert found(asked) == [
        one for one in RECORDED if one != "1.00.x" and equal.contains(Version(one), prereleases=True)
    ]
