"""Rules as a file holds them: `{"rules": […]}` in JSON, `[[rules]]` in TOML.

What a rule may say is for `decider.rules` to judge.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from decider.errors import Fault, InvalidRequest
from decider.record_names import RECORD_NAME_FAULT, is_record_name

__all__ = ["read_rules", "render_rules"]


def read_rules(text: str, *, name: str, ruleset: str | None) -> dict[str, list[tuple[int, Any]]]:
    """Ruleset → its rules in a file called `name`, not yet validated, with their number there.

    `ruleset` is where all go; None: where each one's `ruleset` says. Raise InvalidRequest unless the file is a list
    of rules. A name that ends in neither .toml nor .json may hold either.
    """
    if ruleset is not None and not is_record_name(ruleset):
        raise InvalidRequest([Fault("ruleset", RECORD_NAME_FAULT)])
    found: dict[str, list[tuple[int, Any]]] = {} if ruleset is None else {ruleset: []}
    faults = []
    for number, entry in enumerate(_entries(_decode(text, name), name)):
        fields = dict(entry) if isinstance(entry, dict) else entry
        own = fields.pop("ruleset", None) if isinstance(fields, dict) else None
        target = own if ruleset is None else ruleset
        if target is None:
            faults.append(Fault(f"rules[{number}].ruleset", "must be set, or --ruleset given for all"))
        elif not isinstance(target, str) or not is_record_name(target):
            faults.append(Fault(f"rules[{number}].ruleset", RECORD_NAME_FAULT))
        else:
            found.setdefault(target, []).append((number, fields))
    if faults:
        raise InvalidRequest(faults)
    return found


def render_rules(rules: Iterable[Mapping[str, Any]], format_: str) -> str:
    """The file that holds `rules` (texts, truths and lists of texts), "toml" or "json"; read_rules reads it back."""
    if format_ == "json":
        return json.dumps({"rules": list(rules)}, indent=2, ensure_ascii=False) + "\n"
    tables = ["".join(f"{key} = {_toml_value(value)}\n" for key, value in rule.items()) for rule in rules]
    return "\n".join(f"[[rules]]\n{table}" for table in tables) or "rules = []\n"


def _decode(text: str, name: str) -> Any:
    faults = []
    if not name.endswith(".toml"):
        try:
            return json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            faults.append(f"not valid JSON: {error}")
    if not name.endswith(".json"):
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # also the int of thousands of digits
            faults.append(f"not valid TOML: {error}")
    raise InvalidRequest([Fault("", f"{name}: {fault}") for fault in faults])


def _distinct(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object; raise ValueError where a name stands twice, of which only the last would count."""
    for name, count in Counter(name for name, _ in members).items():
        if count > 1:
            raise ValueError(f"`{name[:80]}` is given more than once")
    return dict(members)


def _entries(document: Any, name: str) -> list[Any]:
    entries = document.get("rules") if isinstance(document, dict) else document
    if not isinstance(entries, list) or (isinstance(document, dict) and document.keys() != {"rules"}):
        raise InvalidRequest(
            [Fault("", f'{name}: must hold `rules`, a list, and nothing else: {{"rules": […]}}')]
        )
    return entries


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    # A JSON string is a TOML basic string, but for DELETE, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
