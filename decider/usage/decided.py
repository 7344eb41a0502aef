"""What a decision tells nginx to write beside the request, and the collector reads there.

nginx keeps it with the decision, so a request that is served from caches alone is recorded as fully as the first.
One header and not seven, and spelled like a query string rather than JSON: nginx sets it, and escapes it, with every
request. Storing may not be added here.
"""

from datetime import datetime
from typing import Literal
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from decider.decision import FileDecision, Verdict

__all__ = ["HEADER", "Decided", "decided_header", "parse_decided"]

HEADER = "Record"


class Decided(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The decision on one file, as far as the usage log is concerned."""

    kind: Literal["file", "metadata"] = "file"  #: metadata: a companion was asked for, not the file itself
    version: str | None = None
    sha256: str | None = None  #: of the file, also where its metadata is asked for
    verdict: Verdict | None = None
    rule: str | None = None  #: the first deciding one
    index: str | None = None
    uploaded: datetime | None = None
    attested: bool = False


def decided_header(decision: FileDecision, *, requested: str) -> str:
    """The header's value: printable ASCII without quotation marks; `requested` is the name that the client asked for."""
    file = decision.file
    decided = Decided(
        kind="file" if requested == file.filename else "metadata",
        version=decision.version,
        sha256=file.sha256,
        verdict=decision.verdict,
        rule=decision.rules[0].id if decision.rules else None,
        index=decision.index,
        uploaded=file.upload_time,
        attested=file.provenance is not None,
    )
    return urlencode(msgspec.to_builtins(decided), safe=":!", quote_via=quote)


def parse_decided(text: str) -> Decided:
    """What the header said; everything unknown where there was none, or where it is not ours."""
    try:
        return msgspec.convert(dict(parse_qsl(text)), Decided, strict=False)
    except msgspec.ValidationError:
        return Decided()
