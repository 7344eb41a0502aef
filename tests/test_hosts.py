"""Which hosts and addresses an index's files may come from: its own, those listed, else the internet; nothing inside."""

from urllib.parse import urlsplit

import pytest

from decider.hosts import FileHosts, host_and_port, is_public
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


NETWORKS = ("10.0.0.0/8", "fd00::/8", "files.example", "store.example:9000")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://10.1.2.3/x", True),
        ("http://10.1.2.3/x", True),
        ("http://10.1.2.3:3141/x", True),
        ("http://10.1.2.3:8080/x", False),
        ("https://[fd00::1]/x", True),
        ("https://[::ffff:10.1.2.3]/x", True),
        ("https://[fe80::1%25eth0]/x", False),
        ("https://11.0.0.1/x", False),
        ("https://127.0.0.1/x", False),
        ("https://[::1]/x", False),
        ("https://8.8.8.8/x", False),
        # Any name may lead into a listed network: what it is resolved to is judged when it is connected to.
        ("https://other.example/x", True),
        ("http://vault.internal/x", True),
        ("https://localhost/x", True),
        ("https://other.example:8443/x", False),
        # What resolvers read as an address is no name.
        ("https://0x0a000001/x", False),
        ("https://10.1/x", False),
        ("https://f\u00efles.example/x", False),
        ("https://user@other.example/x", False),
        # Names that are listed besides.
        ("https://files.example/x", True),
        ("http://store.example:9000/x", True),
        ("ftp://10.1.2.3/x", False),
    ],
)
def test_listed_networks(url: str, allowed: bool) -> None:
    """A listed network holds the addresses in it, and any name that may lead there, at the scheme's port or the index's."""
    assert allows(url, index="http://index.example:3141/simple/", file_hosts=NETWORKS) is allowed


def reaches(
    host: str,
    port: int,
    address: str,
    *,
    index: str = "https://index.example/simple/",
    file_hosts: tuple[str, ...] = (),
) -> bool:
    """Whether such an index's host may be connected to at that address."""
    return FileHosts(IndexSettings(name="public", url=index, file_hosts=file_hosts)).may_reach(
        host, port, address
    )


@pytest.mark.parametrize(
    ("host", "port", "address", "reachable"),
    [
        ("files.example", 443, "8.8.8.8", True),
        ("files.example", 443, "2606:4700::1", True),
        ("files.example", 443, "10.0.0.1", False),
        ("files.example", 443, "127.0.0.1", False),
        ("files.example", 443, "169.254.169.254", False),
        ("files.example", 443, "::1", False),
        # The index's own host lies wherever the operator has it; another port of it is another place.
        ("index.example", 443, "10.0.0.1", True),
        ("INDEX.example", 443, "127.0.0.1", True),
        ("index.example", 8443, "10.0.0.1", False),
        ("index.example", 80, "10.0.0.1", False),
        ("index.example", 8443, "8.8.8.8", True),
    ],
)
def test_where_names_lead(host: str, port: int, address: str, reachable: bool) -> None:
    """By default a name leads to the internet and nowhere else; the index's own may lie inside."""
    assert reaches(host, port, address) is reachable


@pytest.mark.parametrize(
    ("host", "port", "address", "reachable"),
    [
        ("other.example", 443, "10.1.2.3", True),
        ("other.example", 443, "::ffff:10.1.2.3", True),
        ("other.example", 443, "fd00::1", True),
        # Where networks are listed, they are all there are.
        ("other.example", 443, "8.8.8.8", False),
        ("other.example", 443, "127.0.0.1", False),
        ("other.example", 443, "192.168.0.1", False),
        ("10.1.2.3", 443, "10.1.2.3", True),
        ("files.example", 443, "192.168.0.1", True),
        ("store.example", 9000, "127.0.0.1", True),
        ("store.example", 443, "127.0.0.1", False),
        ("index.example", 443, "192.168.0.1", True),
    ],
)
def test_where_names_lead_beside_networks(host: str, port: int, address: str, reachable: bool) -> None:
    """A listed network bounds what names lead to; what is listed by name may lie anywhere."""
    assert reaches(host, port, address, file_hosts=NETWORKS) is reachable


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254"])
def test_listed_names_may_lie_inside(address: str) -> None:
    """A host that is listed by name, or an address, may be reached where it lies."""
    assert reaches("files.example", 443, address, file_hosts=("files.example",))
    literal = f"[{address}]" if ":" in address else address
    assert reaches(address, 443, address, file_hosts=(literal,))
    assert not reaches("other.example", 443, address, file_hosts=("files.example",))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "223.255.255.254",
        "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808",
    ],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    """What lies on the internet, in whatever spelling."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        # private, and shared by carriers
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "fc00::1", "fdff::1",
        # this machine, this link, nowhere
        "127.0.0.1", "127.255.255.254", "::1", "169.254.169.254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "0.0.0.0", "0.1.2.3",
        "::", "255.255.255.255",
        # many at once
        "224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1", "2002:e000:1::1", "64:ff9b::e000:1",
        # reserved, for documents and for measuring
        "192.0.0.1", "198.18.0.1", "198.19.255.255", "240.0.0.1",
        "2001:2::1", "100::1", "4000::1", "5f00::1",
        # site-local, once
        "fec0::1",
        # an IPv4 address inside
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1", "::ffff:0:0", "::127.0.0.1", "::8.8.8.8",
        "2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:6440:1::1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2001::1", "2001:0:808:808::1",
        # what is no address
        "", "files.example", "8.8.8", "0x7f000001", "8.8.8.8/32", "[::1]", " 8.8.8.8",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    """What lies in this network, on this machine, or nowhere that is known, in whatever spelling."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"])
def test_documentation_addresses(address: str) -> None:
    """Addresses for documentation are nobody's, inside or outside: a closed network may have its stand-ins there."""
    assert is_public(address)
