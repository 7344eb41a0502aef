"""One index's way out: strict answers, redirects, addresses, TLS, credentials, proxies, limits."""

import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from decider.egress import files, pages, targets, upstream
from decider.settings import EgressSettings, IndexSettings
from tests.egress_harness import (
    Fetcher,
    Host,
    Proxy,
    Reply,
    Request,
    broken,
    chunked,
    redirect,
    reply,
    resolve_only,
)

PAGE = "/simple/demo/"
CREDENTIALS = "reader:s3cret"
BASIC = f"Basic {b64encode(CREDENTIALS.encode()).decode()}"


@pytest.fixture
def host() -> Iterator[Host]:
    """The index's own host."""
    with Host() as started:
        yield started


@pytest.fixture
def other() -> Iterator[Host]:
    """Another address of this machine, where nobody may send the fetcher who is not allowed to."""
    with Host("127.0.0.2") as started:
        yield started


@pytest.fixture
def fetcher(host: Host) -> Iterator[Fetcher]:
    with Fetcher([index_at(host)]) as started:
        yield started


def index_at(host: Host, **fields: Any) -> IndexSettings:
    return IndexSettings(name="public", **{"url": f"{host.url}simple/", **fields})


# Answers


def test_proper_answer(host: Host, fetcher: Fetcher) -> None:
    """What is asked for goes out in our words alone, and what is proper comes back."""
    host.answers[PAGE] = reply(b"page", Content_Type="text/html")
    got = fetcher.page()
    assert (got.status, got.body) == (200, b"page")
    (asked,) = host.asked
    assert asked.method == "GET"
    assert asked.headers["host"] == f"127.0.0.1:{host.port}"
    assert set(asked.headers) == {"host", "user-agent", "accept", "accept-encoding"}
    assert asked.headers["user-agent"].startswith("decider/")


OK = b"HTTP/1.1 200 OK\r\n"
MALFORMED: dict[str, bytes] = {
    "no status line": b"hello\r\n\r\n",
    "a body alone": b"<html>HTTP/0.9</html>",
    "a blank line first": b"\r\n" + OK + b"Content-Length: 1\r\n\r\nx",
    "a blank first": b" " + OK + b"Content-Length: 1\r\n\r\nx",
    "another protocol": b"ICY 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "lower case": b"http/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx",
    "negative status": b"HTTP/1.1 -200 OK\r\nContent-Length: 1\r\n\r\nx",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    "a bare carriage return": OK + b"A: b\rC: d\r\nContent-Length: 1\r\n\r\nx",
    "a folded header": OK + b"A: b\r\n c\r\nContent-Length: 1\r\n\r\nx",
    "a blank before a colon": OK + b"Content-Length : 1\r\n\r\nx",
    "a header without a colon": OK + b"Content-Length 1\r\n\r\nx",
    "a header without a name": OK + b": 1\r\nContent-Length: 1\r\n\r\nx",
    "a NUL": OK + b"A: b\0c\r\nContent-Length: 1\r\n\r\nx",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "two lengths in one": OK + b"Content-Length: 1, 2\r\n\r\nxx",
    "a negative length": OK + b"Content-Length: -1\r\n\r\nx",
    "a length with a sign": OK + b"Content-Length: +1\r\n\r\nx",
    "a hexadecimal length": OK + b"Content-Length: 0x1\r\n\r\nx",
    "length and chunks": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x"),
    "gzip as transfer encoding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(b"x"),
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked(b"x"),
    "identity as transfer encoding": OK + b"Transfer-Encoding: identity\r\n\r\nx",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x"),
    "a chunk of no size": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
    "a chunk of negative size": OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "a chunk longer than it says": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
    "a very long header": OK + b"A: " + b"b" * 40_000 + b"\r\nContent-Length: 1\r\n\r\nx",
    "very many headers": OK + b"".join(b"A%d: %s\r\n" % (n, b"b" * 1000) for n in range(40)) + b"Content-Length: 1\r\n\r\nx",
    "a very long status line": b"HTTP/1.1 200 " + b"O" * 40_000 + b"\r\nContent-Length: 1\r\n\r\nx",
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_answers(host: Host, fetcher: Fetcher, case: str) -> None:
    """What is no proper answer of HTTP/1 gives 502, and says so in words without markup."""
    host.answers[PAGE] = broken(MALFORMED[case])
    got = fetcher.page()
    assert (got.status, got.kind) == (502, "malformed"), got.cause
    assert got.cause.isprintable()
    assert not set(got.cause) & set('<>"\\`{}')


ENDED: dict[str, bytes] = {
    "nothing": b"",
    "half a head": OK + b"Content-Le",
    "half a body": OK + b"Content-Length: 10\r\n\r\nhalf",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n10\r\nhalf",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
}


@pytest.mark.parametrize("case", ENDED)
def test_answers_that_end_early(host: Host, fetcher: Fetcher, case: str) -> None:
    """An answer that breaks off is a host that is away, and no shorter answer."""
    host.answers[PAGE] = broken(ENDED[case])
    got = fetcher.page()
    assert got.status == 502
    assert got.kind in {"away", "malformed"}, got.cause


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content", "206 Partial Content", "101 Switching Protocols",
                                    "201 Created", "226 IM Used", "299 X", "300 Multiple Choices", "304 Not Modified",
                                    "305 Use Proxy", "306 X", "399 X", "400 Bad Request", "401 X", "403 X", "429 X", "451 X",
                                    "500 X", "503 X", "520 X", "599 X", "600 X", "999 X"])  # fmt: skip
def test_statuses(host: Host, fetcher: Fetcher, status: str) -> None:
    """No status but 200, and the few that mean something, is passed on: whatever else a host says is 502."""
    host.answers[PAGE] = host.answers["/files/x"] = reply(b"", status, Location=None)
    for got in (fetcher.page(), fetcher.file(f"{host.url}files/x")):
        assert got.status == 502
        assert got.kind in {"refused", "malformed"}
        assert got.headers["content-type"].startswith("application/problem+json")


def test_answers_before_the_final_one(host: Host, fetcher: Fetcher) -> None:
    """1xx before the final answer are swallowed."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
    host.answers[PAGE] = broken(hints + OK + b"Content-Length: 4\r\nContent-Type: text/html\r\n\r\npage")
    got = fetcher.page()
    assert (got.status, got.body) == (200, b"page")
    assert "link" not in got.headers


def test_what_follows_an_answer(host: Host, fetcher: Fetcher) -> None:
    """What a host sends beyond its answer is nobody's next answer."""
    extra = OK + b"Content-Length: 4\r\n\r\nevil"
    host.answers[PAGE] = Reply([OK + b"Content-Length: 4\r\n\r\npage" + extra], is_kept=True)
    host.answers["/simple/other/"] = reply(b"good")
    assert fetcher.page().body == b"page"
    for _ in range(3):
        assert fetcher.page("other/").body == b"good"
    assert host.connections == 2


def test_what_comes_unasked(host: Host, fetcher: Fetcher) -> None:
    """What a host says on a connection that nobody asks anything on is nobody's answer either."""
    given, said = threading.Event(), threading.Event()
    extra = OK + b"Content-Length: 4\r\n\r\nevil"
    host.answers[PAGE] = Reply(
        [OK + b"Content-Length: 4\r\n\r\npage", given.wait, extra, said.set], is_kept=True
    )
    host.answers["/simple/other/"] = reply(b"good")
    assert fetcher.page().body == b"page"
    given.set()
    assert said.wait(10)
    for _ in range(3):
        assert fetcher.page("other/").body == b"good"
    assert host.connections == 2


@pytest.mark.parametrize(
    "status", ["204 No Content", "205 Reset Content", "304 Not Modified", "299 x", "500 x"]
)
def test_connection_of_an_answer_that_is_none(host: Host, fetcher: Fetcher, status: str) -> None:
    """Where one answer was none, what may follow it is not taken for the answer to the next question."""
    host.answers[PAGE] = reply(status=status)
    host.answers["/simple/other/"] = reply(b"good")
    assert fetcher.page().status == 502
    assert fetcher.page("other/").body == b"good"
    assert host.connections == 2


def test_kept_connections(host: Host, fetcher: Fetcher) -> None:
    """One connection does for many questions, over redirects too."""
    host.answers |= {PAGE: reply(b"page"), "/simple/old/": redirect("/simple/demo/")}
    for _ in range(5):
        assert fetcher.page().body == b"page"
        assert fetcher.page("old/").body == b"page"
    assert host.connections == 1


# Times


def test_hanging_host(host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not answer in time is a timeout: 504."""
    monkeypatch.setattr(pages, "HEAD_WITHIN_S", 0.3)
    monkeypatch.setattr(files, "HEAD_WITHIN_S", 0.3)
    host.answers[PAGE] = host.answers["/files/x"] = Reply([lambda: host.stopping.wait(20)])
    started = time.monotonic()
    for got in (fetcher.page(), fetcher.file(f"{host.url}files/x")):
        assert (got.status, got.kind) == (504, "timeout")
    assert time.monotonic() - started < 5


def test_all_hops_together_have_one_deadline(
    host: Host, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redirects that each take nearly all of the time end with it."""
    monkeypatch.setattr(pages, "HEAD_WITHIN_S", 0.6)

    def slow(_: Request) -> Reply:
        host.stopping.wait(0.4)
        return redirect("/simple/demo/")

    host.answers[PAGE] = slow
    assert fetcher.page().kind == "timeout"
    assert len(host.asked) == 2


def test_host_that_stalls(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that stops in the middle of a body is waited for no longer than between any two bytes."""
    monkeypatch.setattr(upstream, "BETWEEN_BYTES_S", 0.3)
    host.answers[PAGE] = Reply([OK + b"Content-Length: 10\r\n\r\nhalf", lambda: host.stopping.wait(20)])
    with Fetcher([index_at(host)]) as fetcher:
        assert (got := fetcher.page()).kind == "timeout", got.cause


def test_nobody_listens(host: Host, fetcher: Fetcher) -> None:
    """A host that takes no connection is away, and the words say no more than that."""
    host.__exit__(None, None, None)
    got = fetcher.page()
    assert (got.status, got.kind) == (502, "away")
    assert got.cause.startswith("no connection with it")


# Redirects


@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
def test_redirects_of_files(host: Host, fetcher: Fetcher, status: str) -> None:
    """A file's redirect is followed, three times at most, whatever its status, with the same question."""
    host.answers |= {
        "/a": redirect("/b?x=%2e", status),
        "/b?x=%2e": redirect("c", status),
        "/c": redirect(f"{host.url}d#e", status),
    }
    host.answers["/d"] = reply(b"file")
    assert fetcher.file(f"{host.url}a").body == b"file"
    assert host.paths() == ["/a", "/b?x=%2e", "/c", "/d"]
    assert {one.method for one in host.asked} == {"GET"}
    host.answers["/d"] = redirect("/e", status)
    host.answers["/e"] = reply(b"file")
    got = fetcher.file(f"{host.url}a")
    assert (got.status, got.kind, got.cause) == (502, "refused", "it redirects more than 3 times")
    assert host.paths()[4:] == ["/a", "/b?x=%2e", "/c", "/d"]


@pytest.mark.parametrize("port", [443, 80])
@pytest.mark.parametrize(
    "target",
    [
        "", "http://store.example/x", "https://127.0.0.2/x", "https://[::1]/x", "https://localhost/x", "https://decider/-/decision/file",
        "https://index-corp/x", "https://store.example:8443/x", "https://u:p@store.example/x", "https://[/x",
        "https://store.example:99999/x", "https://store.example:x/x", "https://st\u00f6re.example/x", "https://store.example/\x1b",
        "ftp://store.example/x", "file:///etc/passwd", "unix:/run/decider.sock:/x", "javascript:alert(1)",
        "https://store.example\\@127.0.0.1/x", "//127.0.0.2/x", "https://2130706433/x", "https://0x7f.1/x", "https://169.254.169.254/x",
        "/a b", "https://vault.internal/x", "http://127.0.0.1:{port}/x", "http://localhost:{own}/x",
    ],
)  # fmt: skip
def test_redirects_elsewhere(host: Host, fetcher: Fetcher, target: str, port: int) -> None:
    """A redirect to where files of this index may not come from is not followed, and nobody is asked."""
    host.answers["/a"] = redirect(target.format(port=port, own=host.port))
    got = fetcher.file(f"{host.url}a")
    if target.endswith("\x1b"):
        assert (got.status, got.kind) == (502, "malformed")
    else:
        assert (got.status, got.kind) == (502, "refused")
        assert got.cause == "it redirects to a place that it may not lead to"
    assert host.paths() == ["/a"]


def test_redirect_to_a_listed_host(host: Host, other: Host) -> None:
    """A listed host may be redirected to, though it lies on this machine; one that is not listed may not."""
    host.answers["/a"] = redirect(f"{other.url}b")
    other.answers["/b"] = reply(b"file")
    with Fetcher([index_at(host, file_hosts=(f"127.0.0.2:{other.port}",))]) as fetcher:
        assert fetcher.file(f"{host.url}a").body == b"file"
        assert fetcher.file(f"{other.url}b").body == b"file"
    with Fetcher([index_at(host, file_hosts=("127.0.0.3",))]) as fetcher:
        assert fetcher.file(f"{host.url}a").kind == "refused"
        assert fetcher.file(f"{other.url}b").kind == "refused"
    assert other.paths() == ["/b", "/b"]


def test_redirect_down_from_tls(monkeypatch: pytest.MonkeyPatch, tls: "Tls", host: Host) -> None:
    """A redirect from https to http is not followed, not even to a listed host."""
    resolve_only(monkeypatch, {"index.example": ["127.0.0.1"]})
    with Host(tls=tls.server("index.example")) as index:
        index.answers["/a"] = redirect(f"{host.url}b")
        host.answers["/b"] = reply(b"file")
        url = f"https://index.example:{index.port}/"
        with Fetcher(
            [index_at(index, url=url, file_hosts=(f"127.0.0.1:{host.port}",))], ca_file=tls.ca_file
        ) as fetcher:
            assert fetcher.file(f"{host.url}b").body == b"file"
            assert fetcher.file(f"{url}a").kind == "refused"


# Addresses


def names_of_files(monkeypatch: pytest.MonkeyPatch, host: Host, *addresses: str, **fields: Any) -> Any:
    """What comes of a file on files.example, which has those addresses, at the index's own port."""
    resolve_only(monkeypatch, {"files.example": addresses})
    with Fetcher([index_at(host, **fields)]) as fetcher:
        return fetcher.file(f"http://files.example:{host.port}/x")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "fec0::1", "0.0.0.0", "224.0.0.1"],
)  # fmt: skip
def test_name_that_leads_inside(monkeypatch: pytest.MonkeyPatch, host: Host, address: str) -> None:
    """A name that leads into this network is not connected to, by default and beside networks that are listed."""
    resolve_only(monkeypatch, {"files.example": [address]})
    with Fetcher([index_at(host)], ca_file=None) as fetcher:
        got = fetcher.file("https://files.example/x")
    assert (got.status, got.kind) == (502, "refused")
    assert got.cause == (
        f"its host has the address {address}, which is not on the internet, and `file_hosts` does not list it"
    )
    assert names_of_files(monkeypatch, host, address, file_hosts=("192.168.7.0/24",)).kind == "refused"
    assert host.asked == []


def test_name_that_leads_into_a_listed_network(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """A name is connected to at those of its addresses that are listed, and at no other."""
    host.answers["/x"] = reply(b"file")
    assert names_of_files(monkeypatch, host, "127.0.0.1", file_hosts=("127.0.0.0/8",)).body == b"file"
    assert (
        names_of_files(monkeypatch, host, "10.0.0.1", "127.0.0.1", file_hosts=("127.0.0.0/8",)).body
        == b"file"
    )
    assert names_of_files(monkeypatch, host, "127.0.0.1", file_hosts=("127.0.0.2/32",)).kind == "refused"
    assert names_of_files(monkeypatch, host, "127.0.0.1", file_hosts=("files.example",)).body == b"file"


def test_judged_address_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """A name is resolved once for each connection: what it leads to a moment later is not asked."""
    asked = resolve_only(monkeypatch, {"files.example": ["127.0.0.1"]})
    host.answers["/x"] = reply(b"file", is_kept=False)
    real = socket.getaddrinfo

    def only_literals(name: Any, *more: Any, **named: Any) -> Any:
        assert name != "files.example", "resolved behind the judge's back"
        return real(name, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", only_literals)
    with Fetcher([index_at(host, file_hosts=("127.0.0.0/8",))]) as fetcher:
        for _ in range(3):
            assert fetcher.file(f"http://files.example:{host.port}/x").body == b"file"
    assert asked == ["files.example"] * 3


def test_name_without_an_address(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """A name that nobody knows is a host that is away."""
    resolve_only(monkeypatch, {})
    with Fetcher([index_at(host)]) as fetcher:
        got = fetcher.file("https://files.example/x")
    assert (got.kind, got.cause) == ("away", "its host's name cannot be resolved")


def test_own_host_may_lie_anywhere(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """The index's own host is where the operator has it, whatever its name leads to."""
    resolve_only(monkeypatch, {"corp": ["127.0.0.1"]})
    host.answers[PAGE] = reply(b"page")
    with Fetcher([index_at(host, url=f"http://corp:{host.port}/simple/")]) as fetcher:
        assert fetcher.page().body == b"page"
    assert host.asked[0].headers["host"] == f"corp:{host.port}"


def test_system_resolver(host: Host) -> None:
    """Names that only the system's files know are found."""
    host.answers[PAGE] = reply(b"page")
    with Fetcher([index_at(host, url=f"http://localhost:{host.port}/simple/")]) as fetcher:
        assert fetcher.page().body == b"page"


# TLS


class Tls:
    """Authorities of a test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)

    def server(self, *names: str, wants_client: bool = False) -> ssl.SSLContext:
        """What a server of those names has; `wants_client`: it looks at clients' certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        if wants_client:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client(self, name: str) -> dict[str, str]:
        """Settings of a client certificate."""
        issued = self.authority.issue_cert(name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return {"client_certificate": str(certificate), "client_key": str(key)}


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that lead to this machine."""
    resolve_only(
        monkeypatch,
        {"index.example": ["127.0.0.1"], "files.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]},
    )


@pytest.mark.usefixtures("named")
def test_tls(tls: Tls) -> None:
    """An https index proves who it is, by the name in its URL; who cannot is not believed."""
    with Host(tls=tls.server("index.example")) as host:
        host.answers[PAGE] = reply(b"page")
        good = index_at(host, url=f"https://index.example:{host.port}/simple/")
        with Fetcher([good], ca_file=tls.ca_file) as fetcher:
            assert fetcher.page().body == b"page"
        assert host.asked[0].server_name == "index.example"
        wrong = index_at(host, url=f"https://other.example:{host.port}/simple/")
        for index, ca_file in ((wrong, tls.ca_file), (good, None)):
            with Fetcher([index], ca_file=ca_file) as fetcher:
                got = fetcher.page()
                assert (got.status, got.kind) == (502, "away")
                assert got.cause.startswith("no TLS with it")
    assert len(host.asked) == 1


@pytest.mark.usefixtures("named")
def test_authorities_of_an_index(tls: Tls, tmp_path: Path) -> None:
    """Authorities that one index names are believed for its hosts, instead of the general ones, and for no other index."""
    (tmp_path / "general").mkdir()
    general = Tls(tmp_path / "general")
    with Host(tls=tls.server("index.example")) as host:
        host.answers[PAGE] = reply(b"page")
        url = f"https://index.example:{host.port}/simple/"
        indexes = [
            IndexSettings(name="public", url=url, ca_file=tls.ca_file),
            IndexSettings(name="general", url=url),
        ]
        with Fetcher(indexes, ca_file=general.ca_file) as fetcher:
            assert fetcher.page().body == b"page"
            assert fetcher.page(index="general").kind == "away"
        with Fetcher(
            [IndexSettings(name="public", url=url, ca_file=general.ca_file)], ca_file=tls.ca_file
        ) as fetcher:
            assert fetcher.page().kind == "away"


@pytest.mark.usefixtures("named")
def test_no_tls_where_it_is_wanted(host: Host, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that speaks plainly where https is wanted is not understood, and not sent a thing."""
    monkeypatch.setattr(pages, "HEAD_WITHIN_S", 0.5)
    with Fetcher([index_at(host, url=f"https://index.example:{host.port}/")], ca_file=tls.ca_file) as fetcher:
        assert fetcher.page().kind in {"away", "timeout"}
    # What it may have read are the random bytes of a TLS hello.
    assert not any("simple" in repr(one) or "decider" in repr(one) for one in host.asked)


@pytest.mark.usefixtures("named")
def test_client_certificate(tls: Tls) -> None:
    """A client certificate is shown to the index's own origin, and to no file host, by redirect neither."""
    with (
        Host(tls=tls.server("index.example", wants_client=True)) as host,
        Host(tls=tls.server("files.example", wants_client=True)) as elsewhere,
    ):
        host.answers |= {PAGE: reply(b"page"), "/a": redirect(f"https://files.example:{elsewhere.port}/x")}
        elsewhere.answers |= {
            "/x": reply(b"file"),
            "/back": redirect(f"https://index.example:{host.port}/simple/demo/"),
        }
        index = index_at(
            host,
            url=f"https://index.example:{host.port}/simple/",
            file_hosts=(f"files.example:{elsewhere.port}",),
            **tls.client("decider.example"),
        )
        with Fetcher([index], ca_file=tls.ca_file) as fetcher:
            assert fetcher.page().body == b"page"
            assert fetcher.file(f"https://index.example:{host.port}/a").body == b"file"
            assert fetcher.file(f"https://files.example:{elsewhere.port}/x").body == b"file"
            assert fetcher.file(f"https://files.example:{elsewhere.port}/back").body == b"page"
    assert {one.certificate for one in host.asked} == {"decider.example"}
    assert [one.certificate for one in elsewhere.asked] == [None] * 3


def test_certificates_that_cannot_be_read(tmp_path: Path, host: Host) -> None:
    """Certificates that cannot be used keep the fetcher from starting."""
    (tmp_path / "bad.pem").write_text("no certificate")
    bad = str(tmp_path / "bad.pem")
    for index, ca_file in (
        (index_at(host, client_certificate=bad, client_key=bad), None),
        (index_at(host, ca_file=bad), None),
        (index_at(host), bad),
        (index_at(host), str(tmp_path / "absent.pem")),
    ):
        with pytest.raises(OSError, match=r"PEM|SSL|No such file|X509"), Fetcher([index], ca_file=ca_file):
            pass


# Credentials


def authorization(host: Host) -> list[str | None]:
    return [one.headers.get("authorization") for one in host.asked]


def test_credentials(host: Host, other: Host) -> None:
    """Credentials are sent to the index's own origin, for pages, files and parts, and nowhere else."""
    host.answers |= {PAGE: reply(b"page"), "/x": reply(b"file")}
    other.answers["/x"] = reply(b"file")
    index = index_at(host, credentials=CREDENTIALS, file_hosts=(f"127.0.0.2:{other.port}",))
    with Fetcher([index]) as fetcher:
        fetcher.page()
        fetcher.file(f"{host.url}x")
        fetcher.part(f"{host.url}x", "bytes=-1")
        fetcher.file(f"{other.url}x")
        fetcher.part(f"{other.url}x", "bytes=-1")
    assert authorization(host) == [BASIC] * 3
    assert authorization(other) == [None] * 2


def test_credentials_across_redirects(host: Host, other: Host) -> None:
    """A redirect off the own origin leaves credentials behind; one that leads back brings them to their owner alone."""
    host.answers |= {"/a": redirect(f"{other.url}b"), "/c": reply(b"file")}
    other.answers |= {"/b": redirect(f"{host.url}c")}
    index = index_at(host, credentials=CREDENTIALS, file_hosts=(f"127.0.0.2:{other.port}",))
    with Fetcher([index]) as fetcher:
        assert fetcher.file(f"{host.url}a").body == b"file"
    assert authorization(host) == [BASIC] * 2
    assert authorization(other) == [None]


def test_own_host_is_not_own_origin(host: Host) -> None:
    """The same host at another port, or under another scheme, is sent no credentials."""
    with Host() as beside:
        beside.answers["/x"] = reply(b"file")
        index = index_at(host, credentials=CREDENTIALS, file_hosts=(f"127.0.0.1:{beside.port}",))
        with Fetcher([index]) as fetcher:
            assert fetcher.file(f"{beside.url}x").body == b"file"
    assert authorization(beside) == [None]
    own = targets.make_target(
        IndexSettings(name="a", url="https://i.example/simple/"), egress=EgressSettings(), ca_file=None
    )
    for url, is_own in (
        ("https://i.example/x", True), ("https://I.example:443/x", True), ("http://i.example/x", False),
        ("http://i.example:443/x", False), ("https://i.example:8443/x", False), ("https://j.example/x", False),
    ):  # fmt: skip
        assert own.is_own(urlsplit(url)) is is_own


def test_cookies_are_not_kept(host: Host, fetcher: Fetcher) -> None:
    """A host's cookies are not sent back."""
    host.answers[PAGE] = reply(b"page", Set_Cookie="a=b; Path=/")
    for _ in range(2):
        fetcher.page()
    assert all("cookie" not in one.headers for one in host.asked)


# Proxies


URL = "http://index.example/simple/"


def through(proxy: Proxy, credentials: str = "") -> str:
    return f"http://{credentials}{proxy.address}:{proxy.port}"


def by_proxy(url: str, **fields: Any) -> EgressSettings:
    return EgressSettings(http_proxy=url, https_proxy=url, **fields)


def test_http_proxy(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """An http index is asked for at the proxy, by its whole URL, with the proxy's credentials for it alone."""
    resolve_only(monkeypatch, {})
    host.answers[PAGE] = reply(b"page")
    with Proxy({"index.example": host}, credentials="me:pw") as proxy:
        index = index_at(host, url=URL, credentials=CREDENTIALS)
        with Fetcher([index], egress=by_proxy(through(proxy, "me:pw@"))) as fetcher:
            assert fetcher.page().body == b"page"
        (asked,) = proxy.asked
        assert (asked.method, asked.target) == ("GET", "http://index.example/simple/demo/")
        assert asked.headers["authorization"] == BASIC
        assert asked.headers["proxy-authorization"] == f"Basic {b64encode(b'me:pw').decode()}"
        with Fetcher([index], egress=by_proxy(through(proxy))) as fetcher:
            got = fetcher.page()
            assert got.status == 502
            assert "me" not in got.cause.split()
    assert len(host.asked) == 1


def test_connect_proxy(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https index is reached through a tunnel: the proxy sees neither URL nor credentials, and TLS is with the index."""
    resolve_only(monkeypatch, {})
    with (
        Host(tls=tls.server("index.example", wants_client=True)) as host,
        Proxy({"index.example": host, "other.example": host}, credentials="me:pw") as proxy,
    ):
        host.answers[PAGE] = reply(b"page")
        egress = by_proxy(through(proxy, "me:pw@"))
        url = "https://index.example/simple/"
        index = index_at(host, url=url, credentials=CREDENTIALS, **tls.client("decider.example"))
        with Fetcher([index], ca_file=tls.ca_file, egress=egress) as fetcher:
            assert fetcher.page().body == b"page"
        (asked,) = proxy.asked
        assert (asked.method, asked.target) == ("CONNECT", "index.example:443")
        assert "authorization" not in asked.headers
        assert asked.headers["proxy-authorization"] == f"Basic {b64encode(b'me:pw').decode()}"
        (seen,) = host.asked
        assert (seen.headers["authorization"], seen.certificate, seen.server_name) == (
            BASIC, "decider.example", "index.example",
        )  # fmt: skip
        assert "proxy-authorization" not in seen.headers
        other = index_at(host, url="https://other.example/simple/")
        with Fetcher([other], ca_file=tls.ca_file, egress=egress) as fetcher:
            assert fetcher.page().kind == "away"
        with Fetcher([index], ca_file=tls.ca_file, egress=by_proxy(through(proxy))) as fetcher:
            got = fetcher.page()
            assert (got.kind, got.cause) == ("away", "the proxy answered 407")
    assert len(host.asked) == 1


def test_proxy_by_name(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy lies inside, and its name leads there; that name at that port opens nothing else."""
    resolve_only(monkeypatch, {"proxy.internal": ["127.0.0.1"]})
    host.answers[PAGE] = reply(b"page")
    with Proxy({"index.example": host}) as proxy:
        egress = by_proxy(f"http://proxy.internal:{proxy.port}")
        with Fetcher([index_at(host, url=URL)], egress=egress) as fetcher:
            assert fetcher.page().body == b"page"


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("", False),
        ("index.example", True),
        (".example", True),
        ("example", True),
        ("a,index.example ,b", True),
        ("*", True),
        ("dex.example", False),
        ("127.0.0.0/8", False),
    ],
)
def test_no_proxy(host: Host, monkeypatch: pytest.MonkeyPatch, no_proxy: str, *, is_direct: bool) -> None:
    """Hosts that no_proxy names are asked directly."""
    resolve_only(monkeypatch, {"index.example": ["127.0.0.1"]})
    host.answers[PAGE] = reply(b"page")
    index = index_at(host, url=f"http://index.example:{host.port}/simple/")
    with (
        Proxy({"index.example": host}) as proxy,
        Fetcher([index], egress=by_proxy(through(proxy), no_proxy=no_proxy)) as fetcher,
    ):
        assert fetcher.page().body == b"page"
        assert proxy.asked == [] if is_direct else len(proxy.asked) == 1


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_direct"),
    [
        ("127.0.0.1", "", True), ("127.9.9.9", "", True), ("::1", "", True), ("localhost", "", True), ("10.1.2.3", "", False),
        ("10.1.2.3", "10.0.0.0/8", True), ("10.1.2.3", "11.0.0.0/8,10.1.2.3", True), ("fd00::1", "fd00::/8", True),
        ("10.1.2.3", "nonsense/8, 10.0.0.0/8", True), ("index.example", "10.0.0.0/8", False),
    ],
)  # fmt: skip
def test_what_is_asked_directly(host: str, no_proxy: str, *, is_direct: bool) -> None:
    """This machine itself is never asked through a proxy; networks may be named."""
    assert targets._is_asked_directly(host, no_proxy) is is_direct


def test_proxy_of_an_index(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index's own proxy, or none, comes before the general one."""
    resolve_only(monkeypatch, {"index.example": ["127.0.0.1"]})
    host.answers[PAGE] = reply(b"page")
    url = f"http://index.example:{host.port}/simple/"
    with Proxy({"index.example": host}) as general, Proxy({"index.example": host}) as own:
        indexes = [
            IndexSettings(name="public", url=url),
            IndexSettings(name="own", url=url, proxy=through(own)),
            IndexSettings(name="none", url=url, proxy=""),
        ]
        with Fetcher(indexes, egress=by_proxy(through(general))) as fetcher:
            for index, counts in (("public", (1, 0)), ("own", (1, 1)), ("none", (1, 1))):
                assert fetcher.page(index=index).body == b"page"
                assert (len(general.asked), len(own.asked)) == counts


def test_schemes_have_proxies_of_their_own(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for https is not asked for http."""
    resolve_only(monkeypatch, {"index.example": ["127.0.0.1"]})
    host.answers[PAGE] = reply(b"page")
    index = index_at(host, url=f"http://index.example:{host.port}/simple/")
    with Proxy({}) as proxy, Fetcher([index], egress=EgressSettings(https_proxy=through(proxy))) as fetcher:
        assert fetcher.page().body == b"page"
        assert proxy.asked == []


@pytest.mark.parametrize("address", ["127.0.0.2", "10.0.0.1", "169.254.169.254", "::1"])
def test_proxy_leads_nobody_inside(host: Host, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A name that leads inside is not asked for through a proxy either; one that only the proxy knows is its affair."""
    resolve_only(monkeypatch, {"files.example": [address]})
    host.answers[PAGE] = reply(b"page")
    with Proxy({"index.example": host}) as proxy:
        with Fetcher([index_at(host, url=URL)], egress=by_proxy(through(proxy))) as fetcher:
            assert fetcher.file("https://files.example/x").kind == "refused"
            assert proxy.asked == []
            assert fetcher.file("https://unknown.example/x").cause == "the proxy answered 502"
        assert [one.target for one in proxy.asked] == ["unknown.example:443"]


def test_proxy_that_is_away(host: Host) -> None:
    """A proxy that takes no connection is told without its credentials."""
    with Host() as gone:
        pass
    egress = by_proxy(f"http://me:pw@127.0.0.1:{gone.port}")
    with Fetcher([index_at(host, url=URL)], egress=egress) as fetcher:
        got = fetcher.page()
    assert (got.status, got.kind) == (502, "away")
    assert "pw" not in got.cause


def test_environment_is_not_read_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies come from the settings alone."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    resolve_only(monkeypatch, {"index.example": ["127.0.0.1"]})
    host.answers[PAGE] = reply(b"page")
    with Fetcher([index_at(host, url=f"http://index.example:{host.port}/simple/")]) as fetcher:
        assert fetcher.page().body == b"page"
