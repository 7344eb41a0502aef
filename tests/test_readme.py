"""README.md: every command in it is run, and what it shows is what comes."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import running
from tests.fake_index import FakeIndex
from tests.stack import ADMIN_TOKEN, PROMISE_S, ROOT, Stack, eventually
from tests.uploads import Distribution, make_sdist, make_wheel

pytestmark = pytest.mark.stack

README = (ROOT / "README.md").read_text()
#: `deploy/up` is run by tests/test_deploy.py; `tests/run` is what runs this.
RUN_ELSEWHERE = {"deploy/up", "tests/run"}
SHOWN_URL = "http://127.0.0.1:8080"
SHOWN_WITHIN_S = 10.0


@dataclass(frozen=True)
class Command:
    """One command of the README, and the output that it shows."""

    line: str
    shown: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """Installers end with an error; `explain` too, for scripts, where something is refused."""
        refused = " explain " in self.line and any(" block " in line for line in self.shown)
        return refused or any(line.lower().startswith("error:") for line in self.shown)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def console_commands() -> Iterator[Command]:
    for block in blocks("console"):
        assert block.startswith("$ "), f"a console block begins with a command: {block!r}"
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.replace("\\\n", " ").splitlines()
            yield Command(lines[0], tuple(line.rstrip() for line in lines[1:] if line.strip()))


def rule_commands() -> list[str]:
    """The `rules add …` of the table."""
    return re.findall(r"^\|[^|]*\| `(rules add [^`]*)` \|$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def first_user() -> Iterator[Stack]:
    """decider as `deploy/up` starts it: no configuration file, the index that pip uses, an empty folder."""
    with FakeIndex() as index:
        for version in ("1.16.0", "1.17.0"):
            wheel = make_wheel("six", version)
            universal = Distribution(f"six-{version}-py2.py3-none-any.whl", wheel.data, wheel.metadata)
            index.add("six", universal, metadata=False)
            index.add("six", make_sdist("six", version), metadata=False)
        stack = Stack(index_url=index.url)
        stack.forget_config(index.url)
        shim = stack.folder / ".venv" / "bin" / "decider"
        shim.parent.mkdir(parents=True)
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m decider "$@"\n')
        shim.chmod(0o755)
        # curl is to fail where the server refuses; installers are to install nowhere but here.
        (stack.folder / ".curlrc").write_text("fail-with-body\nsilent\n")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", stack.folder / "clients"], check=True)
        with running(stack):
            yield stack


def execute(stack: Stack, line: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **stack.variables(),
        "HOME": str(stack.folder),
        "TOKEN": ADMIN_TOKEN,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_TARGET": str(stack.folder / "installed"),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "VIRTUAL_ENV": str(stack.folder / "clients"),
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(stack.folder / "uv-cache"),
        "NO_COLOR": "1",
        "COLUMNS": "1000",
    }
    return subprocess.run(
        ["bash", "-c", line.replace(SHOWN_URL, stack.base_url)],
        cwd=stack.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def shows(output: str, shown: tuple[str, ...], url: str) -> bool:
    """Whether lines that begin so come in that order; others may stand between them."""
    lines = iter(output.splitlines())
    return all(any(line.startswith(begin.replace(SHOWN_URL, url)) for line in lines) for begin in shown)


def test_console_blocks(first_user: Stack) -> None:
    """Each command of the README's console blocks ends as shown and prints what is shown."""
    commands = [command for command in console_commands() if command.line not in RUN_ELSEWHERE]
    assert len(commands) >= 5
    holds_from = 0.0
    for command in commands:
        # What the rules say now holds everywhere after 2 s; a reader takes longer to type.
        eventually(partial(_is_past, holds_from), within_s=PROMISE_S + 1)
        if " usage " in command.line or " exposure " in command.line:
            # A request shows some three seconds after it was answered.
            ran = eventually(partial(_shown, first_user, command), within_s=SHOWN_WITHIN_S, what=command.line)
        else:
            ran = execute(first_user, command.line)
        output = ran.stdout + ran.stderr
        assert shows(output, command.shown, first_user.base_url), f"{command.line}\n{output}"
        assert (ran.returncode != 0) == command.fails, f"{command.line}\n{output}"
        if " rules " in command.line:
            holds_from = time.monotonic() + PROMISE_S


def _shown(stack: Stack, command: Command) -> subprocess.CompletedProcess[str] | None:
    """What the command did, once it prints what is shown."""
    ran = execute(stack, command.line)
    return ran if shows(ran.stdout, command.shown, stack.base_url) else None


def _is_past(moment: float) -> bool:
    return time.monotonic() >= moment


def test_shell_blocks(first_user: Stack) -> None:
    """Each shell block succeeds as it stands."""
    found = blocks("sh")
    assert found
    for block in found:
        ran = execute(first_user, block)
        assert ran.returncode == 0, (block, ran.stdout, ran.stderr)


def test_rules_by_example(first_user: Stack, tmp_path: Path) -> None:
    """Each rule of the table is accepted, in the order of the table, by a store that has none."""
    found = rule_commands()
    assert len(found) >= 6
    for line in found:
        decider = f"{shlex.quote(str(first_user.folder))}/.venv/bin/decider"
        ran = execute(first_user, f"DECIDER_DATA_DIR={shlex.quote(str(tmp_path))} {decider} {line}")
        assert ran.returncode == 0, (line, ran.stdout, ran.stderr)


def test_commands_run_elsewhere_exist() -> None:
    """The two commands that a new user starts with are there, and can be executed."""
    lines = {command.line for command in console_commands()}
    assert lines >= RUN_ELSEWHERE
    for name in RUN_ELSEWHERE:
        assert os.access(ROOT / name, os.X_OK)


def test_links() -> None:
    """Every file that the README links to is there."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
