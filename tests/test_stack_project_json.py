"""`/pypi/<project>/json` through nginx: filtered by the same decisions as pages (STANDARDS C52, T100)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.fake_index import FakeIndex, status
from tests.stack import PROMISE_S, Answer, Stack, eventually
from tests.uploads import make_sdist, make_wheel

pytestmark = pytest.mark.stack


@pytest.fixture
def demo(index: FakeIndex, project: str) -> str:
    """A project with 1.0, 1.1 and 2.0 as wheels, and 1.1 as sdist too."""
    for version in ("1.0", "1.1", "2.0"):
        index.add(project, make_wheel(project, version))
    index.add(project, make_sdist(project, "1.1"), metadata=False)
    return project


def release_of(answer: Answer) -> str:
    version: str = answer.json()["info"]["version"]
    return version


def test_project_and_release(stack: Stack, demo: str) -> None:
    """Project and release list the very files of the project's page, and each can be had under its URL (T100)."""
    path = f"/pypi/{demo}/json"
    answer = stack.get(path)
    assert (answer.status, answer.content_type) == (200, "application/json")
    found = answer.json()
    assert set(found["releases"]) == {"1.0", "1.1", "2.0"}
    assert release_of(answer) == "2.0"
    one = stack.get(f"/pypi/{demo}/1.1/json")
    assert one.json()["urls"] == found["releases"]["1.1"]
    assert {file["url"].rpartition("/")[0] for file in one.json()["urls"]} == {f"/packages/{demo}"}
    for base, files in ((path, found["releases"]["1.0"]), (f"/pypi/{demo}/1.1/json", one.json()["urls"])):
        for file in files:
            url = urljoin(stack.base_url + base, file["url"])
            assert stack.get(url.removeprefix(stack.base_url)).status == 200
    listed = {file["filename"]: file for file in stack.page(demo).json()["files"]}
    for file in [file for files in found["releases"].values() for file in files]:
        assert file["digests"] == listed[file["filename"]]["hashes"]
        assert file["requires_python"] == listed[file["filename"]]["requires-python"]
        assert file["upload_time_iso_8601"] == listed[file["filename"]]["upload-time"]


def test_refused_release(stack: Stack, demo: str) -> None:
    """A refused release is in no list within 2 s, also where the answer was cached; by itself it says why (T100)."""
    path = f"/pypi/{demo}/json"
    assert [release_of(stack.get(path)), release_of(stack.get(f"/pypi/{demo}/2.0/json"))] == ["2.0", "2.0"]
    rule = stack.add_rule(action="block", project=demo, versions=">=2")
    eventually(lambda: release_of(stack.get(path)) == "1.1", within_s=PROMISE_S)
    assert set(stack.get(path).json()["releases"]) == {"1.0", "1.1"}
    eventually(lambda: stack.get(f"/pypi/{demo}/2.0/json").json()["urls"] == [], within_s=PROMISE_S)
    refused = stack.get(f"/pypi/{demo}/2.0/json").json()["info"]
    assert (refused["yanked"], refused["yanked_reason"]) == (
        True, f"Blocked: CVE-2026-1: bad things ({rule['id']})",
    )  # fmt: skip
    stack.remove_rule(rule)
    eventually(lambda: release_of(stack.get(path)) == "2.0", within_s=PROMISE_S)


def test_hidden_release(stack: Stack, demo: str) -> None:
    """Where refused files are hidden a refused release is in no list, and 404 by itself."""
    stack.add_rule(action="block", project=demo, versions=">=2")
    path = f"/strict/pypi/{demo}/json"
    eventually(lambda: set(stack.get(path).json()["releases"]) == {"1.0", "1.1"}, within_s=PROMISE_S)
    answer = stack.get(f"/strict/pypi/{demo}/2.0/json")
    assert answer.status == 404
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "2.0" not in json.dumps(stack.get(path).json())
    assert f"json|identity|strict|{demo}|2.0" in kept_keys(stack, demo), "its files were judged for it"


def test_spellings(stack: Stack, demo: str) -> None:
    """Another spelling of the project redirects, relatively; one of the version is the same release."""
    for path in (f"/pypi/{demo.upper()}/json", f"/pypi/{demo.replace('-', '_')}/1.0/json"):
        answer = stack.get(f"{path}?x=1")
        assert answer.status == 301
        target = urljoin(f"{stack.base_url}{path}", answer.headers["Location"])
        rest = path.split("/", 3)[3]
        assert target == f"{stack.base_url}/pypi/{demo}/{rest}?x=1"
    doubled = stack.get(f"/pypi//{demo}/json")
    assert (doubled.status, doubled.headers["Location"]) == (301, f"/pypi/{demo}/json")
    bodies = {stack.get(f"/pypi/{demo}/{version}/json").body for version in ("1.0", "1.0.0", "v1.0")}
    assert len(bodies) == 1


def test_spellings_of_a_version(stack: Stack, index: FakeIndex, demo: str) -> None:
    """Another spelling of a version is answered in all as the index's own, in named repositories too."""
    index.add(demo, make_sdist(demo, "1!2.0+ab.1"), metadata=False)
    for repository in ("", "/strict"):
        for spelt, version in (("1!2+AB-1", "1!2.0+ab.1"), ("1.1.0", "1.1"), ("0!1.1.0.0", "1.1")):
            for method in ("GET", "HEAD"):
                for encoding in ("gzip", "identity"):
                    one, other = (
                        stack.get(
                            f"{repository}/pypi/{demo}/{text}/json",
                            {"Accept-Encoding": encoding},
                            method=method,
                        )
                        for text in (version, spelt)
                    )
                    assert (other.status, other.body) == (one.status, one.body) == (200, one.body)
                    headers = [
                        {name: value for name, value in answer.headers.items() if name != "Date"}
                        for answer in (one, other)
                    ]
                    assert headers[0] == headers[1]


def kept_keys(stack: Stack, project: str) -> set[str]:
    """What nginx keeps decisions and pages of that project under, without the fingerprint."""
    config = (stack.data_dir / "run" / "nginx.conf").read_text()
    (decisions,) = re.findall(r'proxy_cache_path "(/[^"]+/decisions)"', config)
    files = [*Path(decisions).rglob("*"), *(stack.data_dir / "cache" / "pages").rglob("*")]
    found = [re.search(rb"\nKEY: ([^\n]+)\n", path.read_bytes()) for path in files if path.is_file()]
    keys = [key[1].decode(errors="replace") for key in found if key is not None]
    return {re.sub(r"\|[0-9a-f]{64}\Z", "", key) for key in keys if project in key.split("|")}


def test_invented_versions_are_not_kept(stack: Stack, demo: str) -> None:
    """nginx keeps an answer for each release that there is, however many versions and spellings clients make up."""
    assert stack.get(f"/pypi/{demo}/json").status == 200
    for number in range(100):
        assert stack.get(f"/pypi/{demo}/9.{number}/json").status == 404
        assert stack.get(f"/pypi/{demo}/1.0{'.0' * (number % 40)}/json").status == 200
        assert stack.get(f"/pypi/{demo}-nope/{number}/json").status == 404
    assert kept_keys(stack, demo) == {
        f"json|default|{demo}",
        f"json|identity|default|{demo}|",
        f"json|identity|default|{demo}|1.0",
    }
    assert kept_keys(stack, f"{demo}-nope") == {
        f"json|default|{demo}-nope",
        f"refusal|json||default|{demo}-nope|",
    }


def test_not_found(stack: Stack, demo: str) -> None:
    """What is not there is 404 with a problem body, and nothing else below /pypi/ is served."""
    for path in (
        f"/pypi/{demo}/9.9/json",
        f"/pypi/{demo}/1.0/1.0/json",
        f"/pypi/{demo}/",
        f"/pypi/{demo}/json/x",
        f"/pypi/{demo}-nope/json",
        "/pypi/-/json",
        "/pypi/json",
        "/pypi",
        "/nowhere/pypi/demo/json",
    ):
        answer = stack.get(path)
        assert (answer.status, answer.content_type) == (404, "application/problem+json"), path


def test_conditional_and_encoded(stack: Stack, demo: str) -> None:
    """It revalidates by a strong ETag of its own for each encoding, and HEAD has GET's headers."""
    path = f"/pypi/{demo}/json"
    plain, packed = stack.get(path), stack.get(path, {"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    assert plain.headers["Cache-Control"] == "max-age=0"
    again = stack.get(path, {"If-None-Match": plain.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    head = stack.get(path, method="HEAD")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", plain.headers["ETag"])
    assert stack.get(path, method="POST").status == 405


def test_index_away(stack: Stack, index: FakeIndex, project: str) -> None:
    """An index that cannot be asked is 503 here too, never 404."""
    index.switch(f"/simple/{project}/", status(503))
    assert stack.get(f"/pypi/{project}/json").status == 503


def test_serial(stack: Stack, index: FakeIndex, demo: str) -> None:
    """The serial of the one index that a page is made of is relayed, in body and header, and none is made up."""
    assert "X-PyPI-Last-Serial" not in stack.page(demo).headers
    serial = f"{demo}-serial"
    index.add(serial, make_wheel(serial, "1.0"))
    index.project(serial, {"meta": {"api-version": "1.1", "_last-serial": 7}})
    answer = stack.get(f"/pypi/{serial}/json")
    assert (answer.json()["last_serial"], answer.headers["X-PyPI-Last-Serial"]) == (7, "7")
    page = stack.page(serial)
    assert (page.json()["meta"]["_last-serial"], page.headers["X-PyPI-Last-Serial"]) == (7, "7")


def test_another_folder_for_files(stack: Stack, demo: str) -> None:
    """Files are found below `/packages/` too, under the same decisions, in named repositories as well."""
    wheel = make_wheel(demo, "1.0")
    for repository in ("", "/strict"):
        url = stack.get(f"{repository}/pypi/{demo}/1.0/json").json()["urls"][0]["url"]
        assert url == f"{repository}/packages/{demo}/{wheel.filename}"
        assert stack.get(url).body == wheel.data
    redirected = stack.get(f"/packages/{demo.upper()}/{wheel.filename}")
    assert (redirected.status, redirected.headers["Location"]) == (301, f"../{demo}/{wheel.filename}")
    stack.add_rule(action="block", project=demo)
    eventually(lambda: stack.get(url).status == 403, within_s=PROMISE_S)
    for path in (
        url,
        f"{url}.metadata",
        url.replace("demo", "%64emo"),
        url.replace("/packages/", "/packages/./"),
    ):
        answer = stack.get(path)
        assert (answer.status, answer.headers["X-Decider-Verdict"]) == (403, "block")
    assert stack.get(f"/packages/{demo}/nope-1.0.tar.gz").status == 404


def test_public_url(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """Where the operator says what we are called, file URLs are absolute."""
    own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, top='public_url = "https://packages.example/python/"')
    stack.start()
    (file,) = stack.get("/pypi/demo/json").json()["urls"]
    assert file["url"] == "https://packages.example/python/packages/demo/demo-1.0-py3-none-any.whl"


def test_repository_of_that_name(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """A repository called `packages` is that, and files are where they always are."""
    own_index.add("demo", make_wheel("demo", "1.0"))
    stack = new_stack(index_url=own_index.url, tables='[repositories.packages]\nindexes = ["public"]')
    stack.start()
    (file,) = stack.get("/pypi/demo/json").json()["urls"]
    assert file["url"] == "../../files/demo/demo-1.0-py3-none-any.whl"
    assert stack.get("/packages/simple/demo/").status == 200
    assert stack.get("/packages/demo/demo-1.0-py3-none-any.whl").status == 404
