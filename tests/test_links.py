"""URLs of files as index pages give them (STANDARDS S06, T45, T69)."""

from collections.abc import Callable
from urllib.parse import SplitResult

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decider.pages.links import MAX_URL, BadLink, Links, is_secure_url

BASE = "https://index.example/simple/demo/"


def allow(url: SplitResult) -> bool:
    return url.hostname in {"index.example", "files.example", "::1"} and url.port != 9


def resolve(reference: str, base: str = BASE) -> str:
    return Links(base, allow).resolve(reference)


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("https://files.example/a/x.whl", "https://files.example/a/x.whl"),
        ("http://files.example:8080/x.whl", "http://files.example:8080/x.whl"),
        ("HTTPS://Files.Example/A/x.whl", "https://files.example/A/x.whl"),
        ("https://[::1]:80/x.whl", "https://[::1]:80/x.whl"),
        ("//files.example/x.whl", "https://files.example/x.whl"),
        ("/packages/x.whl", "https://index.example/packages/x.whl"),
        ("../../packages/x.whl", "https://index.example/packages/x.whl"),
        ("../../../../../x.whl", "https://index.example/x.whl"),
        ("x.whl", "https://index.example/simple/demo/x.whl"),
        ("./x.whl", "https://index.example/simple/demo/x.whl"),
        ("https://files.example/a/../b/./x.whl", "https://files.example/b/x.whl"),
        ("https://files.example//a/./x.whl", "https://files.example//a/x.whl"),
        ("https://files.example/../../x/..", "https://files.example/"),
        ("https://files.example", "https://files.example/"),
        ("https://files.example/x.whl?token=a%20b&c=/d/", "https://files.example/x.whl?token=a%20b&c=/d/"),
        ("https://files.example/x.whl#sha256=00", "https://files.example/x.whl"),
        ("https://files.example/x.whl?y#z?", "https://files.example/x.whl?y"),
        ("?x", "https://index.example/simple/demo/?x"),
        ("\t https://files.example/x.whl\n", "https://files.example/x.whl"),
        ('https://files.example/a b/é~"<>.whl', "https://files.example/a%20b/%C3%A9~%22%3C%3E.whl"),
        ("https://files.example/a%2Bb+c%7e@x.whl", "https://files.example/a%2Bb+c%7e@x.whl"),
        ("https://files.example/group%2Fproject/x.whl", "https://files.example/group%2Fproject/x.whl"),
    ],
)
def test_resolve(reference: str, url: str) -> None:
    """Relative and absolute references give one absolute URL, quoted once, without dot segments and fragment."""
    assert resolve(reference) == url


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("", "is missing"),
        ("  ", "is missing"),
        ("ftp://files.example/x", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("javascript:alert(1)", "neither http nor https"),
        ("data:,x", "neither http nor https"),
        ("https://user@files.example/x", "user-info"),
        ("https://user:secret@files.example/x", "user-info"),
        ("//evil@files.example/x", "user-info"),
        ("https:///x", "names no host"),
        ("https:x", "names no host"),
        ("///x", "names no host"),
        ("https://:80/x", "names no host"),
        ("https://files.example:port/x", "names no host"),
        ("https://files.example:999999/x", "names no host"),
        ("https://files.éxample/x", "names no host"),
        ("https://files%2eexample/x", "names no host"),
        ("https://[::1/x", "cannot be read"),
        ("https://evil.example/x", "may not come from https://evil.example"),
        ("//evil.example/x", "may not come from https://evil.example"),
        ("https://files.example:9/x", "may not come from https://files.example:9"),
        ("https://files.example.evil.example/x", "may not come from"),
        ("https://files.example/a\tb", "control character"),
        ("https://files.exa\nmple/x", "control character"),
        ("ht\ntps://files.example/x", "control character"),
        ("https://files.example/a\x00", "control character"),
        ("https://files.example\\@evil.example/x", "backslash"),
        ("/\\evil.example/x", "backslash"),
        ("https://files.example/%0d%0aX-Evil:1", "control character"),
        ("https://files.example/%5cx", "backslash"),
        ("https://files.example/%zz", "broken escape"),
        ("https://files.example/%", "broken escape"),
        ("https://files.example/a\ufffd", "control character"),
        ("https://files.example/a/%2e%2E/x", "dot segments"),
        ("https://files.example/a/.%2e/x", "dot segments"),
        ("https://files.example/" + "a" * MAX_URL, "longer than"),
    ],
)
def test_bad_links(reference: str, why: str) -> None:
    """What is no http URL of an allowed host, or can be read in two ways, is refused."""
    with pytest.raises(BadLink, match=why):
        resolve(reference)


def test_hosts_asked_once() -> None:
    """The host is asked about once for an origin, and every answer is on record."""
    asked: list[str] = []

    def is_allowed(url: SplitResult) -> bool:
        asked.append(url.geturl())
        return url.hostname == "files.example"

    links = Links(BASE, is_allowed)
    for name in ("a", "b"):
        links.resolve(f"https://files.example/{name}/x.whl")
        with pytest.raises(BadLink):
            links.resolve(f"https://evil.example/{name}/x.whl")
    assert asked == ["https://files.example/", "https://evil.example/"]
    assert links.origins == {"https://files.example": True, "https://evil.example": False}


def test_host_that_cannot_be_judged() -> None:
    """A host that makes the check fail is not allowed."""

    def fail(url: SplitResult) -> bool:
        raise ValueError(url)

    with pytest.raises(BadLink, match="may not come from"):
        Links(BASE, fail).resolve("https://files.example/x.whl")


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("/packages/", "https://index.example/packages/x.whl"),
        ("../", "https://index.example/simple/x.whl"),
        ("https://files.example/deep/", "https://files.example/deep/x.whl"),
        (" //files.example/ ", "https://files.example/x.whl"),
        ("https://[", "https://index.example/simple/demo/x.whl"),
    ],
)
def test_rebase(base: str, url: str) -> None:
    """References count from `<base>`, itself relative to the page."""
    links = Links(BASE, allow)
    links.rebase(base)
    assert links.resolve("x.whl") == url


@pytest.mark.parametrize(
    "base", ["https://evil.example/", "javascript:x", "file:///", "https://user@files.example/"]
)
def test_hostile_base(base: str) -> None:
    """A base does not lead out of the allowed hosts."""
    links = Links(BASE, allow)
    links.rebase(base)
    with pytest.raises(BadLink):
        links.resolve("x.whl")


REFERENCES = st.one_of(
    st.sampled_from(
        [
            "https://files.example/x.whl", "https://files.exampl", "https://files.example.evil", "https://files.examplex",
            "https://files.example", "https://files.example?/x.whl", "https://files.example#/x.whl", "a/c#x/c", "a/c#x/d",
            "a/c", "../a/.", "../a/..", "../a/...", "a/b:c", "b:c", "a/?c", "a/%2e%2e", "//files.example/x", "//evil.example/x",
            "https://files.example/a/../x", "https://user@files.example/x", "a/é", "a/", "/", ".", "..", "", "../../a/b", "/a/b", "./a", "../.a", "//", "/.a", "/../a", "..a", "/./a",
        ]
    ),
    st.text(alphabet="ab/.:?#%2e@\\ ", max_size=8),
    st.builds("https://files.example{}".format, st.text(alphabet="ab/.:?#%2e@\\ ", max_size=8)),
)  # fmt: skip


def outcome(call: Callable[[str], str], reference: str) -> str:
    try:
        return call(reference)
    except BadLink as error:
        return str(error)


@given(st.lists(REFERENCES, max_size=8), st.sampled_from([BASE, "https://evil.example/simple/"]))
def test_short_cuts_change_nothing(references: list[str], base: str) -> None:
    """What a link resolves to does not depend on the links before it, nor on how plain it is."""
    links = Links(base, allow)
    for reference in references:
        thorough = outcome(Links(base, allow)._resolve_carefully, reference.strip())
        assert outcome(links.resolve, reference) == thorough


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://index.example/integrity/demo/1.0/demo-1.0.tar.gz/provenance", True),
        ("https://index.example:8443/x?y=%20#z", True),
        ("http://index.example/x", False),
        ("/x", False),
        ("https://user@index.example/x", False),
        ("https://index.example", False),
        ("https://index.example/x y", False),
        ('https://index.example/"', False),
        ("https://index.example/x\n", False),
        ("https://index.example/é", False),
        ("https://index.example/" + "x" * MAX_URL, False),
    ],
)
def test_is_secure_url(url: str, expected: bool) -> None:
    """Only absolute https URLs without user-info are relayed as they are."""
    assert is_secure_url(url) is expected
