"""Package tools as people run them: each in a virtual environment of its own, installed from the index that pip uses."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from decider.certificates import find_ca_file
from decider.pip_config import pip_index
from tests.installer import Ran
from tests.stack import source_environment

__all__ = ["Tool", "Toolbox"]

INSTALL_WITHIN_S = 120
RUN_WITHIN_S = 120


@dataclass(frozen=True)
class Tool:
    """One installed tool."""

    scripts: Path  #: the folder of its commands

    @property
    def python(self) -> str:
        return str(self.scripts / "python")

    def run(
        self,
        *command: str,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Ran:
        """Run one of its commands, in an environment without anybody's configuration."""
        done = subprocess.run(
            [str(self.scripts / command[0]), *command[1:]],
            cwd=cwd,
            env=self.environment(cwd, environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=RUN_WITHIN_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr)

    def environment(self, home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What it is started with: `home` is where it keeps what it keeps."""
        kept = source_environment(
            {
                "HOME": str(home),
                "XDG_CACHE_HOME": str(home / "cache"),
                "XDG_CONFIG_HOME": str(home / "config"),
                "XDG_DATA_HOME": str(home / "data"),
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_NO_INPUT": "1",
                "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
                "NO_COLOR": "1",
                "COLUMNS": "1000",
                **(more or {}),
            }
        )
        kept["PATH"] = os.pathsep.join([str(self.scripts), kept["PATH"]])
        # Our own tree has no business in there.
        return {name: value for name, value in kept.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}


class Toolbox:
    """Installs tools, and keeps them between runs below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, *requirements: str) -> Tool:
        """The tool, installed when it is not there yet; skip the test where it cannot be."""
        name = hashlib.sha256(" ".join([sys.version, *requirements]).encode()).hexdigest()[:16]
        found = self._folder / name
        if not (found / "complete").is_file():
            shutil.rmtree(found, ignore_errors=True)
            self._install(found, requirements)
            (found / "complete").touch()
        return Tool(found / "bin")

    def _install(self, target: Path, requirements: Sequence[str]) -> None:
        try:
            index = pip_index(os.environ)
        except ValueError as error:
            pytest.skip(f"no index to install {requirements} from: {error}")
        trust = find_ca_file(os.environ)
        uv = shutil.which("uv", path=str(Path(sys.executable).parent))
        assert uv is not None, "uv is one of the tests' own dependencies"
        where = ["--python", str(target / "bin" / "python"), "--default-index", index]
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(target)],
            [uv, "pip", "install", "--quiet", *where, *requirements],
        ):
            try:
                done = subprocess.run(
                    command,
                    env={**os.environ, "UV_NO_CONFIG": "1", **({"SSL_CERT_FILE": trust} if trust else {})},
                    capture_output=True,
                    text=True,
                    timeout=INSTALL_WITHIN_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                pytest.skip(f"{requirements} took too long to install")
            if done.returncode != 0:
                last = done.stderr.strip().splitlines()[-1:]
                pytest.skip(f"{requirements} cannot be installed here: {' '.join(last)[:200]}")
