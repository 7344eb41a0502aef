"""Real clients through the whole stack: each installs what is permitted, and says why when it is not (T101, T102, T109)."""

import json
import os
import re
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from decider.certificates import find_ca_file
from decider.pip_config import pip_index
from tests.client_tools import Tool, Toolbox
from tests.conftest import running
from tests.fake_index import FakeIndex
from tests.installer import Ran
from tests.stack import PROMISE_S, Stack, eventually, free_port
from tests.uploads import make_sdist, make_wheel, sha256

pytestmark = [pytest.mark.stack, pytest.mark.network]

VERSIONS = ("1.0", "1.1", "2.0")


@pytest.fixture(scope="session")
def toolbox(request: pytest.FixtureRequest) -> Toolbox:
    """Tools, kept between runs with pytest's own cache."""
    config: Any = request.config
    return Toolbox(config.cache.mkdir("clients"))


@pytest.fixture(scope="module")
def parts_index() -> Iterator[FakeIndex]:
    """An index that states no metadata and gives parts of files, so that clients meet what we add."""
    with FakeIndex(ranges=True) as index:
        yield index


@pytest.fixture(scope="module")
def parts_stack(parts_index: FakeIndex) -> Iterator[Stack]:
    with running(Stack(index_url=parts_index.url)) as stack:
        yield stack


@pytest.fixture
def demo(parts_stack: Stack, parts_index: FakeIndex, project: str) -> str:
    """A project whose 2.0 is blocked: `Blocked: leaks secrets (<id>)`."""
    for version in VERSIONS:
        parts_index.add(project, make_wheel(project, version, padding=100_000), metadata=False)
    parts_index.add(project, make_sdist(project, "1.1"), metadata=False)
    parts_stack.add_rule(action="block", project=project, versions="==2.0", reason="leaks secrets")
    blocked = make_wheel(project, "2.0").filename
    eventually(lambda: parts_stack.file(project, blocked).status == 403, within_s=PROMISE_S)
    return project


# How each installs one requirement into `folder / "site"`, or into an environment of its own


def pip(tool: Tool, folder: Path, url: str, requirement: str) -> Ran:
    where = ["--target", str(folder / "site"), "--index-url", url, "--no-cache-dir"]
    return tool.run("python", "-m", "pip", "install", *where, requirement, cwd=folder)


def uv(tool: Tool, folder: Path, url: str, requirement: str) -> Ran:
    where = ["--target", str(folder / "site"), "--default-index", url, "--python", tool.python]
    return tool.run("uv", "pip", "install", "--no-config", *where, requirement, cwd=folder)


def poetry(tool: Tool, folder: Path, url: str, requirement: str) -> Ran:
    source = f'[[tool.poetry.source]]\nname = "ours"\nurl = "{url}"\npriority = "primary"\n'
    write_project(folder, requirement, f"[tool.poetry]\npackage-mode = false\n{source}")
    return tool.run(
        "poetry",
        "install",
        "--no-interaction",
        "--no-root",
        cwd=folder,
        environment={"POETRY_VIRTUALENVS_IN_PROJECT": "true", "POETRY_REQUESTS_MAX_RETRIES": "0"},
    )


def pdm(tool: Tool, folder: Path, url: str, requirement: str) -> Ran:
    write_project(folder, requirement, f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{url}"\n')
    environment = {"PDM_CHECK_UPDATE": "0", "PDM_IGNORE_SAVED_PYTHON": "1", "PDM_NON_INTERACTIVE": "1"}
    made = tool.run(
        "pdm", "venv", "create", "--with", "venv", tool.python, cwd=folder, environment=environment
    )
    assert made.code == 0, made.output
    chosen = tool.run("pdm", "use", "-f", str(folder / ".venv"), cwd=folder, environment=environment)
    assert chosen.code == 0, chosen.output
    return tool.run("pdm", "install", "--no-self", "-v", cwd=folder, environment=environment)


def pipenv(tool: Tool, folder: Path, url: str, requirement: str) -> Ran:
    name, _, version = requirement.partition("==")
    wanted = f"=={version}" if version else "*"
    (folder / "Pipfile").write_text(
        f'[[source]]\nname = "ours"\nurl = "{url}"\nverify_ssl = false\n[packages]\n{name} = "{wanted}"\n'
    )
    environment = {"PIPENV_VENV_IN_PROJECT": "1", "PIPENV_IGNORE_VIRTUALENVS": "1", "PIPENV_NOSPIN": "1"}
    return tool.run("pipenv", "install", "--python", tool.python, cwd=folder, environment=environment)


def write_project(folder: Path, requirement: str, more: str) -> None:
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "0"\nrequires-python = ">=3.9"\n'
        f"dependencies = {json.dumps([requirement])}\n{more}"
    )


#: Name → what is installed, how it is used, and whether it shows a refusal's reason (STANDARDS X04, X08).
CLIENTS: dict[str, tuple[tuple[str, ...], Callable[[Tool, Path, str, str], Ran], bool]] = {
    "pip-20.2": (("pip==20.2.4", "setuptools<58", "wheel"), pip, True),
    "pip-23": (("pip==23.0.1",), pip, True),
    "pip": (("pip",), pip, True),
    "uv": (("uv",), uv, True),
    "poetry": (("poetry",), poetry, True),
    "pdm": (("pdm[locked]",), pdm, False),
    "pipenv": (("pipenv",), pipenv, True),
}


def installed(folder: Path, project: str) -> list[str]:
    """Versions of the project that lie anywhere below the folder as installed; not in a tool's cache."""
    stem = re.sub("-", "_", project)
    found = [path for path in folder.rglob(f"{stem}-*.dist-info") if "cache" not in path.parts]
    return sorted(path.name.removeprefix(f"{stem}-").removesuffix(".dist-info") for path in found)


@pytest.mark.parametrize("client", CLIENTS)
def test_install(client: str, toolbox: Toolbox, parts_stack: Stack, demo: str, tmp_path: Path) -> None:
    """Every client installs the newest permitted release, without a word from its user (T101, T109)."""
    requirements, install, _ = CLIENTS[client]
    ran = install(toolbox.get(*requirements), tmp_path, parts_stack.simple_url, demo)
    assert ran.code == 0, ran.output
    assert installed(tmp_path, demo) == ["1.1"], ran.output


@pytest.mark.parametrize("client", CLIENTS)
def test_blocked_pin(client: str, toolbox: Toolbox, parts_stack: Stack, demo: str, tmp_path: Path) -> None:
    """No client installs a blocked release that is pinned, and those that can say why (T102)."""
    requirements, install, says_why = CLIENTS[client]
    ran = install(toolbox.get(*requirements), tmp_path, parts_stack.simple_url, f"{demo}==2.0")
    assert ran.code != 0, ran.output
    assert installed(tmp_path, demo) == []
    if says_why:
        assert "Blocked: leaks secrets" in ran.output
    else:
        assert re.search("403|[Uu]nable to find candidates", ran.output), ran.output


# Builds

#: Build backend → what builds with it require.
BACKENDS = {"hatchling.build": "hatchling", "flit_core.buildapi": "flit_core>=3.4"}


def test_builds(toolbox: Toolbox, new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """Projects of hatch and flit are built out of what the real index has for us; twine is content with all of it."""
    tool = toolbox.get("build", "twine", "pip")
    trust = find_ca_file(os.environ)
    try:
        index_url = pip_index(os.environ)
    except ValueError as error:
        pytest.skip(str(error))
    stack = new_stack(index_url=index_url, environment={"SSL_CERT_FILE": trust} if trust else {})
    stack.start()
    ours = {"PIP_INDEX_URL": stack.simple_url, "PIP_NO_CACHE_DIR": "1"}
    files = tmp_path / "files"
    for backend, required in BACKENDS.items():
        source = tmp_path / required[:4]
        (source / "app").mkdir(parents=True)
        (source / "app" / "__init__.py").touch()
        (source / "pyproject.toml").write_text(
            f'[build-system]\nrequires = ["{required}"]\nbuild-backend = "{backend}"\n'
            '[project]\nname = "app"\nversion = "1.0"\ndescription = "an app"\nrequires-python = ">=3.9"\n'
        )
        built = tool.run("python", "-m", "build", "--outdir", str(files), cwd=source, environment=ours)
        assert built.code == 0, built.output
        assert sorted(path.name for path in files.glob("app-*")) == [
            "app-1.0-py3-none-any.whl", "app-1.0.tar.gz",
        ]  # fmt: skip
    fetched = ["--no-deps", "--only-binary", ":all:", "--dest", str(files), "hatchling", "flit_core"]
    ran = tool.run("python", "-m", "pip", "download", *fetched, cwd=tmp_path, environment=ours)
    assert ran.code == 0, ran.output
    found = [str(path) for path in files.iterdir()]
    checked = tool.run("twine", "check", *found, cwd=tmp_path)
    assert (checked.code, checked.output.count("PASSED"), len(found)) == (0, 4, 4), checked.output


# Mirrors


def mirrored_projects(index: FakeIndex, project: str) -> list[str]:
    """Three projects as an index has them that counts its changes."""
    names = [f"{project}-{letter}" for letter in "abc"]
    for number, name in enumerate(names):
        for version in VERSIONS:
            index.add(name, make_wheel(name, version), metadata=False)
        index.project(name, {"meta": {"api-version": "1.1", "_last-serial": 100 + number}})
    return names


def test_bandersnatch(
    toolbox: Toolbox, own_index: FakeIndex, new_stack: Callable[..., Stack], project: str, tmp_path: Path
) -> None:
    """bandersnatch mirrors three projects from us: what is permitted, byte for byte, and nothing that is refused."""
    names = mirrored_projects(own_index, project)
    tool = toolbox.get("bandersnatch")
    # It wants https, and takes every file that is listed.
    top = 'tls_certificate = "tls.pem"\ntls_key = "tls.key"'
    stack = new_stack(index_url=own_index.url, top=top)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(stack.folder / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(stack.folder / "tls.pem")
    stack.launch()
    added = stack.run("rules", "add", names[0], "--versions", "==2.0", "--action", "block", "--reason", "no")
    assert added.returncode == 0, added.stderr
    config = tmp_path / "bandersnatch.conf"
    config.write_text(
        f"[mirror]\ndirectory = {tmp_path / 'mirror'}\nmaster = https://localhost:{stack.port}\ntimeout = 10\n"
        "workers = 1\nhash-index = false\nstop-on-error = true\njson = true\nverifiers = 1\n"
    )
    eventually(lambda: "serves at" in stack.log.read_text(), within_s=40)
    trust = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    ran = tool.run("bandersnatch", "--config", str(config), "sync", *names, cwd=tmp_path, environment=trust)
    assert ran.code == 0, ran.output
    found = {path.name: sha256(path.read_bytes()) for path in (tmp_path / "mirror").rglob("*.whl")}
    expected = {(name, version) for name in names for version in VERSIONS} - {(names[0], "2.0")}
    assert found == {
        made.filename: made.sha256 for name, version in expected for made in [make_wheel(name, version)]
    }


def test_devpi(toolbox: Toolbox, parts_stack: Stack, demo: str, tmp_path: Path) -> None:
    """devpi-server mirrors from us: pip installs through it what is permitted, and a blocked pin fails."""
    with devpi_server(toolbox.get("devpi-server"), tmp_path, parts_stack) as url:
        client = toolbox.get("pip")
        ran = pip(client, tmp_path, url, demo)
        assert ran.code == 0, ran.output
        assert installed(tmp_path / "site", demo) == ["1.1"]
        ran = pip(client, tmp_path, url, f"{demo}==2.0")
        assert ran.code != 0, ran.output


@contextmanager
def devpi_server(tool: Tool, folder: Path, stack: Stack) -> Iterator[str]:
    """The simple URL of a running devpi-server with one mirror index, ours."""
    kept = ["--serverdir", str(folder / "devpi")]
    made = tool.run("devpi-init", *kept, "--no-root-pypi", "--root-passwd", "secret", cwd=folder)
    assert made.code == 0, made.output
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with (folder / "devpi.log").open("wb") as log:
        process = subprocess.Popen(
            [tool.scripts / "devpi-server", *kept, "--port", str(port), "--threads", "4"],
            cwd=folder,
            env=tool.environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            eventually(lambda: _answers(f"{base}/+api"), within_s=60, what="devpi-server")
            user = "root"  # devpi's own first one
            token = _call("POST", f"{base}/+login", {"user": user, "password": "secret"})["result"][
                "password"
            ]
            credentials = {"X-Devpi-Auth": _basic(user, token)}
            mirror = {"type": "mirror", "mirror_url": stack.simple_url, "volatile": True}
            _call("PUT", f"{base}/{user}/ours", mirror, credentials)
            yield f"{base}/{user}/ours/+simple/"
        finally:
            process.terminate()
            process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _basic(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


def _call(method: str, url: str, content: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(content).encode(), sent, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
