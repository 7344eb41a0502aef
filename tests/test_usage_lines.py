"""From nginx's lines to rows: what is read, and what is not."""

import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decider.decision import decide_file
from decider.files import DistributionFile
from decider.names import NormalizedName
from decider.usage.clients import KEY_FILE, Clients, load_key, make_key
from decider.usage.decided import Decided, decided_header, parse_decided
from decider.usage.installers import MAX_USER_AGENT, parse_installer
from decider.usage.lines import Fetch, fetch_of, read_line, row_of
from decider.usage.records import Installer, Kind, to_micros
from tests.samples import make_rule
from tests.usage_samples import AT, PIP, UV, make_line, make_row


def test_row_of_a_download() -> None:
    """A line becomes one row: nginx's facts, the decision's, and the installer's own words."""
    row = make_row(second=0.25)
    assert row.at == to_micros(AT + timedelta(milliseconds=250))
    assert (row.kind, row.client, row.user, row.repository) == (Kind.FILE, "192.0.2.7", None, "default")
    assert (row.project, row.version, row.filename) == ("demo", "1.0", "demo-1.0-py3-none-any.whl")
    assert (row.sha256, row.verdict, row.rule, row.index) == ("ab" * 32, "allow", None, "public")
    assert (row.status, row.bytes, row.cache) == (200, 1000, "HIT")
    assert row.uploaded == to_micros(datetime(2026, 11, 1, tzinfo=UTC))
    assert (row.installer, row.installer_version, row.python, row.system, row.ci) == (
        "pip",
        "26.3",
        "3.11.7",
        "Linux",
        True,
    )
    assert row.taken


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"asked": "page", "filename": "", "decided": ""}, (Kind.PAGE, None, False)),
        ({"asked": "json", "filename": "", "decided": ""}, (Kind.PAGE, None, False)),
        (
            {"filename": "demo-1.0.whl.metadata", "decided": "kind=metadata&verdict=allow"},
            (Kind.METADATA, "demo-1.0.whl", False),
        ),
        (
            {"filename": "demo-1.0.whl.metadata", "decided": "verdict=allow"},
            (Kind.FILE, "demo-1.0.whl.metadata", True),
        ),
        (
            {"filename": "demo-1.0.whl.provenance", "decided": "", "status": "503"},
            (Kind.METADATA, "demo-1.0.whl", False),
        ),
        ({"method": "HEAD"}, (Kind.FILE, "demo-1.0-py3-none-any.whl", False)),
        ({"status": "304"}, (Kind.FILE, "demo-1.0-py3-none-any.whl", True)),
        ({"status": "206"}, (Kind.FILE, "demo-1.0-py3-none-any.whl", True)),
        ({"status": "403", "decided": "verdict=block"}, (Kind.FILE, "demo-1.0-py3-none-any.whl", False)),
        ({"status": "000"}, (Kind.FILE, "demo-1.0-py3-none-any.whl", False)),
    ],
)
def test_kinds(fields: dict[str, str], expected: tuple[Kind, str | None, bool]) -> None:
    """A row says what was asked for, of which file, and whether the client has it now."""
    row = make_row(**fields)
    assert (row.kind, row.filename, row.taken) == expected


@pytest.mark.parametrize("fields", [{"method": "OPTIONS"}, {"method": "POST"}, {"asked": "projects"}])
def test_no_usage(fields: dict[str, Any]) -> None:
    """What reads no page and no file is left out."""
    said = read_line(make_line(**fields).rstrip(b"\n"))
    assert said is not None
    assert row_of(said, Clients(None)) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"took": "0.250"}, 0.25),
        ({"took": "0.250 : 0.5, 1.000", "cache": "MISS"}, 1.75),
        ({"took": "-, 2.000", "status": "502"}, 2.0),
        ({"took": ""}, None),
        ({"took": "-"}, None),
        ({}, None),
        ({"took": "0.250", "asked": "page"}, None),
        ({"took": "0.250", "decided": ""}, None),
        ({"took": "0.250", "decided": "index=public&verdict=block"}, None),
        ({"took": "0.250", "decided": "index=public&verdict=allow&kind=metadata"}, None),
    ],
)
def test_fetches(fields: dict[str, Any], expected: float | None) -> None:
    """A file that its index was asked for tells how long that took, with all redirects; nothing else does."""
    said = read_line(make_line(**fields).rstrip(b"\n"))
    assert said is not None
    fetch = fetch_of(said)
    assert fetch == (None if expected is None else Fetch("public", said.status, expected))


def test_cut_at_every_byte() -> None:
    """A line that was cut short is unreadable, wherever, up to the free text at its end."""
    line = make_line().rstrip(b"\n")
    readable_from = line.rindex(b"\t") + 1
    for length in range(len(line)):
        assert (read_line(line[:length]) is not None) == (length >= readable_from), length


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\t\t",
        b"null\ta\tb",
        b"[]\ta\tb",
        b'{"at":1}\ta\tb',
        b"\xff\xfe\ta\tb",
        make_line(status="2x0").rstrip(b"\n"),
        make_line(bytes="many").rstrip(b"\n"),
        make_line(asked="else").rstrip(b"\n"),
    ],
)
def test_unreadable(line: bytes) -> None:
    """A line that is none of ours is unreadable, and no error."""
    assert read_line(line) is None


def test_strange_bytes() -> None:
    """Bytes that are no UTF-8, quotation marks and tabs in what clients spell do not make a line unreadable."""
    line = make_line(filename='a"b.whl', agent="x").rstrip(b"\n") + b'\xff"}\t\x01'
    said = read_line(line)
    assert said is not None
    assert said.filename == 'a"b.whl'
    assert said.agent == 'x\ufffd"}\t\x01'


def test_a_client_cannot_forge_a_field() -> None:
    """Nothing that a client spells reaches the fields that nginx states."""
    row = make_row(agent='x"} {"client":"203.0.113.1"}', filename='{"client":"203.0.113.1"}')
    assert row.client == "192.0.2.7"


# Installers


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (PIP, Installer(name="pip", version="26.3", python="3.11.7", system="Linux", ci=True)),
        (UV, Installer(name="uv", version="0.13.9", python="3.12.1", system="Darwin", ci=None)),
        ("pdm/2.28.2 CPython/3.12.1 Linux/6.1", Installer(name="pdm", version="2.28.2")),
        (
            "poetry/1.8.2 CPython/3.11.7 Linux/6.1",
            Installer(name="poetry", version="1.8.2", python="3.11.7", system="Linux"),
        ),
        ("curl/8.5.0", Installer(name="curl", version="8.5.0")),
        ("Mozilla/5.0 (X11; Linux)", Installer(name="Mozilla", version="5.0")),
        ("pip/26.3 {broken", Installer(name="pip", version="26.3")),
        ("pip/26.3 " + "[" * 1500, Installer(name="pip", version="26.3")),
        ("pip/26.3 null", Installer(name="pip", version="26.3")),
        ("pip/26.3 NaN", Installer(name="pip", version="26.3")),
        ('pip/26.3 {"installer": 1}', Installer(name="pip", version="26.3")),
        ("wget", Installer(name="wget")),
        ("", None),
        ("\u00e9", None),
    ],
)
def test_installer(agent: str, expected: Installer | None) -> None:
    """The usual installers are understood; of others their name is; what is broken is no error (STANDARDS C03)."""
    assert parse_installer(agent) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["installer", "name", "version", "python", "system", "ci", "distro", "implementation"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(JSON)
@example(None)
def test_installer_says_anything(described: object) -> None:
    """Whatever an installer's words are it is no error, and can be stored."""
    for words in (json.dumps(described), json.dumps(described, ensure_ascii=False)):
        row = make_row(agent=f"pip/26.3 {words}")
        assert row.installer is not None
        msgspec.json.encode(row)


def test_installer_is_cut() -> None:
    """Nothing a client says of itself is kept at more than a hundred printable characters."""
    words = 'pip/26 {"installer":{"name":"pip","version":"%s\\u001b[31m"},"ci":"yes"}'
    found = parse_installer(words % ("9" * 500))
    assert found is not None
    assert found.version == "9" * 100
    assert found.ci in {None, True}
    escaped = parse_installer('pip/26 {"installer":{"name":"pip","version":"1\\u001b[31m"}}')
    assert escaped is not None
    assert escaped.version == "1?[31m"
    assert parse_installer("a" * 10 * MAX_USER_AGENT) == Installer(name="a" * 100)


def test_installers_do_not_fill_our_log(caplog: pytest.LogCaptureFixture) -> None:
    """A User-Agent that cannot be read is a client's affair: it is not logged."""
    parse_installer('pip/26.3 {"installer": "unheard of"')
    assert caplog.records == []


# What a decision says


def test_decided_round_trip() -> None:
    """What the decision says of a file arrives as it was, in printable ASCII that JSON need not escape."""
    file = DistributionFile(
        filename="demo-1.0+local.1.tar.gz",
        url="https://files.example/x",
        hashes={"sha256": "cd" * 32},
        upload_time=AT,
        provenance="https://index.example/p",
    )
    rule = make_rule(7, "block", "demo")
    decision = decide_file(
        file, project=NormalizedName("demo"), index='an "index"\\é', rules=[rule], at=AT, first_seen=None
    )
    text = decided_header(decision, requested=file.filename + ".metadata")
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set('"\\ ')
    assert parse_decided(text) == Decided(
        kind="metadata",
        version="1.0+local.1",
        sha256="cd" * 32,
        verdict=decision.verdict,
        rule="r7",
        index='an "index"\\é',
        uploaded=AT,
        attested=True,
    )


@pytest.mark.parametrize("text", ["", "nonsense", "kind=strange", "verdict=maybe&version=1"])
def test_decided_elsewhere(text: str) -> None:
    """Where no decision was made, or the text is not ours, nothing is known."""
    assert parse_decided(text) == Decided()


# Clients


def test_pseudonyms() -> None:
    """With a key, a client has one pseudonym, which tells nothing of its address; another key gives another."""
    one, other = Clients(b"key"), Clients(b"other key")
    pseudonym = one.name("192.0.2.7")
    assert pseudonym == one.name("192.0.2.7")
    assert pseudonym.startswith("p-")
    assert "192" not in pseudonym
    assert pseudonym != other.name("192.0.2.7")
    assert Clients(None).name("192.0.2.7") == "192.0.2.7"
    assert {"192.0.2.7", pseudonym} <= set(one.names_of("192.0.2.7"))
    assert one.names_of(pseudonym) == (pseudonym,)
    assert {"2001:db8::1", one.name("2001:db8::1")} <= set(one.names_of("2001:0DB8:0:0:0:0:0:1"))


MAPPED = ("::ffff:198.51.100.8", "::ffff:c633:6408", "::FFFF:198.51.100.8", "0:0:0:0:0:ffff:c633:6408")


@pytest.mark.parametrize("key", [None, b"key"])
def test_one_client_has_one_name(key: bytes | None) -> None:
    """An address is one client however it is spelled, an IPv4-mapped one is its IPv4 address; other texts stay."""
    clients = Clients(key)
    assert {clients.name(spelling) for spelling in MAPPED} == {clients.name("198.51.100.8")}
    assert clients.name("2001:DB8:0::1") == clients.name("2001:db8::1") != clients.name("2001:db8::2")
    assert len({clients.name(text) for text in ("198.51.100.8", "unix:", "", "198.51.100.08")}) == 4
    assert make_row(client="::ffff:198.51.100.8").client == "198.51.100.8"
    assert Clients(None).name("unix:") == "unix:"


@pytest.mark.parametrize("asked", ["198.51.100.8", *MAPPED])
def test_older_names(asked: str) -> None:
    """A client is found by each of its addresses' spellings under every name that records ever gave it."""
    clients = Clients(b"key")
    older = ("198.51.100.8", "::ffff:198.51.100.8", "::ffff:c633:6408", asked)
    # Once as pseudonyms were made: of the text that nginx wrote.
    digests = [hmac.new(b"key", text.encode(), sha256).hexdigest()[:32] for text in older]
    names = clients.names_of(asked)
    assert set(names) == {*older, *(f"p-{digest}" for digest in digests)}
    assert len(names) == len(set(names))
    assert set(Clients(None).names_of(asked)) == set(older)


def test_key(tmp_path: Path) -> None:
    """The key is made once, whoever comes at the same time, for nobody else to read."""
    folder = tmp_path / "usage"
    assert load_key(folder) is None
    with ThreadPoolExecutor(8) as pool:
        (key,) = set(pool.map(make_key, [folder] * 8))
    assert len(key) == 64
    assert make_key(folder) == key == load_key(folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]
    assert (folder / KEY_FILE).stat().st_mode & 0o077 == 0
