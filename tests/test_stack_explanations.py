"""`explain` says what the stack does: file by file, in each repository, by API and by command line (DESIGN 5, 6)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fake_index import FakeIndex
from tests.stack import JSON_TYPE, PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_sdist, make_wheel

pytestmark = pytest.mark.stack

PROVENANCE = "https://index.example/provenance"
#: What each file comes to by the rules below, in `default` and in `strict`.
EXPECTED = {
    "1.0": ("block", "block"),
    "1.0 sdist": ("allow", "allow"),
    "1.1": ("allow", "allow"),
    "1.2": ("block", "block"),
    "1.3": ("yank", "yank"),
    "1.4": ("yank", "yank"),
    "1.5": ("block", "block"),
    "1.6": ("allow", "block"),
    "1.7": ("hold", "hold"),
    "1.8": ("hold", "hold"),
    "1.9": ("allow", "allow"),
    "2.0": ("block", "block"),
    "3.0+local.1": ("hold", "hold"),
    "4.0rc1": ("block", "block"),
}


@pytest.fixture
def files(index: FakeIndex, project: str) -> dict[str, Distribution]:
    """One file for each way in which it may be judged."""
    made = {version: make_wheel(project, version) for version in EXPECTED if version != "1.0 sdist"}
    made["1.0 sdist"] = make_sdist(project, "1.0")
    young = datetime.now(UTC) - timedelta(hours=1)
    fields: dict[str, dict[str, Any]] = {
        "1.4": {"yanked": "broken on Tuesdays"},
        "1.7": {"upload-time": f"{young:%Y-%m-%dT%H:%M:%SZ}"},
    }
    for version, file in made.items():
        without = {"1.8": ("upload-time",), "3.0+local.1": ("provenance",)}
        stated = {"provenance": PROVENANCE, **fields.get(version, {})}
        index.add(project, file, fields=stated, omit=without.get(version, ()))
    return made


@pytest.fixture
def ruled(stack: Stack, project: str, files: dict[str, Distribution]) -> Stack:
    """The stack, with a rule of every kind about the project, in force."""

    def add(action: str, **fields: Any) -> str:
        return str(stack.add_rule(action=action, project=project, **fields)["id"])

    add("block", versions="<1.2", filename="*.whl", reason="old wheels")
    add("allow", versions="==1.1", reason="needed")
    add("block", versions="==1.2", final=True, reason="never")
    add("allow", versions="==1.2", reason="does not name it")
    add("yank", versions="==1.3", reason="use 1.4")
    add("yank", versions="==1.4", reason="use 1.3")
    add("block", sha256=files["1.5"].sha256, reason="known bad")
    add("block", versions="==1.6", repositories=["strict"], reason="not here")
    add("hold", younger_than="7d", reason="cooldown")
    twice = add("block", versions="==1.9", final=True, reason="lifted by name")
    add("allow", versions="==1.9", lifts=[twice], reason="accepted")
    add("hold", versions="==2.0", reason="held and blocked")
    add("block", versions="==2.0", reason="blocked and held")
    add("hold", attested=False, reason="nobody vouches")
    add("block", versions=">=3.5", reason="prereleases too")
    last = files["4.0rc1"].filename
    for repository in ("default", "strict"):
        path = f"/{repository}/files/{project}/{last}"
        eventually(lambda path=path: stack.get(path).status == 403, within_s=PROMISE_S)  # type: ignore[misc]
    timeless = files["1.8"].filename
    eventually(
        lambda: "first seen" in explained(stack, project, "default")[timeless]["reason"], within_s=PROMISE_S
    )
    return stack


def explained(stack: Stack, project: str, repository: str) -> dict[str, dict[str, Any]]:
    """By file name."""
    answer = stack.api("GET", "/explain", project=project, repository=repository)
    assert answer.status == 200, answer.body
    return {file["filename"]: file for file in answer.json()["files"]}


@pytest.mark.parametrize(("repository", "number"), [("default", 0), ("strict", 1)])
def test_explain_and_serve_agree(
    ruled: Stack, project: str, files: dict[str, Distribution], repository: str, number: int
) -> None:
    """Verdict, rules and reason that `explain` gives are those of the page, the file, its metadata and provenance."""
    told = explained(ruled, project, repository)
    assert {version: told[file.filename]["verdict"] for version, file in files.items()} == {
        version: verdicts[number] for version, verdicts in EXPECTED.items()
    }
    page = ruled.get(f"/{repository}/simple/{project}/", {"Accept": JSON_TYPE})
    listed = {entry["filename"]: entry for entry in page.json()["files"]}
    noted = {entry["filename"]: entry for entry in page.json()["_decider"]["refused"]}
    for version, file in files.items():
        one = told[file.filename]
        is_refused = one["verdict"] in {"block", "hold"}
        path = f"/{repository}/files/{project}/{file.filename}"
        # Provenance lies elsewhere; where the file is refused nobody goes there.
        for suffix in ("", ".metadata", *([".provenance", ".asc"] if is_refused else [])):
            answer = ruled.get(path + suffix)
            assert answer.status == (403 if is_refused else 200), (version, suffix)
            if is_refused:
                assert answer.headers["X-Decider-Verdict"] == one["verdict"]
                assert answer.headers["X-Decider-Rule"] == one["rules"][0]
                assert answer.json()["rules"] == one["rules"]
                assert one["reason"] in answer.json()["detail"]
            assert (file.data in answer.body) == (suffix == "" and not is_refused)
        entry = listed.get(file.filename)
        if is_refused and repository == "strict":  # which hides
            assert entry is None
        else:
            assert entry is not None, version
            assert ("yanked" in entry) == (one["verdict"] != "allow")
            assert all(
                rule in str(entry.get("yanked")) for rule in one["rules"][:1] if one["verdict"] != "allow"
            )
        if repository == "default":
            assert (file.filename in noted) == is_refused
        # Each rule that decides was considered, and applied.
        assert {rule["id"] for rule in one["considered"] if rule["applied"]} >= set(one["rules"])


def test_command_line_agrees(ruled: Stack, project: str, files: dict[str, Distribution]) -> None:
    """`decider explain` prints what the API answers, and exits 1 where something would be refused, else 0."""
    ran = ruled.run("explain", project, "--json")
    told = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert {file["filename"]: file for file in told["files"]} == explained(ruled, project, "default")
    served = {
        file.filename: ruled.file(project, file.filename).status == 200
        for version, file in files.items()
        if version in {"1.0", "1.1", "1.3", "1.6"}
    }
    for filename, is_served in served.items():
        assert ruled.run("explain", filename).returncode == (0 if is_served else 1)
    requirements = ruled.folder / "requirements.txt"
    requirements.write_text(f"{project}==1.1\n")
    assert ruled.run("explain", "-r", str(requirements)).returncode == 0
    requirements.write_text(f"{project}==1.1\n{project}==2.0\n")
    assert ruled.run("explain", "-r", str(requirements)).returncode == 1
