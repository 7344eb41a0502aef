"""From a line that nginx wrote (nginx/usage.conf) to a row; pure.

A line that cannot be read (cut by a full disk, say) is counted and left out, never guessed at.
"""

from functools import lru_cache
from typing import Literal

import msgspec

from decider.usage.clients import Clients
from decider.usage.columns import Row
from decider.usage.decided import parse_decided
from decider.usage.installers import MAX_USER_AGENT, parse_installer
from decider.usage.records import Installer, Kind, to_micros

__all__ = ["Line", "read_line", "row_of"]

_COMPANIONS = (".metadata", ".provenance", ".asc")
_SERVED = frozenset({200, 206, 304})
_READS = frozenset({"GET", "HEAD"})
_UNSAID = Installer()


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
    filename: str = ""  #: these two stand behind the object, unescaped
    agent: str = ""


_decoder = msgspec.json.Decoder(Line)
_decided = lru_cache(maxsize=16_384)(parse_decided)


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
    # Bytes as they came: a header need not be UTF-8.
    return msgspec.structs.replace(
        said,
        filename=filename.decode("utf-8", "replace"),
        agent=agent[:MAX_USER_AGENT].decode("utf-8", "replace"),
    )


def row_of(said: Line, clients: Clients) -> Row | None:
    """What is recorded of it, its client named by `clients`; None where it was no reading of a page or file."""
    if said.method not in _READS or said.asked == "projects":
        return None
    decided = _decided(said.decided)
    status = int(said.status)
    kind = _kind(said, decided.kind)
    installer = parse_installer(said.agent) or _UNSAID
    is_refused = decided.verdict is not None and decided.verdict.is_refusal
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
        ci=installer.ci,
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
        uploaded=None if decided.uploaded is None else to_micros(decided.uploaded),
        attested=decided.attested,
        taken=kind is Kind.FILE and said.method == "GET" and status in _SERVED and not is_refused,
    )


def _kind(said: Line, decided: str) -> Kind:
    if said.asked != "file":
        return Kind.PAGE
    if not said.decided:  # nobody could say what the name means
        return Kind.METADATA if said.filename.endswith(_COMPANIONS) else Kind.FILE
    return Kind(decided)


def _filename(asked: str, kind: Kind) -> str | None:
    """The distribution file that is meant: of a companion's name without its ending."""
    if kind is Kind.PAGE:
        return None
    companion = next((one for one in _COMPANIONS if asked.endswith(one)), "")
    return asked.removesuffix(companion) if kind is Kind.METADATA else asked
