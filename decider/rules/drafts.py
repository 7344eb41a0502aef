"""From what a person or a feed wrote to a rule draft, or to everything that is wrong with it.

Finding rules and evaluating files may not be added here.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, TypeVar

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from decider.errors import Fault, InvalidName, InvalidRule
from decider.filenames import MAX_FILENAME, FileType
from decider.names import parse_pattern
from decider.rules.model import FILE_CONDITIONS, Action, RuleDraft, parse_duration, parse_moment

__all__ = ["apply_patch", "draft_fields", "parse_draft"]

_FIELDS = tuple(field.name for field in msgspec.structs.fields(RuleDraft))
_MAX_TEXT = 2_000  #: characters of a specifier set, a reference or a spelled moment
_MAX_REASON = 10_000  #: characters
_MAX_KEY = 200  #: characters
_MAX_NAMES = 1_000  #: entries of one list
_MAX_AGE = timedelta(days=36_500)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_RULE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

#: Fields that only some actions have; the others would ignore them, and the author would believe in them.
_ONLY_FOR = {
    "extends": (Action.OWN,),
    "lifts": (Action.ALLOW,),
    "final": (Action.BLOCK, Action.HOLD),
}

E = TypeVar("E", bound=Enum)


def parse_draft(
    fields: object, *, at: datetime, indexes: Iterable[str] | None, repositories: Iterable[str] | None
) -> RuleDraft:
    """The draft that `fields` (decoded JSON or TOML) spells; raise InvalidRule with every fault, by field.

    `indexes` and `repositories` are the configured names, None where they are not known (then not checked).
    A null is as good as an absent field; unknown fields are faults. `expires_at` must lie after `at`.
    """
    if not isinstance(fields, Mapping):
        raise InvalidRule([Fault("", "a rule must be an object of fields")])
    known = _Known(
        at,
        None if indexes is None else frozenset(indexes),
        None if repositories is None else frozenset(repositories),
    )
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, value in fields.items():
        if name not in _READERS:
            faults.append(Fault(str(name)[:80], "is no field of a rule"))
        elif value is not None:
            try:
                values[name] = _READERS[name](value, known)
            except ValueError as error:
                faults.append(Fault(name, str(error)))
    faults += [
        Fault(name, "is required") for name in ("action", "project", "reason") if fields.get(name) is None
    ]
    if "action" in values:
        faults += _misfits(fields, values)
    if faults:
        raise InvalidRule(sorted(faults, key=_field_order))
    return RuleDraft(**values)


def draft_fields(draft: RuleDraft) -> dict[str, Any]:
    """What `draft` (or the draft in a stored rule) says, as JSON values without defaults; parse_draft reads it back."""
    values = msgspec.to_builtins(draft)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name in _FIELDS
        if (value := values[name]) is not None and (name, value) != ("final", False)
    }


def apply_patch(draft: RuleDraft, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `draft` with those of `fields` in their place, null removing one (RFC 7396); for parse_draft."""
    return {name: value for name, value in {**draft_fields(draft), **fields}.items() if value is not None}


def _misfits(fields: Mapping[Any, Any], values: Mapping[str, Any]) -> Iterator[Fault]:
    """What does not go with the action; `fields` as given, `values` those that could be read."""
    action = values["action"]
    for name, actions in _ONLY_FOR.items():
        if values.get(name) and action not in actions:
            yield Fault(name, f"goes with {' or '.join(f'`{one}`' for one in actions)} only")
    if action is not Action.OWN:
        return
    if fields.get("index") is None:
        yield Fault("index", "is required: the index that owns the name")
    if values.get("index") in (values.get("extends") or ()):
        yield Fault("extends", f"names the owner `{values['index']}` itself")
    for name in FILE_CONDITIONS:
        if fields.get(name) is not None:
            yield Fault(name, "does not go with `own`: a name is owned with all its files")


def _field_order(fault: Fault) -> int:
    return _FIELDS.index(fault.field) if fault.field in _FIELDS else len(_FIELDS)


def _pattern(text: str) -> str:
    try:
        return str(parse_pattern(text))
    except InvalidName as error:
        raise ValueError(str(error)) from None


@lru_cache(1024)  # a feed says few different things 100,000 times
def _specifiers(text: str) -> str:
    try:
        found = SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(
            f"`{text[:80]}` is no PEP 440 specifier set, as in `>=1.0,<2` or `==1.2.3`"
        ) from None
    if not list(found):
        raise ValueError(f"`{text[:80]}` names no version: leave it out to mean all")
    return text


def _glob(text: str) -> str:
    if "/" in text:
        raise ValueError("no file name has a `/`")
    return text


def _sha256(text: str) -> str:
    if not _SHA256.match(text.lower()):
        raise ValueError("must be 64 hexadecimal digits")
    return text.lower()


def _age(text: str) -> str:
    if not timedelta() < parse_duration(text) <= _MAX_AGE:
        raise ValueError(f"`{text}` is not between a second and a hundred years")
    return text


def _clean(value: object, *, limit: int = _MAX_TEXT, one_line: bool = True) -> str:
    if not isinstance(value, str):
        _fail("must be text")
    text = value.strip()
    if not text:
        _fail("must not be empty")
    if len(text) > limit:
        _fail(f"is longer than {limit} characters")
    if _SURROGATE.search(text):
        _fail("is no valid Unicode text")  # JSON can spell half a character, which no UTF-8 store takes
    if one_line and _CONTROL.search(text):
        _fail("has control characters")
    return text


def _known(name: str, what: str, known: frozenset[str] | None) -> str:
    if known is not None and name not in known:
        _fail(f"no {what} `{name[:80]}` is configured")
    return name


def _several(value: object, read: Callable[[object], str]) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        _fail("must be a list of text")
    if not value:
        _fail("must not be empty: leave it out instead")
    if len(value) > _MAX_NAMES:
        _fail(f"has more than {_MAX_NAMES} entries")
    return tuple(dict.fromkeys(read(one) for one in value))


def _rule_id(value: object) -> str:
    text = _clean(value)
    if not _RULE_ID.match(text):
        _fail(f"`{text[:80]}` is no rule id")
    return text


def _one_of(value: object, choices: type[E]) -> E:
    try:
        return choices(value)
    except ValueError:
        _fail(f"must be one of {', '.join(f'`{one.value}`' for one in choices)}")


def _moment(value: object, *, after: datetime | None = None) -> datetime:
    if isinstance(value, datetime):  # as TOML gives it
        if value.tzinfo is None:
            _fail(f"`{value.isoformat()}` has no zone")
        moment = value.astimezone(UTC)
    else:
        moment = parse_moment(_clean(value))
    if after is not None and moment <= after:
        _fail("lies in the past")
    return moment


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        _fail("must be true or false")
    return value


def _attested(value: object) -> bool:
    if _flag(value):
        _fail("only `false` can be asked for: files without provenance")
    return False


def _fail(detail: str) -> NoReturn:
    raise ValueError(detail)


class _Known(NamedTuple):
    """What values are held against."""

    at: datetime
    indexes: frozenset[str] | None
    repositories: frozenset[str] | None


def _indexes(value: object, known: _Known) -> tuple[str, ...]:
    return _several(value, lambda one: _known(_clean(one), "index", known.indexes))


def _repositories(value: object, known: _Known) -> tuple[str, ...]:
    return _several(value, lambda one: _known(_clean(one), "repository", known.repositories))


#: How each field is read: the value as given, never None, to the value in the draft; ValueError says what is wrong.
_READERS: dict[str, Callable[[Any, _Known], Any]] = {
    "action": lambda value, _: _one_of(value, Action),
    "project": lambda value, _: _pattern(_clean(value)),
    "reason": lambda value, _: _clean(value, limit=_MAX_REASON, one_line=False),
    "versions": lambda value, _: _specifiers(_clean(value)),
    "filename": lambda value, _: _glob(_clean(value, limit=MAX_FILENAME)),
    "sha256": lambda value, _: _sha256(_clean(value)),
    "file_type": lambda value, _: _one_of(value, FileType),
    "index": lambda value, known: _known(_clean(value), "index", known.indexes),
    "younger_than": lambda value, _: _age(_clean(value)),
    "uploaded_after": lambda value, _: _moment(value),
    "attested": lambda value, _: _attested(value),
    "repositories": _repositories,
    "extends": _indexes,
    "lifts": lambda value, _: _several(value, _rule_id),
    "final": lambda value, _: _flag(value),
    "reference": lambda value, _: _clean(value),
    "expires_at": lambda value, known: _moment(value, after=known.at),
    "key": lambda value, _: _clean(value, limit=_MAX_KEY),
}
