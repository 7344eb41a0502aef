"""JSON pages of indexes (PEP 691, 700, 714, 740, 792; STANDARDS T42, T43, T46, T53, T54)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from decider.errors import UnreadablePage
from decider.files import DistributionFile, ProjectStatus
from decider.pages import PageFormat, parse_projects
from tests.page_samples import (
    FILES,
    SDIST,
    SHA256,
    WHEEL,
    json_body,
    json_entry,
    read,
    read_json_file,
    reasons,
    without_digest,
)

MD5, SHA512 = "0a" * 16, "1b" * 64


def test_whole_file() -> None:
    """Everything that an index says of a file is kept."""
    file = read_json_file(
        requires_python=">=3.8,<4",
        upload_time="2024-02-29T23:59:58.123456Z",
        core_metadata={"sha256": SHA256},
        data_dist_info_metadata={"sha256": SHA256},
        yanked="\"><script>&'é\nbroken",
        provenance="https://index.example/integrity/demo/1.0/x/provenance",
        gpg_sig=True,
        unknown_key={"deep": [1, 2, 3]},
    )
    assert file == DistributionFile(
        filename=WHEEL,
        url=f"{FILES}{WHEEL}",
        hashes={"sha256": SHA256},
        size=10,
        upload_time=datetime(2024, 2, 29, 23, 59, 58, 123456, tzinfo=UTC),
        requires_python=">=3.8,<4",
        core_metadata={"sha256": SHA256},
        yanked="\"><script>&'é\nbroken",
        provenance="https://index.example/integrity/demo/1.0/x/provenance",
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # T42: null and empty mean not stated.
        ({"size": None}, {"size": None}),
        ({"size": ""}, {"size": None}),
        ({"size": "10"}, {"size": None}),
        ({"size": -1}, {"size": None}),
        ({"size": True}, {"size": None}),
        ({"size": 2**63 - 1}, {"size": 2**63 - 1}),
        ({"size": 2**63}, {"size": None}),
        ({"size": 2**200}, {"size": None}),
        ({"upload_time": None}, {"upload_time": None}),
        ({"upload_time": ""}, {"upload_time": None}),
        ({"upload_time": 1700000000}, {"upload_time": None}),
        ({"upload_time": "yesterday"}, {"upload_time": None}),
        ({"requires_python": None}, {"requires_python": None}),
        ({"requires_python": ""}, {"requires_python": None}),
        ({"hashes": None}, {"hashes": {}}),
        ({"hashes": ""}, {"hashes": {}}),
        ({"hashes": {}}, {"hashes": {}}),
        ({"hashes": {"sha256": SHA256, "md5": None}}, {"hashes": {"sha256": SHA256}}),
        ({"hashes": {"sha256": ""}}, {"hashes": {}}),
        ({"provenance": None}, {"provenance": None}),
        ({"provenance": ""}, {"provenance": None}),
        # T43
        ({"upload_time": "2024-01-02T03:04:05Z"}, {"upload_time": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)}),
        (
            {"upload_time": "2024-01-02T03:04:05+00:00"},
            {"upload_time": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)},
        ),
        (
            {"upload_time": "2024-01-02T03:04:05+02:00"},
            {"upload_time": datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC)},
        ),
        ({"upload_time": "2024-01-02T03:04:05"}, {"upload_time": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)}),
        ({"upload_time": "0001-01-01T00:00:00+23:00"}, {"upload_time": None}),
        # Yanked: any text is a reason, and "" hides none (STANDARDS C31).
        ({"yanked": None}, {"yanked": None}),
        ({"yanked": False}, {"yanked": None}),
        ({"yanked": True}, {"yanked": ""}),
        ({"yanked": ""}, {"yanked": ""}),
        ({"yanked": "reason"}, {"yanked": "reason"}),
        # Digests: those that installers agree on, in lower case.
        ({"hashes": {"SHA256": SHA256.upper(), "md5": MD5}}, {"hashes": {"sha256": SHA256, "md5": MD5}}),
        (
            {"hashes": {"sha512": SHA512, "sha1": "a" * 40, "sha224": "b" * 56}},
            {"hashes": {"sha512": SHA512}},
        ),
        ({"hashes": {"sha256": SHA256, "md5": "xyz", "blake2b": "c" * 128}}, {"hashes": {"sha256": SHA256}}),
        ({"hashes": {"blake2b": "c" * 64}}, {"hashes": {"blake2b": "c" * 64}}),
        # Core metadata, by its three names.
        ({"core_metadata": True}, {"core_metadata": True}),
        ({"core_metadata": False, "dist_info_metadata": True}, {"core_metadata": False}),
        ({"core_metadata": None, "dist_info_metadata": True}, {"core_metadata": True}),
        ({"dist_info_metadata": {"sha256": SHA256}}, {"core_metadata": {"sha256": SHA256}}),
        ({"data_dist_info_metadata": {"sha256": SHA256.upper()}}, {"core_metadata": {"sha256": SHA256}}),
        ({"core_metadata": {"sha1": "a" * 40}}, {"core_metadata": True}),
        ({"core_metadata": {"sha256": "abc"}}, {"core_metadata": False}),
        ({"core_metadata": 7}, {"core_metadata": False}),
        ({"core_metadata": 7, "dist_info_metadata": True}, {"core_metadata": True}),
        # Provenance: absolute https, or none.
        ({"provenance": "/integrity/x"}, {"provenance": None}),
        ({"provenance": "http://index.example/x"}, {"provenance": None}),
        ({"provenance": "https://user@index.example/x"}, {"provenance": None}),
        ({"provenance": 'https://index.example/"><script>'}, {"provenance": None}),
        ({"provenance": ["https://index.example/x"]}, {"provenance": None}),
    ],
)
def test_values(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Null, empty and odd values are sanitized; a yank never gets lost, a digest is never made up."""
    file = read_json_file(**fields)
    assert {name: getattr(file, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (json_entry(hashes={"sha256": "abc"}), "its sha256 is no SHA-256 digest"),
        (json_entry(hashes={"sha256": "g" * 64}), "its sha256 is no SHA-256 digest"),
        (json_entry(hashes={"sha256": 7}), "its entry cannot be read: Expected `str`, got `int`"),
        (json_entry(hashes=["sha256"]), "its entry cannot be read: Expected `object | null`"),
        (json_entry(requires_python=3), "its entry cannot be read: Expected `str | null`"),
        (json_entry(yanked=1), "its entry cannot be read: Expected `bool | str | null`"),
        (json_entry(yanked=["no"]), "its entry cannot be read: Expected `bool | str | null`"),
        (json_entry(url=None), "its entry cannot be read: Expected `str`"),
        (json_entry(url=""), "its URL is missing"),
        ({"filename": WHEEL}, "its entry cannot be read: Object missing required field `url`"),
        (json_entry("demo-1.0-py3-none-any.whl.metadata"), "cannot be part of a URL"),
        (json_entry("../demo-1.0.tar.gz"), "cannot be part of a URL"),
        (json_entry("demo-1.0\n.tar.gz"), "cannot be part of a URL"),
        (json_entry("other-1.0.tar.gz"), "another project's"),
        (json_entry("other-1.0-py3-none-any.whl"), "another project's"),
    ],
)
def test_bad_entry(entry: dict[str, Any], why: str) -> None:
    """One bad entry is left out, with the reason, and costs no other."""
    parsed = read(json_body(json_entry(SDIST), entry, json_entry("demo-1.1.tar.gz")))
    assert [file.filename for file in parsed.page.files] == [SDIST, "demo-1.1.tar.gz"]
    (dropped,) = parsed.dropped
    assert dropped.filename == entry["filename"]
    assert why in dropped.why


@pytest.mark.parametrize(
    "entry", [None, 7, "demo-1.0.tar.gz", [], [[]], {}, {"filename": 7}, {"filename": None}]
)
def test_entry_without_name(entry: object) -> None:
    """An entry that is no file at all is left out as one without a name."""
    parsed = read(json_body(entry, json_entry()))
    assert [file.filename for file in parsed.page.files] == [WHEEL]
    assert reasons(parsed).keys() == {""}


@pytest.mark.parametrize("value", [b'"\xff"', b"9" * 5000, b"1e999", b"[" * 100 + b"]" * 100])
def test_undecodable_value(value: bytes) -> None:
    """A value that cannot be decoded, such as text that is not UTF-8, costs only its entry."""
    bad = b'{"filename": "demo-0.9.zip", "url": "x", "requires-python": %s}' % value
    parsed = read(b'{"files": [%s, %s]}' % (bad, json.dumps(json_entry()).encode()))
    assert [file.filename for file in parsed.page.files] == [WHEEL]
    assert len(parsed.dropped) == 1


def test_same_name_twice() -> None:
    """Of two files of one name the first counts."""
    parsed = read(json_body(json_entry(size=1), json_entry(size=2)))
    assert [file.size for file in parsed.page.files] == [1]
    assert reasons(parsed) == {WHEEL: "the page lists this file name twice; the first counts"}


def test_name_not_in_url() -> None:
    """The file name is what the page says, whatever its URL ends in."""
    assert read_json_file(url=f"{FILES}download/7?file=x").url == f"{FILES}download/7?file=x"


def test_one_bad_entry_changes_nothing_else() -> None:
    """Entries are read alike, whether or not one beside them is bad."""
    entries = [
        json_entry(),
        json_entry(
            SDIST, yanked=True, core_metadata={"sha256": SHA256}, upload_time="2024-01-02T03:04:05+01:00"
        ),
        json_entry("demo-2.0.zip", hashes={"SHA256": SHA256}, requires_python=">=3"),
    ]
    alone, beside = read(json_body(*entries)), read(json_body(*entries, "bad"))
    assert alone.page.files == beside.page.files
    assert len(alone.page.files) == 3


@pytest.mark.parametrize(
    ("meta", "entries", "versions", "expected"),
    [
        ({"api-version": "1.0"}, [json_entry()], ["1.0"], (1, 0)),
        ({"api-version": "1.1"}, [json_entry()], ["1.0"], (1, 1)),
        ({"api-version": "1.4"}, [json_entry()], ["1.0"], (1, 4)),
        # T46, S25: never above what decider implements, nor what the files honour
        ({"api-version": "1.5", "tracks": []}, [json_entry()], ["1.0"], (1, 4)),
        ({"api-version": "1.999"}, [], [], (1, 4)),
        ({"api-version": "1.4"}, [json_entry(), json_entry(SDIST, size=None)], ["1.0"], (1, 0)),
        ({"api-version": "1.4"}, [json_entry()], [], (1, 4)),
        ({"api-version": "1.4"}, [json_entry("demo_odd.tar.gz")], [], (1, 0)),
        ({"api-version": "1.4"}, [json_entry("demo_odd.tar.gz")], ["1.0"], (1, 4)),
        ({"api-version": 1.1}, [], [], (1, 1)),
        ({"api-version": None}, [], [], (1, 0)),
        ({}, [], [], (1, 0)),
        (None, [], [], (1, 0)),
    ],
)
def test_api_version(
    meta: dict[str, Any] | None, entries: list[dict[str, Any]], versions: list[str], expected: tuple[int, int]
) -> None:
    """A page claims what its index claims, as far as decider implements it and every file honours it."""
    assert read(json_body(*entries, meta=meta, versions=versions)).page.api_version == expected


@pytest.mark.parametrize(
    "version", ["2.0", "0.9", "10.1", "1", "1.x", "", "1.0\n", "1.0.0", "\u0661.\u0660", 1, True, ["1.0"], {}]
)
def test_other_major_version(version: object) -> None:
    """A page of another major version, or of none that can be read, is not guessed at."""
    with pytest.raises(UnreadablePage, match="api-version"):
        read(json_body(json_entry(), meta={"api-version": version}))


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["1.0", "01.1", "legacy"], ("1.0", "01.1", "legacy")),
        (None, ()),
        ("1.0", ()),
        (["1.0", 2, None], ("1.0",)),
    ],
)
def test_versions(versions: object, expected: tuple[str, ...]) -> None:
    """Versions are kept as stated; what is no list of texts states none."""
    assert read(json_body(json_entry(), versions=versions)).page.versions == expected


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({}, ProjectStatus.ACTIVE, None),
        ({"project_status": None}, ProjectStatus.ACTIVE, None),
        ({"project_status": {}}, ProjectStatus.ACTIVE, None),
        ({"project_status": {"status": "active"}}, ProjectStatus.ACTIVE, None),
        (
            {"project_status": {"status": "archived", "reason": "<b>done</b>"}},
            ProjectStatus.ARCHIVED,
            "<b>done</b>",
        ),
        ({"project_status": {"status": "deprecated", "reason": ""}}, ProjectStatus.DEPRECATED, None),
        ({"project_status": {"status": "archived", "reason": 7}}, ProjectStatus.ARCHIVED, None),
        ({"project_status": {"status": "paused", "reason": "x"}}, ProjectStatus.ACTIVE, None),
        ({"project_status": {"status": ["archived"]}}, ProjectStatus.ACTIVE, None),
        ({"project_status": "archived"}, ProjectStatus.ARCHIVED, None),
        # S32: where the specification's example has it
        ({"meta": {"project-status": {"status": "archived", "reason": "x"}}}, ProjectStatus.ARCHIVED, "x"),
        ({"meta": {"project-status": "archived", "project-status-reason": "x"}}, ProjectStatus.ARCHIVED, "x"),
        (
            {"meta": {"project-status": "archived"}, "project_status": {"status": "deprecated"}},
            ProjectStatus.DEPRECATED,
            None,
        ),
    ],
)
def test_status(fields: dict[str, Any], status: ProjectStatus, reason: str | None) -> None:
    """A status that PEP 792 knows is kept with its reason, and the files stay."""
    page = read(json_body(json_entry(), **fields)).page
    assert (page.status, page.status_reason) == (status, reason)
    assert len(page.files) == 1


@pytest.mark.parametrize("entries", [[], [json_entry()]])
def test_quarantined(entries: list[dict[str, Any]]) -> None:
    """Of a quarantined project nothing is offered, even where the index lists files."""
    parsed = read(json_body(*entries, project_status={"status": "quarantined", "reason": "malware"}))
    assert parsed.page.files == ()
    assert (parsed.page.status, parsed.page.status_reason) == (ProjectStatus.QUARANTINED, "malware")
    assert list(reasons(parsed)) == [entry["filename"] for entry in entries]


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        (123, 123),
        ("123", 123),
        (None, None),
        (True, None),
        (1.5, None),
        (-1, None),
        (2**70, None),
        ("-1", None),
        ("\u0661", None),
        ("9" * 30, None),
        ("", None),
    ],
)
def test_last_serial(serial: object, expected: int | None) -> None:
    """The index's serial is kept where it is a number."""
    assert read(json_body(json_entry(), meta={"_last-serial": serial})).page.last_serial == expected


@pytest.mark.parametrize("name", ["demo", "Demo", "DEMO"])
def test_own_name(name: str) -> None:
    """The page's own name may be spelt in any way."""
    assert read(json_body(json_entry(), name=name)).page.project == "demo"


def test_no_name() -> None:
    """A page that does not name its project is taken for the one that was asked for."""
    assert read(json_body(json_entry(), name=None)).page.project == "demo"


@pytest.mark.parametrize("name", ["other", "demo-extra", "", "demo.", "\u212aeras"])
def test_other_name(name: str) -> None:
    """The page of another project is no answer."""
    with pytest.raises(UnreadablePage, match="another project than `demo`"):
        read(json_body(json_entry(), name=name))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"7", b'"x"', b"{}", b'{"files": null}', b'{"files": {}}', b'{"files": "x"}', b"{", b"\xff\xfe",
        b'{"files": []', b'{"files": []} x', b"<!DOCTYPE html>", b'{"projects": [{"name": "demo"}]}',
        b'{"files": [], "name": 7}', b'{"files": [], "meta": []}', b'{"files": [], "name": "\xff"}',
        b'{"files": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"files": [' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]}",
    ],
)  # fmt: skip
def test_no_page(body: bytes) -> None:
    """What is no project page in JSON is unreadable, however it fails."""
    with pytest.raises(UnreadablePage, match="index `public`: unreadable page"):
        read(body)


@pytest.mark.parametrize(
    "body", [b'{"files":[' + b"{}," * 200_000 + b"{}]}", b'{"files":[' + b"1," * 4_000_001 + b"1]}"]
)
def test_too_many_files(body: bytes) -> None:
    """A page of more than 200,000 files is unreadable."""
    with pytest.raises(UnreadablePage, match="more than 200000 files"):
        read(body)


def test_many_files() -> None:
    """A page of 200,000 files is read."""
    entries = ",".join(f'{{"filename":"demo-{n}.zip","url":"{n}"}}' for n in range(200_000))
    assert len(read(f'{{"files":[{entries}]}}'.encode()).page.files) == 200_000


def test_digest() -> None:
    """The digest stands for all that a page depends on: body, type, URL, index, and the hosts that are allowed."""
    body = json_body(json_entry())
    digest = read(body).page.digest
    assert read(body).page.digest == digest
    others = [
        read(body + b" "),
        read(body, f"{PageFormat.JSON.media_type}; charset=utf-8"),
        read(body, url="https://index.example/simple/demo/?x"),
        read(body, index="other"),
        read(body, is_allowed_host=lambda _: False),
    ]
    assert len({digest, *(parsed.page.digest for parsed in others)}) == 6
    assert without_digest(others[0].page) == without_digest(read(body).page)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json", "application/vnd.pypi.simple.v2+json", "application/vnd.pypi.simple.latest+json",
        "text/plain", "application/xhtml+xml", "", ";", "json",
    ],
)  # fmt: skip
def test_other_type(content_type: str) -> None:
    """A body of any other type is not guessed at."""
    with pytest.raises(UnreadablePage, match="none of the simple API"):
        read(json_body(json_entry()), content_type)


def test_type_spelling() -> None:
    """The type may be spelt in any letter case and carry parameters."""
    for content_type in (
        "APPLICATION/VND.PyPI.Simple.v1+JSON",
        f" {PageFormat.JSON.media_type} ; charset=UTF-8",
    ):
        assert len(read(json_body(json_entry()), content_type).page.files) == 1


def test_projects() -> None:
    """Project names are normalized; names that no specification allows are left out."""
    names = ["Demo", "foo_bar", "foo-bar", "bad.", "", "\u212aeras", "a/b"]
    body = json.dumps(
        {"meta": {"api-version": "1.4"}, "projects": [{"name": n, "_last-serial": 1} for n in names]}
    )
    found = parse_projects(body.encode(), content_type=PageFormat.JSON.media_type, index="public")
    assert found == {"demo", "foo-bar"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"files": []}', b'{"projects": ["demo"]}', b'{"projects": [{"name": 1}]}', b'{"projects": null}',
             b'{"meta": {"api-version": "2.0"}, "projects": []}', b'{"projects": ' + b"[" * 100_000]
)  # fmt: skip
def test_no_projects(body: bytes) -> None:
    """What is no project list in JSON is unreadable."""
    with pytest.raises(UnreadablePage, match="index `public`: unreadable page"):
        parse_projects(body, content_type=PageFormat.JSON.media_type, index="public")
