"""The SQL behind `reading`, as DuckDB speaks it; `{0}` or `{where}` stands for a Condition's text.

Rows come out in the order that `answers` reads them in.
"""

from collections.abc import Sequence

__all__ = ["EXPOSURE", "EXPOSURE_KEY", "FILES", "LATEST", "LIST", "TOTAL", "counts_sql"]

_TOLD = """"kind", "client", "user", "installer", "installer_version", "python", "system", "ci", "repository",
 "project", "version", "filename", "sha256", "verdict", "rule", "status", "bytes", "cache" """

LIST = f"""
SELECT "at", "id", "node", {_TOLD} FROM records WHERE {{0}}
ORDER BY "at" DESC, "id" DESC, "node" DESC LIMIT ?"""

#: Names a file of a repository, as its index had it then; no part of it holds a slash. As reading._key makes it.
_FILE_KEY = """ "project" || '/' || "repository" || '/' || "filename" || '/' || coalesce("sha256", '') || '/' ||
 coalesce("index", '') || '/' || coalesce("uploaded"::VARCHAR, '') || '/' || "attested"::INTEGER::VARCHAR """

FILES = """
SELECT "project", "repository", "filename", "sha256", "taken",
  struct_pack("version" := max("version"), "index" := "index", "uploaded" := "uploaded",
              "attested" := "attested") AS facts,
  count(*), count(DISTINCT "client"), min("at"), max("at")
FROM records WHERE {0} AND "method" = 'GET' AND "verdict" IS NOT NULL
GROUP BY "project", "repository", "filename", "sha256", "index", "uploaded", "attested", "taken" HAVING {1}
ORDER BY "project", "repository", "filename", "sha256", "index", "uploaded", "attested", "taken" """

EXPOSURE_KEY = (
    """ "project", "filename", "repository", coalesce("sha256", ''), "client", coalesce("user", '') """
)

EXPOSURE = f"""
SELECT {EXPOSURE_KEY}, max_by(struct_pack({", ".join(f"{name.strip()} := {name.strip()}" for name in _TOLD.split(","))}),
  "at"), min("at"), max("at"), count(*)
FROM records WHERE {{0}} AND {_FILE_KEY} IN (SELECT unnest(?::VARCHAR[]))
GROUP BY {EXPOSURE_KEY} ORDER BY {EXPOSURE_KEY} LIMIT ?"""

TOTAL = f"""
SELECT count(*), count(DISTINCT "client")
FROM records WHERE {{0}} AND "taken" AND {_FILE_KEY} IN (SELECT unnest(?::VARCHAR[]))"""

LATEST = 'SELECT max("at") FROM records WHERE {0}'


def counts_sql(by: Sequence[str], where: str) -> str:
    """Counts by names of answers.DIMENSIONS; its last parameters are limit and offset."""
    day = "strftime(make_timestamp(\"at\"), '%Y-%m-%d')"
    dimensions = [day if name == "day" else f'"{name}"' for name in by]
    places = ", ".join(str(place) for place in range(1, len(by) + 1))
    return f"""
SELECT {", ".join(dimensions)}, count(*) AS n, count(DISTINCT "client"), sum("bytes")::BIGINT, min("at"), max("at")
FROM records WHERE {where} GROUP BY {places} ORDER BY n DESC, {places} LIMIT ? OFFSET ?"""
