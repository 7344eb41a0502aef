"""Where the bytes of a file are, what they are held to, and nginx's key for them."""

from urllib.parse import urlsplit

import pytest

from decider.files import DistributionFile
from decider.index.location import Companion, Location, locate_local, locate_remote
from decider.settings import IndexSettings
from tests.samples import key_of

INDEX = IndexSettings(name="public", url="https://index.example/simple/")
WHEEL = "demo-1.0-py3-none-any.whl"
DIGEST = "a" * 64


def file_at(url: str, **fields: object) -> DistributionFile:
    return DistributionFile(filename=WHEEL, url=url, **fields)  # type: ignore[arg-type]


def located(url: str, *, index: IndexSettings = INDEX, **fields: object) -> Location | None:
    return locate_remote(index, file_at(url, **fields), "")


def test_elsewhere() -> None:
    """A file is fetched from where its page says, and held to what it states."""
    place = located(f"https://files.example/a/{WHEEL}", hashes={"sha256": DIGEST}, size=7)
    assert place == Location(
        url=f"https://files.example/a/{WHEEL}",
        index="public",
        digest=("sha256", DIGEST),
        size=7,
        key=key_of("public", f"https://files.example/a/{WHEEL}", f"sha256={DIGEST}"),
    )
    assert (place.etag, place.expected) == (f'"{DIGEST}"', f"public sha256={DIGEST} 7")


@pytest.mark.parametrize(
    ("hashes", "size", "etag", "expected"),
    [
        ({}, None, "", "public - -"),
        ({}, 0, "", "public - 0"),
        ({"md5": "0" * 32}, None, f'"{"0" * 32}"', f"public md5={'0' * 32} -"),
        ({"md5": "0" * 32, "sha512": "1" * 128}, 7, f'"{"1" * 128}"', f"public sha512={'1' * 128} 7"),
        ({"sha512": "1" * 128, "sha256": "A" * 64}, 7, f'"{DIGEST}"', f"public sha256={DIGEST} 7"),
        ({"crc32": "0" * 8}, 7, "", "public - 7"),
    ],
)
def test_what_it_is_held_to(hashes: dict[str, str], size: int | None, etag: str, expected: str) -> None:
    """The page's SHA-256, else its strongest digest, in lower case; and its size."""
    place = located(f"https://files.example/{WHEEL}", hashes=hashes, size=size)
    assert place is not None
    assert (place.etag, place.expected) == (etag, expected)


def test_other_bytes_are_another_entry() -> None:
    """Under one URL the bytes of two digests, and of two indexes, are kept apart."""
    url = f"https://files.example/{WHEEL}"
    other = IndexSettings(name="other", url=INDEX.url)
    places = [
        locate_remote(index, file_at(url, hashes=hashes), "")
        for index in (INDEX, other)
        for hashes in ({}, {"sha256": DIGEST}, {"sha256": "b" * 64}, {"sha3_256": DIGEST})
    ]
    assert len({place.key for place in places if place is not None}) == 8


@pytest.mark.parametrize(
    ("core_metadata", "etag"),
    [
        ({"sha256": DIGEST}, f'"{DIGEST}"'),
        (True, ""),
        ({"md5": "0" * 32}, f'"{"0" * 32}"'),
        ({"crc32": "0"}, ""),
    ],
)
def test_metadata(core_metadata: bool | dict[str, str], etag: str) -> None:
    """Core metadata lies beside the file: the suffix is on the path, before a query (STANDARDS S07)."""
    file = file_at(f"https://files.example/{WHEEL}?signed=1", core_metadata=core_metadata, size=7)
    place = locate_remote(INDEX, file, ".metadata")
    assert place is not None
    assert place.url == f"https://files.example/{WHEEL}.metadata?signed=1"
    assert (place.etag, place.size) == (etag, None)


@pytest.mark.parametrize("companion", [".metadata", ".provenance", ".asc"])
def test_companion_that_is_not_offered(companion: Companion) -> None:
    """What the page does not offer is nowhere."""
    assert locate_remote(INDEX, file_at(f"https://files.example/{WHEEL}"), companion) is None
    assert locate_local("internal", DistributionFile(filename=WHEEL, url="", path=WHEEL), companion) is None


@pytest.mark.parametrize(
    ("provenance", "is_fetched"),
    [
        ("https://index.example/integrity/x/provenance", True),
        ("https://other.example/x", True),
        ("https://127.0.0.1/x", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://decider/-/decision/file", False),
        ("https://vault.internal/v1/secret", False),
        ("https://index.example:8443/x", False),
    ],
)
def test_provenance(provenance: str, is_fetched: bool) -> None:
    """Provenance is fetched from where files may come from, and from nowhere else, whatever a page relays."""
    file = file_at(f"https://files.example/{WHEEL}", provenance=provenance)
    place = locate_remote(INDEX, file, ".provenance")
    assert (place is not None) is is_fetched
    assert place is None or place.etag == ""


def test_provenance_of_a_listing_index() -> None:
    """Where hosts are listed, provenance comes from them and the index's own alone."""
    index = IndexSettings(name="public", url=INDEX.url, file_hosts=("files.example",))
    file = file_at(f"https://files.example/{WHEEL}", provenance="https://other.example/x")
    assert locate_remote(index, file, ".provenance") is None


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("https://files.example", "https://files.example/"),
        ("https://files.example/a b", "https://files.example/a%20b"),
        ("https://files.example/a%20b%2Bc", "https://files.example/a%20b%2Bc"),
        ("https://files.example/é", "https://files.example/%C3%A9"),
        ("https://files.example/a?b=c d", "https://files.example/a?b=c%20d"),
        ('https://files.example/a"b{}$x', "https://files.example/a%22b%7B%7D$x"),
    ],
)
def test_what_goes_into_a_header(url: str, spelled: str) -> None:
    """What nginx is told is printable ASCII without blanks, whatever the page had."""
    place = located(url)
    assert place is not None
    assert place.url == spelled
    for text in (place.url, place.key, place.expected):
        assert text.isascii()
        assert text.isprintable()
    assert " " not in place.url
    assert place.expected == "public - -"
    assert urlsplit(place.url).hostname == "files.example"


@pytest.mark.parametrize("url", ["https:///x", "/x", "", "https://files.example:99999/x", "mailto:x@example"])
def test_url_without_a_host(url: str) -> None:
    """What names no host is nowhere."""
    assert located(url) is None


def test_local() -> None:
    """A local file lies below its index's folder, and its metadata where metadata is kept."""
    file = DistributionFile(filename=WHEEL, url="", path=f"demo/{WHEEL}", metadata_path="ab/cd")
    whole, metadata = locate_local("internal", file, ""), locate_local("internal", file, ".metadata")
    assert whole is not None
    assert metadata is not None
    assert (whole.root, whole.path) == ("index:internal", f"demo/{WHEEL}")
    assert (metadata.root, metadata.path) == ("metadata", "ab/cd")
    assert whole.url == metadata.url == ""
