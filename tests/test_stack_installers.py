"""What people see: real pip and uv against the stack (STANDARDS 2.3, 2.4, 2b, T101-T110)."""

import gzip
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Shelved
from tests.fake_index import FakeIndex
from tests.installer import Installer
from tests.stack import PIP_ACCEPT, PROMISE_S, Stack, eventually
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

REASON = "MAL-2026-1: steals tokens"


@pytest.fixture
def installer(stack: Stack, tmp_path: Path) -> Installer:
    return Installer(tmp_path, stack.simple_url)


@pytest.fixture
def demo(stack: Stack, index: FakeIndex, project: str) -> str:
    """A project with 1.0, 1.1 and 2.0, of which 2.0 is blocked; and `<project>-app`, which needs it."""
    for version in ("1.0", "1.1", "2.0"):
        index.add(project, make_wheel(project, version))
    index.add(f"{project}-app", make_wheel(f"{project}-app", "1.0", requires=[f"{project}>=1"]))
    block(stack, project)
    return project


def block(stack: Stack, project: str) -> str:
    """Block 2.0; the rule's id once page, file and metadata show it: each has a decision of its own for a second."""
    rule = stack.add_rule(action="block", project=project, versions="==2.0", reason=REASON)
    path = f"/files/{project}/{make_wheel(project, '2.0').filename}"
    for suffix in ("", ".metadata"):
        eventually(partial(_is_refused, stack, path + suffix), within_s=PROMISE_S)
    # Each encoding is kept for itself, and installers ask for a coded page.
    for encoding in ("identity", "gzip"):
        eventually(partial(_is_yanked, stack, project, encoding), within_s=PROMISE_S)
    return str(rule["id"])


def _is_refused(stack: Stack, path: str) -> bool:
    return stack.get(path).status == 403


def _is_yanked(stack: Stack, project: str, encoding: str) -> bool:
    answer = stack.get(f"/simple/{project}/", {"Accept": PIP_ACCEPT, "Accept-Encoding": encoding})
    body = gzip.decompress(answer.body) if encoding == "gzip" else answer.body
    return REASON.encode() in body


def rule_of(stack: Stack, project: str) -> str:
    (rule,) = stack.api("GET", "/rules", project=project).json()["items"]
    return str(rule["id"])


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_open_requirement_takes_the_newest_permitted(installer: Installer, demo: str, tool: str) -> None:
    """An open requirement, direct or transitive, installs the newest permitted release, without a word (T101, T105)."""
    ran = installer.install(tool, "out", f"{demo}-app")
    assert ran.code == 0, ran.output
    assert installer.installed("out") == {f"{demo}-app-1.0", f"{demo}-1.1"}
    assert "MAL-2026-1" not in ran.output


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_pin_prints_the_reason(stack: Stack, installer: Installer, demo: str, tool: str) -> None:
    """A pin on a blocked release fails and prints the reason with the rule's id (T102, C33)."""
    ran = installer.install(tool, "out", f"{demo}==2.0")
    assert ran.code != 0
    assert f"Blocked: {REASON} ({rule_of(stack, demo)})" in ran.output
    assert installer.installed("out") == set()
    expected = "403 Client Error" if tool == "pip" else "HTTP status client error (403"
    assert f"{expected}: Blocked: {REASON}" in ran.output or f"{expected} Blocked: {REASON}" in ran.output


def test_uv_prints_title_and_detail(stack: Stack, installer: Installer, demo: str) -> None:
    """uv prints the problem body's title and detail for a blocked pin (C12)."""
    ran = installer.uv_install("out", f"{demo}==2.0")
    problem = stack.file(demo, make_wheel(demo, "2.0").filename).json()
    assert f"Server message: {problem['title']}, {problem['detail']}" in ran.output


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_no_permitted_release(stack: Stack, installer: Installer, demo: str, tool: str) -> None:
    """Where nothing permitted is left, pip names the yanked versions and uv the reason (X06)."""
    ran = installer.install(tool, "out", f"{demo}>=2")
    assert ran.code != 0
    if tool == "pip":
        assert "Ignored the following yanked versions: 2.0" in ran.output
    else:
        assert f"(reason: Blocked: {REASON} ({rule_of(stack, demo)}))" in ran.output


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_hash_pinned_requirement(installer: Installer, demo: str, tool: str) -> None:
    """A requirements file with hashes installs what is permitted and fails with the reason for what is not (T103)."""
    for version, expected in (("1.1", 0), ("2.0", 1)):
        file = installer.folder / f"{version}.txt"
        file.write_text(f"{demo}=={version} --hash=sha256:{make_wheel(demo, version).sha256}\n")
        ran = installer.install(tool, version, "--require-hashes", "-r", str(file))
        assert (ran.code != 0) == bool(expected), ran.output
        assert ("Blocked: " + REASON in ran.output) == bool(expected)


def test_pip_download(installer: Installer, demo: str) -> None:
    """`pip download` gives the very bytes of the index, and the reason for a blocked pin."""
    target = installer.folder / "down"
    ran = installer.pip("download", "--dest", str(target), demo)
    assert ran.code == 0, ran.output
    (path,) = target.iterdir()
    assert path.read_bytes() == make_wheel(demo, "1.1").data
    ran = installer.pip("download", "--dest", str(target), f"{demo}==2.0")
    assert ran.code != 0
    assert "Blocked: " + REASON in ran.output


def test_pip_index_versions(installer: Installer, demo: str) -> None:
    """`pip index versions` offers the newest permitted release (T108)."""
    ran = installer.pip("index", "versions", demo)
    assert ran.code == 0, ran.output
    assert f"{demo} (1.1)" in ran.output


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_upload_time_filters_work(installer: Installer, demo: str, tool: str) -> None:
    """uv's `--exclude-newer` finds upload times on every page, local or remote (T106)."""
    if tool == "uv":
        ran = installer.uv_install("out", demo, "--exclude-newer", "2025-01-01T00:00:00Z")
        assert ran.code == 0, ran.output
        assert "missing an upload date" not in ran.output
        ran = installer.uv_install("out2", demo, "--exclude-newer", "2020-01-01T00:00:00Z")
        assert ran.code != 0
        return
    known = installer.run(sys.executable, "-m", "pip", "install", "--help").output
    if "--uploaded-prior-to" not in known:
        pytest.skip("this pip has no --uploaded-prior-to")
    ran = installer.pip_install("out", demo, "--uploaded-prior-to", "2025-01-01T00:00:00Z")
    assert ran.code == 0, ran.output


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_internal_project_wins(index: FakeIndex, installer: Installer, shelved: Shelved, tool: str) -> None:
    """An internal project installs although the public index has a higher version of that name."""
    project = shelved.project
    index.add(project, make_wheel(project, "99.0"))
    ran = installer.install(tool, "out", project)
    assert ran.code == 0, ran.output
    assert installer.installed("out") == {f"{project}-1.0"}
    ran = installer.install(tool, "out2", f"{project}==99.0")
    assert ran.code != 0
    assert installer.installed("out2") == set()


def test_local_version_installs(stack: Stack, installer: Installer, project: str) -> None:
    """A wheel with `+` in its name installs with pip, which asks for `%2B`, and uv, which does not (C04)."""
    wheel = make_wheel(project, "1.0+cpu")
    stack.drop(wheel)
    eventually(lambda: stack.page(project).status == 200, within_s=PROMISE_S)
    eventually(lambda: stack.file(project, wheel.filename).status == 200, within_s=PROMISE_S)
    for tool in ("pip", "uv"):
        ran = installer.install(tool, tool, project)
        assert ran.code == 0, ran.output
        assert installer.installed(tool) == {f"{project}-1.0+cpu"}


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_held_release_prints_the_reason(
    stack: Stack, index: FakeIndex, installer: Installer, project: str, tool: str
) -> None:
    """A pin on a held release fails and prints why it waits."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    rule = stack.add_rule(action="hold", project=project, reason="waits 7 days")
    for suffix in ("", ".metadata"):
        eventually(
            partial(_is_refused, stack, f"/files/{project}/{wheel.filename}{suffix}"), within_s=PROMISE_S
        )
    ran = installer.install(tool, "out", f"{project}==1.0")
    assert ran.code != 0
    assert f"Held: waits 7 days ({rule['id']})" in ran.output


def test_uv_never_falls_through_to_a_second_index(
    stack: Stack, installer: Installer, shelved: Shelved
) -> None:
    """A project blocked whole stops uv: it does not take the name from an index after us (T104, T52)."""
    project = shelved.project
    with FakeIndex() as second:
        second.add(project, make_wheel(project, "2.0"))
        rule = stack.add_rule(action="block", project=project, reason=REASON)
        for encoding in ("identity", "gzip"):
            eventually(partial(_is_yanked, stack, project, encoding), within_s=PROMISE_S)
        where = [
            "--target",
            str(installer.folder / "out"),
            "--index",
            stack.simple_url,
            "--default-index",
            second.url,
        ]
        ran = installer.run("uv", "pip", "install", *where, project)
        assert ran.code != 0
        assert f"Blocked: {REASON} ({rule['id']})" in ran.output
        assert second.requests("/files/") == []


@pytest.fixture
def uv_project(installer: Installer) -> Callable[[str], Path]:
    """Make a uv project with one requirement, whose only index is ours."""

    def make(requirement: str) -> Path:
        folder = installer.folder / "app"
        folder.mkdir(exist_ok=True)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{requirement}"]\n'
            f'[[tool.uv.index]]\nname = "gate"\nurl = "{installer.index_url}"\ndefault = true\n'
        )
        return folder

    return make


def test_uv_lock_and_sync(
    stack: Stack, index: FakeIndex, installer: Installer, project: str, uv_project: Callable[[str], Path]
) -> None:
    """A lock names our URLs only; once its file is blocked, `uv sync` fails with the reason (T103, T110, C23)."""
    wheel = index.add(project, make_wheel(project, "2.0"))
    folder = uv_project(f"{project}>=1")
    # UV_NO_CONFIG would hide the project's own index table.
    uv = ("env", "-u", "UV_NO_CONFIG", "uv")
    ran = installer.run(*uv, "lock", cwd=folder)
    assert ran.code == 0, ran.output
    lock = tomllib.loads((folder / "uv.lock").read_text())
    (locked,) = [package for package in lock["package"] if package["name"] == project]
    assert [entry["url"] for entry in locked["wheels"]] == [
        f"{stack.base_url}/files/{project}/{wheel.filename}"
    ]
    assert locked["source"] == {"registry": stack.simple_url}
    ran = installer.run(*uv, "sync", "--frozen", "--no-install-project", cwd=folder)
    assert ran.code == 0, ran.output
    rule = block(stack, project)
    ran = installer.run(
        *uv, "sync", "--frozen", "--no-install-project", "--reinstall", "--no-cache", cwd=folder
    )
    assert ran.code != 0
    assert f"Blocked: {REASON} ({rule})" in ran.output


def test_uv_lock_again_leaves_the_blocked_release(
    stack: Stack, index: FakeIndex, installer: Installer, project: str, uv_project: Callable[[str], Path]
) -> None:
    """Upgraded with our page at hand, a lock moves off a blocked release."""
    for version in ("1.1", "2.0"):
        index.add(project, make_wheel(project, version))
    folder = uv_project(f"{project}>=1")
    uv = ("env", "-u", "UV_NO_CONFIG", "uv")
    assert installer.run(*uv, "lock", cwd=folder).code == 0
    block(stack, project)
    ran = installer.run(*uv, "lock", "--upgrade", cwd=folder)
    assert ran.code == 0, ran.output
    lock = tomllib.loads((folder / "uv.lock").read_text())
    assert [package["version"] for package in lock["package"] if package["name"] == project] == ["1.1"]


def test_block_reaches_a_client_with_a_cache(
    stack: Stack, index: FakeIndex, installer: Installer, project: str
) -> None:
    """A client that has page and wheel in its own cache meets the block on its next open install (T107, C43)."""
    for version in ("1.1", "2.0"):
        index.add(project, make_wheel(project, version))
    for tool in ("pip", "uv"):
        assert installer.install(tool, f"{tool}-before", project).code == 0
        assert installer.installed(f"{tool}-before") == {f"{project}-2.0"}
    block(stack, project)
    for tool in ("pip", "uv"):
        ran = installer.install(tool, f"{tool}-after", project)
        assert ran.code == 0, ran.output
        assert installer.installed(f"{tool}-after") == {f"{project}-1.1"}
