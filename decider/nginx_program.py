"""The nginx of this machine: where it is, and what it thinks of a configuration."""

import os
import shutil
import subprocess
from pathlib import Path

from decider.errors import CannotStart

__all__ = ["find_nginx", "nginx_fault"]


def find_nginx() -> str:
    """The path of nginx; raise CannotStart with what to do where there is none."""
    found = shutil.which(
        "nginx", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    )
    if found is None:
        raise CannotStart("nginx is not installed: apt-get install nginx")
    return found


def nginx_fault(data_dir: Path, config: str) -> str | None:
    """What `nginx -t` finds wrong with a configuration (its path below data_dir); None when nothing."""
    done = subprocess.run(
        [find_nginx(), "-t", "-q", "-p", "./", "-e", "stderr", "-c", config],
        cwd=data_dir,
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else done.stderr.strip()
