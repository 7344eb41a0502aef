"""What is stored of a request: one row, its columns, and their types wherever records are kept.

Imports next to nothing: the query processes start with it. Reading nginx's lines is in `lines`.
"""

from typing import NamedTuple

import msgspec

__all__ = ["COLUMNS", "Column", "Row"]


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request, as it is stored; the fields are COLUMNS but for `id` and `node`.

    Plain text and numbers, no enum and no bool: for those sqlite3 looks for an adapter, each time, which takes as long as
    storing the row.
    """

    at: int  #: microseconds since 1970
    kind: str
    method: str
    client: str
    user: str | None
    installer: str | None
    installer_version: str | None
    python: str | None
    system: str | None
    ci: int | None  #: 0 or 1; None: it does not say
    repository: str
    project: str
    version: str | None
    filename: str | None
    sha256: str | None
    verdict: str | None
    rule: str | None
    status: int
    bytes: int
    cache: str | None
    index: str | None
    uploaded: int | None  #: microseconds since 1970: when the index says that the file was uploaded
    attested: int  #: 0 or 1
    taken: int  #: 0 or 1: whether the client now has the file, or part of it


class Column(NamedTuple):
    """How one column is spelled where records are kept."""

    name: str
    staged: str  #: SQLite
    typed: str  #: of the values that come out of SQLite, as DuckDB reads them
    stored: str  #: in the columnar files


_TEXT = ("TEXT", "VARCHAR", "VARCHAR")
_TRUTH = ("INTEGER", "TINYINT", "BOOLEAN")
_TYPES: dict[str, tuple[str, str, str]] = {
    "at": ("INTEGER", "BIGINT", "TIMESTAMP WITH TIME ZONE"),
    "uploaded": ("INTEGER", "BIGINT", "TIMESTAMP WITH TIME ZONE"),
    "ci": _TRUTH,
    "attested": _TRUTH,
    "taken": _TRUTH,
    "status": ("INTEGER", "SMALLINT", "SMALLINT"),
    "bytes": ("INTEGER", "BIGINT", "BIGINT"),
    "id": ("INTEGER", "BIGINT", "BIGINT"),
}

COLUMNS = tuple(
    Column(name, *_TYPES.get(name, _TEXT)) for name in (*Row.__struct_fields__, "node", "id")
)  #: `node` and `id`: the machine that recorded it, and the record's number there
