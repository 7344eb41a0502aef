"""Which hosts an index's files may come from: its own, those listed, else any public https name; nothing inside."""

from urllib.parse import urlsplit

import pytest

from decider.hosts import FileHosts, host_and_port
from decider.settings import IndexSettings


def allows(
    url: str, *, index: str = "https://index.example/simple/", file_hosts: tuple[str, ...] = ()
) -> bool:
    """Whether files of such an index may come from `url`."""
    hosts = FileHosts(IndexSettings(name="public", url=index, file_hosts=file_hosts))
    return hosts.is_allowed(urlsplit(url))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://Index.Example/x", ("index.example", 443)),
        ("http://index.example/x", ("index.example", 80)),
        ("https://index.example:8443", ("index.example", 8443)),
        ("https://[2001:DB8::1]:1/x", ("2001:db8::1", 1)),
        ("https://index.example:99999/", None),
        ("https://index.example:x/", None),
        ("https:///x", None),
        ("ftp://index.example/", None),
        ("", None),
    ],
)
def test_host_and_port(url: str, place: tuple[str, int] | None) -> None:
    """A URL's host in lower case, and the port that counts."""
    assert host_and_port(urlsplit(url)) == place


@pytest.mark.parametrize(
    "url",
    [
        "https://index.example/files/x",
        "https://index.example:443/x",
        "https://INDEX.example/x",
        "https://files.example/x",
        "https://a-b.c_d.example/x",
        "https://xn--bcher-kva.example/x",
        "https://files.example./x",
        "https://1.2.3.example/x",
    ],
)
def test_public_names(url: str) -> None:
    """By default files may come from the index's own host and from any https name of public DNS."""
    assert allows(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/x",
        "https://files.example:8443/x",
        "https://index.example:8443/x",
        "https://user@files.example/x",
        "https://user:secret@index.example/x",
        "https://:@index.example/x",
        "ftp://files.example/x",
        "file:///etc/passwd",
        "https:///x",
        "https://files.example:99999/x",
        # this machine, and names that only this machine or this network knows
        "https://localhost/x",
        "https://LOCALHOST./x",
        "https://decider/x",
        "https://index-corp/x",
        "https://files/x",
        "https://db.internal/x",
        "https://printer.local/x",
        "https://vault.corp/x",
        "https://router.home/x",
        "https://nas.LAN/x",
        "https://wiki.intranet./x",
        "https://git.private/x",
        "https://db.localdomain/x",
        "https://a.localhost/x",
        "https://1.0.0.127.in-addr.arpa/x",
        # addresses, however they are spelled
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://127.0.0.1./x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0x7f.1/x",
        "https://1.0x1/x",
        "https://0177.0.0.01/x",
        "https://169.254.169.254/x",
        "https://10.0.0.1/x",
        "https://8.8.8.8/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[2001:db8::1]/x",
        "https://[fe80::1%25eth0]/x",
        # what is no name
        "https://files..example/x",
        "https://.example/x",
        "https://files.example../x",
        "https://fi les.example/x",
        "https://f\u00efles.example/x",
        "https://files.\u0661\u0662/x",
        "https://files.example\\.evil.example/x",
        "https://*.example/x",
    ],
)
def test_nowhere_else(url: str) -> None:
    """By default no file comes without TLS, over another port, from an address, or from inside this network."""
    assert not allows(url)


def test_own_host() -> None:
    """An index's own host and port are always allowed, loopback and plain http too; no other port of that host is."""
    local = "http://127.0.0.1:3141/simple/"
    assert allows("http://127.0.0.1:3141/files/x", index=local)
    assert not allows("http://127.0.0.1:3142/files/x", index=local)
    assert not allows("http://127.0.0.1/files/x", index=local)
    assert not allows("http://localhost:3141/files/x", index=local)
    assert allows("http://corp/x", index="http://corp/simple/")
    assert allows("https://[::1]:8/x", index="https://[::1]:8/simple/")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://files.example/x", True),
        ("http://files.example/x", True),
        ("https://FILES.example/x", True),
        ("https://files.example:8443/x", False),
        ("https://store.example:9000/x", True),
        ("http://store.example:9000/x", True),
        ("https://store.example/x", False),
        ("https://index.example/x", True),
        ("https://other.example/x", False),
        ("https://sub.files.example/x", False),
        ("https://files.example.evil.example/x", False),
        ("https://10.0.0.1/x", True),
        ("https://user@files.example/x", False),
    ],
)
def test_listed_hosts(url: str, allowed: bool) -> None:
    """Where hosts are listed, they and the index's own are all there are; a port is the scheme's where none is given."""
    assert allows(url, file_hosts=("files.example", "store.example:9000", "10.0.0.1")) is allowed


def test_listed_host_without_port_has_the_index_s_too() -> None:
    """A listed host without a port may be asked at the port of the index."""
    index, listed = "https://index.example:8443/simple/", ("files.example",)
    assert allows("https://files.example:8443/x", index=index, file_hosts=listed)
    assert allows("https://files.example/x", index=index, file_hosts=listed)
    assert not allows("https://files.example:9000/x", index=index, file_hosts=listed)
