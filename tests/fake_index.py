"""A simple-API index that misbehaves on demand, in this process, on a free loopback port.

It serves project pages (PEP 503, PEP 691), files, core metadata (PEP 658) and provenance (PEP 740), remembers every
request, and answers any path with a *behaviour* instead of the truth: `index.switch("/simple/demo/", status(503))`.
"""

import gzip
import html
import json
import re
import socket
import ssl
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import trustme

from tests.uploads import Distribution, sha256

__all__ = [
    "Behaviour",
    "FakeIndex",
    "Reply",
    "Seen",
    "body",
    "close_connection",
    "gzip_bomb",
    "hang",
    "headers",
    "inflate",
    "redirect",
    "status",
    "trickle",
    "truncate",
]

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str  #: raw, with the query
    headers: Mapping[str, str]  #: names in lower case


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer before it is sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    reason: str | None = None


@dataclass(slots=True)
class _File:
    data: bytes
    fields: dict[str, Any]  #: what the page says besides filename and url
    metadata: bytes | None
    provenance: bytes | None
    content_type: str = "application/octet-stream"
    url: str | None = None  #: replaces the honest one


@dataclass(slots=True)
class _Project:
    name: str
    files: dict[str, _File] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  #: further top-level keys of the JSON page


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _answer(self) -> None:
        index = self.server.index
        seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        behaviour = index.record(seen)
        reply = index.reply_to(seen)
        if behaviour is None:
            self.send_reply(reply)
        else:
            behaviour(reply, self)

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 (the names that the base class looks for)

    def send_reply(self, reply: Reply, *, length: int | None = None) -> None:
        """Send status, headers and body; `length` is claimed instead of the body's own."""
        self.send_response_only(reply.status, reply.reason)
        self.send_header("Date", self.date_time_string())
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 304:  # noqa: SIM102 (two reasons, two lines)
            if "Transfer-Encoding" not in reply.headers:
                self.send_header("Content-Length", str(len(reply.body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD" and reply.status != 304:
            self.wfile.write(reply.body)

    def stop_waiting(self) -> threading.Event:
        """Set when the index stops or the path is switched back."""
        return self.server.index.released

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it)
        """Nothing: `FakeIndex.requests` is the log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    index: "FakeIndex"

    def __init__(self, port: int, index: "FakeIndex", tls: ssl.SSLContext | None) -> None:
        self.index = index
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        if tls is not None:
            # The handshake belongs to the connection's thread: a bad client must not stop the others.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: connections that break off are what this index is for."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        with self._guard:
            left = list(self._open)
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its thread was faster


Behaviour = Callable[[Reply, _Handler], None]


def status(code: int, reason: str | None = None, *, text: bytes = b"no", **more: str) -> Behaviour:
    """Answer with that status; keyword names become headers (`Retry_After="7"`)."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return lambda _, wire: wire.send_reply(Reply(code, {"Content-Type": "text/plain", **named}, text, reason))


def close_connection(_: Reply, wire: _Handler) -> None:
    """Reset the connection without a byte."""
    wire.close_connection = True
    wire.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.connection.close()


def hang(_: Reply, wire: _Handler) -> None:
    """Take the request and say nothing."""
    wire.stop_waiting().wait()
    wire.close_connection = True


def truncate(keep: int) -> Behaviour:
    """Promise the whole body, send the first `keep` bytes, close."""

    def send(reply: Reply, wire: _Handler) -> None:
        wire.send_reply(replace(reply, body=reply.body[:keep]), length=len(reply.body))
        wire.close_connection = True

    return send


def trickle(chunk: int, pause_s: float) -> Behaviour:
    """Send the body slowly."""

    def send(reply: Reply, wire: _Handler) -> None:
        wire.send_reply(replace(reply, body=b""), length=len(reply.body))
        for start in range(0, len(reply.body), chunk):
            wire.wfile.write(reply.body[start : start + chunk])
            if wire.stop_waiting().wait(pause_s):
                break
        wire.close_connection = True

    return send


def inflate(total: int, *, content_type: str = JSON_TYPE) -> Behaviour:
    """Send that many blanks, then what would have been the page: valid JSON, and far too much of it."""

    def send(reply: Reply, wire: _Handler) -> None:
        head = replace(reply, status=200, headers={"Content-Type": content_type}, body=b"")
        wire.send_reply(head, length=total + len(reply.body))
        block = b" " * 65_536
        for start in range(0, total, len(block)):
            wire.wfile.write(block[: total - start])
        wire.wfile.write(reply.body)

    return send


def gzip_bomb(total: int) -> Behaviour:
    """Send `total` blanks and the page, gzipped: a thousandth of that on the wire."""

    def send(reply: Reply, wire: _Handler) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        block = b" " * 1_048_576
        packed = b"".join(packer.compress(block) for _ in range(total // len(block)))
        packed += packer.compress(reply.body) + packer.flush()
        wire.send_reply(Reply(200, {"Content-Type": JSON_TYPE, "Content-Encoding": "gzip"}, packed))

    return send


def redirect(url: str, code: int = 302) -> Behaviour:
    """Send the client elsewhere."""
    return lambda _, wire: wire.send_reply(Reply(code, {"Location": url}))


def body(data: bytes, content_type: str = JSON_TYPE, **more: str) -> Behaviour:
    """Answer 200 with other bytes; keyword names become headers."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return lambda _, wire: wire.send_reply(Reply(200, {"Content-Type": content_type, **named}, data))


def headers(more: Mapping[str, str]) -> Behaviour:
    """The honest answer with further headers."""
    return lambda reply, wire: wire.send_reply(replace(reply, headers={**reply.headers, **more}))


class FakeIndex:
    """A remote index under a test's control; use as a context manager."""

    def __init__(
        self,
        *,
        tls: bool = False,
        etag: bool = True,
        compress: bool = False,
        html_only: bool = False,
        ranges: bool = False,
    ) -> None:
        """`ranges`: give parts of files where they are asked for."""
        self.etag = etag
        self.compress = compress
        self.html_only = html_only
        self.ranges = ranges
        self.cache_control: str | None = None  #: sent with pages
        self.ca_file: Path | None = (
            None  #: PEM of the authority that signed the certificate; None without TLS
        )
        self.released = threading.Event()
        self._guard = threading.Lock()
        self._requests: list[Seen] = []
        self._behaviours: dict[str, Behaviour] = {}
        self._projects: dict[str, _Project] = {}
        self._tls: ssl.SSLContext | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if tls:
            self._make_certificate()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self.come_up()

    def _make_certificate(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fake-index-")
        self.ca_file = Path(self._folder.name, "ca.pem")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_down()
        if self._folder is not None:
            self._folder.cleanup()

    # Being there

    def come_up(self) -> None:
        """Listen, on the same port as before where there was one."""
        if self._server is not None:
            return
        self.released = threading.Event()
        self._server = _Server(self.port, self, self._tls)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def go_down(self) -> None:
        """Refuse connections and drop those that are open."""
        if self._server is None or self._thread is None:
            return
        self.released.set()
        self._server.stop()
        self._thread.join()
        self._server = self._thread = None

    @property
    def origin(self) -> str:
        """Scheme, host and port. nginx verifies names in certificates, not addresses."""
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What `indexes.<name>.url` takes."""
        return f"{self.origin}/simple/"

    # What it has

    def add(
        self,
        project: str,
        distribution: Distribution,
        *,
        metadata: bool = True,
        provenance: bytes | None = None,
        url: str | None = None,
        fields: Mapping[str, Any] | None = None,
        omit: tuple[str, ...] = (),
    ) -> Distribution:
        """List a file on the page of `project`.

        `fields` are further or other keys of the page's entry; `omit` drops keys that an honest index states. `url`
        replaces the file's own.
        """
        stated: dict[str, Any] = {
            "hashes": {"sha256": distribution.sha256},
            "size": len(distribution.data),
            "upload-time": "2024-01-02T03:04:05.678901Z",
            "requires-python": ">=3.8",
        }
        if metadata:
            stated["core-metadata"] = {"sha256": sha256(distribution.metadata)}
        if provenance is not None:
            stated["provenance"] = f"{self.origin}/integrity/{project}/{distribution.filename}/provenance"
        stated.update(fields or {})
        for name in omit:
            stated.pop(name, None)
        self.project(project).files[distribution.filename] = _File(
            distribution.data, stated, distribution.metadata if metadata else None, provenance, url=url
        )
        return distribution

    def project(self, name: str, extra: Mapping[str, Any] | None = None) -> _Project:
        """The project, made when missing; `extra` are further or other top-level keys of its JSON page."""
        with self._guard:
            found = self._projects.setdefault(name, _Project(name))
        found.extra.update(extra or {})
        return found

    def remove(self, project: str, filename: str | None = None) -> None:
        """No longer list the file, or the project."""
        with self._guard:
            if filename is None:
                del self._projects[project]
            else:
                del self._projects[project].files[filename]

    # How it behaves

    def switch(self, path: str, behaviour: Behaviour) -> None:
        """Answer requests for that path (without query; `…/*`: all below) so, until told otherwise."""
        with self._guard:
            self._behaviours[path] = behaviour

    def behave(self, path: str | None = None) -> None:
        """Tell the truth again, for one path or for all; hanging requests end."""
        with self._guard:
            if path is None:
                self._behaviours.clear()
            else:
                self._behaviours.pop(path, None)
            done, self.released = self.released, threading.Event()
        done.set()

    # What it saw

    def record(self, seen: Seen) -> Behaviour | None:
        """Remember a request; how to answer it, where that is switched."""
        path = unquote(urlsplit(seen.path).path)
        with self._guard:
            self._requests.append(seen)
            if path in self._behaviours:
                return self._behaviours[path]
            folders = [
                pattern
                for pattern in self._behaviours
                if pattern.endswith("*") and path.startswith(pattern[:-1])
            ]
            return self._behaviours[max(folders, key=len)] if folders else None

    def requests(self, containing: str = "") -> list[Seen]:
        """Requests so far whose path contains that text."""
        with self._guard:
            return [seen for seen in self._requests if containing in seen.path]

    def forget_requests(self) -> None:
        """Start the record anew."""
        with self._guard:
            self._requests.clear()

    # Answers

    def reply_to(self, seen: Seen) -> Reply:
        """The honest answer."""
        parts = unquote(urlsplit(seen.path).path).strip("/").split("/")
        accept = seen.headers.get("accept", "")
        match parts:
            case ["simple"]:
                reply = self._page(accept, self._list_json(), self._list_html())
            case ["simple", project] if project in self._projects:
                found = self._projects[project]
                reply = self._page(accept, self._project_json(found), self._project_html(found))
            case ["files", project, filename]:
                reply = self._file(project, filename)
            case ["integrity", project, filename, "provenance"]:
                reply = self._provenance(project, filename)
            case _:
                reply = Reply(404, {"Content-Type": "text/plain"}, b"not found")
        return self._conditional(seen, self._ranged(seen, reply) if parts[0] == "files" else reply)

    def _ranged(self, seen: Seen, reply: Reply) -> Reply:
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", seen.headers.get("range", ""))
        if asked is None or reply.status != 200 or not self.ranges:
            return reply
        size = len(reply.body)
        first, last = asked.groups()
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return Reply(416, {"Content-Range": f"bytes */{size}"})
        told = {**reply.headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}
        return Reply(206, told, reply.body[start:end])

    def _conditional(self, seen: Seen, reply: Reply) -> Reply:
        if reply.status != 200 or not self.etag:
            return reply
        tag = f'"{sha256(reply.body)[:32]}"'
        if seen.headers.get("if-none-match") == tag:
            return Reply(304, {"ETag": tag})
        return replace(reply, headers={**reply.headers, "ETag": tag})

    def _page(self, accept: str, as_json: bytes, as_html: bytes) -> Reply:
        wants_json = JSON_TYPE in accept and not self.html_only
        content_type = JSON_TYPE if wants_json else ("text/html" if self.html_only else HTML_TYPE)
        data = as_json if wants_json else as_html
        sent = {"Content-Type": content_type, "Vary": "Accept"}
        if self.cache_control is not None:
            sent["Cache-Control"] = self.cache_control
        if self.compress:
            sent["Content-Encoding"] = "gzip"
            data = gzip.compress(data, mtime=0)
        return Reply(200, sent, data)

    def _url(self, project: str, filename: str, file: _File) -> str:
        return f"{self.origin}/files/{project}/{filename}" if file.url is None else file.url

    def _list_json(self) -> bytes:
        names = [{"name": project.name} for project in list(self._projects.values())]
        return json.dumps({"meta": {"api-version": "1.1"}, "projects": names}).encode()

    def _list_html(self) -> bytes:
        anchors = "".join(f'<a href="/simple/{name}/">{name}</a>\n' for name in list(self._projects))
        return f"<!DOCTYPE html><html><body>{anchors}</body></html>".encode()

    def _project_json(self, project: _Project) -> bytes:
        files = [
            {"filename": filename, "url": self._url(project.name, filename, file), **file.fields}
            for filename, file in list(project.files.items())
        ]
        versions = sorted(
            {filename.split("-")[1].removesuffix(".tar.gz") for filename in list(project.files)}
        )
        page = {"meta": {"api-version": "1.1"}, "name": project.name, "files": files, "versions": versions}
        return json.dumps({**page, **project.extra}).encode()

    def _project_html(self, project: _Project) -> bytes:
        anchors = "".join(
            self._anchor(project, filename, file) for filename, file in list(project.files.items())
        )
        return f"<!DOCTYPE html><html><body>{anchors}</body></html>".encode()

    def _anchor(self, project: _Project, filename: str, file: _File) -> str:
        algorithm, digest = next(iter(file.fields.get("hashes", {}).items()), ("", ""))
        url = self._url(project.name, filename, file) + (f"#{algorithm}={digest}" if digest else "")
        attributes = ""
        if file.fields.get("requires-python"):
            attributes += f' data-requires-python="{html.escape(file.fields["requires-python"])}"'
        if file.fields.get("yanked") not in {None, False}:
            reason = file.fields["yanked"]
            attributes += f' data-yanked="{html.escape("" if reason is True else reason)}"'
        return f'<a href="{html.escape(url)}"{attributes}>{html.escape(filename)}</a><br>\n'

    def _file(self, project: str, filename: str) -> Reply:
        found = self._projects.get(project)
        if found is not None and filename in found.files:
            file = found.files[filename]
            return Reply(200, {"Content-Type": file.content_type, "Accept-Ranges": "bytes"}, file.data)
        if found is not None and filename.endswith(".metadata"):
            listed = found.files.get(filename.removesuffix(".metadata"))
            if listed is not None and listed.metadata is not None:
                return Reply(200, {"Content-Type": "application/octet-stream"}, listed.metadata)
        return Reply(404, {"Content-Type": "text/plain"}, b"no such file")

    def _provenance(self, project: str, filename: str) -> Reply:
        found = self._projects.get(project)
        if found is None or filename not in found.files or found.files[filename].provenance is None:
            return Reply(404, {"Content-Type": "text/plain"}, b"no provenance")
        content_type = "application/vnd.pypi.integrity.v1+json"
        return Reply(200, {"Content-Type": content_type}, found.files[filename].provenance or b"")
