"""From a line that nginx wrote (nginx/usage.conf) to a row; pure.

A line that cannot be read (cut by a full disk, say) is counted and left out, never guessed at.
"""

import re
from functools import lru_cache
from typing import Literal

import msgspec

from decider.usage.clients import Clients
from decider.usage.columns import Row
from decider.usage.decided import parse_decided
from decider.usage.installers import MAX_USER_AGENT, parse_installer
from decider.usage.records import Installer, Kind, to_micros

__all__ = ["Fetch", "Line", "fetch_of", "read_line", "row_of"]

_COMPANIONS = (".metadata", ".provenance", ".asc")
_SERVED = frozenset({200, 206, 304})
_READS = frozenset({"GET", "HEAD"})
_NOBODY = Installer()
_SECONDS = re.compile(r"\d+\.\d+")


class Line(msgspec.Struct, frozen=True, gc=False):
    """What nginx writes; every text may be empty."""

    at: float  #: seconds since 1970, milliseconds behind the point
    asked: Literal["page", "json", "projects", "file"]
    client: str
    user: str
    repository: str
    project: str
    method: str
    status: str  #: three digits, "000" where none was sent: no JSON number
    bytes: int
    cache: str
    decided: str
    took: str = ""  #: seconds that each upstream took, those of redirects behind colons; "" from a cache
    filename: str = ""  #: these two stand behind the object, unescaped
    agent: str = ""


class Fetch(msgspec.Struct, frozen=True):
    """A distribution file that an index was asked for, because nginx did not have it."""

    index: str
    status: str  #: what the client got
    seconds: float  #: until all of it was there, redirects included


class _Decided(msgspec.Struct, frozen=True, gc=False):
    """A decision as rows have it."""

    kind: str
    version: str | None
    sha256: str | None
    verdict: str | None
    rule: str | None
    index: str | None
    uploaded: int | None
    attested: int
    is_refused: bool


_decoder = msgspec.json.Decoder(Line)


def read_line(line: bytes) -> Line | None:
    """What the line says; None where it cannot be read."""
    described, tab, rest = line.partition(b"\t")
    filename, other_tab, agent = rest.partition(b"\t")
    try:
        said = _decoder.decode(described)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not (tab and other_tab and said.status.isascii() and said.status.isdecimal()):
        return None
    # Bytes as they came: a header need not be UTF-8. Nobody else has the line yet, and a copy would cost as much as reading it.
    msgspec.structs.force_setattr(said, "filename", filename.decode("utf-8", "replace"))
    msgspec.structs.force_setattr(said, "agent", agent[:MAX_USER_AGENT].decode("utf-8", "replace"))
    return said


def fetch_of(said: Line) -> Fetch | None:
    """The fetch that the request led to; None where nothing was fetched, and for companions of files."""
    if not said.took or said.asked != "file":
        return None
    decided = _decided(said.decided)
    seconds = [float(found) for found in _SECONDS.findall(said.took)]
    # Where it was refused, the words of the refusal were fetched.
    if decided.index is None or decided.is_refused or decided.kind != Kind.FILE.value or not seconds:
        return None
    return Fetch(decided.index, said.status, sum(seconds))


def row_of(said: Line, clients: Clients) -> Row | None:
    """What is recorded of it, its client named by `clients`; None where it was no reading of a page or file."""
    if said.method not in _READS or said.asked == "projects":
        return None
    decided = _decided(said.decided)
    status = int(said.status)
    kind = _kind(said, decided.kind)
    installer = parse_installer(said.agent) or _NOBODY
    return Row(
        at=round(said.at * 1_000) * 1_000,
        kind=kind,
        method=said.method,
        client=clients.name(said.client),
        user=said.user or None,
        installer=installer.name,
        installer_version=installer.version,
        python=installer.python,
        system=installer.system,
        ci=None if installer.ci is None else int(installer.ci),
        repository=said.repository,
        project=said.project,
        version=decided.version,
        filename=_filename(said.filename, kind),
        sha256=decided.sha256,
        verdict=decided.verdict,
        rule=decided.rule,
        status=status,
        bytes=said.bytes,
        cache=said.cache or None,
        index=decided.index,
        uploaded=decided.uploaded,
        attested=decided.attested,
        taken=int(
            kind == Kind.FILE.value and said.method == "GET" and status in _SERVED and not decided.is_refused
        ),
    )


@lru_cache(maxsize=16_384)
def _decided(text: str) -> _Decided:
    decided = parse_decided(text)
    return _Decided(
        kind=Kind(decided.kind).value,
        version=decided.version,
        sha256=decided.sha256,
        verdict=None if decided.verdict is None else decided.verdict.value,
        rule=decided.rule,
        index=decided.index,
        uploaded=None if decided.uploaded is None else to_micros(decided.uploaded),
        attested=int(decided.attested),
        is_refused=decided.verdict is not None and decided.verdict.is_refusal,
    )


def _kind(said: Line, decided: str) -> str:
    if said.asked != "file":
        return Kind.PAGE.value
    if not said.decided:  # nobody could say what the name means
        return (Kind.METADATA if said.filename.endswith(_COMPANIONS) else Kind.FILE).value
    return decided


def _filename(asked: str, kind: str) -> str | None:
    """The distribution file that is meant: of a companion's name without its ending."""
    if kind == Kind.PAGE.value:
        return None
    if kind == Kind.FILE.value:
        return asked
    companion = next((one for one in _COMPANIONS if asked.endswith(one)), "")
    return asked.removesuffix(companion)
