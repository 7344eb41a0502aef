"""Settings from environment variables: `DECIDER_LISTEN`, `DECIDER_WEBHOOK__URL`, `DECIDER_INDEXES__PYPI__URL`.

Names are case-insensitive, `__` separates the parts, and a `_` inside an index's or repository's name stands for its
hyphen. An empty variable counts as unset, as container tools set those that they were not given.
"""

import re
from collections.abc import Mapping

from decider.errors import Fault
from decider.settings.table import EnvironmentText

__all__ = ["ADMIN_TOKEN", "CONFIG", "PREFIX", "admin_token", "admin_token_faults", "overlay_environment"]

PREFIX = "DECIDER_"
ADMIN_TOKEN = "DECIDER_ADMIN_TOKEN"  # noqa: S105 (the variable's name)
CONFIG = "DECIDER_CONFIG"
_ADMIN_TOKEN_LENGTHS = range(
    32, 501
)  #: nobody guesses one; and nginx takes a header with it (nginx/nginx.conf)

_TABLES = {"INDEXES": "indexes", "REPOSITORIES": "repositories"}
_SINGLE_TABLES = {"EGRESS": "egress", "WEBHOOK": "webhook", "USAGE": "usage"}
# Kubernetes sets these in every pod when a Service is called `decider`; they say nothing about settings.
_SERVICE_LINKS = re.compile(
    r"DECIDER_(?:SERVICE_(?:HOST|PORT)(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)\Z",
    re.IGNORECASE | re.ASCII,
)


def admin_token(environ: Mapping[str, str]) -> str:
    """The administrator's token; "" where none is given."""
    return environ.get(ADMIN_TOKEN, "").strip()


def admin_token_faults(environ: Mapping[str, str]) -> list[Fault]:
    """What is wrong with the administrator's token. It never stands in a fault itself."""
    token = admin_token(environ)
    if not token or len(token.encode("utf-8", "replace")) in _ADMIN_TOKEN_LENGTHS:
        return []
    least, most = _ADMIN_TOKEN_LENGTHS[0], _ADMIN_TOKEN_LENGTHS[-1]
    return [Fault(ADMIN_TOKEN, f"must have {least} to {most} characters: `openssl rand -hex 32` makes one")]


def overlay_environment(values: dict[str, object], environ: Mapping[str, str]) -> list[Fault]:
    """Set in `values`, a decoded configuration file, what the environment says; return what cannot be placed."""
    faults = []
    seen: dict[tuple[str, ...], str] = {}
    for variable in sorted(environ):
        if not _is_setting(variable) or not environ[variable].strip():
            continue
        path = _path(variable)
        if path is None:
            table = variable[len(PREFIX) :].split("_")[0].upper()
            faults.append(Fault(variable, f"must be written {PREFIX}{table}__<NAME>__<KEY>"))
        elif path in seen:
            faults.append(Fault(variable, f"says the same key as {seen[path]}"))
        else:
            seen[path] = variable
            _place(values, path, EnvironmentText.of(variable, environ[variable].strip()))
    return faults


def _is_setting(variable: str) -> bool:
    upper = variable.upper()
    return upper.startswith(PREFIX) and upper not in {ADMIN_TOKEN, CONFIG} and not _SERVICE_LINKS.match(upper)


def _path(variable: str) -> tuple[str, ...] | None:
    key = variable[len(PREFIX) :].upper()
    table, separator, rest = key.partition("__")
    if table in _SINGLE_TABLES and rest:
        return (_SINGLE_TABLES[table], rest.lower())
    if table not in _TABLES:
        return (key.lower(),)
    # From the right: an index may be called `a--b`, no key holds two underscores.
    name, inner, last = rest.rpartition("__")
    if not (separator and inner and name and last):
        return None
    return (_TABLES[table], name.lower().replace("_", "-"), last.lower())


def _place(values: dict[str, object], path: tuple[str, ...], text: EnvironmentText) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # the file's value is of the wrong type, which its reader reports
        values = inner
    values[path[-1]] = text
