"""What clients read of decisions: the filtered page, and the phrase of a refusal.

A refused file stays listed as yanked with the reason, so that installers skip it and say why (PEP 592); our filter
never un-yanks. Escaping and encoding are the renderer's and may not be added here.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import sha256

import msgspec
from packaging.version import InvalidVersion, Version

from decider.decision.deciding import PageDecision
from decider.decision.model import FileDecision, Verdict
from decider.filenames import file_version
from decider.files import ProjectPage
from decider.names import NormalizedName
from decider.rules import format_moment

__all__ = ["MAX_PAGE_TEXT", "MAX_PHRASE", "list_page", "refusal_phrase"]

MAX_PAGE_TEXT = 500  #: characters
MAX_PHRASE = 199  #: characters; some proxies stop at 200
_MAX_INDEX_TEXT = 150  #: characters left of an index's own yank reason when ours needs the room

_LABELS = {Verdict.BLOCK: "Blocked", Verdict.HOLD: "Held", Verdict.YANK: "Yanked", Verdict.ALLOW: "Allowed"}
# C0, C1 and line separators: an escape sequence in a reason would reach the terminals of whoever runs an installer.
_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: What NFKD leaves outside ASCII and people paste all the time.
_TYPOGRAPHY = str.maketrans({"\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})  # fmt: skip


def refusal_phrase(decision: FileDecision) -> str:
    """`Blocked: <reason> (<rule id>)` by the first deciding rule, in less than 200 characters of printable ASCII.

    Fit for a reason phrase and a header (RFC 9110, 5.5; RFC 9112, 4); where it is cut the rule id survives.
    """
    return _statement(decision, reason=_ascii(decision.first_reason), limit=MAX_PHRASE, ellipsis="...")


def list_page(decision: PageDecision, *, hide_refused: bool) -> tuple[ProjectPage, dict[str, object]]:
    """The page as clients may see it, and the private metadata that goes with it (PEP 691: keys that begin with `_`).

    Refused files are listed as yanked, or left out with the versions that only they had.
    """
    refused = {name: one for name, one in decision.restricted.items() if one.verdict.is_refusal}
    metadata: dict[str, object] = {
        "index": decision.page.index,
        "revision": decision.revision,
        "refused": [_refusal(one) for one in refused.values()],
    }
    marked = {
        name: _mark(one) for name, one in decision.restricted.items() if one.verdict is not Verdict.ALLOW
    }
    if not marked:
        return decision.page, metadata
    hidden = refused if hide_refused else {}
    page = msgspec.structs.replace(
        decision.page,
        files=tuple(
            msgspec.structs.replace(file, yanked=marked[file.filename]) if file.filename in marked else file
            for file in decision.page.files
            if file.filename not in hidden
        ),
        versions=_versions_without(decision, hidden) if hidden else decision.page.versions,
        digest=sha256(f"{decision.fingerprint} {hide_refused}".encode()).hexdigest(),
    )
    return page, metadata


def _refusal(decision: FileDecision) -> dict[str, object]:
    return {
        "filename": decision.file.filename,
        "verdict": decision.verdict.value,
        "rule": decision.rules[0].id,
        "reason": _cut(decision.reason, MAX_PAGE_TEXT, "…"),
        "until": None if decision.until is None else format_moment(decision.until),
    }


def _mark(decision: FileDecision) -> str:
    """The yank text: of a refusal ours first, of a yank the index's own."""
    own = decision.file.yanked or ""
    limit = MAX_PAGE_TEXT - min(len(own) + 2, _MAX_INDEX_TEXT) if own else MAX_PAGE_TEXT
    ours = _statement(decision, reason=_one_line(decision.first_reason), limit=limit, ellipsis="…")
    if not own:
        return ours
    own = _cut(own, MAX_PAGE_TEXT - len(ours) - 2, "…")
    return f"{own}; {ours}" if decision.verdict is Verdict.YANK else f"{ours}; {own}"


def _versions_without(decision: PageDecision, hidden: Mapping[str, FileDecision]) -> tuple[str, ...]:
    """The page's versions but for those that only hidden files had; versions without files stay (PEP 700)."""
    names = [file.filename for file in decision.page.files]
    gone = _Releases(decision.project, [name for name in names if name in hidden])
    kept = _Releases(decision.project, [name for name in names if name not in hidden])
    return tuple(version for version in decision.page.versions if version not in gone or version in kept)


class _Releases:
    """The releases that some files belong to."""

    def __init__(self, project: NormalizedName, filenames: Iterable[str]) -> None:
        by_version = [(file_version(project, filename), filename) for filename in filenames]
        self._versions = {version for version, _ in by_version if version is not None}
        self._nameless = [filename for version, filename in by_version if version is None]

    def __contains__(self, version: str) -> bool:
        try:
            return Version(version) in self._versions
        except InvalidVersion:  # legacy: neither does a file name tell it but as a part of itself
            return any(version in filename for filename in self._nameless)


def _statement(decision: FileDecision, *, reason: str, limit: int, ellipsis: str) -> str:
    head, tail = f"{_LABELS[decision.verdict]}: ", f" ({decision.rules[0].id})"
    return head + _cut(reason, limit - len(head) - len(tail), ellipsis) + tail


def _cut(text: str, limit: int, ellipsis: str) -> str:
    return text if len(text) <= limit else text[: limit - len(ellipsis)].rstrip() + ellipsis


def _one_line(text: str) -> str:
    return _BREAKS.sub(" ", text).strip()


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", _one_line(text).translate(_TYPOGRAPHY))
    return "".join(one if " " <= one <= "~" else "?" for one in plain if not unicodedata.combining(one))
