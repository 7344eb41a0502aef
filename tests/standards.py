"""STANDARDS.md, section 4, as a table: each row by its id, with what is asked and expected, or which test covers it.

The world that it speaks of: `demo` has 1.0, 1.1 and 2.0, of which 2.0 is blocked; `bad` is blocked whole; `nope` is
nowhere; `foo` lists files of all kinds, of which 1.0.post2 is blocked. Files stand at `/files/<project>/<filename>`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FOO_FILES", "IDS", "ROWS", "Ask", "Row"]

V1 = "application/vnd.pypi.simple.v1"
LATEST = "application/vnd.pypi.simple.latest"
JSON, HTML, TEXT = f"{V1}+json", f"{V1}+html", "text/html"
PROBLEM = "application/problem+json"
PIP = f"{JSON}, {HTML}; q=0.1, {TEXT}; q=0.01"
UV = f"{JSON}, {HTML};q=0.2, {TEXT};q=0.01"
POETRY = f"{JSON}, */*;q=0.1"
BROWSER = f"{TEXT},application/xhtml+xml,*/*;q=0.8"

#: Refused, not found, or more than anybody reads: never a page, never a fault of ours.
TURNED_AWAY = (400, 404)
ENDLESS = (400, 404, 414)

#: On the page of `foo`: legacy names, older kinds of files, and what is no file of a release (T63, T64, T66, T67).
FOO_FILES = (
    "foo-1.0-2.tar.gz", "foo-1.0-beta-2.zip", "foo-1.0.dev-r123.tar.gz", "foo-1.0-py2.7.egg",
    "foo-1.0.win32-py2.7.exe", "foo-1.0.tar.bz2", "foo-1.1.tgz", "foo-1.0-1.noarch.rpm", "foo-1.0-variants.json",
    "foo-1.2-py3-none-any-x8664v3.whl", "foo-1.0-1-py3-none-any.whl", "foo-1.0-1build-py3-none-any.whl",
)  # fmt: skip
DEMO_1 = "/files/demo/demo-1.0-py3-none-any.whl"
DEMO_2 = "/files/demo/demo-2.0-py3-none-any.whl"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, and what must come back."""

    path: str | bytes  #: sent as it is
    status: int | tuple[int, ...] = 200
    sent: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    media_type: str | None = None
    leads_to: str | None = None  #: path that a redirect, or a few, end at
    headers: Mapping[str, str] = field(default_factory=dict)  #: name → a part of its value
    absent: tuple[str, ...] = ()  #: headers that must not be there
    contains: tuple[str, ...] = ()  #: in the body
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a row is shown to hold."""

    asks: tuple[Ask, ...] = ()
    covered: tuple[str, ...] = ()  #: `module::test`, under tests/test_…
    against: str = ""  #: why it was decided against, in whole or in part


def gone(*paths: str | bytes, status: tuple[int, ...] = TURNED_AWAY) -> tuple[Ask, ...]:
    return tuple(Ask(path=path, status=status) for path in paths)


def canon(target: str, *paths: str) -> tuple[Ask, ...]:
    return tuple(Ask(path=path, leads_to=target, sent={"Accept": PIP}, media_type=JSON) for path in paths)


def negotiated(expected: str | None, *accepts: str | None, status: int = 200) -> tuple[Ask, ...]:
    """For page and list alike; None: no Accept header."""
    return tuple(
        Ask(
            path=path,
            sent={} if accept is None else {"Accept": accept},
            media_type=expected,
            status=status,
            headers={"Vary": "Accept"},
        )
        for accept in accepts
        for path in ("/simple/demo/", "/simple/")
    )


def refused(path: str, **sent: str) -> tuple[Ask, ...]:
    """The file is refused with the reason, in whatever way it is asked for."""
    return tuple(
        Ask(
            path=path,
            method=method,
            status=403,
            media_type=PROBLEM,
            sent={name.replace("_", "-"): value for name, value in sent.items()},
            headers={"Cache-Control": "no-store", "X-Decider-Verdict": "block"},
            absent=("Content-Range", "Retry-After"),
        )
        for method in ("GET", "HEAD")
    )


def with_format(value: str) -> tuple[Ask, ...]:
    return (Ask(path=f"/simple/demo/?format={value}", sent={"Accept": TEXT}, media_type=JSON),)


ROWS: dict[str, Row] = {
    # Names and paths
    "T01": Row(asks=(Ask(path="/simple/demo/", sent={"Accept": PIP}, media_type=JSON),)),
    "T02": Row(asks=(*canon("/simple/demo/", "/simple/demo"), *canon("/simple/", "/simple"))),
    "T03": Row(
        asks=canon("/simple/foo-bar-baz/", "/simple/Foo.Bar_baz/"),
        covered=("stack_names::test_no_spelling_shows_the_page_unfiltered",),
    ),
    "T04": Row(
        asks=(
            *canon("/simple/foo-bar/", "/simple/foo--bar/"),
            *canon("/simple/friendly-bard/", "/simple/FrIeNdLy-._.-bArD/"),
        )
    ),
    "T05": Row(asks=canon("/simple/foo-bar/", "/simple/Foo_Bar")),
    "T06": Row(
        asks=canon("/simple/bad/", "/simple/BAD/", "/simple/b%61d/", "/simple//bad/"),
        covered=("stack_names::test_no_spelling_shows_the_page_unfiltered",),
    ),
    "T07": Row(asks=gone("/simple/demo./", "/simple/-demo/", "/simple/_demo/", "/simple/demo-/")),
    "T08": Row(
        asks=(
            *gone("/simple/../etc/", "/simple/%2e%2e/x/"),
            Ask(path="/simple/demo/../bad/", sent={"Accept": PIP}, contains=("Blocked:",)),
        ),
        covered=("stack_names::test_no_spelling_shows_the_page_unfiltered",),
    ),
    "T09": Row(asks=gone("/simple/a%2Fb/", "/simple/a%5Cb/", "/simple/demo%2F")),
    "T10": Row(
        asks=gone(
            "/simple/d%C3%A9mo/", b"/simple/d\xc3\xa9mo/", b"/simple/\xff/", "/simple/%ff/", "/simple/%zz/"
        )
    ),
    "T11": Row(asks=gone("/simple/%E2%84%AAeras/", "/simple/%C5%BFix/", "/simple/%EF%BD%84emo/")),
    "T12": Row(
        asks=gone(
            "/simple/demo%0a/", "/simple/demo%0a", "/simple/demo%00/", "/simple/%20demo/", "/simple/demo;x=1/"
        )
    ),
    "T13": Row(
        asks=(Ask(path="/simple/0/", sent={"Accept": PIP}), Ask(path="/simple/1-2-3/", sent={"Accept": PIP}))
    ),
    "T14": Row(
        asks=gone(
            f"/simple/{'x' * 300}/", f"/simple/{'x' * 9000}/", b"/simple/" + b"x" * 70_000, status=ENDLESS
        )
    ),
    "T15": Row(asks=canon("/simple/demo/", "/simple//demo/")),
    "T16": Row(asks=gone("/simple/demo/index.html", "/simple/demo/2.0/")),
    "T17": Row(
        asks=(Ask(path="/simple/demo/?x=1", sent={"Accept": PIP}, media_type=JSON),),
        covered=(
            "stack_pages::test_query_changes_nothing",
            "stack_names::test_unknown_names_do_not_fill_the_cache",
        ),
    ),
    "T18": Row(
        asks=(
            Ask(path="/simple/nope/", status=404, media_type=PROBLEM, headers={"Cache-Control": "no-store"}),
        ),
        covered=("stack_pages::test_absent_project",),
    ),
    # Negotiation
    "T20": Row(asks=negotiated(TEXT, None, "*/*", "")),
    "T21": Row(asks=negotiated(JSON, PIP, UV, POETRY)),
    "T22": Row(asks=negotiated(JSON, f"{JSON}, {HTML}, {TEXT};q=0.01")),
    "T23": Row(
        asks=(*negotiated(TEXT, TEXT), *negotiated(HTML, HTML)), covered=("stack_pages::test_formats_agree",)
    ),
    "T24": Row(asks=negotiated(TEXT, f"{JSON};q=0.1, {TEXT}")),
    "T25": Row(asks=(*negotiated(JSON, f"{LATEST}+json"), *negotiated(HTML, f"{LATEST}+html"))),
    "T26": Row(
        asks=negotiated(
            PROBLEM, "application/vnd.pypi.simple.v2+json", "image/png", "application/json", status=406
        )
    ),
    "T27": Row(asks=negotiated(TEXT, f"{JSON};q=0, */*")),
    "T28": Row(asks=negotiated(JSON, "application/*")),
    "T29": Row(asks=negotiated(TEXT, BROWSER)),
    "T30": Row(
        asks=negotiated(
            JSON,
            JSON.upper(),
            f" {JSON} ;  q=1.000 , {TEXT} ; q=0.5",
            f"{JSON};q=abc",
            f"{JSON}, {'x' * 10_000}",
        ),
        covered=("standards::test_two_accept_lines", "stack_pages::test_odd_accept_headers"),
    ),
    "T31": Row(asks=(*with_format(JSON.replace("+", "%2B").replace("/", "%2F")), *with_format(JSON))),
    "T32": Row(
        asks=(
            Ask(path="/simple/Demo/", status=301, headers={"Vary": "Accept"}),
            Ask(path="/simple/demo", status=301, headers={"Vary": "Accept"}),
            Ask(path="/simple/demo/", status=406, sent={"Accept": "image/png"}, headers={"Vary": "Accept"}),
            Ask(path="/simple/nope/", status=404, headers={"Vary": "Accept"}),
        ),
        covered=("standards::test_304_has_vary",),
    ),
    "T33": Row(asks=negotiated(JSON, JSON)),
    # Page content
    "T40": Row(covered=("stack_pages::test_json_page", "rendering::test_versions")),
    "T41": Row(covered=("stack_pages::test_formats_agree", "pages::test_formats_agree")),
    "T42": Row(covered=("stack_pages::test_sloppy_entries_become_strict_ones",)),
    "T43": Row(covered=("stack_pages::test_sloppy_entries_become_strict_ones",)),
    "T44": Row(covered=("stack_pages::test_html_only_index", "html_reading::test_fragments")),
    "T45": Row(covered=("stack_pages::test_odd_file_urls", "html_reading::test_urls")),
    "T46": Row(
        covered=(
            "stack_pages::test_newer_minor_version_is_not_claimed",
            "stack_pages::test_unreadable_page_is_502",
        )
    ),
    "T47": Row(covered=("stack_pages::test_formats_agree", "rendering::test_html")),
    "T48": Row(covered=("stack_pages::test_formats_agree", "rendering::test_html")),
    "T49": Row(covered=("stack_pages::test_formats_agree",)),
    "T50": Row(
        asks=(
            Ask(path="/simple/demo/", sent={"Accept": PIP}, contains=("demo-2.0", "Blocked: ", "demo-1.1")),
        ),
        covered=(
            "stack_refusals::test_page_lists_the_refused_as_yanked",
            "stack_refusals::test_hidden_refusals",
        ),
    ),
    "T51": Row(covered=("stack_refusals::test_yanked_by_the_index_and_blocked",)),
    "T52": Row(
        asks=(Ask(path="/simple/bad/", sent={"Accept": PIP}, contains=("Blocked: ",)),),
        covered=(
            "stack_refusals::test_project_refused_whole",
            "stack_installers::test_uv_never_falls_through_to_a_second_index",
        ),
    ),
    "T53": Row(covered=("stack_pages::test_quarantined_project_offers_nothing",)),
    "T54": Row(covered=("stack_pages::test_status_is_relayed",)),
    "T55": Row(covered=("stack_pages::test_provenance_url_is_relayed",)),
    "T56": Row(
        asks=(
            Ask(
                path="/simple/",
                sent={"Accept": JSON},
                contains=('"demo"', '"bad"'),
                absent=("X-PyPI-Last-Serial",),
            ),
        ),
        covered=("stack_project_list::test_long_list", "stack_project_list::test_refused_whole"),
        against="no `_last-serial`: a list that is filtered, and made of several indexes, is counted by no serial",
    ),
    "T57": Row(covered=("standards::test_page_of_30000_files", "stack_pages::test_large_page")),
    "T58": Row(covered=("stack_pages::test_same_page_same_bytes", "rendering::test_stable")),
    "T59": Row(
        asks=tuple(
            Ask(
                path=path,
                status=status,
                sent={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
                lacks=("evil",),
            )
            for path, status in (
                ("/simple/demo/", 200),
                ("/simple/Demo/", 301),
                ("/simple", 301),
                (DEMO_2, 403),
            )
        ),
        covered=("stack_pages::test_redirect_does_not_trust_the_host_header",),
    ),
    # File names on pages and in policy
    "T60": Row(
        asks=(
            Ask(path="/files/foo/foo-1.0-1-py3-none-any.whl"),
            Ask(path="/files/foo/foo-1.0-1build-py3-none-any.whl"),
        ),
        covered=("stack_files::test_build_tag",),
    ),
    "T61": Row(covered=("stack_files::test_escaped_names_are_one_file",)),
    "T62": Row(covered=("stack_files::test_escaped_names_are_one_file",)),
    "T63": Row(asks=refused("/files/foo/foo-1.0-2.tar.gz"), covered=("files::test_file_version",)),
    "T64": Row(
        asks=(
            Ask(path="/files/foo/foo-1.0-beta-2.zip"),
            Ask(path="/files/foo/foo-1.0.dev-r123.tar.gz", status=403, contains=("no version can be read",)),
        )
    ),
    "T65": Row(
        asks=(
            Ask(path="/files/zope-interface/zope.interface-4.0.5.zip"),
            Ask(path="/files/zope-interface/Zope_Interface-4.0.5-py3-none-any.whl"),
        )
    ),
    "T66": Row(
        asks=(
            Ask(path="/simple/foo/", sent={"Accept": PIP}, contains=FOO_FILES),
            *(Ask(path=f"/files/foo/{name}") for name in FOO_FILES[3:7]),
        )
    ),
    "T67": Row(
        asks=(
            Ask(path="/simple/foo/", sent={"Accept": PIP}, contains=("variants.json", "x8664v3.whl")),
            Ask(path="/files/foo/foo-1.2-py3-none-any-x8664v3.whl"),
        )
    ),
    "T68": Row(
        asks=(
            Ask(path="/simple/foo/", sent={"Accept": PIP}, lacks=("other-1.0",)),
            *gone("/files/foo/other-1.0-py3-none-any.whl", "/files/other/other-1.0-py3-none-any.whl"),
        ),
        covered=("stack_files::test_file_under_another_project",),
    ),
    "T69": Row(covered=("stack_files::test_file_names_with_odd_characters", "rendering::test_odd_filenames")),
    # Files
    "T70": Row(
        asks=(
            Ask(
                path=DEMO_1,
                sent={"Accept-Encoding": "gzip, zstd"},
                headers={"Accept-Ranges": "bytes", "ETag": '"', "Content-Length": ""},
                absent=("Content-Encoding",),
            ),
        ),
        covered=("stack_files::test_file",),
    ),
    "T71": Row(
        asks=(Ask(path=DEMO_1, method="HEAD", headers={"Accept-Ranges": "bytes"}),),
        covered=("stack_files::test_head",),
    ),
    "T72": Row(
        asks=tuple(
            Ask(path=DEMO_1, status=206, sent={"Range": asked}, headers={"Content-Range": expected})
            for asked, expected in (("bytes=0-9", "bytes 0-9/"), ("bytes=-10", "/"), ("bytes=5-", "bytes 5-"))
        ),
        covered=("stack_files::test_ranges",),
    ),
    "T73": Row(
        asks=(
            Ask(path=DEMO_1, status=416, sent={"Range": "bytes=99999999999-"}),
            Ask(path=DEMO_1, status=(200, 416), sent={"Range": "bytes=abc"}),
        ),
        covered=("stack_files::test_ranges",),
        against="`bytes=abc`: nginx answers 416 where the specification would ignore it; no client sends it",
    ),
    "T74": Row(
        asks=(Ask(path=DEMO_1, sent={"Range": "bytes=0-9", "If-Range": '"wrong"'}),),
        covered=("stack_files::test_conditional_requests",),
    ),
    "T75": Row(covered=("stack_files::test_conditional_requests",)),
    "T76": Row(
        asks=(Ask(path=f"{DEMO_1}.metadata", contains=("Name: demo",)),),
        covered=("stack_files::test_core_metadata",),
    ),
    "T77": Row(
        asks=(
            *refused(DEMO_2),
            *refused(DEMO_2, Range="bytes=0-9"),
            *refused(DEMO_2, If_None_Match="*"),
            *refused(f"{DEMO_2}.metadata"),
            *refused(f"{DEMO_2}.asc"),
        ),
        covered=("stack_refusals::test_every_way_to_ask_is_refused",),
    ),
    "T78": Row(
        asks=(
            *refused(DEMO_2.replace("/demo-", "/%64emo-")),
            *refused(f"/{DEMO_2}"),
            *refused(DEMO_2.replace("/files/", "/files/./")),
            *refused(f"{DEMO_2}?x"),
            *gone(f"{DEMO_2}/", DEMO_2.replace("/demo-", "/%252E%252E/demo-"), "/files/demo/%2E%2E/bad"),
        ),
        covered=("stack_names::test_no_spelling_gives_the_blocked_bytes",),
    ),
    "T79": Row(
        asks=gone(
            "/files/demo/demo-9.9-py3-none-any.whl", "/files/nope/nope-1.0.tar.gz", "/files/https://x/y"
        ),
        covered=(
            "stack_files::test_unlisted_file_is_404",
            "stack_files::test_file_urls_point_to_allowed_hosts_only",
        ),
    ),
    "T80": Row(
        against="nginx does not verify a file's hash while streaming (DESIGN 11): installers do, from the page. "
        "A body that is not as long as the page says is not kept",
        covered=("stack_attacks::test_page_of_something_else_in_place_of_a_file",),
    ),
    "T81": Row(covered=("stack_files::test_truncated_file_is_never_cached",)),
    "T82": Row(covered=("stack_files::test_many_ask_once",)),
    "T83": Row(covered=("stack_refusals::test_block_reaches_cached_page_and_file",)),
    "T84": Row(covered=("stack_metadata::test_advertised_and_not_had", "stack_metadata::test_broken_wheel")),
    "T85": Row(
        against="no rule reads requirements: that would be to read the metadata of every wheel before it is listed. "
        "The registries that pip's check is about refuse such uploads; at indexes of one's own they are wanted"
    ),
    # Caching, errors, methods
    "T86": Row(covered=("stack_pages::test_conditional_requests", "standards::test_304_has_vary")),
    "T87": Row(covered=("stack_pages::test_rule_change_changes_the_tag",)),
    "T88": Row(
        covered=("stack_pages::test_no_tag_stands_for_another_format", "stack_project_list::test_long_list")
    ),
    "T89": Row(
        asks=tuple(
            Ask(
                path=path,
                sent={"Accept": PIP},
                headers={"Cache-Control": "max-age=0", "Date": "GMT"},
                absent=("Age", "Expires"),
            )
            for path in ("/simple/demo/", "/simple/", DEMO_1)
        )
    ),
    "T90": Row(
        asks=(
            *refused(DEMO_2),
            Ask(path="/simple/nope/", status=404, headers={"Cache-Control": "no-store"}),
            Ask(
                path="/simple/demo/",
                sent={"Accept": "image/png"},
                status=406,
                headers={"Cache-Control": "no-store"},
            ),
        )
    ),
    "T91": Row(covered=("stack_pages::test_compression",)),
    "T92": Row(
        covered=(
            "stack_failures::test_stale_page_goes_on",
            "stack_failures::test_index_failure_of_an_uncached_page",
        )
    ),
    "T93": Row(
        covered=(
            "stack_pages::test_index_answers_page_with_other_errors",
            "stack_failures::test_index_failure_of_an_uncached_page",
        )
    ),
    "T94": Row(covered=("stack_failures::test_grace", "stack_failures::test_decider_killed")),
    "T95": Row(
        asks=refused(DEMO_2),
        covered=("stack_refusals::test_status_line_headers_and_body", "standards::test_refusal_over_http2"),
    ),
    "T96": Row(covered=("stack_refusals::test_odd_reasons",)),
    "T97": Row(covered=("stack_pages::test_head",)),
    "T98": Row(
        asks=tuple(
            Ask(
                path=path,
                method="OPTIONS",
                status=(200, 204),
                sent={"Origin": "https://app.example", "Access-Control-Request-Method": "GET"},
                headers={"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET"},
            )
            for path in ("/simple/demo/", "/simple/", DEMO_1)
        ),
        covered=("stack_pages::test_browser_installers_may_read",),
    ),
    "T99": Row(
        asks=(
            *(
                Ask(path="/simple/demo/", method=method, status=405, headers={"Allow": "GET, HEAD"})
                for method in ("POST", "PUT", "DELETE")
            ),
            Ask(path="/simple/demo/", method="TRACE", status=405),
            Ask(path="/legacy/", method="POST", status=405, headers={"Allow": "GET, HEAD"}),
        ),
        covered=("stack_pages::test_only_reading", "stack_pages::test_uploads_are_refused"),
    ),
    "T100": Row(
        asks=(
            Ask(
                path="/pypi/demo/json", contains=('"version":"1.1"', "demo-1.1"), lacks=("demo-2.0", '"2.0"')
            ),
            Ask(path="/pypi/demo/2.0/json", contains=('"yanked":true', '"urls":[]', "Blocked: ")),
            *gone("/integrity/demo/2.0/demo-2.0-py3-none-any.whl/provenance"),
        ),
        covered=("stack_project_json::test_refused_release",),
    ),
    # Black box with real clients
    "T101": Row(
        covered=(
            "stack_installers::test_open_requirement_takes_the_newest_permitted",
            "clients::test_install",
        )
    ),
    "T102": Row(covered=("stack_installers::test_pin_prints_the_reason", "clients::test_blocked_pin")),
    "T103": Row(
        covered=("stack_installers::test_uv_lock_and_sync", "stack_installers::test_hash_pinned_requirement")
    ),
    "T104": Row(covered=("stack_installers::test_uv_never_falls_through_to_a_second_index",)),
    "T105": Row(covered=("stack_installers::test_open_requirement_takes_the_newest_permitted",)),
    "T106": Row(covered=("stack_installers::test_upload_time_filters_work",)),
    "T107": Row(covered=("stack_installers::test_block_reaches_a_client_with_a_cache",)),
    "T108": Row(covered=("stack_installers::test_pip_download", "stack_installers::test_pip_index_versions")),
    "T109": Row(covered=("clients::test_install",)),
    "T110": Row(covered=("stack_installers::test_uv_lock_and_sync",)),
}

#: The rows of section 4, as it numbers them.
IDS = tuple(
    f"T{number:02}"
    for first, last in ((1, 18), (20, 33), (40, 59), (60, 69), (70, 85), (86, 100), (101, 110))
    for number in range(first, last + 1)
)
