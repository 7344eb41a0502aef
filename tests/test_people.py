"""What people read about a refusal: the same as the decision, escaped, and nothing besides."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from decider.errors import IndexUnavailable
from decider.files import ProjectStatus
from tests.harness_client import client_of
from tests.repository_harness import Harness, open_harness
from tests.samples import AT, make_file

WHEEL, SDIST = "demo-2.0-py3-none-any.whl", "demo-1.0.tar.gz"
JSON = "application/json"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
EVIL = "<script>alert(1)</script>\"'&{{7*7}}"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as made:
        yield made


@pytest.fixture
def client(harness: Harness) -> FlaskClient:
    return client_of(harness)


def why(client: FlaskClient, /, *, project: str = "demo", accept: str = JSON, **more: str) -> TestResponse:
    """The question as nginx passes it on; keyword names become X-Decider headers."""
    named = {f"X-Decider-{name.replace('_', '-').title()}": value for name, value in more.items()}
    headers = {"X-Decider-Raw-Project": project, "X-Decider-Repository": "default", "Accept": accept, **named}
    return client.get(
        "/-/why", headers={name: value.encode().decode("latin-1") for name, value in headers.items()}
    )


def told(client: FlaskClient, /, **more: str) -> dict[str, Any]:
    answer = why(client, **more)
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json, dict)
    return answer.json


def test_refused_and_permitted(client: FlaskClient, harness: Harness) -> None:
    """What is refused is named with its rule, reason and end, and so is the newest release that may be had."""
    harness.public.publish("demo", WHEEL, SDIST)
    rule = harness.add_rule(
        "block", versions=">=2", reference="https://advisories.example/1", expires_at=AT + timedelta(days=1)
    )
    found = told(client)
    assert (found["project"], found["index"], found["files"], found["permitted"]) == (
        "demo",
        "public",
        2,
        "1.0",
    )
    (refused,) = found["refused"]
    assert (refused["filename"], refused["version"], refused["verdict"]) == (WHEEL, "2.0", "block")
    assert (refused["reason"], refused["until"]) == ("because", "2026-11-23T12:00:00Z")
    assert refused["rules"] == [
        {
            "id": rule.id,
            "action": "block",
            "reason": "because",
            "reference": "https://advisories.example/1",
            "created_at": "2026-11-22T12:00:00Z",
            "expires_at": "2026-11-23T12:00:00Z",
        }
    ]


def test_says_what_the_decision_says(client: FlaskClient, harness: Harness) -> None:
    """The verdicts are those of the decision itself, for every action."""
    harness.public.publish("demo", *(f"demo-{number}.0.tar.gz" for number in range(1, 5)))
    for number, action in enumerate(("block", "hold", "yank"), 1):
        harness.add_rule(action, versions=f"=={number}.0")
    found = {entry["filename"]: entry["verdict"] for entry in told(client)["refused"]}
    assert found == {"demo-1.0.tar.gz": "block", "demo-2.0.tar.gz": "hold", "demo-3.0.tar.gz": "yank"}


@pytest.mark.parametrize(
    ("versions", "yanked", "newest"),
    [
        (("1.0", "2.0rc1"), None, "1.0"),
        (("2.0rc1", "2.0b1"), None, "2.0rc1"),
        (("1.9", "1.10"), None, "1.10"),
        (("1.0",), "broken", None),
        ((), None, None),
    ],
)
def test_newest_permitted(
    client: FlaskClient, harness: Harness, versions: tuple[str, ...], yanked: str | None, newest: str | None
) -> None:
    """The newest final release that nobody yanked, else the newest prerelease."""
    files = [make_file(f"demo-{version}.tar.gz", yanked=yanked) for version in versions]
    harness.public.publish("demo", *files, make_file("demo-odd.tar.gz"))
    assert told(client)["permitted"] == newest


def test_one_file(client: FlaskClient, harness: Harness) -> None:
    """A file's own page is about that file alone; one that is not listed is 404."""
    harness.public.publish("demo", WHEEL, SDIST)
    harness.add_rule("block")
    assert [entry["filename"] for entry in told(client, file=SDIST)["refused"]] == [SDIST]
    for other in ("demo-3.0.tar.gz", f"{WHEEL}.metadata", "\u6f22"):
        answer = why(client, file=other)
        assert answer.status_code == 404
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("project", ["Demo", "DEMO", "de__mo"])
def test_any_spelling(client: FlaskClient, harness: Harness, project: str) -> None:
    """People may spell a name as they like."""
    harness.public.publish("demo", WHEEL)
    harness.public.publish("de-mo", "de-mo-1.0.tar.gz")
    assert why(client, project=project).status_code == 200


@pytest.mark.parametrize("project", ["", "demo.", "..", "\u212aeras", "x" * 201, "nope"])
def test_no_such_project(client: FlaskClient, project: str) -> None:
    """What is no name, or nobody's, is 404, for browsers too."""
    assert why(client, project=project).status_code == 404
    page = why(client, project=project, accept=BROWSER)
    assert page.status_code == 404
    assert page.content_type.startswith("text/html")


def test_index_away(client: FlaskClient, harness: Harness) -> None:
    """Where the index cannot be asked nothing is explained: 503."""
    harness.internal.error = IndexUnavailable("internal", "away")
    answer = why(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_repository(client: FlaskClient, harness: Harness) -> None:
    """The explanation is the asked repository's; one that is not there has none."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("block", repositories=("lab",))
    assert told(client)["refused"] == []
    assert len(told(client, repository="lab")["refused"]) == 1
    assert why(client, repository="nope").status_code == 422


def test_status_of_the_project(client: FlaskClient, harness: Harness) -> None:
    """What the index says of the project itself is told."""
    harness.public.publish("demo", WHEEL, status=ProjectStatus.ARCHIVED, status_reason="moved")
    found = told(client)
    assert (found["status"], found["status_reason"]) == ("archived", "moved")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("", "text/html; charset=utf-8"),
        ("image/png", "text/html; charset=utf-8"),
        (JSON, "application/json"),
        ("application/problem+json", "application/json"),
        ("text/html;q=0.1, application/json", "application/json"),
        ("text/html;q=0, */*", "application/json"),
    ],
)
def test_format(client: FlaskClient, harness: Harness, accept: str, expected: str) -> None:
    """Who asks for JSON gets it, everybody else a page to read; nobody keeps either."""
    harness.public.publish("demo", WHEEL)
    answer = why(client, accept=accept)
    assert answer.content_type == expected
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_is_markup(client: FlaskClient, harness: Harness) -> None:
    """Reasons, references, file names and statuses are text on a page that may run and load nothing."""
    harness.public.publish(
        "demo", make_file("demo-1.0<b>.tar.gz"), WHEEL, status=ProjectStatus.ARCHIVED, status_reason=EVIL
    )
    harness.add_rule("block", reason=EVIL, reference="javascript:alert(1)")
    for more in ({}, {"file": WHEEL}, {"file": "demo-1.0<b>.tar.gz"}, {"file": "<script>.whl"}):
        page = why(client, accept=BROWSER, **more)
        assert "<script" not in page.text
        assert "<b>" not in page.text
        assert 'href="javascript:' not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "{{7*7}}" in why(client, accept=BROWSER).text


def test_asking_is_not_downloading(client: FlaskClient, harness: Harness) -> None:
    """To ask why something is held opens no review."""
    harness.public.publish("demo", WHEEL)
    harness.add_rule("hold")
    told(client, file=WHEEL, client="10.0.0.1")
    harness.write()
    assert harness.store.list_reviews().items == ()
