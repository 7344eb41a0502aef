"""The JSON that tools of old read, from our page model (issue: `/pypi/<project>/json`)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from decider.files import ProjectPage
from decider.pages import render_project_json
from tests.page_samples import SHA256
from tests.samples import make_file, make_page

BASE = "../../files/demo/"


def rendered(page: ProjectPage, version: str | None = None, *refused: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render_project_json(page, version, file_base=BASE, refused=refused))
    return found


def test_a_file() -> None:
    """A file says all that the page knows of it, and where ours is."""
    file = make_file(
        "demo-1.0+a-1-cp311-abi3-linux_x86_64.whl",
        hashes={"sha256": SHA256},
        size=10,
        upload_time=datetime(2024, 2, 29, 23, 59, 58, 120000, tzinfo=UTC),
        requires_python=">=3.8",
        yanked="bad",
    )
    assert rendered(make_page(file), "1.0+a")["urls"] == [
        {
            "filename": "demo-1.0+a-1-cp311-abi3-linux_x86_64.whl",
            "url": "../../files/demo/demo-1.0%2Ba-1-cp311-abi3-linux_x86_64.whl",
            "digests": {"sha256": SHA256},
            "size": 10,
            "packagetype": "bdist_wheel",
            "python_version": "cp311",
            "requires_python": ">=3.8",
            "upload_time": "2024-02-29T23:59:58",
            "upload_time_iso_8601": "2024-02-29T23:59:58.120000Z",
            "yanked": True,
            "yanked_reason": "bad",
        }
    ]


def test_what_is_not_known() -> None:
    """What a page does not tell is null, and what nobody may conclude from is not there at all."""
    page = rendered(make_page(make_file("demo-1.0.tar.gz", yanked="")))
    assert page["info"]["summary"] is None
    assert page["info"]["yanked_reason"] is None
    assert {"vulnerabilities", "last_serial"}.isdisjoint(page)
    (file,) = page["urls"]
    unknown = ("size", "requires_python", "upload_time", "upload_time_iso_8601", "yanked_reason")
    assert [file[key] for key in unknown] == [None] * len(unknown)


@pytest.mark.parametrize(
    ("filename", "package_type", "python_version"),
    [
        ("demo-1.0-py2.py3-none-any.whl", "bdist_wheel", "py2.py3"),
        ("demo-1.0.tar.gz", "sdist", "source"),
        ("demo-1.0.zip", "sdist", "source"),
        ("demo-1.0-py2.7.egg", "bdist_egg", "2.7"),
        ("demo-1.0.win32-py2.7.exe", "bdist_wininst", "2.7"),
        ("demo-1.0-1.noarch.rpm", "bdist_rpm", None),
        ("demo-1.0.deb", "bdist_dumb", None),
        ("demo-1.0-py3-none-any-x-y-z.whl", "bdist_wheel", None),
    ],
)
def test_kinds_of_files(filename: str, package_type: str, python_version: str | None) -> None:
    """Wheels, sdists and the older kinds are told apart as they have always been."""
    page = rendered(make_page(make_file(filename), versions=("1.0",)))
    found = [file for files in page["releases"].values() for file in files] or page["urls"]
    assert [(one["packagetype"], one["python_version"]) for one in found] == [
        (package_type, python_version)
    ] * len(found)


def test_releases() -> None:
    """Each file is under its release, in the page's spelling; a release without files has an empty list."""
    page = make_page(
        make_file("demo-1.0-py3-none-any.whl"),
        make_file("demo-1.0.0.tar.gz"),
        make_file("demo-2.0.tar.gz"),
        make_file("demo-unknown.tar.gz"),
        versions=("1.0", "2.0", "3.0"),
    )
    found = rendered(page)["releases"]
    assert {version: [file["filename"] for file in files] for version, files in found.items()} == {
        "1.0": ["demo-1.0-py3-none-any.whl", "demo-1.0.0.tar.gz"],
        "2.0": ["demo-2.0.tar.gz"],
        "3.0": [],
    }
    assert "releases" not in rendered(page, "1.0")


@pytest.mark.parametrize(
    ("files", "newest"),
    [
        ({"1.0": None, "1.1": None, "2.0rc1": None}, "1.1"),
        ({"1.0": None, "1.1": "Blocked: no (r1)"}, "1.0"),
        ({"1.0rc1": None, "0.9": "gone"}, "1.0rc1"),
        ({"1.0": "gone", "1.1": "gone"}, "1.1"),
        ({}, None),
    ],
)
def test_the_release_that_is_shown(files: dict[str, str | None], newest: str | None) -> None:
    """The project's page shows the newest release that an installer would take, never one that is refused."""
    listed = [make_file(f"demo-{version}.tar.gz", yanked=yanked) for version, yanked in files.items()]
    page = rendered(make_page(*listed))
    assert page["info"]["version"] == newest
    assert [file["filename"] for file in page["urls"]] == ([f"demo-{newest}.tar.gz"] if newest else [])


def test_a_release_that_is_yanked_whole() -> None:
    """A release is yanked, with the reason, when all its files are."""
    page = make_page(
        make_file("demo-1.0.tar.gz", yanked="why"),
        make_file("demo-2.0.tar.gz", yanked="why"),
        make_file("demo-2.0-py3-none-any.whl", requires_python=">=3.9"),
    )
    yanked, offered = rendered(page, "1.0")["info"], rendered(page, "2.0")["info"]
    assert (yanked["yanked"], yanked["yanked_reason"]) == (True, "why")
    assert (offered["yanked"], offered["yanked_reason"], offered["requires_python"]) == (False, None, ">=3.9")


def test_refused_files() -> None:
    """Refused files, and releases that only they had, are not listed; the release itself says that it is refused."""
    wheel, sdist = "demo-2.0-py3-none-any.whl", "demo-2.0.tar.gz"
    page = make_page(
        make_file("demo-1.0.tar.gz"),
        make_file(wheel, yanked="Blocked: no (r1)"),
        make_file(sdist, yanked="Blocked: no (r1)"),
        versions=("0.1", "1.0", "2.0"),
    )
    whole, part = rendered(page, None, wheel, sdist), rendered(page, None, wheel)
    assert {version: len(files) for version, files in whole["releases"].items()} == {"0.1": 0, "1.0": 1}
    assert whole["info"]["version"] == "1.0"
    assert [file["filename"] for file in part["releases"]["2.0"]] == [sdist]
    one = rendered(page, "2.0", wheel, sdist)
    assert (one["urls"], one["info"]["yanked"], one["info"]["yanked_reason"]) == (
        [],
        True,
        "Blocked: no (r1)",
    )


def test_serial() -> None:
    """The index's serial is relayed where it states one."""
    assert rendered(make_page(make_file("demo-1.0.tar.gz"), last_serial=7))["last_serial"] == 7
