"""nginx as the stand-in for an index, and as what a user would have without decider: no decision, no Python."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from textwrap import indent

import trustme

from tests.benchmarks.machine import family
from tests.benchmarks.recording import Recording
from tests.stack import eventually, free_port

__all__ = ["Nginx", "PlainNginx", "StandIn"]

_COMMON = """
{user}worker_processes auto;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 8192; }}
http {{
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  access_log access.log combined buffer=64k flush=1s;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush off;
  keepalive_requests 10000;
  proxy_http_version 1.1;
  map $http_accept $kind {{
    default .html;
    "~simple[.]v1[+]json" .json;
  }}
  map $http_accept_encoding $packed {{
    default "";
    "~gzip" gzip;
  }}
{body}
}}
"""

# Pages and files from a folder, each page in the format that is asked for.
_TREE = """
gzip_static on;
etag on;
root "{root}";
types {{
  application/vnd.pypi.simple.v1+json json;
  text/html html;
}}
location ~ "^/simple/(?<project>[a-z0-9-]+)/$" {{
  add_header Vary "Accept, Accept-Encoding";
  add_header Cache-Control "max-age=600";
  try_files /simple/$project/index$kind =404;
}}
location = /simple/ {{ try_files /simple/index$kind =404; }}
location /files/ {{ types {{ }} }}
location / {{ return 404; }}
"""

_CACHED = """
proxy_cache kept;
proxy_cache_valid 200 1h;
proxy_cache_key "{name}|$kind|$packed|$uri";
proxy_ignore_headers Vary Cache-Control Expires;
proxy_cache_lock on;
proxy_cache_use_stale updating error timeout;
proxy_set_header Connection "";
proxy_set_header Host localhost;
proxy_set_header Accept $http_accept;
proxy_set_header Accept-Encoding $packed;
proxy_buffers 16 32k;
proxy_buffer_size 32k;
proxy_busy_buffers_size 64k;
location / {{ proxy_pass {upstream}; }}
"""


class Nginx:
    """One nginx over a folder of its own."""

    def __init__(self, folder: Path, body: str, *ports: int) -> None:
        self.folder = folder
        self._ports = ports
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        # Nothing hostile is served here, and a user's folders need not be open to another account.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_COMMON.format(user=user, body=indent(body, "  ")))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until every port answers."""
        path = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if path is None:
            raise SystemExit("nginx is not installed: apt-get install nginx")
        self._process = subprocess.Popen(
            [path, "-p", str(self.folder), "-e", "stderr", "-c", "nginx.conf", "-g", "daemon off;"]
        )
        for port in self._ports:
            eventually(lambda port=port: _answers(port), within_s=10, what="nginx")  # type: ignore[misc]

    @property
    def pids(self) -> list[int]:
        assert self._process is not None
        return family(self._process.pid)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class StandIn(Nginx):
    """The index: a recording, over plain HTTP and over TLS with an authority of its own."""

    def __init__(self, folder: Path, recording: Recording) -> None:
        self.port, self.tls_port = free_port(), free_port()
        folder.mkdir(parents=True)
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        listening = (
            f"listen 127.0.0.1:{self.port};\nlisten 127.0.0.1:{self.tls_port} ssl;\n"
            "ssl_certificate server.pem;\nssl_certificate_key server.pem;\nssl_session_cache shared:tls:1m;\n"
        )
        body = f"server {{\n{listening}{_TREE.format(root=recording.folder)}}}\n"
        super().__init__(folder, body, self.port, self.tls_port)

    @property
    def url(self) -> str:
        """The simple API, over TLS, as an index is asked."""
        return f"https://localhost:{self.tls_port}/simple/"

    @property
    def plain_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple/"


class PlainNginx(Nginx):
    """Three ports: `static`, a folder; `hit`, a cache in front of it; `mirror`, a cache in front of the stand-in."""

    def __init__(self, folder: Path, stand_in: StandIn) -> None:
        self.static, self.hit, self.mirror = free_port(), free_port(), free_port()
        self.site = (
            folder / "site"
        )  #: simple/<project>/index.json(.gz) and files/…: what `static` and `hit` serve
        self.site.mkdir(parents=True)
        hit = _CACHED.format(name="hit", upstream="http://static")
        mirror = _CACHED.format(name="mirror", upstream="https://index")
        body = f"""
proxy_cache_path cache levels=1:2 keys_zone=kept:16m max_size=4g inactive=1d use_temp_path=off;
proxy_ssl_verify on;
proxy_ssl_trusted_certificate "{stand_in.ca_file}";
proxy_ssl_name localhost;
proxy_ssl_server_name on;
upstream static {{
  server 127.0.0.1:{self.static};
  keepalive 16;
}}
upstream index {{
  server 127.0.0.1:{stand_in.tls_port};
  keepalive 16;
}}
server {{
listen 127.0.0.1:{self.static};
{_TREE.format(root=self.site)}}}
server {{
listen 127.0.0.1:{self.hit};
{hit}}}
server {{
listen 127.0.0.1:{self.mirror};
{mirror}}}
"""
        super().__init__(folder, body, self.static, self.hit, self.mirror)

    def forget(self) -> None:
        """Start again with an empty cache."""
        self.stop()
        shutil.rmtree(self.folder / "cache")
        self.start()
