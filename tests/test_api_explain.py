"""Explain over HTTP."""

from io import BytesIO
from typing import Any

import pytest

from decider.errors import IndexTimeout, IndexUnavailable, UnreadablePage
from decider.store import Role
from decider.web.api.asking import BUDGET_S, ask_all
from tests.api_harness import Api, api, faults

__all__ = ["api"]

ONE, TWO = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"


def names(answer: Any) -> list[str]:
    return [one["filename"] for one in answer["files"]]


def test_project(api: Api) -> None:
    """Each file comes with verdict, deciding rules, reason, until when, and every rule that was considered."""
    api.public.publish("demo", ONE, TWO)
    until = "2026-12-01T00:00:00Z"
    block = api.add_rule("block", versions=">=2", reason="steals", expires_at=until)["id"]
    api.add_rule("block", "other")
    answer = api.get("/explain?project=DEMO", role=Role.READER).get_json()
    considered = [one.pop("considered") for one in answer["files"]]
    assert answer == {
        "project": "demo",
        "repository": "default",
        "index": "public",
        "files": [
            {
                "filename": ONE,
                "version": "1.0",
                "verdict": "allow",
                "rules": [],
                "reason": None,
                "until": None,
            },
            {
                "filename": TWO,
                "version": "2.0",
                "verdict": "block",
                "rules": [block],
                "reason": "steals",
                "until": until,
            },
        ],
        "missing": [],
    }
    assert [[(one["id"], one["applied"]) for one in each] for each in considered] == [
        [(block, False)],
        [(block, True)],
    ]
    assert all(one["why"] for each in considered for one in each)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("project=demo", [ONE, TWO]),
        ("project=Demo&version=2", [TWO]),
        ("project=demo&version=2.0.0", [TWO]),
        (f"project=demo&filename={ONE}", [ONE]),
        (f"project=demo&filename={ONE}&version=1.0", [ONE]),
        (f"filename={TWO}", [TWO]),
        ("project=demo&repository=default", [ONE, TWO]),
    ],
)
def test_choice(api: Api, query: str, expected: list[str]) -> None:
    """A version or a file name chooses files; a file name alone tells its project."""
    api.public.publish("demo", ONE, TWO)
    assert names(api.get(f"/explain?{query}").get_json()) == expected


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("project=nope", "no index of this repository has a project `nope`"),
        ("project=demo&repository=inside", "no index of this repository has a project `demo`"),
        (
            "project=demo&filename=demo-3.0.tar.gz",
            "index `public` lists no file `demo-3.0.tar.gz` for `demo`",
        ),
        ("project=demo&version=3", "index `public` lists no such file of 3"),
        (f"project=demo&version=2&filename={ONE}", "index `public` lists no such file of 2"),
    ],
)
def test_absent(api: Api, query: str, detail: str) -> None:
    """What the index does not list is a 404, not a verdict."""
    api.public.publish("demo", ONE, TWO)
    response = api.get(f"/explain?{query}")
    assert response.status_code == 404
    assert response.get_json()["detail"] == detail


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "project"),
        ("version=1", "project"),
        ("filename=whatever", "filename"),
        ("project=-x", "project"),
        ("project=demo&version=soon", "version"),
        (f"project=demo&version={'9' * 5_000}", "version"),
        (f"filename=demo-{'9' * 5_000}.tar.gz", "filename"),
        ("project=demo&repository=nope", "repository"),
        ("project=demo&limit=1", "limit"),
    ],
)
def test_faulty(api: Api, query: str, field: str) -> None:
    """A query that names nothing, or what is not configured, is refused by field."""
    assert list(faults(api.get(f"/explain?{query}"))) == [field]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnreadablePage("public", "no JSON"), 502),
        (IndexUnavailable("public", "refused"), 503),
        (IndexTimeout("public", "20 s"), 504),
    ],
)
def test_index_away(api: Api, error: Any, status: int) -> None:
    """An index that cannot be asked is 502, 503 or 504."""
    api.public.error = error
    assert api.get("/explain?project=demo").status_code == status


def test_requirements(api: Api) -> None:
    """A requirements file is explained project by project; what cannot be had has a problem and no files."""
    api.public.publish("demo", ONE, TWO)
    api.public.publish("other", "other-1.tar.gz")
    body = "demo>=2\nOther # any\nnope==1\n"
    projects = api.post("/explain", role=Role.READER, data=body).get_json()["projects"]
    assert [(one["project"], names(one)) for one in projects] == [
        ("demo", [TWO]),
        ("other", ["other-1.tar.gz"]),
        ("nope", []),
    ]
    assert ["problem" in one for one in projects] == [False, False, True]
    assert (projects[2]["index"], projects[2]["problem"]["status"]) == (None, 404)


def test_lock(api: Api) -> None:
    """A lock file is explained file by file; those that the index no longer lists are missing."""
    api.public.publish("demo", ONE, TWO)
    lock = f"""
        version = 1
        [[package]]
        name = "demo"
        version = "2.0"
        source = {{ registry = "https://index.example/simple/" }}
        sdist = {{ url = "https://index.example/files/demo-2.0.tar.gz" }}
        wheels = [{{ url = "https://index.example/files/{TWO}" }}]
    """
    (project,) = api.post("/explain?filename=uv.lock", data=lock).get_json()["projects"]
    assert (names(project), project["missing"]) == ([TWO], ["demo-2.0.tar.gz"])


def test_file_index_away(api: Api) -> None:
    """An index that is away spoils only the projects that need it."""
    api.internal.publish("demo", ONE)
    api.public.error = IndexTimeout("public", "20 s")
    projects = api.post("/explain", data="demo\nother\n").get_json()["projects"]
    assert [one.get("problem", {}).get("status") for one in projects] == [None, 504]


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/toml"]
)
def test_file_media_type(api: Api, content_type: str) -> None:
    """The file is taken whatever media type the client declares."""
    api.public.publish("demo", ONE)
    headers = {"Content-Type": content_type} if content_type else {}
    (project,) = api.post("/explain", data=b"demo", headers=headers).get_json()["projects"]
    assert names(project) == [ONE]


def test_file_form(api: Api) -> None:
    """A form is not a file: 415."""
    assert api.post("/explain", data={"file": (BytesIO(b"demo"), "x")}).status_code == 415


@pytest.mark.parametrize(
    ("query", "body", "fields"),
    [
        ("", b"", [""]),
        ("", b"\xff\xfe", [""]),
        ("", b"demo\n==1\n-r x.txt\n", ["line 2", "line 3"]),
        ("?filename=poetry.lock", b"demo", ["filename"]),
        ("?filename=uv.lock", b"[", [""]),
        ("?repository=nope", b"demo", ["repository"]),
        ("?project=demo", b"demo", ["project"]),
    ],
)
def test_file_faulty(api: Api, query: str, body: bytes, fields: list[str]) -> None:
    """A file that cannot be read is refused, naming every line."""
    assert list(faults(api.post(f"/explain{query}", data=body))) == fields


def test_file_is_bounded(api: Api) -> None:
    """A file may ask for two thousand projects."""
    body = "\n".join(f"demo-{number}" for number in range(2_001))
    assert list(faults(api.post("/explain", data=body))) == [""]


def test_ask_all_stops_in_time() -> None:
    """Once the time is over no further question is asked."""
    times = iter([0.0, 1.0, BUDGET_S + 1])
    asked: list[int] = []
    answers = [
        *ask_all(asked.append, [1], monotonic=lambda: next(times)),
        *ask_all(asked.append, [2], monotonic=iter([0.0, BUDGET_S + 1]).__next__),
    ]
    assert asked == [1]
    assert answers[0] is None
    assert isinstance(answers[1], IndexTimeout)


def test_ask_all_keeps_the_order() -> None:
    """Answers come in the order of the questions; other errors than those of an index are raised."""
    assert ask_all(str, range(20)) == [str(number) for number in range(20)]
    with pytest.raises(ZeroDivisionError):
        ask_all(lambda job: 1 / job, [1, 0])
