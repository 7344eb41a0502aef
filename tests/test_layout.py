"""The tree as a whole: which module may import which, and what may stand in no file (STYLE.md, the map)."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "decider"

#: From left to right; a module imports from columns on its left only, so siblings do not see each other.
COLUMNS: tuple[frozenset[str], ...] = tuple(
    frozenset(column.split())
    for column in (
        "__init__ errors addresses record_names tokens logs metrics processes run_files",
        "names pip_config children nginx_program run_locks unix_sockets",
        "filenames certificates requirements_files",
        "files",
        "pages rules",
        "decision settings",
        "explanations hosts",
        "index store",
        "snapshots writes usage webhooks worker_user caches",
        "ownership project_lists nginx_config",
        "repository data_dir log_files egress",
        "services",
        "web",
        "wsgi",
        "supervise",
        "cli",
        "__main__",
    )
)
#: The pure core: no I/O, no clock, no configuration of its own.
PURE = frozenset(
    {
        "errors",
        "names",
        "filenames",
        "files",
        "pages",
        "rules",
        "decision",
        "explanations",
        "requirements_files",
    }
)
#: Beyond the standard library, all that the core may use.
CORE_LIBRARIES = frozenset({"msgspec", "packaging", "pypi_simple"})
IMPURE_STANDARD = frozenset(
    {
        *{"os", "sys", "io", "pathlib", "shutil", "tempfile", "sqlite3", "logging", "time", "signal"},
        *{"socket", "ssl", "http", "urllib", "subprocess", "threading", "multiprocessing", "asyncio"},
        *{"random", "secrets"},
    }
)
#: Who alone may use a library.
HOMES = {
    "flask": {"web", "wsgi"},
    "werkzeug": {"web", "wsgi"},
    "click": {"cli"},
    "redis": {"store"},
    "sqlite3": {"store", "usage"},
    "gunicorn": {"wsgi"},
    "aiohttp": {"egress"},
    "yarl": {"egress"},
    "prometheus_client": {"metrics"},
    "subprocess": {"processes", "supervise", "usage", "children", "nginx_program"},
}


def sources() -> Iterator[tuple[str, Path]]:
    """Module of the map and file, for every source file of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Dotted names that a file imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def column_of(module: str) -> int:
    places = [number for number, column in enumerate(COLUMNS) if module in column]
    assert len(places) == 1, f"{module} is on the map {len(places)} times: give it one place in COLUMNS"
    return places[0]


def of_package(name: str) -> str | None:
    """The module of the map that a dotted name belongs to; None outside the package."""
    top, _, rest = name.partition(".")
    if top != "decider":
        return None
    module = rest.partition(".")[0] or "__init__"
    is_module = (PACKAGE / module).is_dir() or (PACKAGE / f"{module}.py").is_file()
    return module if is_module else "__init__"


def test_every_module_is_on_the_map() -> None:
    """Every module has its place, and no place is left empty."""
    assert {module for module, _ in sources()} == frozenset().union(*COLUMNS)


def test_imports_point_left() -> None:
    """A module imports only from modules left of it."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for module, path in sources()
        for name in imported(path)
        if (other := of_package(name)) is not None
        and other != module
        and column_of(other) >= column_of(module)
    ]
    assert wrong == []


def test_core_is_pure() -> None:
    """The core imports nothing that could read a file, a clock, the environment or the network."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for module, path in sources()
        if module in PURE
        for name in imported(path)
        if not _is_pure(name)
    ]
    assert wrong == []


def _is_pure(name: str) -> bool:
    top = name.partition(".")[0]
    if top in IMPURE_STANDARD:
        return name.startswith("urllib.parse.")
    return top in CORE_LIBRARIES or top == "decider" or top in sys.stdlib_module_names


def test_core_has_no_clock() -> None:
    """The core asks nobody for the time: it is given as `at`."""
    clocks = {"now", "utcnow", "today", "getenv"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for module, path in sources()
        if module in PURE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]
    assert wrong == []


@pytest.mark.parametrize("library", sorted(HOMES))
def test_libraries_stay_at_home(library: str) -> None:
    """Each library is imported by the modules that it is there for, and by no other."""
    users = {
        module for module, path in sources() for name in imported(path) if name.partition(".")[0] == library
    }
    assert users <= HOMES[library]


# What may stand nowhere


def tracked_files() -> list[Path]:
    """Every file under version control, or, without it, every file that is not generated."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    hidden = re.compile(r"(^|/)(\.(?!ci/)|__pycache__|var/|build/|dist/)")
    return [p for p in ROOT.rglob("*") if p.is_file() and not hidden.search(p.relative_to(ROOT).as_posix())]


def found_in_tree(pattern: re.Pattern[str]) -> list[str]:
    """`file:line` of every match."""
    hits = []
    for path in tracked_files():
        text = path.read_bytes().decode(errors="replace")
        hits += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
            for match in pattern.finditer(text)
        ]
    return hits


def test_no_registry_is_named() -> None:
    """No file names the host of a package registry: the index is pip's, or comes from the configuration."""
    # Put together here, so that this file does not name them either.
    names = [
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("npmjs", "com"),
        ("npmjs", "org"),
        ("deb", "debian", "org"),
    ]
    names += [("security", "debian", "org"), ("ghcr", "io"), ("quay", "io"), ("docker", "io")]
    hosts = "|".join(re.escape(".".join(name)) for name in names)
    assert found_in_tree(re.compile(hosts, re.IGNORECASE)) == []


def test_no_path_of_a_developer() -> None:
    """No file carries a path of the machine that it was written on."""
    folders = ["ro" + "ot", "ho" + "me/[a-z]+", "wo" + "rk", "Us" + "ers"]
    assert found_in_tree(re.compile(rf"(?<![\w.$}}~>])/(?:{'|'.join(folders)})/")) == []


def test_top_level_is_fixed() -> None:
    """The top of the tree holds what DESIGN 10 names, and nothing else."""
    top = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert top <= {
        ".ci", ".gitignore", ".dockerignore", "LICENSE", "README.md", "decider", "deploy", "nginx", "pyproject.toml", "tests",
    }  # fmt: skip
