"""What requirements and lock files ask an index for.

Specs: dependency specifiers (PEP 508), version specifiers (PEP 440), pylock.toml (PEP 751); requirements files as
pip documents them, uv.lock as uv writes it. What such a file takes from elsewhere than an index (a folder, a
repository of sources) passes by decider and is left out. Reading files may not be added here: texts enter.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import Package, Pylock, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from decider.errors import Fault, InvalidName, InvalidRequest
from decider.names import NormalizedName, parse_project_name

__all__ = ["Wanted", "parse_wanted", "wanted_file"]

_COMMENT = re.compile(r"(?:^|\s)#.*$")
_OPTIONS_AFTER = re.compile(r"\s--?[a-z].*$")  # ` --hash=sha256:…`, ` --config-settings …`
_NESTED = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:[\s=]|$)")
_LOCAL = re.compile(r"file:|\.{1,2}$|[^\s@]*[/\\]|[^\s@]+\.(?:whl|zip|tar\.\w+|tgz)$")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PYLOCK = re.compile(r"pylock(?:\.[^.]+)?\.toml\Z")
_SOURCES = re.compile(r"(?:git|hg|svn|bzr)\+")
_MAX_REQUIREMENT = (
    2_000  #: characters of one, its options apart: its parts are held against each file of a project
)
_KEY_PART = r"""(?:[\w-]++|"(?>\\.|[^"\\\n])*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?<![\w\\-]){_KEY_PART}(?:[ \t]*+\.[ \t]*+{_KEY_PART}){{32}}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One project that a file asks for."""

    project: NormalizedName
    specifier: SpecifierSet | None = None  #: None: any version
    filenames: tuple[str, ...] = ()  #: the files it names; (): whichever suits the installer


def parse_wanted(text: str, *, filename: str) -> list[Wanted]:
    """What the file asks for, in its order; raise InvalidRequest with every fault, by line or table.

    `filename` tells the format: `uv.lock`, `pylock.toml` (or `pylock.<name>.toml`), `*.txt` and `*.in`.
    """
    name = re.split(r"[/\\]", filename)[-1]
    if name == "uv.lock":
        return _uv_lock(_toml(text))
    if _PYLOCK.match(name):
        return _pylock(_toml(text))
    if name.endswith((".txt", ".in")):
        return _requirements(text)
    raise _refused("filename", f"`{name[:80]}` is none of `requirements.txt`, `uv.lock`, `pylock.toml`")


def wanted_file(filename: str) -> Wanted:
    """What a distribution file's own name asks for; raise InvalidRequest where it tells no project."""
    try:
        if filename.endswith(".whl"):
            project = parse_project_name(parse_wheel_filename(filename)[0])
        else:
            project = parse_project_name(parse_sdist_filename(filename)[0])
    except (ValueError, InvalidName) as error:  # also the int of a version of thousands of digits
        raise _refused("filename", f"`{filename[:80]}` tells no project: name that too") from error
    return Wanted(project, None, (filename,))


# Requirements files


def _requirements(text: str) -> list[Wanted]:
    wanted: list[Wanted] = []
    faults: list[Fault] = []
    for number, line in _logical_lines(text):
        try:
            found = _requirement(line)
        except InvalidRequest as error:
            faults.append(Fault(f"line {number}", error.faults[0].detail))
        else:
            wanted += [found] if found else []
    if faults:
        raise InvalidRequest(faults)
    return wanted


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their first number: continuations joined, comments and blank ones taken off."""
    start, joined = 1, ""
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        if not joined:
            start = number
        # A comment ends a continuation, as in pip.
        if raw.endswith("\\") and not _COMMENT.match(raw):
            joined += raw[:-1] + " "
            continue
        line = _COMMENT.sub("", joined + raw).strip()
        joined = ""
        if line:
            yield start, line
    if joined.strip():
        yield start, _COMMENT.sub("", joined).strip()


def _requirement(line: str) -> Wanted | None:
    if _NESTED.match(line):
        raise _refused("", "names another file: its lines are wanted here")
    line = _OPTIONS_AFTER.sub("", line)
    if line.startswith("-") or _SOURCES.match(line):
        return None
    if len(line) > _MAX_REQUIREMENT:
        raise _refused("", f"is longer than {_MAX_REQUIREMENT} characters")
    if _URL.match(line) and not line.startswith("file:"):
        return wanted_file(_last_component(line))
    if _LOCAL.match(line):
        return None
    try:
        requirement = Requirement(line)
        project = parse_project_name(requirement.name)
    except (InvalidRequirement, InvalidName, RecursionError) as error:  # parentheses in markers nest
        raise _refused("", f"`{line[:80]}` is no requirement") from error
    if requirement.url is None:
        return Wanted(project, requirement.specifier or None)
    if (
        requirement.url.startswith("file:")
        or not _URL.match(requirement.url)
        or _SOURCES.match(requirement.url)
    ):
        return None
    return Wanted(project, None, (_last_component(requirement.url),))


def _last_component(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError as error:
        raise _refused("", f"`{url[:80]}` is no URL") from error
    return unquote(path.rsplit("/", 1)[-1])


# Lock files


def _toml(text: str) -> dict[str, Any]:
    # The parser's time grows with the square of a key's parts: 100,000 of them would keep a process for minutes.
    if _DEEP_KEY.search(text):
        raise _refused("", "no lock file: it has more than 32 names joined by dots")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also the int of thousands of digits
        raise _refused("", f"no TOML: {error}") from error


def _uv_lock(document: Mapping[str, Any]) -> list[Wanted]:
    packages = document.get("package", [])
    if document.get("version") != 1 or not isinstance(packages, list):
        raise _refused("version", "no uv.lock of version 1")
    wanted: list[Wanted] = []
    faults: list[Fault] = []
    for number, package in enumerate(packages):
        try:
            found = _uv_package(package)
        except InvalidRequest as error:
            faults.append(Fault(f"package[{number}]", error.faults[0].detail))
        else:
            wanted += [found] if found else []
    if faults:
        raise InvalidRequest(faults)
    return wanted


def _uv_package(package: Any) -> Wanted | None:
    try:
        source = package["source"]
        if not source.keys() & {"registry", "url"}:
            return None  # a folder, a workspace member, a repository of sources
        project = parse_project_name(package["name"])
        specifier = SpecifierSet(f"=={Version(package['version'])}")
        files = [*([package["sdist"]] if "sdist" in package else []), *package.get("wheels", [])]
        named = [file.get("url") or file.get("path") or file.get("filename") for file in files]
        if "url" in source:
            named = [source["url"]]
        return Wanted(project, specifier, tuple(_last_component(name) for name in named if name))
    except (KeyError, TypeError, AttributeError, ValueError, InvalidName) as error:
        raise _refused("", "no name, version and source that can be read") from error


def _pylock(document: Mapping[str, Any]) -> list[Wanted]:
    try:
        lock = Pylock.from_dict(document)
        return [wanted for package in lock.packages if (wanted := _pylock_package(package))]
    except (PylockValidationError, ValueError, InvalidName, RecursionError) as error:
        raise _refused("", str(error).replace("\n", " ")) from error


def _pylock_package(package: Package) -> Wanted | None:
    if package.vcs or package.directory or (package.archive and not package.archive.url):
        return None
    project = parse_project_name(package.name)
    specifier = SpecifierSet(f"=={package.version}") if package.version else None
    if package.archive and package.archive.url:
        return Wanted(project, specifier, (_last_component(package.archive.url),))
    sdists = (package.sdist.filename,) if package.sdist else ()
    return Wanted(project, specifier, (*sdists, *(wheel.filename for wheel in package.wheels or ())))


def _refused(field: str, detail: str) -> InvalidRequest:
    return InvalidRequest([Fault(field, detail)])
