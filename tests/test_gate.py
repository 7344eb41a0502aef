"""nginx's questions and decider's answers, header by header; nginx itself is not here."""

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from decider.errors import IndexTimeout, IndexUnavailable, StoreUnavailable, UnreadablePage
from decider.services import Services
from decider.web import create_app
from decider.web.exchange import PAGE_LIFETIME_S
from tests.harness_client import client_of
from tests.repository_harness import Harness, open_harness
from tests.samples import AT, key_of, make_file
from tests.stack import JSON_TYPE

WHEEL = "demo-1.0-py3-none-any.whl"
DIGEST = "a" * 64
SECOND = int(AT.timestamp())


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as made:
        yield made


@pytest.fixture
def client(harness: Harness) -> FlaskClient:
    return client_of(harness)


def ask(
    client: FlaskClient, path: str, /, *, project: str = "demo", repository: str = "default", **more: str
) -> TestResponse:
    """A question as nginx asks it; keyword names become X-Decider headers (`file` → X-Decider-File)."""
    named = {f"X-Decider-{name.replace('_', '-').title()}": value for name, value in more.items()}
    headers = {"X-Decider-Project": project, "X-Decider-Repository": repository, **named}
    accept = headers.pop("X-Decider-Accept", None)
    if accept is not None:
        headers["Accept"] = accept
    wire = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    return client.get(f"/-{path}", headers=wire)


def header(answer: TestResponse, name: str) -> str:
    """A header of the answer; "" where there is none."""
    return answer.headers.get(name, "")


# Decisions on files


def test_remote_file(client: FlaskClient, harness: Harness) -> None:
    """Yes to a remote file says where it is, how it is kept, and what it is: all that nginx needs, and no credentials."""
    file = make_file(WHEEL, hashes={"sha256": DIGEST}, size=7)
    harness.public.publish("demo", file)
    answer = ask(client, "/decision/file", file=WHEEL)
    assert answer.status_code == 200
    assert answer.data == b""
    assert header(answer, "Url") == file.url
    assert header(answer, "Expect") == f"public sha256={DIGEST} 7"
    assert header(answer, "Key") == key_of("public", file.url, f"sha256={DIGEST}")
    assert header(answer, "Tag") == f'"{DIGEST}"'
    assert header(answer, "Root") == header(answer, "Path") == ""
    assert "Content-Type" not in answer.headers


def test_remote_file_of_which_nothing_is_stated(client: FlaskClient, harness: Harness) -> None:
    """Yes to a file without digest and size says that nothing is known, and has no ETag of ours."""
    harness.public.publish("demo", make_file(WHEEL))
    answer = ask(client, "/decision/file", file=WHEEL)
    assert (header(answer, "Expect"), header(answer, "Tag")) == ("public - -", "")


def test_local_file(client: FlaskClient, harness: Harness) -> None:
    """Yes to a local file names a folder by its name and a path below it; a name in any script survives the way."""
    name = "demo-1.0-é漢.zip"
    harness.internal.publish("demo", make_file(name, path=f"demo/{name}"))
    answer = ask(client, "/decision/file", file=name)
    assert answer.status_code == 200
    assert header(answer, "Root") == "index:internal"
    assert header(answer, "Path").encode("latin-1").decode() == f"demo/{name}"
    assert header(answer, "Url") == header(answer, "Expect") == ""


@pytest.mark.parametrize("action", ["block", "hold"])
@pytest.mark.parametrize("suffix", ["", ".metadata", ".provenance", ".asc"])
def test_refused_file(client: FlaskClient, harness: Harness, action: str, suffix: str) -> None:
    """No says nothing of where the bytes are."""
    harness.public.publish("demo", make_file(WHEEL, core_metadata=True))
    harness.add_rule(action)
    answer = ask(client, "/decision/file", file=WHEEL + suffix)
    assert answer.status_code == 403
    assert "files.example" not in str(answer.headers)


def test_decision_is_kept_for_this_second(client: FlaskClient, harness: Harness) -> None:
    """Yes, no and the words for a no are nginx's to keep until this second ends, and as a fallback for `grace`."""
    harness.public.publish("demo", WHEEL)
    harness.now += timedelta(milliseconds=700)
    paths = ["/decision/file", "/refusal/file", "/decision/page", "/refusal/page"]
    for rule in (None, "block"):
        if rule is not None:
            harness.add_rule(rule)
        for path in paths:
            answer = ask(client, path, file=WHEEL, format="json")
            # Cache-Control first: nginx 1.22 reads its extensions only then.
            names = [name.lower() for name, _ in answer.headers]
            assert names.index("cache-control") < names.index("x-accel-expires")
            assert answer.headers["X-Accel-Expires"] == f"@{SECOND}"
            assert "stale-if-error=300" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (IndexUnavailable("internal", "away"), 503),
        (IndexTimeout("internal", "slow"), 504),
        (UnreadablePage("internal", "no JSON"), 502),
    ],
)
def test_index_that_cannot_be_asked(
    client: FlaskClient, harness: Harness, error: Exception, status: int
) -> None:
    """Where an index cannot be asked the decision is no, and the words say 502, 503 or 504, never 403 or 404."""
    harness.public.publish("demo", WHEEL)
    harness.internal.error = error  # type: ignore[assignment]
    for kind in ("file", "page"):
        assert ask(client, f"/decision/{kind}", file=WHEEL, format="json").status_code == 403
        refused = ask(client, f"/refusal/{kind}", file=WHEEL, format="json")
        assert refused.status_code == status
        assert refused.content_type == "application/problem+json"
        assert "X-Decider-Verdict" not in refused.headers


@pytest.mark.parametrize("kind", ["file", "page"])
def test_words_take_no_second_question(client: FlaskClient, harness: Harness, kind: str) -> None:
    """What an index did not answer is told in the words of the decision, without asking it for as long again."""
    harness.internal.error = UnreadablePage("internal", "it is `\x1b\r\n\xe9` and not JSON")
    decision = ask(client, f"/decision/{kind}", file=WHEEL, format="json")
    again = ask(client, f"/refusal/{kind}", file=WHEEL, format="json")
    harness.internal.error = AssertionError("asked again")  # type: ignore[assignment]
    refused = ask(client, f"/refusal/{kind}", file=WHEEL, format="json", failed=header(decision, "Failed"))
    assert (refused.status_code, refused.content_type) == (502, "application/problem+json")
    assert refused.data == again.data
    assert "not JSON" in json.loads(refused.data)["detail"]


def test_rules_too_old(client: FlaskClient, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no rules to decide by the decision is no, and the words are 503 without details of the store."""
    harness.public.publish("demo", WHEEL)

    def away(*_: object) -> Any:
        raise StoreUnavailable("redis://:s3cret@store.example refused")

    for method in ("revision", "load_rules"):
        monkeypatch.setattr(harness.store, method, away)
    assert ask(client, "/decision/file", file=WHEEL).status_code == 403
    refused = ask(client, "/refusal/file", file=WHEEL)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert "s3cret" not in refused.text


def test_fault_is_no_decision(client: FlaskClient, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is neither a yes nor a no: 500, on which nginx serves nothing, and which nobody keeps."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug with a secret in it")

    monkeypatch.setattr(harness.repositories, "decide_file", fail)
    for path in ("/decision/file", "/refusal/file"):
        answer = ask(client, path, file=WHEEL)
        assert answer.status_code == 500
        assert "X-Accel-Expires" not in answer.headers
        assert "secret" not in answer.text


def test_degraded(client: FlaskClient, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision by the rules of before says that the store is away."""
    harness.public.publish("demo", WHEEL)
    assert header(ask(client, "/decision/file", file=WHEEL), "Degraded") == ""

    def away() -> int:
        raise StoreUnavailable("away")

    monkeypatch.setattr(harness.store, "revision", away)
    harness.look_again()
    answer = ask(client, "/decision/file", file=WHEEL)
    assert (answer.status_code, header(answer, "Degraded")) == (200, "store")


def test_review_is_counted_once(client: FlaskClient, harness: Harness) -> None:
    """A client's one request for a held file counts once, though it takes a decision and its words."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("hold")
    ask(client, "/decision/file", file=WHEEL, client="10.0.0.1")
    ask(client, "/refusal/file", file=WHEEL, client="10.0.0.1")
    harness.write()
    (review,) = harness.store.list_reviews().items
    assert (review.requests, review.requested_by) == (1, ("10.0.0.1",))


# Arguments


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    project=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30),
    filename=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30),
    page_format=st.sampled_from(["", "json", "other", "\xff"]),
    accept=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30),
)
def test_no_argument_is_a_fault(
    client: FlaskClient, project: str, filename: str, page_format: str, accept: str
) -> None:
    """Whatever bytes a client puts into a path or a header, there is an answer, and it is no fault of decider."""
    headers = {
        "X-Decider-Repository": "default",
        "X-Decider-Project": project,
        "X-Decider-Raw-Project": project,
        "X-Decider-File": filename,
        "X-Decider-Format": page_format,
        "X-Decider-Format-Argument": accept,
        "X-Decider-Query": filename,
        "Accept": accept,
    }
    for path in (
        "decision/page",
        "decision/file",
        "refusal/page",
        "refusal/file",
        "redirect/page",
        "redirect/file",
        "why",
    ):
        answer = client.get(f"/-/{path}", headers=headers)
        assert answer.status_code in {200, 301, 403, 404, 406, 503}, path
        for _, value in answer.headers:
            value.encode("latin-1")


@pytest.mark.parametrize(
    "project", ["Demo", "demo.", "dem\u00f6", "\u212aeras", "demo\x85", "", "a/b", "..", "x" * 201]
)
def test_what_is_no_name(client: FlaskClient, harness: Harness, project: str) -> None:
    """What is no normalized name is asked of no index."""
    harness.public.publish("demo", WHEEL)
    if project != "Demo":
        assert ask(client, "/decision/page", project=project, format="json").status_code == 403
        assert ask(client, "/refusal/page", project=project, format="json").status_code == 404
        assert harness.public.asked == []
    else:
        assert ask(client, "/decision/page", project=project, format="json").status_code == 200


def test_clients_choose_no_repository_that_is_not_there(client: FlaskClient, harness: Harness) -> None:
    """A repository that is not configured is a no."""
    harness.public.publish("demo", WHEEL)
    for repository in ("", "nope", "DEFAULT"):
        assert ask(client, "/decision/file", repository=repository, file=WHEEL).status_code == 403


# Pages


def page_of(client: FlaskClient, /, **more: str) -> TestResponse:
    """The page, asked for under the decision's fingerprint as nginx does."""
    decided = ask(client, "/decision/page", format=more.get("format", "json"))
    assert decided.status_code == 200, decided.status
    return ask(
        client,
        "/page",
        **{"fingerprint": header(decided, "Fingerprint"), "format": header(decided, "Format"), **more},
    )


def test_page(client: FlaskClient, harness: Harness) -> None:
    """A page comes with its type, a strong ETag, and leave for nginx alone to keep it."""
    harness.public.publish("demo", WHEEL)
    answer = page_of(client)
    assert answer.status_code == 200
    assert answer.content_type == JSON_TYPE
    assert [file["filename"] for file in json.loads(answer.data)["files"]] == [WHEEL]
    assert answer.headers["X-Accel-Expires"] == str(PAGE_LIFETIME_S)
    assert answer.headers["Cache-Control"] == "max-age=0"
    assert answer.headers["ETag"].startswith('"')
    names = [name.lower() for name, _ in answer.headers]
    assert names.index("x-accel-expires") < names.index("cache-control")


def test_provenance_under_our_own_name(tmp_path: Path) -> None:
    """Where the operator says what we are called, pages name provenance there, as far as we would give it (PEP 740)."""
    theirs = "https://index.example/integrity/demo"
    files = {
        "demo-1.0+a-py3-none-any.whl": (
            theirs,
            "https://d.example/x/files/demo/demo-1.0%2Ba-py3-none-any.whl.provenance",
        ),
        "demo-1.0.zip": ("https://127.0.0.1/secret", "https://127.0.0.1/secret"),
        "demo-1.0.tar.gz": (None, None),
    }
    with open_harness(tmp_path) as harness:
        listed = [make_file(name, provenance=stated) for name, (stated, _) in files.items()]
        harness.public.publish("demo", *listed)
        for public_url, repository, column in (
            ("https://d.example/x/", "default", 1),
            ("https://d.example/x/", "lab", 1),
            ("http://d.example/x/", "default", 0),
            (None, "default", 0),
        ):
            named = msgspec.structs.replace(harness.settings, public_url=public_url)
            parts = Services(
                settings=named, store=harness.store, repositories=harness.repositories, clock=harness.clock
            )
            asked = create_app(named, parts=parts).test_client()
            page = page_of(asked, repository=repository).get_json(force=True)
            found = {file["filename"]: file.get("provenance") for file in page["files"]}
            expected = {name: urls[column] for name, urls in files.items()}
            if repository == "lab":
                expected = {
                    name: url and url.replace("/x/files/", "/x/lab/files/") for name, url in expected.items()
                }
            assert found == expected


def test_page_of_another_fingerprint(client: FlaskClient, harness: Harness) -> None:
    """A page that changed since it was decided on is served, and kept by nobody under the old fingerprint."""
    harness.public.publish("demo", WHEEL)
    decided = ask(client, "/decision/page", format="json")
    harness.add_rule("block")
    answer = ask(client, "/page", format="json", fingerprint=header(decided, "Fingerprint"))
    assert answer.headers["X-Accel-Expires"] == "0"
    assert json.loads(answer.data)["files"][0]["yanked"].startswith("Blocked: because")
    for forged in ("", "x"):
        assert ask(client, "/page", format="json", fingerprint=forged).headers["X-Accel-Expires"] == "0"


def test_page_that_time_changes(client: FlaskClient, harness: Harness) -> None:
    """A page lives no longer than until the moment at which a rule ends."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("block", expires_at=AT + timedelta(seconds=90))
    assert page_of(client).headers["X-Accel-Expires"] == "90"
    harness.now += timedelta(seconds=89.5)
    assert page_of(client).headers["X-Accel-Expires"] == "0"
    harness.now += timedelta(seconds=1)
    assert page_of(client).headers["X-Accel-Expires"] == str(PAGE_LIFETIME_S)


def test_each_representation_has_a_tag_of_its_own(client: FlaskClient, harness: Harness) -> None:
    """Formats and encodings of a page are the same page under different ETags; the same again is the same bytes."""
    harness.public.publish("demo", WHEEL)
    answers = [
        page_of(client, format=page_format, encoding=encoding)
        for page_format in ("json", "html", "text")
        for encoding in ("identity", "gzip")
    ]
    assert len({answer.headers["ETag"] for answer in answers}) == 6
    for plain, packed in zip(answers[::2], answers[1::2], strict=True):
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert gzip.decompress(packed.data) == plain.data
        assert plain.headers["ETag"] != packed.headers["ETag"]
    again = page_of(client, format="json", encoding="gzip")
    assert (again.data, again.headers["ETag"]) == (answers[1].data, answers[1].headers["ETag"])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"format": "json", "accept": "text/html"}, "json"),
        ({"format": "other", "accept": JSON_TYPE}, "json"),
        ({"format": "other", "accept": "text/html;q=0.9, */*;q=0.1"}, "text"),
        ({"format": "other", "accept": "text/html", "format_argument": JSON_TYPE}, "json"),
        (
            {
                "format": "other",
                "format_argument": "application%2Fvnd.pypi.simple.v1%2Bjson",
                "accept": "x/y",
            },
            "json",
        ),
        ({"format": "other", "accept": "image/png"}, None),
        ({"format": "", "accept": "image/png"}, None),
        ({"format": "JSON", "accept": "image/png"}, None),
    ],
)
def test_format(client: FlaskClient, harness: Harness, asked: dict[str, str], expected: str | None) -> None:
    """The format is the one that nginx read, else it is negotiated here; what nobody speaks is 406."""
    harness.public.publish("demo", WHEEL)
    answer = ask(client, "/decision/page", **asked)
    if expected is None:
        assert answer.status_code == 403
        assert ask(client, "/refusal/page", **asked).status_code == 406
    else:
        assert header(answer, "Format") == expected


# The words for a no


def test_words(client: FlaskClient, harness: Harness) -> None:
    """A refusal has the reason in its status line, its headers, and a problem body of exactly that type."""
    harness.public.publish("demo", WHEEL)
    rule = harness.add_rule("block", reason="CVE-2026-1: bad", reference="https://advisories.example/1")
    answer = ask(client, "/refusal/file", file=WHEEL)
    assert answer.status == f"403 Blocked: CVE-2026-1: bad ({rule.id})"
    assert answer.content_type == "application/problem+json"
    assert (
        header(answer, "X-Decider-Verdict"),
        header(answer, "X-Decider-Rule"),
        header(answer, "X-Decider-Reason"),
    ) == (
        "block",
        rule.id,
        "CVE-2026-1: bad",
    )
    body = json.loads(answer.data)
    assert (body["title"], body["status"], body["rules"]) == ("Blocked", 403, [rule.id])
    assert "CVE-2026-1: bad" in body["detail"]
    assert body["why"] == f"/why/demo/{WHEEL}"
    assert body["references"] == ["https://advisories.example/1"]
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "reason",
    [
        "x\r\nX-Accel-Redirect: /-/page",
        "x\nSet-Cookie: a=b",
        "\x1b[31mred",
        "grün 漢字",
        "(" * 300,
        "x" * 5000,
        "\u2028",
        " x ",
    ],
)
def test_odd_reasons(client: FlaskClient, harness: Harness, reason: str) -> None:
    """Whatever a reason holds, status line and headers are short printable ASCII, and the body has it whole."""
    harness.public.publish("demo", WHEEL)
    rule = harness.add_rule("block", reason=reason)
    answer = ask(client, "/refusal/file", file=WHEEL)
    assert answer.status_code == 403
    assert answer.status.endswith(f"({rule.id})")
    for text in (answer.status, header(answer, "X-Decider-Reason")):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) <= 204
    assert "X-Accel-Redirect" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert reason.strip() in json.loads(answer.data)["detail"]


@pytest.mark.parametrize(
    ("filename", "title"),
    [("demo-2.0.zip", "No such file"), (f"{WHEEL}.metadata", "Not offered"), (f"{WHEEL}.asc", "Not offered")],
)
def test_words_for_what_there_is_not(
    client: FlaskClient, harness: Harness, filename: str, title: str
) -> None:
    """What is not listed, or not offered, is 404 and no policy."""
    harness.public.publish("demo", WHEEL)
    assert ask(client, "/decision/file", file=filename).status_code == 403
    answer = ask(client, "/refusal/file", file=filename)
    assert answer.status_code == 404
    assert json.loads(answer.data)["title"] == title
    assert "X-Decider-Rule" not in answer.headers


def test_words_for_what_is_allowed_by_now(client: FlaskClient, harness: Harness) -> None:
    """Where the decision was no and is yes by now, the words are to ask again, and no bytes."""
    harness.public.publish("demo", WHEEL)
    for kind in ("file", "page"):
        answer = ask(client, f"/refusal/{kind}", file=WHEEL, format="json")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"


# Redirects


@pytest.mark.parametrize(
    ("path", "more", "location"),
    [
        ("/redirect/page", {"raw_project": "Demo", "raw_slash": "/"}, "../demo/"),
        ("/redirect/page", {"raw_project": "demo"}, "demo/"),
        ("/redirect/page", {"raw_project": "A__b", "query": "?x=1"}, "a-b/?x=1"),
        ("/redirect/file", {"raw_project": "De.mo", "file": "a+b é.whl"}, "../de-mo/a+b%20%C3%A9.whl"),
        ("/redirect/file", {"raw_project": "De.mo", "file": "x.whl", "query": "?\u20ac"}, None),
    ],
)
def test_redirect(client: FlaskClient, path: str, more: dict[str, str], location: str | None) -> None:
    """Other spellings redirect, relatively, whatever Host a client names, to what any client can read."""
    answer = ask(client, path, **more)
    assert answer.status_code == 301
    found = answer.headers["Location"]
    found.encode("latin-1")
    assert location is None or found == location
    assert "://" not in found


def test_redirect_of_no_name(client: FlaskClient) -> None:
    """What is no name redirects nowhere."""
    for raw in ("", "demo.", "//evil.example", "\u212aeras"):
        answer = ask(client, "/redirect/page", raw_project=raw)
        assert answer.status_code == 404
        assert "Location" not in answer.headers


def test_alive(client: FlaskClient) -> None:
    """The supervisor's question is answered without store or index."""
    assert client.get("/-/alive").data == b"ok\n"
