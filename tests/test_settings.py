"""decider.settings and what it reads with: addresses, environment, pip's configuration, certificates."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import spec_from_file_location
from pathlib import Path

import pypi_simple
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from decider import pip_config
from decider.addresses import (
    Address,
    parse_address,
    parse_base_url,
    parse_file_host,
    parse_proxy_url,
    url_address,
)
from decider.certificates import find_ca_file
from decider.errors import Fault, InvalidSettings
from decider.pip_config import pip_index, pip_setting
from decider.settings import (
    RESERVED_REPOSITORIES,
    EgressSettings,
    IndexSettings,
    RepositorySettings,
    Settings,
    UsageSettings,
    WebhookSettings,
    find_config,
    load_settings,
    reading,
    settings_from_json,
    settings_to_json,
)
from tests.stack import source_environment

DEPLOYED = Path(__file__).parent.parent / "deploy" / "decider.toml"

Load = Callable[..., Settings]
Faults = Callable[..., dict[str, str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def load(tmp_path: Path, home: Path) -> Load:
    """Settings of a file with that text (None: no file) and these variables; pip is told of no index elsewhere."""

    def run(text: str | None = None, **environ: str) -> Settings:
        file = None
        if text is not None:
            file = tmp_path / "etc" / "decider.toml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        told = {"HOME": str(home), "PIP_INDEX_URL": "https://pip.example/simple", **environ}
        return load_settings(file, environ=told, cwd=tmp_path, cpu_count=3)

    return run


@pytest.fixture
def faults(load: Load) -> Faults:
    """Key → detail of the faults that loading gives; a key at fault twice has both."""

    def run(text: str | None = None, **environ: str) -> dict[str, str]:
        with pytest.raises(InvalidSettings) as caught:
            load(text, **environ)
        found: dict[str, str] = {}
        for fault in caught.value.faults:
            found[fault.field] = " & ".join(filter(None, (found.get(fault.field), fault.detail)))
        return found

    return run


# Defaults


def test_defaults(load: Load, tmp_path: Path) -> None:
    """With no file at all, ./packages and the index that pip uses are served on loopback."""
    settings = load()
    assert settings.listen == ("127.0.0.1", 8080)
    assert settings.internal_listen == ("127.0.0.1", 8081)
    assert settings.data_dir == str(tmp_path / "var")
    assert (settings.store, settings.workers) == ("sqlite", 3)
    assert (settings.grace_s, settings.max_policy_age_s) == (300, 3600)
    assert (settings.public_url, settings.public_metrics, settings.config_file) == (None, False, None)
    assert settings.indexes == (
        IndexSettings(name="internal", path=str(tmp_path / "packages")),
        IndexSettings(
            name="pypi", url="https://pip.example/simple/", page_ttl_s=600, stale_if_error_s=604_800
        ),
    )
    assert settings.repositories == (RepositorySettings(name="default", indexes=("internal", "pypi")),)


@pytest.mark.parametrize(("cores", "workers"), [(0, 1), (5, 5), (1000, 256)])
def test_default_workers(home: Path, tmp_path: Path, cores: int, workers: int) -> None:
    """There is one worker a core, within what `workers` may say."""
    environ = {"HOME": str(home), "PIP_INDEX_URL": "https://pip.example/"}
    assert load_settings(None, environ=environ, cwd=tmp_path, cpu_count=cores).workers == workers


def test_deployed_example(tmp_path: Path, home: Path) -> None:
    """The example configuration says nothing that is not the default, but for the index it names."""
    environ = {"HOME": str(home), "PIP_INDEX_URL": "https://pip.example/simple/"}
    loaded = load_settings(DEPLOYED, environ=environ, cwd=tmp_path, cpu_count=2)
    default = load_settings(None, environ=environ, cwd=DEPLOYED.parent, cpu_count=2)
    assert loaded.config_file == str(DEPLOYED)
    assert settings_to_json(loaded).replace(b'"%s"' % str(DEPLOYED).encode(), b"null") == settings_to_json(
        default
    )


def test_deployed_example_explains_every_key(load: Load, tmp_path: Path) -> None:
    """The example's comments, uncommented, are a valid configuration that sets every key to its default."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pypi.credentials").write_text("reader:secret\n", encoding="utf-8")
    for name in ("tls.pem", "tls.key"):
        (tmp_path / "etc" / name).touch()
    (tmp_path / "etc" / "webhook.secret").write_text("secret\n", encoding="utf-8")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "etc" / "corp-ca.pem"))
    certificate = authority.issue_cert("decider.example")
    certificate.private_key_pem.write_to_path(str(tmp_path / "etc" / "decider.key"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "etc" / "decider.pem"))
    lines = DEPLOYED.read_text(encoding="utf-8").splitlines()
    text = "\n".join(
        line.removeprefix("#") if line.startswith(("#[", "#")) and line[1:2] != " " else line
        for line in lines
    )
    document = tomllib.loads(text)
    loaded = load(text, SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt")
    assert set(document) == {
        "listen", "internal_listen", "data_dir", "store", "workers", "nginx_workers", "grace", "max_policy_age", "public_url",
        "public_metrics", "read_access", "tls_certificate", "tls_key", "trusted_proxies", "max_requests_per_s",
        "max_connections", "files_cache_size", "files_cache_inactive", "cache_dir", "pages_cache_size",
        "indexes_cache_size", "ca_file", "indexes", "repositories", "webhook", "usage", "egress",
    }  # fmt: skip
    assert set().union(*document["indexes"].values()) == {
        "path", "url", "file_hosts", "credentials_file", "page_ttl", "stale_if_error", "internal", "ca_file",
        "client_certificate", "client_key", "proxy",
    }  # fmt: skip
    assert set(document["egress"]) == {"proxy", "no_proxy", "max_file_size"}
    assert set(document["repositories"]["default"]) == {"indexes", "refused_files"}
    default = load()
    assert (loaded.listen, loaded.internal_listen) == (default.listen, default.internal_listen)
    assert (loaded.grace_s, loaded.max_policy_age_s) == (default.grace_s, default.max_policy_age_s)
    assert (loaded.indexes[1].page_ttl_s, loaded.indexes[1].stale_if_error_s) == (600, 604_800)
    assert loaded.repositories[0] == default.repositories[0]
    assert set(document["usage"]) == set(UsageSettings.__struct_fields__)
    assert loaded.usage == UsageSettings(folder="/srv/decider/usage")


# The usage log


def test_usage(load: Load, tmp_path: Path) -> None:
    """Usage is recorded unless the configuration says otherwise; sizes have a unit, folders count from the file."""
    assert load().usage == UsageSettings()
    text = "[usage]\nenabled = false\nfolder = 'shared'\nretention_days = 30\nmax_size = '2G'\npseudonymise = true"
    assert load(text).usage == UsageSettings(
        enabled=False,
        folder=str(tmp_path / "etc" / "shared"),
        retention_days=30,
        max_size=2 * 1024**3,
        pseudonymise=True,
    )
    assert load(None, DECIDER_USAGE__MAX_SIZE="500m").usage.max_size == 500 * 1024**2


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("retention_days = 0", "usage.retention_days"),
        ("max_size = 5", "usage.max_size"),
        ("max_size = '5'", "usage.max_size"),
        ("max_size = '0g'", "usage.max_size"),
        ("pseudonymize = true", "usage.pseudonymize"),
    ],
)
def test_usage_faults(load: Load, line: str, key: str) -> None:
    """Each fault of the table is told under its key."""
    with pytest.raises(InvalidSettings) as caught:
        load(f"[usage]\n{line}")
    assert [fault.field for fault in caught.value.faults] == [key]


# The way out


def test_egress(load: Load) -> None:
    """Without a proxy named anywhere everything is asked directly; files whose page states no size end at 5 GB."""
    assert load().egress == EgressSettings()
    assert EgressSettings() == EgressSettings(
        http_proxy=None, https_proxy=None, no_proxy="", max_file_size=5 * 1024**3
    )
    text = "[egress]\nproxy = 'http://me:pw@Proxy.example:3128/'\nno_proxy = 'corp.example,10.0.0.0/8'\nmax_file_size = '1g'"
    proxy = "http://me:pw@Proxy.example:3128"
    assert load(text).egress == EgressSettings(
        http_proxy=proxy, https_proxy=proxy, no_proxy="corp.example,10.0.0.0/8", max_file_size=1024**3
    )
    told = {"DECIDER_EGRESS__PROXY": "proxy.example", "DECIDER_EGRESS__NO_PROXY": "a"}
    assert load(None, **told).egress == EgressSettings(
        http_proxy="http://proxy.example", https_proxy="http://proxy.example", no_proxy="a"
    )


def test_max_file_size(load: Load) -> None:
    """The limit may stand at the top as well, beside the other sizes; what stands in the table counts."""
    assert load("max_file_size = '2g'").egress.max_file_size == 2 * 1024**3
    assert load("max_file_size = '2g'\n[egress]\nmax_file_size = '3g'").egress.max_file_size == 3 * 1024**3


@pytest.mark.parametrize(
    ("environ", "http", "https", "no_proxy"),
    [
        ({"https_proxy": "http://a:1"}, None, "http://a:1", ""),
        ({"HTTPS_PROXY": "http://a:1"}, None, "http://a:1", ""),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, None, "http://a:1", ""),
        ({"http_proxy": "a:1"}, "http://a:1", None, ""),
        # In a CGI that would be a client's header.
        ({"HTTP_PROXY": "http://a:1"}, None, None, ""),
        ({"all_proxy": "https://a"}, "https://a", "https://a", ""),
        ({"ALL_PROXY": "http://a"}, "http://a", "http://a", ""),
        ({"all_proxy": "http://a", "https_proxy": "http://b"}, "http://a", "http://b", ""),
        ({"https_proxy": "http://a", "no_proxy": "x,.y"}, None, "http://a", "x,.y"),
        ({"https_proxy": "http://a", "NO_PROXY": "x"}, None, "http://a", "x"),
        ({"https_proxy": "", "HTTPS_PROXY": ""}, None, None, ""),
    ],
)
def test_proxies_of_the_environment(
    load: Load, environ: dict[str, str], http: str | None, https: str | None, no_proxy: str
) -> None:
    """The usual variables are honoured, as others do; what the configuration says comes before them."""
    assert load(None, **environ).egress == EgressSettings(
        http_proxy=http, https_proxy=https, no_proxy=no_proxy
    )
    named = load("[egress]\nproxy = 'http://named'", **environ).egress
    assert named == EgressSettings(http_proxy="http://named", https_proxy="http://named")
    assert load("[egress]\nproxy = 'none'", **environ).egress == EgressSettings(http_proxy="", https_proxy="")


def test_proxy_of_an_index(load: Load) -> None:
    """An index may have a proxy of its own, or none."""
    table = "[indexes.corp]\nurl = 'https://corp.example/simple/'\n"
    assert load(table).indexes[0].proxy is None
    assert load(table + "proxy = 'http://p:1'").indexes[0].proxy == "http://p:1"
    assert load(table + "proxy = 'none'").indexes[0].proxy == ""


@pytest.mark.parametrize(
    ("proxy", "spelled"),
    [
        ("http://p", "http://p"),
        ("p", "http://p"),
        ("p:3128", "http://p:3128"),
        ("http://p:3128/", "http://p:3128"),
        ("https://p:3128", "https://p:3128"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("http://me:a@b:c@p:1", "http://me:a@b:c@p:1"),
        ("http://me:%40@p", "http://me:%40@p"),
    ],
)
def test_proxy_urls(proxy: str, spelled: str) -> None:
    """A proxy is a host, with a port, a scheme and credentials where it has them."""
    assert parse_proxy_url(proxy) == spelled


@pytest.mark.parametrize(
    "proxy",
    [
        "", "http://", "socks5://s3cret@p:1080", "ftp://s3cret@p", "http://s3cret@p/path", "http://s3cret@p?x", "http://s3cret@p#x",
        "http://s3cret@p:0", "http://s3cret@p:99999", "http://s3cret@p:x", "http://s3cret@p q", "http://s3cret@[::g]", "http://s3crét@p",
        "http://s3cret@p\n", "http://s3cret@",
    ],
)  # fmt: skip
def test_faulty_proxies(faults: Faults, load: Load, proxy: str) -> None:
    """What is no HTTP proxy is a fault under its key, in the words of which no password is."""
    with pytest.raises(ValueError, match=r"must|holds|host|port|URL") as caught:
        parse_proxy_url(proxy)
    assert "s3cr" not in str(caught.value)
    if proxy:
        with pytest.raises(InvalidSettings) as refused:
            load(None, https_proxy=proxy)
        assert [fault.field for fault in refused.value.faults] == ["https_proxy (environment)"]
        assert "s3cr" not in str(refused.value)
    if proxy.isprintable():
        found = faults(
            f"[egress]\nproxy = '{proxy}'\n[indexes.a]\nurl = 'https://i.example/'\nproxy = '{proxy}'"
        )
        assert set(found) == {"egress.proxy", "indexes.a.proxy"}
        assert "s3cr" not in str(found)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("max_file_size = 5", "egress.max_file_size"),
        ("max_file_size = '0g'", "egress.max_file_size"),
        ("no_proxy = ['a']", "egress.no_proxy"),
        ("proxy = 3", "egress.proxy"),
        ("proxi = 'http://p'", "egress.proxi"),
    ],
)
def test_egress_faults(faults: Faults, line: str, key: str) -> None:
    """Each fault of the table is told under its key."""
    assert set(faults(f"[egress]\n{line}")) == {key}


def test_certificates_of_an_index(load: Load, faults: Faults, tmp_path: Path) -> None:
    """An index may have authorities and a client certificate of its own, beside the configuration; a key belongs to it."""
    (tmp_path / "etc").mkdir()
    pair = trustme.CA().issue_cert("me.example")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "etc" / "ca.pem"))
    pair.cert_chain_pems[0].write_to_path(str(tmp_path / "etc" / "me.pem"))
    pair.private_key_pem.write_to_path(str(tmp_path / "etc" / "me.key"))
    table = "[indexes.a]\nurl = 'https://i.example/'\n"
    files = "ca_file = 'ca.pem'\nclient_certificate = 'me.pem'\nclient_key = 'me.key'"
    index = load(table + files).indexes[0]
    assert (index.ca_file, index.client_certificate, index.client_key) == tuple(
        str(tmp_path / "etc" / name) for name in ("ca.pem", "me.pem", "me.key")
    )
    assert faults(table + "client_certificate = 'me.pem'") == {"indexes.a.client_key": "must be set too"}
    assert faults(table + "client_key = 'me.key'") == {"indexes.a.client_certificate": "must be set too"}
    absent = files.replace(".pem", ".absent").replace(".key", ".absent")
    assert faults(table + absent) == dict.fromkeys(
        ("indexes.a.ca_file", "indexes.a.client_certificate", "indexes.a.client_key"),
        "is no file that can be read",
    )


def test_certificates_that_cannot_be_used(faults: Faults, tmp_path: Path) -> None:
    """What TLS could not use is a fault before anything starts, or is taken over: the fetcher could not go on with it."""
    etc = tmp_path / "etc"
    etc.mkdir()
    pair, other = (trustme.CA().issue_cert("me.example") for _ in range(2))
    pair.cert_chain_pems[0].write_to_path(str(etc / "me.pem"))
    pair.private_key_pem.write_to_path(str(etc / "me.key"))
    other.private_key_pem.write_to_path(str(etc / "other.key"))
    (etc / "junk.pem").write_text("junk")
    key = serialization.load_pem_private_key(pair.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    (etc / "locked.key").write_bytes(locked)
    table = "[indexes.a]\nurl = 'https://i.example/'\n"
    no_certificate = "holds no certificate: must be a PEM file"
    for bad in ("junk.pem", "me.key"):
        assert faults(f"ca_file = '{bad}'\n{table}") == {"ca_file": no_certificate}
        assert faults(f"{table}ca_file = '{bad}'") == {"indexes.a.ca_file": no_certificate}
    for certificate, key_file in (("me.pem", "other.key"), ("me.pem", "locked.key"), ("junk.pem", "me.key")):
        found = faults(f"{table}client_certificate = '{certificate}'\nclient_key = '{key_file}'")
        assert found == {"indexes.a.client_key": "is no PEM key of client_certificate, without a passphrase"}


@pytest.mark.parametrize("key", ["ca_file", "client_certificate", "client_key", "proxy", "file_hosts"])
def test_directory_has_no_way_out(faults: Faults, key: str) -> None:
    """What is about connections says nothing about a directory."""
    value = "['f.example']" if key == "file_hosts" else "'none'"
    assert f"indexes.a.{key}" in faults(f"[indexes.a]\npath = 'x'\n{key} = {value}")


def test_missing_authorities(
    load: Load, faults: Faults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where nothing is found to verify an https index or webhook by, the fault names the key; where none is needed, none is."""
    monkeypatch.setattr(reading, "find_ca_file", lambda _: None)
    table = "[indexes.a]\nurl = 'https://i.example/'\n"
    assert "none was found" in faults(table)["ca_file"]
    assert "none was found" in faults("[indexes.a]\npath = 'x'\n[webhook]\nurl = 'https://x/'")["ca_file"]
    assert load("[indexes.a]\nurl = 'http://i.example/'\n[indexes.b]\npath = 'x'").ca_file is None
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "etc" / "ca.pem"))
    assert load(table + "ca_file = 'ca.pem'").ca_file is None


# The webhook


def test_webhook(load: Load) -> None:
    """A webhook has a URL of its own making, and a secret from a file or the environment."""
    assert load("[webhook]\nurl = 'https://chat.example/hook?room=1'").webhook == WebhookSettings(
        url="https://chat.example/hook?room=1"
    )
    told = load(None, DECIDER_WEBHOOK__URL="https://chat.example", DECIDER_WEBHOOK__SECRET="s").webhook
    assert told == WebhookSettings(url="https://chat.example/", secret="s")
    fault = Fault("webhook.secret", "must be Base64 behind `whsec_` (set by DECIDER_WEBHOOK__SECRET)")
    with pytest.raises(InvalidSettings) as caught:
        load(None, DECIDER_WEBHOOK__URL="https://chat.example", DECIDER_WEBHOOK__SECRET="whsec_s")
    assert caught.value.faults == (fault,)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "url = 'ftp://x'",
        "url = 'https://u:p@x/'",
        'url = "https://x/;$a"',
        "url = 'https://x/'\nsecret = 'a'",
    ],
)
def test_faulty_webhook(faults: Faults, line: str) -> None:
    """A webhook without a URL, with one that nginx could not hold, or with its secret in the configuration is a fault."""
    assert all(key.startswith("webhook.") for key in faults(f"[webhook]\n{line}"))


# Credentials


def test_credentials_come_from_a_file_or_the_environment(load: Load, tmp_path: Path) -> None:
    """Credentials for an index are read from a file beside the configuration, or from the environment."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "corp.credentials").write_text("reader:s3cret\n", encoding="utf-8")
    table = '[indexes.corp]\nurl = "https://corp.example/simple/"\n'
    assert load(table + 'credentials_file = "corp.credentials"').indexes[0].credentials == "reader:s3cret"
    assert load(table, DECIDER_INDEXES__CORP__CREDENTIALS="a:b").indexes[0].credentials == "a:b"
    assert load(table).indexes[0].credentials is None


@pytest.mark.parametrize(
    "line", ['credentials = "a:b"', 'credentials_file = "missing"', 'credentials_file = "bad"']
)
def test_faulty_credentials(load: Load, tmp_path: Path, line: str) -> None:
    """Credentials in the configuration itself, in a missing file, or without a colon are faults that keep the secret."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "bad").write_text("s3cret\n", encoding="utf-8")
    with pytest.raises(InvalidSettings, match=r"indexes\.corp\.credentials") as caught:
        load(f'[indexes.corp]\nurl = "https://corp.example/simple/"\n{line}')
    assert "s3cret" not in str(caught.value)


# The file


def test_whole_file(load: Load, tmp_path: Path) -> None:
    """A file says everything; relative paths count from its folder."""
    (tmp_path / "etc").mkdir()
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "etc" / "ca.pem"))
    settings = load(
        """
        listen = "[::]:80"
        internal_listen = "[::1]:9000"
        data_dir = "../var"
        store = "rediss://user:pass@store.example:6380/1"
        workers = 4
        grace = "30s"
        max_policy_age = "2h"
        public_url = "https://Decider.example/gate"
        public_metrics = true
        ca_file = "ca.pem"
        [indexes.public]
        url = "HTTPS://Index.Example:443/simple"
        file_hosts = ["Files.example", "cdn.example:8443", "[2001:DB8::1]:443", "10.0.0.0/8", "FD00::/8"]
        page_ttl = "1m"
        stale_if_error = "0s"
        [indexes.corp]
        url = "http://10.0.0.1:8000"
        internal = true
        [indexes.local]
        path = "/srv/packages"
        [repositories.team-a]
        indexes = ["local", "public"]
        refused_files = "hidden"
        """
    )
    assert settings == Settings(
        listen_host="::",
        listen_port=80,
        internal_host="::1",
        internal_port=9000,
        data_dir=str(tmp_path / "var"),
        store="rediss://user:pass@store.example:6380/1",
        workers=4,
        grace_s=30,
        max_policy_age_s=7200,
        public_url="https://decider.example/gate/",
        public_metrics=True,
        ca_file=str(tmp_path / "etc" / "ca.pem"),
        indexes=(
            IndexSettings(
                name="public",
                url="https://index.example/simple/",
                file_hosts=(
                    "files.example",
                    "cdn.example:8443",
                    "[2001:db8::1]:443",
                    "10.0.0.0/8",
                    "fd00::/8",
                ),
                page_ttl_s=60,
                stale_if_error_s=0,
            ),
            IndexSettings(name="corp", url="http://10.0.0.1:8000/", internal=True),
            IndexSettings(name="local", path="/srv/packages"),
        ),
        repositories=(
            RepositorySettings(name="default", indexes=("corp", "local", "public")),
            RepositorySettings(name="team-a", indexes=("local", "public"), hide_refused=True),
        ),
        config_file=str(tmp_path / "etc" / "decider.toml"),
    )
    assert settings_from_json(settings_to_json(settings)) == settings


def test_indexes_replace_defaults(load: Load) -> None:
    """A file that names indexes has those and no others."""
    settings = load('[indexes.mirror]\nurl = "https://mirror.example/"\n')
    assert [index.name for index in settings.indexes] == ["mirror"]
    assert settings.repositories == (RepositorySettings(name="default", indexes=("mirror",)),)


def test_index_without_anything_is_pips(load: Load) -> None:
    """An index with neither path nor url is the one that pip uses on this machine."""
    assert load("[indexes.pypi]\ninternal = true").indexes == (
        IndexSettings(name="pypi", url="https://pip.example/simple/", internal=True),
    )


def test_byte_order_mark(load: Load) -> None:
    """A byte order mark, as editors leave it, is no fault."""
    assert load("\ufeffworkers = 9").workers == 9


def test_every_fault_at_once(faults: Faults) -> None:
    """All faults are told at once, each under its key."""
    found = faults(
        """
        listen = "8080"
        lisen = "127.0.0.1:80"
        workers = "2"
        grace = 300
        max_policy_age = "1 hour"
        store = "mysql://h/"
        public_metrics = "yes"
        [indexes.a]
        path = ""
        [indexes.b]
        path = "x"
        url = "https://index.example/"
        [indexes.c]
        pth = "x"
        url = "ftp://index.example/"
        file_hosts = "files.example"
        [indexes.Up_Per]
        url = "https://index.example/"
        page_ttl = 300
        [indexes]
        flat = "x"
        [repositories.simple]
        indexes = ["c"]
        [repositories.team]
        indexes = ["a", "bb"]
        refused_files = "gone"
        [repositories.empty]
        indexes = []
        [repositories.bare]
        """
    )
    assert found == {
        "listen": 'must be "host:port", such as "0.0.0.0:8080" or "[::1]:8080"',
        "lisen": "unknown key: did you mean `listen`?",
        "workers": "must be a whole number from 1 to 256",
        "grace": 'must be a duration in quotes, such as "5m"',
        "max_policy_age": 'must be a duration: a whole number and one of s m h d w, such as "5m"',
        "store": 'must be "sqlite" or a redis://, rediss:// or redis+sentinel:// URL',
        "public_metrics": "must be true or false",
        "indexes.flat": "must be a table: [indexes.flat]",
        "indexes.a.path": "must be a text",
        "indexes.b.url": "contradicts path: an index is a directory or remote, not both",
        "indexes.c.pth": "unknown key: did you mean `path`?",
        "indexes.c.url": "must be an http or https URL",
        "indexes.c.file_hosts": "must be a list of texts",
        "indexes.Up_Per": "no valid name: lower-case letters, digits and hyphens, at most 64, a hyphen not first",
        "indexes.Up_Per.page_ttl": 'must be a duration in quotes, such as "5m"',
        "repositories.simple": "reserved: decider's own URLs begin with this name",
        "repositories.team.indexes": "no index `bb` is configured: did you mean `b`?",
        "repositories.team.refused_files": 'must be "yanked" or "hidden"',
        "repositories.empty.indexes": "must name at least one index",
        "repositories.bare.indexes": "must be set",
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('listen = "127.0.0.1:0"', "listen"),
        ('listen = "127.0.0.1:65536"', "listen"),
        ('listen = "300.0.0.1:80"', "listen"),
        ('listen = "[::g]:80"', "listen"),
        ('listen = "a b:80"', "listen"),
        ('listen = "127.0.0.1:65535"', "internal_listen"),
        ('internal_listen = "127.0.0.1:8080"', "internal_listen"),
        ('internal_listen = "0.0.0.0:8081"', "internal_listen"),
        ("workers = 0", "workers"),
        ("workers = 257", "workers"),
        ("workers = true", "workers"),
        ("workers = 2.0", "workers"),
        ('grace = "-1s"', "grace"),
        ('grace = "99999999999999999999d"', "grace"),
        ('store = ""', "store"),
        ('store = "redis://"', "store"),
        ('store = "redis://u:p@/0"', "store"),
        ('ca_file = "absent.pem"', "ca_file"),
        ('data_dir = "a$b"', "data_dir"),
        ('data_dir = "/var"', "data_dir"),
        ('data_dir = "/var/../"', "data_dir"),
        ('data_dir = "a\\nb"', "data_dir"),
        ('data_dir = "~no-such-user/x"', "data_dir"),
        ('public_url = "decider.example"', "public_url"),
        ("indexes = 3", "indexes"),
        ("[indexes]", "indexes"),
        ("repositories = []", "repositories"),
        (f'[indexes.{"a" * 65}]\npath = "x"', f"indexes.{'a' * 65}"),
        ('[indexes."a b"]\npath = "x"', "indexes.a b"),
        ('[indexes.""]\npath = "x"', "indexes."),
        ('[indexes.a]\npath = "x"\npage_ttl = "1m"', "indexes.a.page_ttl"),
        ('[indexes.a]\npath = "x"\ninternal = false', "indexes.a.internal"),
        ('[indexes.a]\nurl = "https://i.example/"\nfile_hosts = ["*.example"]', "indexes.a.file_hosts"),
        ('[indexes.a]\nurl = "https://i.example/"\nfile_hosts = ["10.0.0.1/8"]', "indexes.a.file_hosts"),
        ('[indexes.a]\nurl = "https://i.example/"\nfile_hosts = ["10.0.0.0/33"]', "indexes.a.file_hosts"),
        ('[indexes.a]\nurl = "https://i.example/"\nfile_hosts = ["f.example/8"]', "indexes.a.file_hosts"),
        (
            '[indexes.a]\nurl = "https://i.example/"\nfile_hosts = ["https://f.example"]',
            "indexes.a.file_hosts",
        ),
        ('[indexes.a]\nurl = "http://127.0.0.1:8080/simple/"', "indexes.a.url"),
        ('[indexes.a]\nurl = "http://127.0.0.1:8081/indexes/a/"', "indexes.a.url"),
        ('[indexes.a]\nurl = "http://localhost:8080/simple/"', "indexes.a.url"),
        ('listen = "[::]:80"\n[indexes.a]\nurl = "http://127.0.0.1/simple/"', "indexes.a.url"),
        (
            'public_url = "https://d.example/"\n[indexes.a]\nurl = "https://d.example/simple/"',
            "indexes.a.url",
        ),
        ('[repositories.default]\nindexes = ["pypi", "pypi"]', "repositories.default.indexes"),
        ("[repositories.-a]\nindexes = ['pypi']", "repositories.-a"),
    ],
)
def test_faulty_value(faults: Faults, text: str, key: str) -> None:
    """A value that cannot be used is one fault, under its key, and no other key is blamed."""
    assert list(faults(text)) == [key]


@pytest.mark.parametrize("name", sorted(RESERVED_REPOSITORIES))
def test_reserved_repositories(faults: Faults, name: str) -> None:
    """A repository cannot take a name that decider's own URLs begin with."""
    assert list(faults(f'[repositories.{name}]\nindexes = ["pypi"]')) == [f"repositories.{name}"]


def test_syntax_error(faults: Faults) -> None:
    """A file that is not TOML is told with the place."""
    assert "is not valid TOML" in faults("listen = [")[""]
    assert "line 2" in faults("workers = 2\nlisten 3")[""]


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that was named and is not there, or is no text, is a fault."""
    with pytest.raises(InvalidSettings, match="cannot be read: no such file"):
        load_settings(tmp_path / "absent.toml", environ={}, cwd=tmp_path, cpu_count=1)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="is not UTF-8"):
        load_settings(Path("binary.toml"), environ={}, cwd=tmp_path, cpu_count=1)


@pytest.mark.parametrize(
    "url", ["https://joe:hunter2@index.example/", "https://joe:hunter2/x@index.example/"]
)
def test_secrets_are_not_told(faults: Faults, url: str) -> None:
    """Credentials in a URL are a fault that names the key and not the secret."""
    found = faults(f'public_url = "{url}"\nstore = "redi://u:hunter2@h/"\n[indexes.a]\nurl = "{url}"')
    assert found.keys() == {"public_url", "store", "indexes.a.url"}
    assert "hunter2" not in str(found)


def test_find_config(tmp_path: Path) -> None:
    """DECIDER_CONFIG names the file, else ./decider.toml is taken where it exists, else none."""
    assert find_config({}, tmp_path) is None
    (tmp_path / "decider.toml").touch()
    assert find_config({}, tmp_path) == tmp_path / "decider.toml"
    assert find_config({"DECIDER_CONFIG": "other.toml"}, tmp_path) == tmp_path / "other.toml"


# The environment


def test_environment_overrides(load: Load, tmp_path: Path) -> None:
    """Variables override every scalar, whatever the case of their names, and lists, separated by commas."""
    settings = load(
        'workers = 2\n[indexes.my-index]\npath = "x"\n[indexes.pypi]\nurl = "https://a.example/"\n',
        DECIDER_LISTEN="0.0.0.0:80",
        decider_workers="8",
        DECIDER_GRACE="1m",
        DECIDER_STORE="redis://store.example/",
        DECIDER_PUBLIC_METRICS="yes",
        DECIDER_INDEXES__MY_INDEX__PATH="packages",
        DECIDER_INDEXES__PYPI__URL="https://b.example/simple",
        DECIDER_INDEXES__PYPI__FILE_HOSTS="f.example, g.example:8443",
        DECIDER_INDEXES__PYPI__INTERNAL="0",
        Decider_Repositories__Default__Refused_Files="hidden",
    )
    assert settings.listen == ("0.0.0.0", 80)
    assert settings.internal_listen == ("127.0.0.1", 81)
    assert (settings.workers, settings.grace_s, settings.store) == (8, 60, "redis://store.example/")
    assert settings.public_metrics
    assert settings.indexes == (
        IndexSettings(name="my-index", path=str(tmp_path / "etc" / "packages")),
        IndexSettings(
            name="pypi",
            url="https://b.example/simple/",
            file_hosts=("f.example", "g.example:8443"),
            internal=False,
        ),
    )
    assert settings.repositories == (
        RepositorySettings(name="default", indexes=("my-index", "pypi"), hide_refused=True),
    )


def test_environment_adds_an_index(load: Load) -> None:
    """An index can be made of variables alone, beside the default ones."""
    settings = load(
        DECIDER_INDEXES__CORP__URL="https://corp.example/", DECIDER_INDEXES__CORP__INTERNAL="true"
    )
    assert [index.name for index in settings.indexes] == ["internal", "pypi", "corp"]
    assert settings.repositories[0].indexes == ("internal", "corp", "pypi")


def test_environment_makes_the_internal_index_remote(load: Load) -> None:
    """A url for the default index `internal` takes the place of its default path."""
    assert load(DECIDER_INDEXES__INTERNAL__URL="https://corp.example/").indexes[0] == IndexSettings(
        name="internal", url="https://corp.example/"
    )


def test_environment_names_with_hyphens(load: Load) -> None:
    """Underscores in an index's name stand for hyphens, two of them for two."""
    settings = load(DECIDER_INDEXES__A__B_C__URL="https://corp.example/")
    assert settings.indexes[-1].name == "a--b-c"


def test_environment_leaves_others_alone(load: Load) -> None:
    """Variables that are empty, or that are no settings, change nothing and are no faults."""
    settings = load(
        DECIDER_ADMIN_TOKEN="secret",
        DECIDER_CONFIG="elsewhere.toml",
        DECIDER_STORE="",
        DECIDER_PORT="tcp://10.0.0.1:8080",
        DECIDER_PORT_8080_TCP_ADDR="10.0.0.1",
        DECIDER_SERVICE_HOST="10.0.0.1",
        DECIDERS="x",
    )
    assert settings == load()


def test_environment_faults_name_the_variable(faults: Faults) -> None:
    """A fault of the environment is told with the variable that holds it."""
    found = faults(
        DECIDER_WORKERS="many",
        DECIDER_LISTNE="x:1",
        DECIDER_PUBLIC_METRICS="maybe",
        DECIDER_INDEXES__PYPI__URI="https://x.example/",
        DECIDER_INDEXES="x",
        DECIDER_REPOSITORIES__DEFAULT="x",
        DECIDER_GRACE="1s",
        decider_grace="2s",
    )
    assert found == {
        "workers": "must be a whole number from 1 to 256 (set by DECIDER_WORKERS)",
        "listne": "unknown key: did you mean `listen`? (set by DECIDER_LISTNE)",
        "public_metrics": "must be true or false (set by DECIDER_PUBLIC_METRICS)",
        "indexes.pypi.uri": "unknown key: did you mean `url`? (set by DECIDER_INDEXES__PYPI__URI)",
        "DECIDER_INDEXES": "must be written DECIDER_INDEXES__<NAME>__<KEY>",
        "DECIDER_REPOSITORIES__DEFAULT": "must be written DECIDER_REPOSITORIES__<NAME>__<KEY>",
        "decider_grace": "says the same key as DECIDER_GRACE",
    }


# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1", Address("127.0.0.1", 1)),
        ("Decider.example:65535", Address("decider.example", 65_535)),
        ("[::0001]:80", Address("::1", 80)),
        ("my_service:80", Address("my_service", 80)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """An address is a host, an IPv6 one in brackets, and a port; its canonical spelling reads back as itself."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("listen", "internal"),
    [
        ("0.0.0.0:8080", "127.0.0.1:8081"),
        ("[::]:8080", "[::1]:8081"),
        ("[::1]:8080", "[::1]:8081"),
        ("127.0.0.2:8080", "127.0.0.2:8081"),
        ("decider.example:8080", "127.0.0.1:8081"),
    ],
)
def test_internal_listener(load: Load, listen: str, internal: str) -> None:
    """The internal listener is on loopback, on the port after the public one's."""
    assert str(load(f'listen = "{listen}"').internal_listen) == internal


@pytest.mark.parametrize(
    "url",
    [
        "", "index.example", "//index.example/", "ftp://index.example/", "file:///srv", "https://", "https:///simple/",
        "https://index.example:0/", "https://index.example:99999/", "https://index.example:x/", "https://[::1/",
        "https://[::g]/", "https://1.2.3/", "https://index.example/?x=1", "https://index.example/#x",
        "https://index.example/?", "https://u@index.example/", "https://u:p@index.example/", "https://@index.example/",
        "https://index.example/a b", "https://index.example/$host/", 'https://index.example/"', "https://ïndex.example/",
        "https://index.example/\n", " https://index.example/", "https://index.example/a/../b", "https://in\\dex.example/",
        "https://index.example;/", "https://{x}/",
    ],
)  # fmt: skip
def test_faulty_urls(url: str) -> None:
    """A base URL is http(s), has a host, and nothing that could leak or be read in two ways."""
    with pytest.raises(ValueError, match=r"^[a-z]"):
        parse_base_url(url)


@pytest.mark.parametrize(
    ("url", "canonical", "address"),
    [
        ("https://index.example", "https://index.example/", Address("index.example", 443)),
        ("http://INDEX.example:80//", "http://index.example/", Address("index.example", 80)),
        ("https://[::0001]:8443/simple", "https://[::1]:8443/simple/", Address("::1", 8443)),
        (
            "https://i.example/api/pypi/x%20y/simple/",
            "https://i.example/api/pypi/x%20y/simple/",
            Address("i.example", 443),
        ),
    ],
)
def test_base_urls(url: str, canonical: str, address: Address) -> None:
    """A base URL gets its slash and loses what makes two spellings of one."""
    assert parse_base_url(url) == canonical
    assert parse_base_url(canonical) == canonical
    assert url_address(canonical) == address


@given(st.text(max_size=40))
def test_address_parsers_never_crash(text: str) -> None:
    """Whatever is written as an address, a host or a URL is read or refused, with a ValueError that is one line."""
    for parse in (
        parse_address,
        parse_file_host,
        parse_base_url,
        lambda text: parse_base_url(f"https://{text}"),
    ):
        try:
            parse(text)
        except ValueError as error:
            assert str(error).isprintable()  # noqa: PT017 (most inputs raise nothing else to look at)


# What pip is told


def pip_conf(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pip.conf"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def machine(tmp_path: Path, home: Path) -> dict[str, str]:
    """Variables of a machine whose pip is told nothing."""
    return {"HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"), "PREFIX": str(tmp_path / "venv")}


def test_pip_default(machine: dict[str, str], tmp_path: Path) -> None:
    """Where pip is told of no index, its default is taken, as a library names it."""
    pip_conf(tmp_path / "xdg" / "pip", "[global]\ntimeout = 3\n")
    machine["PIP_CONFIG_FILE"] = str(
        pip_conf(tmp_path / "chosen", "[freeze]\nindex-url = https://no.example/\n")
    )
    assert pip_index(machine, prefix=machine["PREFIX"]) == pypi_simple.PYPI_SIMPLE_ENDPOINT


def test_pip_default_costs_little(
    machine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The large library that names pip's default is not imported for it, unless it is laid out otherwise one day."""
    told = "from decider.pip_config import pip_index; import sys; pip_index({}, prefix='none'); print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", told], env=source_environment(), capture_output=True, text=True, check=True
    )
    assert "requests" not in ran.stdout.split()
    other = tmp_path / "otherwise.py"
    other.write_text("import pypi_simple\n")
    found = spec_from_file_location("otherwise", other)
    monkeypatch.setattr(pip_config, "find_spec", lambda _: found)
    assert pip_index(machine, prefix=machine["PREFIX"]) == pypi_simple.PYPI_SIMPLE_ENDPOINT


def test_pip_precedence(machine: dict[str, str], tmp_path: Path, home: Path) -> None:
    """Files override those before them, a command's section overrides [global], a variable overrides all."""

    def index() -> str:
        return pip_index(machine, prefix=machine["PREFIX"])

    pip_conf(tmp_path / "xdg" / "pip", "[global]\nindex-url = https://machine.example/\n")
    assert index() == "https://machine.example/"
    pip_conf(home / ".pip", "[global]\nindex_url = https://legacy.example/\n")
    assert index() == "https://legacy.example/"
    pip_conf(home / ".config" / "pip", "[global]\nINDEX-URL = https://user.example/\n")
    assert index() == "https://user.example/"
    pip_conf(tmp_path / "venv", "[global]\nindex-url = https://venv.example/simple\n")
    assert index() == "https://venv.example/simple/"
    machine["PIP_CONFIG_FILE"] = str(
        pip_conf(tmp_path / "chosen", "[global]\nindex-url = https://chosen.example/\n")
    )
    assert index() == "https://chosen.example/"
    pip_conf(home / ".config" / "pip", "[install]\nindex-url = https://install.example/\n")
    assert index() == "https://chosen.example/", "a chosen file takes the place of the user's"
    pip_conf(tmp_path / "xdg" / "pip", "[install]\nindex-url = https://install.example/\n")
    assert index() == "https://install.example/"
    machine["PIP_INDEX_URL"] = "https://variable.example/"
    assert index() == "https://variable.example/"


def test_pip_without_files(machine: dict[str, str], home: Path) -> None:
    """PIP_CONFIG_FILE=/dev/null turns files off."""
    pip_conf(home / ".config" / "pip", "[global]\ncert = /x.pem\n")
    assert pip_setting("cert", machine, prefix=machine["PREFIX"]) is not None
    machine["PIP_CONFIG_FILE"] = os.devnull
    assert pip_setting("cert", machine, prefix=machine["PREFIX"]) is None


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("file:///srv/simple", "is a file:// URL"),
        ("https://joe:hunter2@pip.example/simple", "must not carry credentials"),
        ("pip.example", "must be an http or https URL"),
    ],
)
def test_pip_index_that_cannot_be_taken(faults: Faults, url: str, detail: str) -> None:
    """An index of pip's that decider cannot use is a fault that says where it stands and what to do, no secrets."""
    found = faults(PIP_INDEX_URL=url)
    assert list(found) == ["indexes.pypi.url"]
    assert detail in found["indexes.pypi.url"]
    assert "(PIP_INDEX_URL)" in found["indexes.pypi.url"]
    assert "hunter2" not in str(found)


def test_pip_index_is_asked_for_only_where_needed(load: Load) -> None:
    """What pip uses does not matter where every index says what it is."""
    assert load('[indexes.a]\npath = "x"', PIP_INDEX_URL="file:///srv").indexes[0].name == "a"


def test_pip_points_at_decider(faults: Faults) -> None:
    """A machine whose pip already uses decider must not make decider ask itself."""
    assert faults(PIP_INDEX_URL="http://127.0.0.1:8080/simple/") == {
        "indexes.pypi.url": "points at decider itself"
    }


def test_pip_file_that_cannot_be_read(faults: Faults, tmp_path: Path) -> None:
    """A configuration file that pip itself would stop at is a fault that names it."""
    chosen = pip_conf(tmp_path / "chosen", "index-url = https://no-section.example/\n")
    found = faults(PIP_CONFIG_FILE=str(chosen), PIP_INDEX_URL="", PIP_CERT="/x.pem")
    assert found == {"indexes.pypi.url": f"pip's configuration file {chosen} cannot be read"}


# Certificates


def test_ca_file(machine: dict[str, str], tmp_path: Path) -> None:
    """SSL_CERT_FILE comes before pip's cert, pip's cert before the system's; files that are not there are passed by."""
    files = {name: tmp_path / f"{name}.pem" for name in ("ssl", "pip")}
    for file in files.values():
        file.touch()
    told = {**machine, "PIP_CERT": str(files["pip"]), "SSL_CERT_FILE": str(files["ssl"])}
    assert find_ca_file(told) == str(files["ssl"])
    files["ssl"].unlink()
    assert find_ca_file(told) == str(files["pip"])
    files["pip"].unlink()
    assert find_ca_file(told) == find_ca_file({**machine, "PIP_CERT": "", "PIP_CONFIG_FILE": os.devnull})
