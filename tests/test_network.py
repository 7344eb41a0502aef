"""The real index, the one that pip uses on this machine, through the whole stack."""

import io
import json
import os
import ssl
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from decider.certificates import find_ca_file
from decider.pip_config import pip_index
from tests.conftest import running
from tests.installer import Installer
from tests.stack import JSON_TYPE, PROMISE_S, Stack, eventually
from tests.uploads import sha256

pytestmark = [pytest.mark.stack, pytest.mark.network]

WANTED = ("requests", "flask", "numpy")


@pytest.fixture(scope="module")
def ask() -> Callable[[str], dict[str, Any]]:
    """Ask the real index itself for a project's page; skip the test where it cannot be reached."""
    try:
        url = pip_index(os.environ)
    except ValueError as error:
        pytest.skip(str(error))
    context = ssl.create_default_context(cafile=find_ca_file(os.environ))

    def page(project: str) -> dict[str, Any]:
        request = urllib.request.Request(f"{url}{project}/", headers={"Accept": JSON_TYPE})
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    try:
        page("requests")
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        pytest.skip(f"the index that pip uses cannot be asked for JSON: {error}")
    return page


@pytest.fixture(scope="module")
def real_stack(ask: Callable[[str], dict[str, Any]]) -> Iterator[Stack]:
    """A stack whose public index is the one that pip uses, verified with what pip trusts."""
    assert ask is not None
    trust = find_ca_file(os.environ)
    environment = {"SSL_CERT_FILE": trust} if trust else {}
    with running(Stack(index_url=pip_index(os.environ), environment=environment)) as stack:
        yield stack


@pytest.fixture
def installer(real_stack: Stack, tmp_path: Path) -> Installer:
    return Installer(tmp_path, real_stack.simple_url)


def test_pip_downloads_the_very_bytes(installer: Installer, ask: Callable[[str], dict[str, Any]]) -> None:
    """What pip downloads through decider has the digests that the index itself states."""
    target = installer.folder / "files"
    ran = installer.pip("download", "--only-binary", ":all:", "--dest", str(target), *WANTED)
    assert ran.code == 0, ran.output
    files = list(target.iterdir())
    for name in WANTED:
        stated = {entry["filename"]: entry["hashes"]["sha256"] for entry in ask(name)["files"]}
        (path,) = [path for path in files if path.name.startswith(f"{name}-")]
        assert sha256(path.read_bytes()) == stated[path.name]


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_install(installer: Installer, tool: str) -> None:
    """pip and uv install real projects with their dependencies, and they can be imported."""
    ran = installer.install(tool, "out", "--only-binary", ":all:", *WANTED)
    assert ran.code == 0, ran.output
    names = {entry.rpartition("-")[0] for entry in installer.installed("out")}
    assert set(WANTED) | {"urllib3", "werkzeug", "jinja2"} <= {name.lower() for name in names}
    script = "import flask, numpy, requests; print(numpy.arange(3).sum())"
    done = installer.python(script, path=installer.folder / "out")
    assert done.output.strip().endswith("3"), done.output


def test_page_says_what_the_index_says(real_stack: Stack, ask: Callable[[str], dict[str, Any]]) -> None:
    """A real page lists the same files with the same digests, sizes, times and markers as the index."""
    for project in WANTED:
        theirs = {entry["filename"]: entry for entry in ask(project)["files"]}
        ours = {entry["filename"]: entry for entry in real_stack.page(project).json()["files"]}
        assert list(ours) == list(theirs)
        for filename, entry in ours.items():
            for key in ("hashes", "size", "upload-time", "requires-python", "provenance"):
                assert entry.get(key) == theirs[filename].get(key), (filename, key)
            # What the index does not offer may be offered by us, without a digest.
            stated = theirs[filename].get("core-metadata")
            assert entry.get("core-metadata") in ((stated,) if stated else (stated, True)), filename
            assert entry.get("yanked", False) == theirs[filename].get("yanked", False)


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_blocked_pin(real_stack: Stack, installer: Installer, tool: str) -> None:
    """A real release that is blocked is not installed, and the reason is printed."""
    version = {"pip": "2.31.0", "uv": "2.30.0"}[tool]
    rule = real_stack.add_rule(
        action="block", project="requests", versions=f"=={version}", reason="leaks secrets"
    )
    wheel = f"requests-{version}-py3-none-any.whl"
    eventually(lambda: real_stack.file("requests", wheel).status == 403, within_s=PROMISE_S)
    ran = installer.install(tool, "out", f"requests=={version}")
    assert ran.code != 0
    assert f"Blocked: leaks secrets ({rule['id']})" in ran.output
    assert installer.installed("out") == set()


def test_metadata_of_a_real_wheel(real_stack: Stack, ask: Callable[[str], dict[str, Any]]) -> None:
    """A real wheel's `.metadata` is its METADATA, whether the index offers it or we read it out of the wheel."""
    version = "2.32.0"
    wheel = f"requests-{version}-py3-none-any.whl"
    assert wheel in {entry["filename"] for entry in ask("requests")["files"]}
    eventually(lambda: real_stack.page("requests").file(wheel).get("core-metadata"), within_s=20)
    answer = real_stack.file("requests", f"{wheel}.metadata")
    assert answer.status == 200
    assert f"Name: requests\nVersion: {version}\n" in answer.text
    with zipfile.ZipFile(io.BytesIO(real_stack.file("requests", wheel).body)) as archive:
        assert archive.read(f"requests-{version}.dist-info/METADATA") == answer.body
