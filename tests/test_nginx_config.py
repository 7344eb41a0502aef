"""The rendered nginx configuration: nginx accepts it, no setting becomes syntax, and every way to bytes is guarded."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from hypothesis import example, given
from hypothesis import strategies as st

from decider import caches
from decider.caches import cache_space, decisions_folder
from decider.egress import parts
from decider.egress.pages import HEAD_WITHIN_S, WITHIN_S
from decider.errors import InvalidSettings
from decider.index.asking import FETCH_DEADLINE_S
from decider.nginx_config import render_nginx_config, template_folder
from decider.nginx_program import nginx_fault
from decider.settings import IndexSettings, RepositorySettings, Settings
from decider.settings.model import WebhookSettings
from decider.worker_user import WorkerUser

INTERNAL = IndexSettings(name="internal", path="/srv/packages")
PUBLIC = IndexSettings(name="public", url="http://127.0.0.1:3141/simple/")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data_dir whose name has what nginx's syntax is made of, and a folder is free to have."""
    made = tmp_path / "a folder; with {odd} 'chars' #"
    for name in ("run", "cache", "temp", "logs", "metadata", "staged"):
        (made / name).mkdir(parents=True)
    trustme.CA().cert_pem.write_to_path(str(made / "ca.pem"))
    monkeypatch.setattr(caches, "_MEMORY", tmp_path)
    return made


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(
        data_dir=str(folder),
        ca_file=str(folder / "ca.pem"),
        indexes=(INTERNAL, PUBLIC),
        repositories=(RepositorySettings(name="default", indexes=("internal", "public")),),
    )


def changed(settings: Settings, **fields: Any) -> Settings:
    return msgspec.structs.replace(settings, **fields)


def render(settings: Settings, *, prefix: str = "", user: WorkerUser | None = None) -> str:
    return render_nginx_config(settings, prefix=prefix, user=user)


def write(folder: Path, text: str) -> None:
    """Put the configuration where nginx is pointed to, and make the folder that its decisions' is made in."""
    for place in re.findall(r'proxy_cache_path "(/[^"]+)/decisions"', text):
        Path(place).mkdir(exist_ok=True)
    (folder / "run" / "nginx.conf").write_text(text)


def fault(folder: Path, text: str) -> str | None:
    """What nginx finds wrong with it."""
    write(folder, text)
    return nginx_fault(folder, "run/nginx.conf")


# nginx accepts it


def test_ordinary(folder: Path, settings: Settings) -> None:
    """What the settings come to is a configuration, with relative and with absolute paths."""
    for prefix in ("", f"{folder}/"):
        assert fault(folder, render(settings, prefix=prefix)) is None


def variants(folder: Path) -> dict[str, dict[str, Any]]:
    """Settings that change what is rendered."""
    certificate = trustme.CA().issue_cert("decider.example")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    many = tuple(
        RepositorySettings(name=f"r{number}", indexes=("public",), hide_refused=bool(number % 2))
        for number in range(30)
    )
    https = IndexSettings(
        name="https", url="https://127.0.0.1:8443/a/b-c/%20/simple/", credentials="u:p;{}$x"
    )
    return {
        "no index": {"indexes": ()},
        "local only": {"indexes": (INTERNAL,)},
        "remote only": {"indexes": (PUBLIC,)},
        "https and credentials": {"indexes": (https, PUBLIC)},
        "an index of IPv6": {"indexes": (IndexSettings(name="six", url="http://[::1]:3141/simple/"),)},
        "an index that has no address": {
            "indexes": (IndexSettings(name="gone", url="https://gone.invalid/simple/"),)
        },
        "IPv6": {"listen_host": "::1", "internal_host": "::1"},
        "all addresses": {"listen_host": "0.0.0.0"},
        "many repositories": {"repositories": many},
        "TLS": {"tls_certificate": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")},
        "by token": {"read_access": "token"},
        "behind proxies": {"trusted_proxies": ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1")},
        "a webhook": {"webhook": WebhookSettings(url="https://127.0.0.1:8443/hook?a=b")},
        "metrics for all": {"public_metrics": True},
        "short times": {"grace_s": 0, "max_requests_per_s": 1, "max_connections": 1},
    }


VARIANTS = (
    "no index", "local only", "remote only", "https and credentials", "an index of IPv6",
    "an index that has no address", "IPv6", "all addresses", "many repositories", "TLS", "by token",
    "behind proxies", "a webhook", "metrics for all", "short times",
)  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(folder: Path, settings: Settings, variant: str) -> None:
    """Whatever settings are good, nginx takes what they come to."""
    fields = variants(folder)
    assert tuple(fields) == VARIANTS
    assert fault(folder, render(changed(settings, **fields[variant]))) is None


@pytest.mark.parametrize("variant", ["ordinary", *VARIANTS])
def test_nothing_leads_outside(folder: Path, settings: Settings, variant: str) -> None:
    """nginx connects to the decider and the fetcher, over unix sockets, and to nobody else: it resolves no name."""
    text = render(changed(settings, **variants(folder).get(variant, {})))
    upstreams = {name: re.findall(r"server ([^;]+);", body) for name, body in blocks(text, "upstream")}
    assert upstreams == {
        "decider": ['"unix:run/decider.sock" max_fails=0'],
        "fetcher": ['"unix:run/egress.sock" max_fails=0'],
    }
    places = set(re.findall(r"proxy_pass (\S+?://[^/$;]+)", text))
    assert places == {"http://decider", "http://fetcher"}
    assert len(re.findall(r"\bproxy_pass\s", text)) == len(
        re.findall(r"proxy_pass http://(?:decider|fetcher)[/$;]", text)
    )
    assert not re.search(
        r"^\s*(resolver|proxy_ssl\w*|grpc_pass|uwsgi_pass|fastcgi_pass|scgi_pass|memcached_pass)\b",
        text,
        re.MULTILINE,
    )


@pytest.mark.parametrize("variant", ["https and credentials", "a webhook"])
def test_no_secret(folder: Path, settings: Settings, variant: str) -> None:
    """What only the fetcher needs does not stand in nginx's configuration: credentials, and where indexes are."""
    text = render(changed(settings, **variants(folder)[variant]))
    for word in ("Authorization $index", "u:p", "dTpw", "8443", "hook?", "3141"):
        assert word not in text


def test_worker_processes(settings: Settings) -> None:
    """There is a worker for each core, or as many as the settings say."""
    assert "\nworker_processes auto;\n" in render(settings)
    assert "\nworker_processes 3;\n" in render(changed(settings, nginx_workers=3))


def test_worker_user(settings: Settings) -> None:
    """Workers run as the unprivileged user that is given, else as whoever started nginx."""
    user = WorkerUser("www-data", "www-data", 33, 33)
    assert re.search(r"^user www-data www-data;$", render(settings, user=user), re.MULTILINE)
    assert not re.search(r"^user ", render(settings), re.MULTILINE)


def test_unreadable_packages_are_served_from_copies(settings: Settings, tmp_path: Path) -> None:
    """Both places that a local index's files may be in have a name, in place and as copies for nginx's user."""
    packages = tmp_path / "packages"
    packages.mkdir(mode=0o700)
    packages.chmod(0o700)
    local = changed(settings, indexes=(IndexSettings(name="internal", path=str(packages)),))
    user = WorkerUser("nobody", "nogroup", 65_534, 65_534)
    for text in (render(local, user=user), render(local)):
        assert '"staged:internal" "staged/internal";' in text
        assert f'"index:internal" "{packages}";' in text


def test_templates_are_found() -> None:
    """The templates are there, in a checkout and in an installed package."""
    assert (template_folder() / "nginx.conf").is_file()


# No setting becomes syntax

DANGEROUS = ['"', "$", "\\", "\n", "\r", "\x00", "\x7f", "\x1b"]
BETWEEN_WORDS = [*DANGEROUS, " ", ";", "{", "}", "'", "\t"]


@pytest.mark.parametrize("text", DANGEROUS)
@pytest.mark.parametrize("key", ["cache_dir", "tls_certificate", "tls_key", "indexes.x.path", "data_dir"])
def test_paths_stay_paths(settings: Settings, key: str, text: str) -> None:
    """A path with what would end nginx's quotation, or begin a variable, is refused by its key."""
    path = f"/srv/x{text}y"
    prefix = ""
    if key == "indexes.x.path":
        bad = changed(settings, indexes=(IndexSettings(name="x", path=path),))
    elif key == "data_dir":
        bad, prefix = settings, f"{path}/"
    else:
        bad = changed(settings, **{key: path})
    with pytest.raises(InvalidSettings) as caught:
        render(bad, prefix=prefix)
    assert {one.field for one in caught.value.faults} == {key}


@pytest.mark.parametrize("text", BETWEEN_WORDS)
@pytest.mark.parametrize("key", ["listen", "internal_listen", "trusted_proxies"])
def test_words_stay_words(settings: Settings, key: str, text: str) -> None:
    """A word with what would end it, or begin a block or a variable, is refused by its key."""
    fields: dict[str, Any] = {
        "listen": {"listen_host": f"127.0.0.1{text}"},
        "internal_listen": {"internal_host": f"127.0.0.1{text}"},
        "trusted_proxies": {"trusted_proxies": (f"10.0.0.0/8{text}",)},
    }
    with pytest.raises(InvalidSettings) as caught:
        render(changed(settings, **fields[key]))
    assert key in {one.field for one in caught.value.faults}


@pytest.mark.parametrize("text", BETWEEN_WORDS)
def test_what_nginx_is_not_told(settings: Settings, text: str) -> None:
    """An index's address and a webhook's do not come into the configuration, whatever is in them."""
    bad = changed(
        settings,
        indexes=(IndexSettings(name="x", url=f"http://127.0.0.1/a{text}b/"),),
        webhook=WebhookSettings(url=f"http://127.0.0.1/{text}x"),
    )
    good = changed(settings, indexes=(IndexSettings(name="y", url="http://127.0.0.1/"),))
    assert render(bad) == render(good)


def test_decisions_are_in_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions are in memory, in a folder of this data_dir alone; on a disk only where their keys hold no tokens."""
    by_token = changed(settings, read_access="token")
    place = decisions_folder(settings)
    assert place == decisions_folder(by_token)
    assert f'proxy_cache_path "{place}" ' in render(settings)
    by_hand = decisions_folder(settings, by_hand=True)
    assert f'proxy_cache_path "{by_hand}" ' in render(settings, prefix="/srv/decider/")
    assert len({place, by_hand, decisions_folder(changed(settings, data_dir="/elsewhere"))}) == 3
    monkeypatch.setattr(caches, "_MEMORY", Path("/absent"))
    assert decisions_folder(settings) is None
    assert 'proxy_cache_path "cache/decisions" ' in render(settings)
    assert decisions_folder(by_token) is not None


@pytest.mark.parametrize(
    ("memory", "size", "zone_mb"), [(64 << 20, 32 << 20, 1), (8 << 30, 512 << 20, 13)], ids=["small", "large"]
)
def test_decisions_leave_memory_to_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, memory: int, size: int, zone_mb: int
) -> None:
    """Decisions take at most half of what the file system in memory holds, by size and by number, and half a gigabyte."""
    monkeypatch.setattr(caches, "_total_bytes", lambda _: memory)
    space = cache_space(settings)
    assert (space.decisions_size, space.decisions_zone_mb) == (size, zone_mb)
    assert space.min_free == min(memory // 20, 1 << 30)


def test_caches_elsewhere(folder: Path, settings: Settings, tmp_path: Path) -> None:
    """What nginx keeps is where cache_dir says, in the sizes that the settings give."""
    place = tmp_path / "ssd"
    text = render(
        changed(
            settings,
            cache_dir=str(place),
            pages_cache_size=1001,
            indexes_cache_size=1002,
            files_cache_size=1003,
        )
    )
    found = re.findall(r'proxy_cache_path "([^"]+)/(pages|indexes|files)" [^;]*max_size=(\d+)\s', text)
    assert sorted(found) == [
        (str(place), "files", "1003"),
        (str(place), "indexes", "1002"),
        (str(place), "pages", "1001"),
    ]
    place.mkdir()
    assert fault(folder, text) is None


# Every way to bytes is guarded


def blocks(text: str, word: str) -> Iterator[tuple[str, str]]:
    """Name and body of each block that begins with `word`, comments taken out."""
    plain = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    for start in re.finditer(
        rf'^[ \t]*{word}\b[ \t]*((?:"[^"]*"|[^\s"{{]|[ \t])*?)[ \t]*{{[ \t]*$', plain, re.MULTILINE
    ):
        depth, position = 1, start.end()
        while depth:
            brace = re.compile(r'"[^"]*"|\'[^\']*\'|[{}]').search(plain, position)
            assert brace is not None
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            position = brace.end()
        yield start[1], plain[start.end() : position - 1]


#: Locations of the public listener that ask no decision, and why they need none.
ARGUED = {
    "/": "answers 404 to everything",
    "simple without its slash": "a constant redirect",
    "a page's other spelling": "the decider redirects to the normalized name",
    "a file's other spelling": "the decider redirects to the normalized name",
    "old JSON's other spelling": "the decider redirects to the normalized name",
    "legacy": "answers 405 or 404 to everything",
    "why": "explains decisions to people; has no package bytes",
    "/api/v1/": "judged by the API itself, by token",
    "ruleset": "judged by the API itself, by token",
    "= /healthz": "a constant",
    "= /readyz": "the decider tells its state",
    "@remote_file": "named: reached from the guarded location of files alone",
    "@part_of_remote_file": "named: reached from @remote_file alone",
    "@made_metadata": "named: reached from where that location ends up alone, and the decider decides once more",
}
_SHAPES = {
    "simple without its slash": r"/simple\\z\"",
    "a page's other spelling": r"/simple/\(\?<raw_project>",
    "a file's other spelling": r"/\(\?:files\|packages\)/\(\?<raw_project>",
    "old JSON's other spelling": r"/pypi/\(\?<raw_project>",
    "legacy": r"/legacy/\?",
    "why": r"/why/\(\?<raw_project>",
    "ruleset": r"\^/api/v1/rulesets/",
}


def argued_as(name: str) -> str | None:
    """Under which name of ARGUED a location is."""
    if name in ARGUED and name not in _SHAPES:
        return name
    return next((known for known, shape in _SHAPES.items() if re.search(shape, name)), None)


@pytest.mark.parametrize("variant", ["ordinary", *VARIANTS])
def test_every_way_to_bytes_is_guarded(folder: Path, settings: Settings, variant: str) -> None:
    """On the public listener every location asks for a decision, cannot be asked for, or is on a short argued list."""
    fields = variants(folder).get(variant, {})
    public, *_ = blocks(render(changed(settings, **fields)), "server")
    locations = dict(blocks(public[1], "location"))
    assert len(locations) > 20
    used = set()
    for name, body in locations.items():
        if re.search(r"^\s*auth_request /-/decide/", body, re.MULTILINE):
            continue
        if re.search(r"^\s*internal;", body, re.MULTILINE):
            # Answers of the decider, constants, or what no client reads: never an index's bytes.
            passed = set(re.findall(r"proxy_pass ([^\s;]+)", body))
            allowed = {f"http://decider/-/decision/{kind}" for kind in ("page", "projects", "json", "file")}
            assert passed <= allowed or (name, passed) == ("= /-/whole", {"http://fetcher$fetcher_path"}), (
                name
            )
            continue
        if name == "@refusal":
            assert re.findall(r"proxy_pass (\S+);", body) == ["http://decider$refusal_path"]
            continue
        if variant == "metrics for all" and name == "= /metrics":
            continue  # numbers, and the names of indexes; public by configuration alone
        known = argued_as(name)
        assert known is not None, f"location {name} asks for no decision and is not argued"
        used.add(known)
    assert used == set(ARGUED)


def test_only_the_guarded_location_leads_to_remote_files(settings: Settings) -> None:
    """The locations that have files fetched are reached from the guarded one, and send none of their own making."""
    public, *_ = blocks(render(settings), "server")
    assert re.findall(r"(\S+) \S* ?@remote_file;", public[1]) == ["try_files"]
    bodies = dict(blocks(public[1], "location"))
    fetching = [name for name, body in bodies.items() if "http://fetcher" in body]
    assert fetching == ["@remote_file", "@part_of_remote_file", "= /-/whole"]
    assert re.findall(r"(\S+ \S+ \S+) @part_of_remote_file;", public[1]) == ["error_page 420 ="]
    assert re.findall(r"(\S+) /-/whole;", public[1]) == ["auth_request"]
    assert re.search(r"^\s*internal;", bodies["= /-/whole"], re.MULTILINE)
    for name in fetching:
        assert re.findall(r"proxy_set_header X-Decider-(Url|Expect) (\S+);", bodies[name]) == [
            ("Url", "$decided_url"),
            ("Expect", "$decided_expect"),
        ]


def test_what_the_decider_alone_may_ask(settings: Settings) -> None:
    """Pages, parts of files and nginx's own numbers are given on a unix socket, and nowhere else."""
    public, internal, pages = blocks(render(settings), "server")
    assert re.findall(r"^ {4}listen ([^;]+);", pages[1], re.MULTILINE) == ['"unix:run/indexes.sock"']
    assert [name for name, _ in blocks(pages[1], "location")] == [
        "/",
        "= /nginx",
        "= /part",
        '~ "^/indexes/(?<asked_index>[a-z0-9][a-z0-9-]{0,63})/(?<index_path>(?:[a-z0-9-]{1,200}/)?)\\z"',
    ]
    part = dict(blocks(pages[1], "location"))["= /part"]
    assert "proxy_no_cache 1;" in part
    for _, body in (public, internal):
        assert not re.search(r"fetcher/(page|part)|stub_status|proxy_cache indexes", body)


@given(st.text("%25fFcC0/?aA", max_size=16))
@example("/%" + "25" * 50 + "2f")
@example("/%" + "25" * 51 + "2f")
@example("/%" + "25" * 300 + "5C")
@example("/%" + "25" * 40 + "x")
@example("/?%" + "25" * 60 + "2f")
def test_ambiguous_uris(uri: str) -> None:
    """An encoded slash, backslash or NUL before any question mark, however often encoded, is seen; nothing else is."""
    text = (template_folder() / "nginx.conf").read_text(encoding="utf-8")
    found = re.search(r'if \(\$request_uri ~\* "([^"]+)"\)', text)
    assert found is not None
    decoded, path = [], uri.partition("?")[0]
    while path not in decoded:
        decoded.append(path)
        path = re.sub("%25", "%", path)
    is_ambiguous = any(one in path.lower() for path in decoded for one in ("%2f", "%5c", "%00"))
    assert bool(re.search(found[1], uri, re.IGNORECASE)) is is_ambiguous


def test_client_headers_go_nowhere(settings: Settings) -> None:
    """No client header is passed on unless a location names it, and those that it names are known."""
    text = render(settings)
    assert re.findall(r"proxy_pass_request_headers (\w+);", text) == ["off"]
    named = set(re.findall(r"proxy_set_header \S+ (\$http_\w+)", text))
    assert named <= {
        "$http_accept", "$http_authorization", "$http_if_match", "$http_if_none_match",
        # Of the decider, on its own socket.
        "$http_range", "$http_x_decider_expect", "$http_x_decider_source", "$http_x_decider_url",
    }  # fmt: skip


@pytest.mark.parametrize("variant", ["ordinary", *VARIANTS])
def test_every_way_to_the_decider_is_limited(folder: Path, settings: Settings, variant: str) -> None:
    """Whatever a client may ask the decider for counts towards its share, and says so in the same words."""
    fields = variants(folder).get(variant, {})
    public, *_ = blocks(render(changed(settings, **fields)), "server")
    asking = {
        name: body
        for name, body in blocks(public[1], "location")
        if "proxy_pass http://decider" in body or "auth_request " in body
        if not name.startswith("@") and not re.search(r"^\s*internal;", body, re.MULTILINE)
    }
    assert len(asking) >= 10
    for name, body in asking.items():
        for directive in (
            "limit_req zone=requests ",
            "limit_conn connections ",
            "error_page 429 = @too_many;",
        ):
            assert directive in body, name


def test_internal_listener_is_for_this_machine(settings: Settings) -> None:
    """What listens for Prometheus refuses whoever comes from elsewhere, and has neither pages nor files."""
    _, internal, _ = blocks(render(settings), "server")
    assert re.findall(r"^ {4}(allow|deny) (\S+);", internal[1], re.MULTILINE) == [
        ("allow", "127.0.0.0/8"),
        ("allow", "::1"),
        ("deny", "all"),
    ]
    assert [name for name, _ in blocks(internal[1], "location")] == ["/", "= /metrics", "= /-/ping"]
    assert not re.search(r"^\s*(try_files|root|alias)\b|fetcher", internal[1], re.MULTILINE)


def test_hanging_index_is_waited_for_by_all_in_order(settings: Settings) -> None:
    """Who is nearer to the index gives up sooner: the fetcher, the decider, nginx; so each can say what was wrong."""
    *_, pages = blocks(render(settings), "server")
    (page,) = (body for name, body in blocks(pages[1], "location") if "/indexes/" in name)
    (part,) = (body for name, body in blocks(pages[1], "location") if name == "= /part")
    waits = [int(re.findall(r"proxy_read_timeout (\d+)s;", body)[0]) for body in (page, part)]
    assert HEAD_WITHIN_S < WITHIN_S < FETCH_DEADLINE_S < waits[0]
    assert waits[1] > parts.WITHIN_S


def test_nginx_is_asked_with_the_right_folder(folder: Path, settings: Settings) -> None:
    """A configuration that nginx refuses is told with nginx's own words."""
    said = fault(folder, render(settings) + "nonsense;\n")
    assert said is not None
    assert "nonsense" in said


def test_master_runs_what_it_tests(folder: Path, settings: Settings) -> None:
    """The accepted configuration is dumped whole by nginx: no include is left to be read from elsewhere."""
    text = render(settings)
    write(folder, text)
    dumped = subprocess.run(
        ["nginx", "-T", "-q", "-p", "./", "-e", "stderr", "-c", "run/nginx.conf"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.findall(r"^# configuration file (\S+):$", dumped, re.MULTILINE) == ["./run/nginx.conf"]
