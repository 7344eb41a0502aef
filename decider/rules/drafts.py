"""From what a person or a feed wrote to a rule draft, or to everything that is wrong with it.

Finding rules and evaluating files may not be added here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NoReturn, TypeVar

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from decider.errors import Fault, InvalidName, InvalidRule
from decider.files import MAX_FILENAME, FileType
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
T = TypeVar("T")


def parse_draft(
    fields: object, *, at: datetime, indexes: Iterable[str] | None, repositories: Iterable[str] | None
) -> RuleDraft:
    """The draft that `fields` (decoded JSON or TOML) spells; raise InvalidRule with every fault, by field.

    `indexes` and `repositories` are the configured names, None where they are not known (then not checked).
    A null is as good as an absent field; unknown fields are faults. `expires_at` must lie after `at`.
    """
    if not isinstance(fields, Mapping):
        raise InvalidRule([Fault("", "a rule must be an object of fields")])
    reader = _Reader(fields)
    for name in fields:
        if name not in _FIELDS:
            reader.fault(str(name)[:80], "is no field of a rule")
    index_names = None if indexes is None else frozenset(indexes)
    action = reader.choice("action", Action)
    values: dict[str, Any] = {
        "action": action,
        "project": reader.convert("project", _pattern),
        "reason": reader.text("reason", limit=_MAX_REASON, one_line=False),
        "versions": reader.convert("versions", _specifiers),
        "filename": reader.convert("filename", _glob, limit=MAX_FILENAME),
        "sha256": reader.convert("sha256", _sha256),
        "file_type": reader.choice("file_type", FileType),
        "index": reader.name("index", "index", index_names),
        "younger_than": reader.convert("younger_than", _age),
        "uploaded_after": reader.moment("uploaded_after"),
        "attested": reader.attested(),
        "repositories": reader.names(
            "repositories", "repository", None if repositories is None else frozenset(repositories)
        ),
        "extends": reader.names("extends", "index", index_names),
        "lifts": reader.rule_ids("lifts"),
        "final": reader.flag("final"),
        "reference": reader.text("reference"),
        "expires_at": reader.moment("expires_at", after=at),
        "key": reader.text("key", limit=_MAX_KEY),
    }
    for name in ("action", "project", "reason"):
        if fields.get(name) is None:
            reader.fault(name, "is required")
    if action is not None:
        _refuse_misfits(reader, action, values)
    if reader.faults:
        raise InvalidRule(sorted(reader.faults, key=_field_order))
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


def _refuse_misfits(reader: "_Reader", action: Action, values: Mapping[str, Any]) -> None:
    for name, actions in _ONLY_FOR.items():
        if values[name] and action not in actions:
            reader.fault(name, f"goes with {' or '.join(f'`{one}`' for one in actions)} only")
    if action is not Action.OWN:
        return
    if reader.fields.get("index") is None:
        reader.fault("index", "is required: the index that owns the name")
    if values["index"] in (values["extends"] or ()):
        reader.fault("extends", f"names the owner `{values['index']}` itself")
    for name in FILE_CONDITIONS:
        if reader.fields.get(name) is not None:
            reader.fault(name, "does not go with `own`: a name is owned with all its files")


def _field_order(fault: Fault) -> int:
    return _FIELDS.index(fault.field) if fault.field in _FIELDS else len(_FIELDS)


def _pattern(text: str) -> str:
    try:
        return str(parse_pattern(text))
    except InvalidName as error:
        raise ValueError(str(error)) from None


def _specifiers(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(
            f"`{text[:80]}` is no PEP 440 specifier set, as in `>=1.0,<2` or `==1.2.3`"
        ) from None
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


class _Reader:
    """Reads one field after the other and collects what is wrong; a field at fault reads as None."""

    def __init__(self, fields: Mapping[Any, Any]) -> None:
        self.fields = fields
        self.faults: list[Fault] = []

    def fault(self, field: str, detail: str) -> None:
        self.faults.append(Fault(field, detail))

    def text(self, field: str, *, limit: int = _MAX_TEXT, one_line: bool = True) -> str | None:
        return self._read(field, lambda value: _clean(value, limit=limit, one_line=one_line))

    def convert(self, field: str, convert: Callable[[str], str], *, limit: int = _MAX_TEXT) -> str | None:
        return self._read(field, lambda value: convert(_clean(value, limit=limit)))

    def name(self, field: str, what: str, known: frozenset[str] | None) -> str | None:
        return self._read(field, lambda value: _known(_clean(value), what, known))

    def names(self, field: str, what: str, known: frozenset[str] | None) -> tuple[str, ...] | None:
        return self._read(field, lambda value: _several(value, lambda one: _known(_clean(one), what, known)))

    def rule_ids(self, field: str) -> tuple[str, ...] | None:
        return self._read(field, lambda value: _several(value, _rule_id))

    def choice(self, field: str, choices: type[E]) -> E | None:
        return self._read(field, lambda value: _one_of(value, choices))

    def moment(self, field: str, *, after: datetime | None = None) -> datetime | None:
        return self._read(field, lambda value: _moment(value, after=after))

    def flag(self, field: str) -> bool:
        return self._read(field, _flag) or False

    def attested(self) -> bool | None:
        return self._read("attested", _attested)

    def _read(self, field: str, read: Callable[[Any], T]) -> T | None:
        value = self.fields.get(field)
        if value is None:
            return None
        try:
            return read(value)
        except ValueError as error:
            self.fault(field, str(error))
            return None


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


def _moment(value: object, *, after: datetime | None) -> datetime:
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
