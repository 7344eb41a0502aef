"""From a TOML file and the environment to settings, or to everything that is wrong with them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from decider.errors import Fault, InvalidSettings
from decider.settings.environment import CONFIG, admin_token_faults, overlay_environment
from decider.settings.model import Settings
from decider.settings.reading import Reader
from decider.settings.table import Table

__all__ = ["find_config", "load_settings"]


def find_config(environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file that DECIDER_CONFIG names, else the decider.toml of the working directory, if there is one."""
    if environ.get(CONFIG):
        return cwd / environ[CONFIG]
    file = cwd / "decider.toml"
    return file if file.exists() else None


def load_settings(file: Path | None, *, environ: Mapping[str, str], cwd: Path, cpu_count: int) -> Settings:
    """The settings that the file and the environment give; raise InvalidSettings with every fault, by key."""
    cwd = cwd.absolute()
    file = None if file is None else cwd / file
    values = {} if file is None else _read_file(file)
    replaces_indexes = "indexes" in values
    faults = overlay_environment(values, environ) + admin_token_faults(environ)
    if not replaces_indexes:
        _add_default_indexes(values)
    reader = Reader(Table("", values, faults), faults, environ, base=cwd if file is None else file.parent)
    settings = reader.read(str(file) if file else None, cpu_count)
    if faults:
        raise InvalidSettings(faults)
    return settings


def _read_file(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidSettings(
            [Fault("", f"{file} cannot be read: {(error.strerror or 'failed').lower()}")]
        ) from None
    except UnicodeDecodeError:
        raise InvalidSettings([Fault("", f"{file} is not UTF-8 text")]) from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings([Fault("", f"{file} is not valid TOML: {_uncapitalized(error)}")]) from None


def _uncapitalized(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]


def _add_default_indexes(values: dict[str, object]) -> None:
    """`internal`, a directory, and `pypi`, the index that pip uses; before those that the environment adds."""
    given = values.get("indexes", {})
    if isinstance(given, dict):
        internal = dict(given.get("internal", {}))
        if not {"path", "url"} & internal.keys():
            internal["path"] = "packages"
        values["indexes"] = {"internal": internal, "pypi": given.get("pypi", {})} | {
            name: table for name, table in given.items() if name not in {"internal", "pypi"}
        }
