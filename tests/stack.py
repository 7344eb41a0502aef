"""The real thing: `decider up` with its nginx and gunicorn, as a child process on free ports, in a folder of its own."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from decider.run_files import INDEXES_SOCKET
from decider.unix_sockets import UnixPool
from tests.uploads import Distribution

__all__ = [
    "ADMIN_TOKEN",
    "JSON_TYPE",
    "PIP_ACCEPT",
    "START_WITHIN_S",
    "Answer",
    "Process",
    "Stack",
    "eventually",
    "free_port",
    "source_environment",
    "system_trust",
]

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
ADMIN_TOKEN = "an-admin-token-for-tests-and-nothing-else"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
PIP_ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
PROMISE_S = 2.0  #: a change acknowledged by the API holds everywhere after this (DESIGN 2)
#: How much longer anything may take before a test fails: a machine that does other things too proves nothing by being
#: slow. The benchmark measures; 1 holds every test to the letter.
PATIENCE = float(os.environ.get("DECIDER_TEST_PATIENCE", "3"))
ALLOWED_S = PROMISE_S * PATIENCE

START_WITHIN_S = 40.0
STOP_WITHIN_S = 20.0
_POLL_S = 0.02


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(probe: Callable[[], T | None], *, within_s: float, what: str = "") -> T:
    """The first true value of `probe`, asked again and again; fail once `within_s`, times PATIENCE, has passed."""
    within_s *= PATIENCE
    started = time.monotonic()
    pause = threading.Event()
    while True:
        asked = time.monotonic()
        found = probe()
        if found:
            # An answer asked for too late proves nothing about the promise.
            assert asked - started <= within_s, f"{what or probe}: true only after {asked - started:.2f} s"
            return found
        assert time.monotonic() - started <= within_s, (
            f"{what or probe}: not within {within_s} s, last: {found!r}"
        )
        pause.wait(_POLL_S)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    reason: str
    headers: Message  #: case-insensitive
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def content_type(self) -> str:
        return str(self.headers.get("Content-Type", ""))

    @property
    def text(self) -> str:
        return self.body.decode()

    def file(self, filename: str) -> dict[str, Any]:
        """The entry of a JSON page."""
        found: list[dict[str, Any]] = [
            entry for entry in self.json()["files"] if entry["filename"] == filename
        ]
        assert len(found) == 1, f"{filename} is listed {len(found)} times"
        return found[0]

    @property
    def filenames(self) -> list[str]:
        return [entry["filename"] for entry in self.json()["files"]]


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from a later one of the same id by its start time."""

    pid: int
    parent: int
    session: int
    started: int
    command: str

    @property
    def alive(self) -> bool:
        now = _read_process(self.pid)
        return now is not None and now.started == self.started


def _read_process(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        command = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] == "Z":
        return None
    return Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), command)


def _processes() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _read_process(int(entry.name))) is not None:
            yield found


def source_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child that runs this tree: nothing of the caller's decider or pip configuration."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DECIDER_", "PIP_", "UV_", "PYTEST_")) and name.lower() not in _PROXIES
    }
    search = os.pathsep.join(
        [str(Path(sys.executable).parent), kept.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    )
    return {**kept, "PATH": search, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}


_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


def system_trust(ca_file: Path) -> dict[str, str]:
    """Environment that makes that PEM file the trusted authorities of a child."""
    return {"SSL_CERT_FILE": str(ca_file), "PIP_CERT": str(ca_file)}


class Stack:
    """One running decider; `start()` it, `stop()` it, ask it."""

    def __init__(
        self,
        *,
        index_url: str | None,
        packages: bool = True,
        workers: int = 2,
        top: str = "",
        index: str = "",
        tables: str = "",
        default: tuple[str, ...] | None = None,
        default_extra: str = "",
        environment: Mapping[str, str] | None = None,
        folder_name: str = "decider-",
        host: str = "127.0.0.1",
        run_by: Sequence[str] = (),
    ) -> None:
        """Prepare a folder with a decider.toml.

        `top`, `index`, `tables`, `default_extra`: further TOML lines for the top level, `[indexes.public]`, the
        end of the file, `[repositories.default]`; `default`: its indexes. `host`: where clients reach it; `run_by`: a
        command that runs commands elsewhere, where `host` is.
        """
        self._folder = tempfile.TemporaryDirectory(prefix=folder_name, ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        # nginx's workers leave root where root starts it, and have to read the packages.
        self.folder.chmod(0o755)
        self.packages = self.folder / "packages"
        self.packages.mkdir(mode=0o755)
        self.packages.chmod(0o755)
        self.port, self.internal_port = free_port(), free_port()
        self.host, self._run_by = host, run_by
        self.environment = dict(environment or {})
        self.token = ADMIN_TOKEN
        self.process: subprocess.Popen[bytes] | None = None
        self._printed_before = 0
        self.config = self.folder / "decider.toml"
        self.log = self.folder / "output.log"
        names = (("internal",) if packages else ()) + (("public",) if index_url else ())
        text = [
            f'listen = "{host}:{self.port}"',
            f'internal_listen = "127.0.0.1:{self.internal_port}"',
            f"workers = {workers}",
            top,
        ]
        if packages:
            text += ["[indexes.internal]", 'path = "packages"']
        if index_url:
            text += ["[indexes.public]", f"url = {json.dumps(index_url)}", index]
        text += [tables, "[repositories.default]", f"indexes = {json.dumps(default or names)}", default_extra]
        self.config.write_text("\n".join(text) + "\n")

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def simple_url(self) -> str:
        return f"{self.base_url}/simple/"

    @property
    def data_dir(self) -> Path:
        return self.folder / "var"

    # Life

    def command(self, *arguments: str) -> list[str]:
        """A `decider` command line on this stack's configuration."""
        name, *rest = arguments
        config = ["--config", str(self.config)] if self.config.exists() else []
        return [*self._run_by, sys.executable, "-m", "decider", name, *config, *rest]

    def forget_config(self, index_url: str) -> None:
        """Go on without a file, as a first user does, but for ports and the index that pip is said to use."""
        self.config.unlink()
        self.packages.rmdir()
        self.environment |= {
            "DECIDER_LISTEN": f"127.0.0.1:{self.port}",
            "DECIDER_INTERNAL_LISTEN": f"127.0.0.1:{self.internal_port}",
            "PIP_INDEX_URL": index_url,
        }

    def run(self, *arguments: str, within_s: float = 60, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a `decider` command to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.variables(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def variables(self) -> dict[str, str]:
        """The environment of its commands."""
        given = {"DECIDER_ADMIN_TOKEN": self.token} if self.token else {}
        return source_environment({**given, **self.environment})

    def launch(self) -> None:
        """Start `decider up` and do not wait."""
        with self.log.open("ab") as log:
            self._printed_before = log.tell()
            self.process = subprocess.Popen(
                self.command("up"),
                cwd=self.folder,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start `decider up`; return when it says it is ready."""
        self.launch()
        try:
            eventually(self._is_ready, within_s=START_WITHIN_S, what="readiness")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log_text()}") from None

    def _is_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"decider up ended with {code}"
        # It says when it serves; asking before would only fill its log.
        return self.base_url.encode() in self.log.read_bytes()[self._printed_before :] and self.is_ready()

    def is_ready(self) -> bool:
        """Whether /readyz says 200."""
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def processes(self) -> list[Process]:
        """Every living process of this stack, the supervisor first."""
        assert self.process is not None
        first = self.process.pid
        everything = list(_processes())
        family = {first}
        # Until nothing is added: children, grandchildren; and whoever stayed in the session after losing a parent.
        while True:
            more = {p.pid for p in everything if p.parent in family or p.session in family} - family
            if not more:
                break
            family |= more
        return sorted((p for p in everything if p.pid in family), key=lambda p: p.pid != first)

    def stop(self) -> None:
        """SIGTERM; fail unless it ends with status 0 and leaves no process and no socket."""
        if self.process is None:
            return
        family = self.processes()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still there {STOP_WITHIN_S} s after SIGTERM\n{self.log_text()}") from None
        left = [process for process in family if process.alive]
        self.process = None
        for process in left:
            os.kill(process.pid, signal.SIGKILL)
        assert code == 0, f"SIGTERM gave exit status {code}\n{self.log_text()}"
        assert not left, f"left running: {left}\n{self.log_text()}"
        assert not self._listens(self.port), "the public port is still open"
        assert not self._listens(self.internal_port), "the internal port is still open"
        sockets = [path for path in self.folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]
        assert not sockets, f"left on disk: {sockets}"

    def _listens(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, port)) == 0

    def kill(self) -> None:
        """SIGKILL every process of this stack."""
        if self.process is None:
            return
        for process in self.processes():
            if process.alive:
                os.kill(process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def restart(self) -> None:
        """Stop cleanly, start again on the same ports and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove the folder."""
        try:
            self.stop()
        finally:
            self.kill()
            self._forget_decisions()
            self._folder.cleanup()

    def _forget_decisions(self) -> None:
        """Remove what a killed one has left in memory, where its folder's removal does not reach."""
        config = self.data_dir / "run" / "nginx.conf"
        if config.is_file():
            for place in re.findall(r'proxy_cache_path "(/[^"]+)/decisions"', config.read_text()):
                shutil.rmtree(place, ignore_errors=True)

    def log_text(self, limit: int = 20_000) -> str:
        """The end of what it printed, and of its error logs."""
        paths = [
            path
            for path in [self.log, *sorted(self.folder.glob("var/logs/*.log"))]
            if path.is_file() and path.name != "access.log"
        ]
        parts = [
            f"--- {path.relative_to(self.folder)}\n{path.read_text(errors='replace')[-limit:]}"
            for path in paths
        ]
        return "\n".join(parts)

    # Asking

    def get(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        port: int | None = None,
        within_s: float = 40,
    ) -> Answer:
        """One request on a connection of its own; `path` is sent as it is. No header is added but Host."""
        return self._request(
            method, path, dict(headers or {}), data=None, port=port or self.port, within_s=within_s
        )

    def index_page(self, project: str, source: str, *, index: str = "public") -> Answer:
        """An index's own page, as the decider asks nginx for it; `source`: the index's URL."""
        pool = UnixPool(self.data_dir / INDEXES_SOCKET, connections=1)
        answer = pool.request("GET", f"/indexes/{index}/{project}/", headers={"X-Decider-Source": source})
        pool.close()
        told = Message()
        for name, value in answer.headers.items():
            told[name] = value
        return Answer(answer.status, answer.reason or "", told, answer.data)

    def page(self, project: str, *, repository: str = "", accept: str = PIP_ACCEPT) -> Answer:
        """The project page as pip asks for it."""
        return self.get(f"{repository and '/' + repository}/simple/{project}/", {"Accept": accept})

    def file(self, project: str, filename: str, **headers: str) -> Answer:
        """GET the file; keyword names become headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.get(f"/files/{project}/{filename}", named)

    def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        *,
        data: bytes | None,
        port: int,
        within_s: float,
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, port, timeout=within_s)
        try:
            own_host = any(name.lower() == "host" for name in headers)
            connection.putrequest(method, path, skip_host=own_host, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            return Answer(answer.status, answer.reason, answer.headers, answer.read())
        finally:
            connection.close()

    def raw(self, data: bytes, *, within_s: float = 20) -> bytes:
        """Everything that comes back for those bytes until the connection closes or nothing comes for so long.

        Say `Connection: close`, or wait. The sending side stays open: nginx takes a client that half-closes as gone.
        """
        parts = []
        with socket.create_connection((self.host, self.port), timeout=within_s) as connection:
            connection.sendall(data)
            try:
                while part := connection.recv(65_536):
                    parts.append(part)
            except (TimeoutError, ConnectionResetError):
                pass  # what came until then is the answer
        return b"".join(parts)

    def raw_get(self, path: bytes) -> tuple[int, bytes]:
        """Status and everything after the status line for a path that no HTTP library would send; 0: no answer."""
        answer = self.raw(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        first, _, rest = answer.partition(b"\r\n")
        return (int(first.split()[1]) if first.startswith(b"HTTP/") else 0), rest

    # The API

    def api(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        **query: str,
    ) -> Answer:
        """A call of the decision API; `path` below /api/v1, `content` is sent as JSON."""
        sent = {"Authorization": f"Bearer {token or self.token}", **(headers or {})}
        data = None
        if content is not None:
            data = json.dumps(content).encode()
            sent["Content-Type"] = "application/json"
        target = f"/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        return self._request(method, target, sent, data=data, port=self.port, within_s=40)

    def add_rule(self, **fields: Any) -> dict[str, Any]:
        """A stored rule; `reason` has a default."""
        answer = self.api("POST", "/rules", {"reason": "CVE-2026-1: bad things", **fields})
        assert answer.status == 201, (answer.status, answer.body)
        rule: dict[str, Any] = answer.json()
        return rule

    def remove_rule(self, rule: Mapping[str, Any]) -> None:
        """Take the rule back."""
        answer = self.api("DELETE", f"/rules/{rule['id']}")
        assert answer.status in {200, 204}, (answer.status, answer.body)

    # The local directory

    def drop(self, distribution: Distribution, folder: str = "") -> Path:
        """Put a file into the packages folder at once, as a careful uploader does: rename when complete."""
        target = self.packages / folder / distribution.filename
        target.parent.mkdir(mode=0o755, exist_ok=True)
        target.parent.chmod(0o755)
        partial = self.folder / f"{distribution.filename}.partial"
        partial.write_bytes(distribution.data)
        partial.chmod(0o644)
        partial.rename(target)
        return target
