"""What file names tell, and what a page knows about its files."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from decider.filenames import (
    MAX_FILENAME,
    FileType,
    file_type,
    file_version,
    is_of_another_project,
    is_servable_filename,
    is_usual_filename,
    normalize_version,
)
from decider.files import DIGESTS
from decider.names import NormalizedName, parse_project_name
from decider.pages.listing import _DIGEST_LENGTHS
from tests.samples import make_file, make_page

VERSIONS = st.from_regex(
    r"([1-9]!)?[1-9]?[0-9](\.[1-9]?[0-9]){0,3}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?(\+[a-z0-9]{1,3}(\.[a-z0-9]{1,3})?)?",
    fullmatch=True,
)
NAMES = st.from_regex(r"[A-Za-z]([A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("demo-1.0-py3-none-any.whl", FileType.WHEEL),
        ("demo-1.0-py3-none-any.WHL", FileType.WHEEL),
        ("demo-1.0.tar.gz", FileType.SDIST),
        ("demo-1.0.zip", FileType.SDIST),
        ("demo-1.0.ZIP", FileType.SDIST),
        ("demo-1.0.tar.bz2", FileType.SDIST),
        ("demo-1.0.tar.Z", FileType.SDIST),
        ("demo-1.0.tar.zst", FileType.SDIST),
        ("demo-1.0.tar", FileType.SDIST),
        ("demo-1.0.tgz", FileType.SDIST),
        ("demo-1.0-py2.7.egg", FileType.OTHER),
        ("demo-1.0.win32-py2.7.exe", FileType.OTHER),
        ("demo-1.0-1.noarch.rpm", FileType.OTHER),
        ("demo-1.0.tar.gz.asc", FileType.OTHER),
        ("demo-1.0-variants.json", FileType.OTHER),
        ("whl", FileType.OTHER),
        ("", FileType.OTHER),
    ],
)
def test_file_type(filename: str, expected: FileType) -> None:
    """The ending tells wheels and sdists apart from what is neither, in any letter case."""
    assert file_type(filename) is expected


@pytest.mark.parametrize(
    ("project", "filename", "version"),
    [
        ("demo", "demo-1.0-py3-none-any.whl", "1.0"),
        ("demo", "demo-1.0-1-py3-none-any.whl", "1.0"),
        ("demo", "demo-1.0-1build-py3-none-any.whl", "1.0"),
        ("demo", "demo-1.1+local.1-py3-none-any.whl", "1.1+local.1"),
        ("demo", "demo-1!2.0-py3-none-any.whl", "1!2.0"),
        ("demo", "demo-1.0_1-py3-none-any.whl", "1.0.post1"),
        ("demo", "demo-1.0-py3-none-any-x86_64_v3.whl", "1.0"),
        ("demo", "demo-1.0-1-py3-none-any-x86_64_v3.whl", "1.0"),
        ("demo", "demo-1.0-none-any.whl", None),
        ("demo", "demo-1.0-1-2-3-py3-none-any.whl", None),
        ("demo", "demo-py3-none-any.whl", None),
        ("demo", "other-1.0-py3-none-any.whl", None),
        ("demo-extra", "demo-extra-1.0-py3-none-any.whl", None),
        ("demo-extra", "Demo_Extra-1.0-py3-none-any.whl", "1.0"),
        ("zope-interface", "Zope_Interface-4.0.5-py3-none-any.whl", "4.0.5"),
        ("zope-interface", "zope.interface-4.0.5-py3-none-any.whl", "4.0.5"),
        ("zope-interface", "zope.interface-4.0.5.zip", "4.0.5"),
        ("python-dateutil", "python-dateutil-2.8.2.tar.gz", "2.8.2"),
        ("python-dateutil", "python_dateutil-2.9.0.post0.tar.gz", "2.9.0.post0"),
        ("foo", "foo-1.0-2.tar.gz", "1.0.post2"),
        ("foo-1-0", "foo-1.0-2.tar.gz", "2"),
        ("foo-bar", "foo-bar-1.0-beta-2.zip", "1.0b2"),
        ("foo", "foo-bar-1.0-beta-2.zip", None),
        ("foo", "foo-1.0.dev-r123.tar.gz", None),
        ("foo", "foo-1.0.DEV5.TAR.GZ", "1.0.dev5"),
        ("foo", "foo-1.0.tar.bz2", "1.0"),
        ("foo", "foo-1.0.tgz", "1.0"),
        ("foo", "foo-v1.0.tar.gz", "1.0"),
        ("foo", "foo_1.0.tar.gz", None),
        ("foo", "bar-1.0.tar.gz", None),
        ("foo", "foo-1.0-py2.7.egg", "1.0"),
        ("foo", "foo-1.0-py2.7-linux-x86_64.egg", "1.0"),
        ("foo", "foo-1.0.win32-py2.7.exe", "1.0"),
        ("foo", "foo-1.0.win-amd64.msi", "1.0"),
        ("foo", "foo-1.0.linux-x86_64.tar.gz", "1.0"),
        ("foo", "foo-1.0-1.noarch.rpm", "1.0"),
        ("foo", "foo-1.0-variants.json", None),
        ("foo", f"foo-{'9' * 5000}.zip", None),
        ("foo", "foo-", None),
        ("foo", "foo", None),
        ("foo", "", None),
    ],
)
def test_file_version(project: str, filename: str, version: str | None) -> None:
    """The version follows the name of the page's own project, whatever other project the name could begin with."""
    assert file_version(NormalizedName(project), filename) == (None if version is None else Version(version))


@given(NAMES, VERSIONS, st.sampled_from(["", "-1", "-2b"]))
def test_wheels_as_installers_read_them(name: str, version: str, build: str) -> None:
    """A wheel that installers can read has the version that they read, and is its own project's."""
    filename = f"{name.replace('.', '_')}-{version}{build}-py3-none-any.whl"
    project, expected, _, _ = parse_wheel_filename(filename)
    assert file_version(NormalizedName(project), filename) == expected
    assert is_usual_filename(NormalizedName(project), filename)
    assert not is_of_another_project(NormalizedName(project), filename)
    assert is_of_another_project(NormalizedName(f"{project}-x"), filename)


@given(NAMES, VERSIONS)
def test_sdists_as_installers_read_them(name: str, version: str) -> None:
    """An sdist that installers can read has the version that they read, and is its own project's."""
    filename = f"{name}-{version}.tar.gz"
    project, expected = parse_sdist_filename(filename)
    assert file_version(NormalizedName(project), filename) == expected
    assert is_usual_filename(NormalizedName(project), filename)
    assert not is_of_another_project(NormalizedName(project), filename)


@given(
    st.sampled_from(["demo", "foo-bar"]),
    st.from_regex(r"[Dd]emo[-_.a1]{0,3}-[a1.+!_/%é-]{0,9}(\.whl|\.tar\.gz)?", fullmatch=True),
)
def test_usual_names_are_fit(project: str, filename: str) -> None:
    """The quick answer never admits what the thorough ones would not."""
    name = parse_project_name(project)
    if is_usual_filename(name, filename):
        assert is_servable_filename(filename)
        assert not is_of_another_project(name, filename)


@pytest.mark.parametrize(
    ("project", "filename"),
    [
        ("demo", "other-1.0-py3-none-any.whl"),
        ("demo", "demo_extra-1.0-py3-none-any.whl"),
        ("demo", "demo.whl"),
        ("demo-extra", "demo-extra-1.0-py3-none-any.whl"),
        ("demo", "other-1.0.tar.gz"),
        ("demo", "demo_extra-1.0.tar.gz"),
        ("demo", "foo-1.0-2.tar.gz"),
        ("demo", "other-1.0-py2.7.egg"),
        ("demo", "other-1.0-py2.7-linux-x86_64.egg"),
        ("keras", "\u212aeras-1.0.tar.gz"),
    ],
)
def test_of_another_project(project: str, filename: str) -> None:
    """A wheel's first component, or a name and version that read well, say that a file is another project's."""
    assert is_of_another_project(NormalizedName(project), filename)


@pytest.mark.parametrize(
    ("project", "filename"),
    [
        ("demo", "DEMO-1.0-py3-none-any.whl"),
        ("demo", "demo-1.0.whl"),
        ("demo", "demo-extra-1.0.tar.gz"),
        ("demo", "demo_1.0.tar.gz"),
        ("demo", "Demo1.0-beta.zip"),
        ("foo", "foo-1.0-2.tar.gz"),
        ("foo-1-0", "foo-1.0-2.tar.gz"),
        ("demo", "whatever"),
    ],
)
def test_maybe_of_this_project(project: str, filename: str) -> None:
    """A name that can be read as this project's, or as nobody's, is left where it is listed."""
    assert not is_of_another_project(NormalizedName(project), filename)


@pytest.mark.parametrize(
    "name", ["demo-1.0.tar.gz", "demo 1.0~é@(x)+!.zip", "<script>.zip", "...", ".demo", "a" * MAX_FILENAME]
)
def test_servable(name: str) -> None:
    """Nearly any name can be part of a URL."""
    assert is_servable_filename(name)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "a/b", "../a", "a\\b", "a\nb", "a\x00", "a\x7f", "a\x85", "a\u2028", "b\ud800", "a\ufffd",
        "%64emo.zip", "a?b", "a#b", "demo-1.0-py3-none-any.whl.metadata", "demo-1.0.tar.gz.PROVENANCE",
        "a" * (MAX_FILENAME + 1), "demo.whl\n",
    ],
)  # fmt: skip
def test_not_servable(name: str) -> None:
    """A name that would leave its folder or header, or that is also the name of a file's companion, is no name."""
    assert not is_servable_filename(name)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("1.0", "1.0"),
        ("01.0", "1.0"),
        ("V1.0-ALPHA.2", "1.0a2"),
        ("1.0-1", "1.0.post1"),
        ("2024.01", "2024.1"),
        ("9" * 5000, None),
        ("01" * 5000, None),
        ("x", None),
    ],
)
def test_normalize_version(text: str, normalized: str | None) -> None:
    """Versions are spelt as PEP 440 has it; what is none is None."""
    assert normalize_version(text) == normalized


@given(VERSIONS)
def test_normalize_version_as_packaging(text: str) -> None:
    """Short cuts change no version's spelling."""
    assert normalize_version(text) == str(Version(text))


def test_known_versions() -> None:
    """A page's versions are the stated ones, then those of its files, each once and normalized."""
    page = make_page(
        "demo-1.0.tar.gz",
        "demo-1.10.tar.gz",
        "demo-1.9-py3-none-any.whl",
        "demo-01.9.tar.gz",
        "demo_odd.tar.gz",
        "demo-x.tar.gz",
        versions=("3.0", "1.0", "03.0", "2004d-legacy"),
    )
    assert page.known_versions() == ("3.0", "1.0", "2004d-legacy", "1.9", "1.10")
    assert make_page("demo-2.0.tar.gz", "demo-1!1.tar.gz").known_versions() == ("2.0", "1!1")
    assert make_page().known_versions() == ()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("1.0", "1.0"),
        ("1.0.0", "1.0"),
        ("v1", "1.0"),
        ("2004d", "2004d"),
        ("9", None),
        ("json", None),
        ("", None),
    ],
)
def test_release(asked: str, found: str | None) -> None:
    """A version is found in any spelling, and named in the page's own."""
    release = make_page(make_file("demo-1.0.tar.gz"), versions=("1.0", "2004d")).release(asked)
    assert (release and release.version) == found


def test_releases() -> None:
    """Each file is in its release, in page order; of two spellings the stated one stands for both, else the shorter."""
    page = make_page(
        "demo-3.0.zip",
        "demo-1.0.0-py3-none-any.whl",
        "demo-1.0.tar.gz",
        "demo-2.0.0.tar.gz",
        "demo-2.0-py3-none-any.whl",
        "demo-odd.zip",
        versions=("1.0.0", "4.0", "odd"),
    )
    assert [
        (release.version, release.stated, release.named, [file.filename for file in release.files])
        for release in page.releases.values()
    ] == [
        ("1.0.0", "1.0.0", "1.0", ["demo-1.0.0-py3-none-any.whl", "demo-1.0.tar.gz"]),
        ("4.0", "4.0", "", []),
        ("odd", "odd", "", []),
        ("2.0", "", "2.0", ["demo-2.0.0.tar.gz", "demo-2.0-py3-none-any.whl"]),
        ("3.0", "", "3.0", ["demo-3.0.zip"]),
    ]


@given(VERSIONS, VERSIONS)
def test_releases_are_told_apart(one: str, other: str) -> None:
    """What PEP 440 takes for one version is one release, and nothing else is."""
    page = make_page(f"demo-{one}.tar.gz", f"demo-{other}.tar.gz")
    found = page.release(other)
    assert found is not None
    assert len(found.files) == (2 if Version(one) == Version(other) else 1)
    assert len(page.releases) == 3 - len(found.files)


def test_find() -> None:
    """A page finds its files by their exact names; of two of one name the first."""
    first, second = make_file("demo-1.0.tar.gz", size=1), make_file("demo-1.0.tar.gz", size=2)
    page = make_page(first, second, "demo-1.1.tar.gz")
    assert page.find("demo-1.0.tar.gz") is first
    assert page.find("Demo-1.0.tar.gz") is None
    shorter = msgspec.structs.replace(page, files=page.files[2:])
    assert shorter.find("demo-1.0.tar.gz") is None
    assert shorter.find("demo-1.1.tar.gz") is page.files[2]


def test_sha256() -> None:
    """A file's sha256 is what the index states, or None."""
    assert make_file(hashes={"sha256": "ab", "md5": "cd"}).sha256 == "ab"
    assert make_file(hashes={"md5": "cd"}).sha256 is None


def test_identity() -> None:
    """A file is known again by its name and one digest: the SHA-256, else the strongest; the name where there is none."""
    stated = {"md5": "1", "blake2b": "2", "sha384": "3", "sha512": "4", "sha256": "5"}
    found = []
    while stated:
        found.append(make_file("demo-1.0.zip", hashes=dict(stated)).identity)
        stated.pop(found[-1].digest.partition(":")[0])
    digests = ["sha256:5", "sha512:4", "sha384:3", "blake2b:2", "md5:1"]
    assert found == [("demo-1.0.zip", digest) for digest in digests]
    assert make_file("demo-1.0.zip").identity == ("demo-1.0.zip", "")
    # Whatever a page may keep of an index's digests tells files apart.
    assert set(DIGESTS) == set(_DIGEST_LENGTHS)
