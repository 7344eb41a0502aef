"""What a decision tells nginx to write beside the request, and the collector reads there.

nginx keeps it with the decision, so a request that is served from caches alone is recorded as fully as the first.
One header and not eight: each `auth_request_set` costs every request. Storing may not be added here.
"""

import json
from datetime import datetime
from typing import Literal

import msgspec

from decider.decision import FileDecision, Verdict

__all__ = ["HEADER", "Decided", "decided_header", "parse_decided"]

HEADER = "X-Decider-Record"


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
    """The header's value: printable ASCII; `requested` is the name that the client asked for."""
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
    # Not msgspec's encoder, which writes what is not ASCII as it is.
    return json.dumps(msgspec.to_builtins(decided), separators=(",", ":"))


def parse_decided(text: str) -> Decided:
    """What the header said; everything unknown where there was none: no decision could be had, or none was made."""
    return msgspec.json.decode(text, type=Decided) if text else _NOTHING


_NOTHING = Decided()
