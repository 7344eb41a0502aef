"""What `decider explain` is asked about: its TARGET, requirements files with those they name, lock files."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from decider.errors import Fault, InvalidRequest
from decider.filenames import FileType, file_type
from decider.names import NormalizedName, parse_project_name
from decider.requirements_files import Wanted, parse_wanted, wanted_file

__all__ = ["is_exact", "parse_target", "read_lock", "read_requirements"]

# pip takes `-r file`, `-rfile`, `--requirement file` and `--requirement=file`.
_NESTED = re.compile(
    r"\s*(?:-(?P<short>[rc])\s*|--(?P<long>requirement|constraint)[\s=]\s*)(?P<file>[^\s#][^#]*?)\s*(?:#.*)?$"
)
_PYLOCK = re.compile(r"^lock-version\s*=", re.MULTILINE)


def parse_target(text: str) -> Wanted:
    """What PROJECT, PROJECT==VERSION, FILENAME or PROJECT/FILENAME asks for; raise InvalidRequest or InvalidName."""
    project, separator, filename = text.partition("/")
    if separator:
        return Wanted(parse_project_name(project), None, (filename,))
    if file_type(text) is not FileType.OTHER:
        return wanted_file(text)
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return Wanted(parse_project_name(text))
    return Wanted(parse_project_name(requirement.name), requirement.specifier or None)


def is_exact(wanted: Wanted) -> bool:
    """Whether it leaves an installer no other version to go to."""
    pins = (part for part in wanted.specifier or () if part.operator in {"==", "==="})
    return bool(wanted.filenames) or any(not part.version.endswith(".*") for part in pins)


def read_lock(file: Path) -> list[Wanted]:
    """What a lock file asks for, whatever it is called; raise InvalidRequest."""
    text = _read(file)
    name = (
        file.name if file.suffix in {".txt", ".in"} else "pylock.toml" if _PYLOCK.search(text) else "uv.lock"
    )
    return _parse(text, file, name=name)


def read_requirements(files: Iterable[Path]) -> list[Wanted]:
    """What requirements files and those they name with -r ask for, narrowed by those they name with -c."""
    wanted: list[Wanted] = []
    constraints: list[Wanted] = []
    for file in files:
        _collect(file, wanted, constraints, seen=set())
    limits: dict[NormalizedName, SpecifierSet] = {}
    for one in constraints:
        limits[one.project] = limits.get(one.project, SpecifierSet()) & (one.specifier or SpecifierSet())
    return [
        replace(one, specifier=(one.specifier or SpecifierSet()) & limits[one.project])
        if one.project in limits
        else one
        for one in wanted
    ]


def _collect(file: Path, wanted: list[Wanted], constraints: list[Wanted], *, seen: set[Path]) -> None:
    if file.resolve() in seen:
        return
    seen.add(file.resolve())
    lines = []
    for line in _read(file).splitlines():
        nested = _NESTED.match(line)
        lines.append("" if nested else line)  # an empty line keeps the numbers of those after it
        if nested:
            is_constraint = (nested["short"] or nested["long"])[0] == "c"
            _collect(
                file.parent / nested["file"], constraints if is_constraint else wanted, constraints, seen=seen
            )
    wanted += _parse("\n".join(lines), file, name="requirements.txt")


def _parse(text: str, file: Path, *, name: str) -> list[Wanted]:
    try:
        return parse_wanted(text, filename=name)
    except InvalidRequest as error:
        faults = [
            Fault(f"{file}: {fault.field}" if fault.field else str(file), fault.detail)
            for fault in error.faults
        ]
        raise InvalidRequest(faults) from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequest(
            [Fault(str(file), f"cannot be read: {(error.strerror or 'failed').lower()}")]
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest([Fault(str(file), "is not UTF-8 text")]) from error
