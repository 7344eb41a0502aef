"""What pip on this machine is told: which index it uses, which certificates it trusts.

Reads what pip reads, in its order, without pip: decider's environment need not hold it. pip's user guide,
"Configuration": the files of the machine, the user, the virtual environment and PIP_CONFIG_FILE, each overriding those
before; then a command's own section overrides [global]; then PIP_* variables override files.
"""

import ast
import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from decider.addresses import parse_base_url

__all__ = ["PipSetting", "pip_index", "pip_setting"]

_SECTIONS = ("global", "install")


class PipSetting(NamedTuple):
    """A value, and where pip has it from: a variable's name or a file."""

    value: str
    source: str


def pip_index(environ: Mapping[str, str], *, prefix: str = sys.prefix) -> str:
    """The base URL of the index that pip uses; raise ValueError, without secrets, where decider cannot use it."""
    found = pip_setting("index-url", environ, prefix=prefix)
    if found is None:
        return parse_base_url(_usual_index())
    try:
        if found.value.lower().startswith("file:"):
            raise ValueError("is a file:// URL")  # noqa: TRY301 (told like the other faults)
        return parse_base_url(found.value)
    except ValueError as error:
        detail = f"no url is set, and the index that pip uses ({found.source}) cannot be taken: it {error}"
        raise ValueError(f"{detail}; set url to an http or https index, or path to a directory") from None


def _usual_index() -> str:
    """The index that pip uses where nothing is set, as a library names it.

    Its source is read: to import it takes half a second with each command, and 12 MB of `decider up` for good.
    """
    library = find_spec("pypi_simple")
    if library is not None and library.origin is not None:
        for statement in ast.parse(Path(library.origin).read_bytes()).body:
            match statement:
                case ast.AnnAssign(
                    target=ast.Name(id="PYPI_SIMPLE_ENDPOINT"), value=ast.Constant(value=str(url))
                ):
                    return url
    import pypi_simple  # noqa: PLC0415 (a release that is laid out otherwise)

    return pypi_simple.PYPI_SIMPLE_ENDPOINT


def pip_setting(name: str, environ: Mapping[str, str], *, prefix: str = sys.prefix) -> PipSetting | None:
    """What pip takes for its option `name` when it installs, None when nothing sets it; raise ValueError for a file
    that pip could not read either.
    """
    variable = f"PIP_{name.upper().replace('-', '_')}"
    if environ.get(variable):
        return PipSetting(environ[variable].strip(), variable)
    found: dict[str, PipSetting] = {}
    for file in _files(environ, prefix):
        parser = _parse(file)
        for section in _SECTIONS:
            value = _value(parser, section, name) if parser else None
            if value:
                found[section] = PipSetting(value, str(file))
    return found.get("install") or found.get("global")


def _files(environ: Mapping[str, str], prefix: str) -> Iterator[Path]:
    """The configuration files of pip, the overriding ones last, whether they exist or not."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    home = Path(environ.get("HOME") or Path.home())
    for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    if not (chosen and Path(chosen).exists()):
        yield home / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(prefix, "pip.conf")
    if chosen:
        yield Path(chosen)


def _parse(file: Path) -> configparser.RawConfigParser | None:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except OSError:
        return None  # not there, or not for this user to read: pip goes on too
    except (configparser.Error, UnicodeDecodeError):
        raise ValueError(f"pip's configuration file {file} cannot be read") from None
    return parser


def _value(parser: configparser.RawConfigParser, section: str, name: str) -> str | None:
    """The option in any of the spellings that pip takes for one: `index-url`, `index_url`, `--index-url`."""
    if not parser.has_section(section):
        return None
    spelled = {key.replace("_", "-").removeprefix("--"): value for key, value in parser.items(section)}
    return (spelled.get(name) or "").strip() or None
