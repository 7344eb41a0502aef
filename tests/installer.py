"""pip and uv as people run them, without any configuration but what a test gives."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.stack import source_environment

__all__ = ["Installer", "Ran"]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    output: str


@dataclass(frozen=True)
class Installer:
    """Runs both against one index."""

    folder: Path
    index_url: str  #: of a simple API, ends in "/"

    def run(self, *command: str, cwd: Path | None = None) -> Ran:
        environment = source_environment(
            {
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_NO_INPUT": "1",
                "PIP_CACHE_DIR": str(self.folder / "pip-cache"),
                "UV_CACHE_DIR": str(self.folder / "uv-cache"),
                "UV_NO_CONFIG": "1",
                "UV_PYTHON": sys.executable,
                "UV_PYTHON_DOWNLOADS": "never",
                "UV_HTTP_TIMEOUT": "30",
                "NO_COLOR": "1",
                # Lines must not be wrapped at the width of a terminal that is not there.
                "COLUMNS": "1000",
            }
        )
        environment.pop("VIRTUAL_ENV", None)
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr)

    def pip(self, *arguments: str) -> Ran:
        return self.run(sys.executable, "-m", "pip", *arguments, "--index-url", self.index_url)

    def pip_install(self, target: str, *arguments: str) -> Ran:
        return self.pip("install", "--target", str(self.folder / target), *arguments)

    def uv_install(self, target: str, *arguments: str) -> Ran:
        where = ["--target", str(self.folder / target), "--default-index", self.index_url]
        return self.run("uv", "pip", "install", *where, *arguments)

    def install(self, tool: str, target: str, *arguments: str) -> Ran:
        return (self.pip_install if tool == "pip" else self.uv_install)(target, *arguments)

    def python(self, script: str, *, path: Path) -> Ran:
        """Run a script that imports from `path` before all else."""
        return self.run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {script}")

    def installed(self, target: str) -> set[str]:
        """`name-version` of what lies in that target."""
        folders = (self.folder / target).glob("*.dist-info")
        return {folder.name.removesuffix(".dist-info").replace("_", "-") for folder in folders}
