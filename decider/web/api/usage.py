"""Who was served what, and who has what rules refuse (DESIGN section 6)."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Literal, TypeVar

import msgspec
from flask import Response, request, stream_with_context

from decider.decision import Verdict
from decider.errors import UsageUnavailable
from decider.store import Page, Role
from decider.usage.answers import Exposure, UsageCount
from decider.usage.exporting import csv_lines, json_lines
from decider.usage.exposure import SeenJudge
from decider.usage.filters import UsageFilter, rule_condition
from decider.usage.reading import Usage
from decider.usage.records import Kind, UsageRecord
from decider.web import services
from decider.web.api import examples
from decider.web.api.inputs import NO_BODY, Listing, Moment, project_field
from decider.web.api.operation import Call, operation, respond

__all__: list[str] = []

S = TypeVar("S", bound=msgspec.Struct)

_FORMATS = {"json": "application/json", "ndjson": "application/x-ndjson", "csv": "text/csv"}

Format = Annotated[
    Literal["json", "ndjson", "csv"], msgspec.Meta(description="wins over `Accept`; `json` by default")
]
AskedKind = Annotated[
    Literal["file", "metadata", "page", "all"], msgspec.Meta(description="what was asked for")
]


class _Filters(Listing, frozen=True, kw_only=True):
    """Which records are meant."""

    project: str | None = None
    version: (
        Annotated[
            str, msgspec.Meta(description="as `==` reads it: `3.1.0` is `3.1`, and `1.0` has `1.0+cpu`, too")
        ]
        | None
    ) = None
    filename: str | None = None
    client: Annotated[str, msgspec.Meta(description="an address, or a pseudonym as in answers")] | None = None
    user: Annotated[str, msgspec.Meta(description="a token's name")] | None = None
    verdict: Verdict | None = None
    since: Moment | None = None
    until: Annotated[Moment, msgspec.Meta(description="exclusive")] | None = None
    kind: AskedKind = "file"

    def as_filter(self) -> UsageFilter:
        """What the records are asked for; raise InvalidRequest."""
        return UsageFilter(
            kind=None if self.kind == "all" else Kind(self.kind),
            project=None if self.project is None else project_field(self.project),
            version=self.version,
            filename=self.filename,
            client=self.client,
            user=self.user,
            verdict=self.verdict,
            since=self.since,
            until=self.until,
        )


class UsageQuery(_Filters, frozen=True, kw_only=True):
    """Which records to list."""

    format: Format | None = None


class CountsQuery(_Filters, frozen=True, kw_only=True):
    """What to count."""

    by: Annotated[
        str,
        msgspec.Meta(
            description="fields of a record, separated by commas, and `day`, each once; `project` by default"
        ),
    ] = "project"


class ExposureQuery(Listing, frozen=True, kw_only=True):
    """Since when to look."""

    since: Moment | None = None
    format: Format | None = None


@operation(
    "GET",
    "/usage",
    role=Role.READER,
    query=UsageQuery,
    body=NO_BODY,
    result=Page[UsageRecord],
    texts=examples.texts(examples.USAGE_RECORD),
    problems=(UsageUnavailable,),
    example_result=examples.listing(examples.USAGE_RECORD),
)
def list_usage(call: Call[UsageQuery, None]) -> Response:
    """List requests that were answered, newest first.

    Files only, unless `kind` says otherwise. As NDJSON or CSV (by `format` or `Accept`) every record that is meant
    comes in one answer, whatever `limit` says. A request shows some three seconds after it was answered.
    """
    query = call.query
    wanted = query.as_filter()
    usage = Usage(services().settings)
    media_type = _media_type(query.format)
    if media_type != _FORMATS["json"]:
        return _export(usage.export(wanted), UsageRecord, media_type)
    return respond(usage.records(wanted, limit=query.limit, cursor=query.cursor))


@operation(
    "GET",
    "/usage/counts",
    role=Role.READER,
    query=CountsQuery,
    body=NO_BODY,
    result=Page[UsageCount],
    problems=(UsageUnavailable,),
    example_result=examples.listing(examples.USAGE_COUNT),
)
def count_usage(call: Call[CountsQuery, None]) -> Response:
    """Count requests by some of their fields, most first.

    For each group: how many, by how many clients, bytes, first and last. Requests that come after the first page are not
    counted on later ones, so they move no group to another page.
    """
    query = call.query
    by = [name.strip() for name in query.by.split(",")]
    page = Usage(services().settings).counts(query.as_filter(), by, limit=query.limit, cursor=query.cursor)
    return respond(page)


@operation(
    "GET",
    "/rules/<rule_id>/exposure",
    role=Role.READER,
    query=ExposureQuery,
    body=NO_BODY,
    result=Page[Exposure],
    texts=examples.texts(examples.EXPOSURE),
    problems=(UsageUnavailable,),
    example_result=examples.listing(examples.EXPOSURE),
)
def get_exposure(call: Call[ExposureQuery, None], rule_id: str) -> Response:
    """List the clients that took files which this rule refuses.

    One entry for each client and file, with the first and the last time and how often; the other fields are those of
    the last time. The rule is judged as it is now, with the waivers that lift it, on what was known of each file when
    it was served: releases that their index has withdrawn since are found too. `ndjson` and `csv` have all entries.
    """
    parts = services()
    query = call.query
    rule = parts.store.get_rule(rule_id)
    at = parts.clock()
    judge = SeenJudge(at=at, first_seen_of=parts.store.first_seen)
    is_meant, among = judge.refused_by(rule, parts.repositories.snapshot()), rule_condition(rule, at=at)
    usage = Usage(parts.settings)

    media_type = _media_type(query.format)
    if media_type != _FORMATS["json"]:
        everybody = usage.export_exposure([rule.project], is_meant, among=among, since=query.since)
        return _export(everybody, Exposure, media_type)
    page = usage.exposure(
        [rule.project], is_meant, among=among, since=query.since, limit=query.limit, cursor=query.cursor
    )
    return respond(page)


def _media_type(asked: str | None) -> str:
    """The type that was asked for, in the query or by Accept; JSON where neither says."""
    if asked is not None:
        return _FORMATS[asked]
    return request.accept_mimetypes.best_match(_FORMATS.values(), _FORMATS["json"])


def _export(items: Iterable[S], kind: type[S], media_type: str) -> Response:
    lines = csv_lines(_started(items), kind) if media_type == _FORMATS["csv"] else json_lines(_started(items))
    response = Response(stream_with_context(lines), content_type=media_type)
    response.headers["Cache-Control"] = "no-store"
    return response


def _started(items: Iterable[S]) -> Iterator[S]:
    """The same, the first one read already: what fails at once can still be answered as a problem."""
    iterator = iter(items)
    try:
        first = next(iterator)
    except StopIteration:
        return iter(())
    return chain((first,), iterator)
