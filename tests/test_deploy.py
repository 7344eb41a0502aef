"""What `deploy/` starts: a checkout becomes a running decider with one command."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stack import ROOT, eventually, free_port, source_environment

PARTS = ("decider", "deploy", "nginx", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a clone holds, in a folder with a blank in its name."""
    target = tmp_path / "a checkout"
    target.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, target)
    return target


@contextmanager
def started(checkout: Path, *, cwd: Path, within_s: float, environment: dict[str, str]) -> Iterator[str]:
    """`deploy/up` in `cwd`: the base URL, once it serves; SIGTERM has to end it with status 0."""
    port = free_port()
    log = cwd / "up.log"
    settings = {"DECIDER_LISTEN": f"127.0.0.1:{port}", "DECIDER_INTERNAL_LISTEN": f"127.0.0.1:{free_port()}"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [checkout / "deploy" / "up"],
            cwd=cwd,
            env={**environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"

    def serves() -> bool:
        assert process.poll() is None, log.read_text()
        return url in log.read_text()

    try:
        eventually(serves, within_s=within_s, what="serving")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0, log.read_text()


def readable_by_nginx(folder: Path) -> Path:
    """The folder, whose parents let nginx's workers through."""
    folder.mkdir()
    for path in (folder, *folder.parents):
        if path.owner() == folder.owner() and path != Path(path.anchor):
            path.chmod(path.stat().st_mode | 0o055)
    return folder


@pytest.mark.stack
def test_second_start_installs_nothing(checkout: Path, tmp_path: Path) -> None:
    """Where .venv is as pyproject.toml wants it, `deploy/up` starts at once, from any folder, without asking an index."""
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    # What pip would have put there: this environment's libraries, the checkout, the command.
    libraries = next(venv.glob("lib/python*/site-packages"))
    (libraries / "here.pth").write_text(f"{checkout}\n{sysconfig.get_path('purelib')}\n")
    command = venv / "bin" / "decider"
    command.write_text(f'#!/bin/sh\nexec "{venv}/bin/python" -P -m decider "$@"\n')
    command.chmod(0o755)
    stamp = subprocess.run(
        ["sha256sum"], input=(checkout / "pyproject.toml").read_bytes(), capture_output=True, check=True
    )
    (venv / "stamp").write_bytes(stamp.stdout)
    environment = source_environment({"PIP_INDEX_URL": "http://127.0.0.1:9/simple/"})
    environment.pop("PYTHONPATH")
    cwd = readable_by_nginx(tmp_path / "elsewhere")
    with started(checkout, cwd=cwd, within_s=20, environment=environment) as url:
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert answer.status == 200
        assert (cwd / "packages").is_dir()
        assert "installing" not in (cwd / "up.log").read_text()


@pytest.mark.stack
@pytest.mark.network
@pytest.mark.timeout(400)
def test_first_and_second_start(checkout: Path, tmp_path: Path) -> None:
    """A fresh checkout installs itself and serves; the second start installs nothing (how fast: the benchmark)."""
    fetch = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--dest",
        str(tmp_path / "wheel"),
        "hatchling",
    ]
    if subprocess.run(fetch, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode != 0:
        pytest.skip("the index that pip uses cannot be reached")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DECIDER_", "PYTHON"))
    }
    cwd = readable_by_nginx(tmp_path / "elsewhere")
    with started(checkout, cwd=cwd, within_s=300, environment=environment):
        assert "installing" in (cwd / "up.log").read_text()
    with started(checkout, cwd=cwd, within_s=60, environment=environment) as url:
        assert "installing" not in (cwd / "up.log").read_text()
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200


def test_help(checkout: Path, tmp_path: Path) -> None:
    """`deploy/up --help` explains itself, through a link too, and changes nothing."""
    link = tmp_path / "up"
    link.symlink_to(checkout / "deploy" / "up")
    for program in (checkout / "deploy" / "up", link):
        ran = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert ran.stdout.startswith("Usage: deploy/up")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("has_sudo", [True, False])
def test_without_root_it_says_what_to_run(tmp_path: Path, *, has_sudo: bool) -> None:
    """Who is neither root nor may use sudo gets the exact command, one that is there, and nothing is installed."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "env"):
        (tools / name).symlink_to(shutil.which(name) or name)
    scripts = {"id": "echo 1000", "apt-get": "touch installed"} | ({"sudo": "exit 1"} if has_sudo else {})
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    script = f'. "{ROOT}/deploy/lib.bash"; need_programs no-such-program=some-package bash=bash'
    ran = subprocess.run(
        [tools / "bash", "-c", f"PATH={tools}; {script}"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    become = "sudo sh -c" if has_sudo else "su -c"
    command = f"{become} 'apt-get update && apt-get install --no-install-recommends some-package'"
    assert command in ran.stderr
    assert not (tmp_path / "installed").exists()


@pytest.mark.parametrize("name", ["deploy/up", "deploy/lib.bash", "tests/run", ".ci/run"])
def test_scripts_parse(name: str) -> None:
    """Every script is one that bash can read."""
    subprocess.run(["bash", "-n", ROOT / name], check=True)
