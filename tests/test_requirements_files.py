"""What requirements and lock files ask for."""

import pytest
from packaging.specifiers import SpecifierSet

from decider.errors import Fault, InvalidRequest
from decider.names import NormalizedName
from decider.requirements_files import Wanted, parse_wanted, wanted_file

DEMO = NormalizedName("demo")
DIGITS = "9" * 5_000  #: more than int() reads
WHEEL = "demo-1.0+local.1-py3-none-any.whl"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("demo", [Wanted(DEMO)]),
        ("Demo_ [x,y] >= 1, <2 ; python_version < '3.9'", None),
        (
            "De.Mo[x,y]>=1,<2; python_version < '3.9'",
            [Wanted(NormalizedName("de-mo"), SpecifierSet(">=1,<2"))],
        ),
        (
            "demo==1.0 \\\n    --hash=sha256:ab \\\n    --hash=sha256:cd",
            [Wanted(DEMO, SpecifierSet("==1.0"))],
        ),
        ("demo==1.0  # why", [Wanted(DEMO, SpecifierSet("==1.0"))]),
        ("# only a comment\n\n", []),
        ("\ufeffdemo", [Wanted(DEMO)]),
        ("demo \\", [Wanted(DEMO)]),
        ("-i https://index.example/simple/\n--no-binary :all:", []),
        ("-e .\n./folder\nfile:///x/demo.whl\ngit+https://git.example/demo\ndemo-1.0.tar.gz\n.\n", []),
        ("demo @ git+https://git.example/demo", []),
        ("demo @ file:///x/demo-1.0.tar.gz", []),
        (
            f"demo @ https://index.example/files/demo/{WHEEL.replace('+', '%2B')}#sha256=ab",
            [Wanted(DEMO, None, (WHEEL,))],
        ),
        (f"https://index.example/files/demo/{WHEEL} --hash=sha256:ab", [Wanted(DEMO, None, (WHEEL,))]),
    ],
)
def test_requirements(line: str, expected: list[Wanted] | None) -> None:
    """Each line of a requirements file is read as pip reads it; what no index serves is left out."""
    if expected is None:
        with pytest.raises(InvalidRequest):
            parse_wanted(line, filename="requirements.txt")
    else:
        assert parse_wanted(line, filename="requirements.txt") == expected


def test_requirements_faults() -> None:
    """Every line that cannot be read is reported, by number."""
    text = "demo\n\n==1\n-r base.txt\n--constraint=c.txt\nhttps://index.example/x\nd\u00e9mo\n"
    with pytest.raises(InvalidRequest) as caught:
        parse_wanted(text, filename="sub/dev-requirements.in")
    assert [fault.field for fault in caught.value.faults] == [
        "line 3",
        "line 4",
        "line 5",
        "line 6",
        "line 7",
    ]
    assert caught.value.faults[1].detail == "names another file: its lines are wanted here"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"demo=={DIGITS}", "is longer than 2000 characters"),
        ("demo" + ",".join([">=1"] * 200_000), "is longer than 2000 characters"),
        (f"https://index.example/demo-{DIGITS[:4_500]}.tar.gz", "is longer than 2000 characters"),
        ("demo; " + "(" * 1_900, "is no requirement"),
        ("https://[index.example/demo-1.0.tar.gz", "is no URL"),
        ("demo @ https://[index.example/demo-1.0.tar.gz", "is no requirement|is no URL"),
    ],
    ids=["digits", "specifiers", "digits of a file", "parentheses", "URL", "direct URL"],
)
def test_requirements_made_to_hurt(line: str, told: str) -> None:
    """A line that would cost more than it can mean, or that a parser stumbles over, is refused by its number."""
    with pytest.raises(InvalidRequest, match=told) as caught:
        parse_wanted(f"demo\n{line}\n", filename="requirements.txt")
    assert [fault.field for fault in caught.value.faults] == ["line 2"]


def test_requirement_with_many_hashes() -> None:
    """How many hashes a requirement has does not matter."""
    line = "demo==1.0" + "".join(f" \\\n    --hash=sha256:{number:064x}" for number in range(100))
    assert parse_wanted(line, filename="requirements.txt") == [Wanted(DEMO, SpecifierSet("==1.0"))]


@pytest.mark.parametrize("filename", ["uv.lock", "pylock.toml"])
@pytest.mark.parametrize(
    "text",
    [
        "a." * 100_000 + "a = 1",
        " . ".join(["'%'"] * 100_000) + " = 1",
        '["\\"' + '"."'.join("a" * 100_000) + '"]',
        f"version = {DIGITS}",
        "a = " + "[" * 50_000,
        (
            "version = 1\nlock-version = '1.0'\ncreated-by = 'x'\n[[package]]\nname = 'demo'\n"
            f"version = '{DIGITS}'\nsource = {{registry = 'x'}}\n[[packages]]\nname = 'demo'\n"
            f"version = '{DIGITS}'\narchive = {{url = 'x', hashes = {{}}}}"
        ),
        (
            "version = 1\nlock-version = '1.0'\ncreated-by = 'x'\n[[package]]\nname = 'demo'\nversion = '1'\n"
            "source = {url = 'https://[x'}\n[[packages]]\nname = 'demo'\n"
            "archive = {url = 'https://[x/demo-1.zip', hashes = {sha256 = 'ab'}}"
        ),
        f"lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname = 'demo'\nmarker = '{'(' * 50_000}'",
    ],
    ids=["key", "quoted key", "table", "digits", "nesting", "version", "URL", "marker"],
)
def test_lock_made_to_hurt(text: str, filename: str) -> None:
    """A lock file that would keep its parser busy, or that it stumbles over, is refused."""
    with pytest.raises(InvalidRequest):
        parse_wanted(text, filename=filename)


UV_LOCK = """
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "demo" }]

[[package]]
name = "demo"
version = "1.0+local.1"
source = { registry = "https://index.example/simple/" }
sdist = { url = "https://index.example/files/demo/demo-1.0%2Blocal.1.tar.gz", hash = "sha256:ab", size = 1 }
wheels = [
    { url = "https://index.example/files/demo/demo-1.0%2Blocal.1-py3-none-any.whl", hash = "sha256:cd" },
]

[[package]]
name = "from-git"
version = "2"
source = { git = "https://git.example/x?rev=1#1" }

[[package]]
name = "direct"
version = "3"
source = { url = "https://index.example/direct-3.zip" }
sdist = { hash = "sha256:ef" }
"""


def test_uv_lock() -> None:
    """A uv.lock asks for the files it names, at their version."""
    assert parse_wanted(UV_LOCK, filename="uv.lock") == [
        Wanted(DEMO, SpecifierSet("==1.0+local.1"), ("demo-1.0+local.1.tar.gz", WHEEL)),
        Wanted(NormalizedName("direct"), SpecifierSet("==3"), ("direct-3.zip",)),
    ]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("version = 2", "version"),
        ("version = ", ""),
        ("version = 1\npackage = 3", "version"),
        ("version = 1\n[[package]]\nname = 'x'\nversion = 'soon'\nsource = {registry = 'x'}", "package[0]"),
        ("version = 1\n[[package]]\nname = 'x y'\nversion = '1'\nsource = {registry = 'x'}", "package[0]"),
        ("version = 1\npackage = ['x']", "package[0]"),
        (
            "version = 1\n[[package]]\nname='x'\nversion='1'\nwheels=['x']\nsource={registry='x'}",
            "package[0]",
        ),
    ],
)
def test_uv_lock_faults(text: str, field: str) -> None:
    """A uv.lock that cannot be read is refused, naming where."""
    with pytest.raises(InvalidRequest) as caught:
        parse_wanted(text, filename="uv.lock")
    assert [fault.field for fault in caught.value.faults] == [field]


PYLOCK = """
lock-version = "1.0"
created-by = "x"

[[packages]]
name = "demo"
version = "1.0"
wheels = [{ url = "https://index.example/demo-1.0-py3-none-any.whl", hashes = { sha256 = "ab" } }]
sdist = { name = "demo-1.0.tar.gz", path = "x/y", hashes = { sha256 = "ab" } }

[[packages]]
name = "here"
directory = { path = "." }

[[packages]]
name = "archived"
archive = { url = "https://index.example/archived-2.zip", hashes = { sha256 = "ab" } }
"""


@pytest.mark.parametrize("filename", ["pylock.toml", "pylock.dev.toml"])
def test_pylock(filename: str) -> None:
    """A pylock.toml (PEP 751) asks for the files it names, at their version."""
    assert parse_wanted(PYLOCK, filename=filename) == [
        Wanted(DEMO, SpecifierSet("==1.0"), ("demo-1.0.tar.gz", "demo-1.0-py3-none-any.whl")),
        Wanted(NormalizedName("archived"), None, ("archived-2.zip",)),
    ]


@pytest.mark.parametrize("text", ["", "lock-version = '2.0'\ncreated-by='x'\npackages=[]", "[["])
def test_pylock_faults(text: str) -> None:
    """A pylock.toml that breaks its specification is refused."""
    with pytest.raises(InvalidRequest):
        parse_wanted(text, filename="pylock.toml")


def test_unknown_format() -> None:
    """A file of another kind is refused by its name."""
    with pytest.raises(InvalidRequest) as caught:
        parse_wanted("", filename="poetry.lock")
    assert caught.value.faults == (
        Fault("filename", "`poetry.lock` is none of `requirements.txt`, `uv.lock`, `pylock.toml`"),
    )


def test_wanted_file() -> None:
    """A distribution file's own name tells its project; any other name is refused."""
    assert wanted_file("De_mo-1.0.tar.gz") == Wanted(NormalizedName("de-mo"), None, ("De_mo-1.0.tar.gz",))
    assert wanted_file("demo-1.0-py3-none-any.whl").project == "demo"
    for name in ("demo", "demo.whl", "demo.exe", "../x-1.tar.gz", f"demo-{DIGITS}.zip"):
        with pytest.raises(InvalidRequest):
            wanted_file(name)
