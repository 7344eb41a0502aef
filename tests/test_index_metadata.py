"""What wheels and sdists say of themselves, and what hostile ones cannot do."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from packaging.version import Version

from decider.errors import UnreadableDistribution
from decider.index import metadata
from decider.index.metadata import CoreMetadata, read_sdist, read_wheel
from decider.names import NormalizedName
from tests.distributions import core_metadata, make_sdist, make_wheel

DEMO = NormalizedName("demo")
INFO = "demo-1.0.dist-info"
METADATA = core_metadata("demo", "1.0", requires_python=">=3.8")


def zip_of(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def wheel(data: bytes, version: str = "1.0") -> CoreMetadata:
    return read_wheel(io.BytesIO(data), project=DEMO, version=Version(version))


def sdist(data: bytes, filename: str = "demo-1.0.tar.gz") -> CoreMetadata | None:
    return read_sdist(io.BytesIO(data), filename, project=DEMO, version=Version("1.0"))


def test_wheel_bytes(tmp_path: Path) -> None:
    """A wheel's METADATA is told byte for byte, with its Requires-Python."""
    path = make_wheel(tmp_path, "demo", "1.0", metadata=METADATA + b"\nA description: caf\xc3\xa9\r\n")
    with path.open("rb") as file:
        found = read_wheel(file, project=DEMO, version=Version("1.0"))
    assert found == CoreMetadata(METADATA + b"\nA description: caf\xc3\xa9\r\n", ">=3.8")


def test_wheel_spellings() -> None:
    """Name and version count by what they mean: `De.Mo` is de-mo, 1.0.0 is 1.0."""
    data = zip_of(("De.Mo-1.0.dist-info/METADATA", core_metadata("De_Mo", "v1.0.0")))
    found = read_wheel(io.BytesIO(data), project=NormalizedName("de-mo"), version=Version("1.0"))
    assert found.requires_python is None


def test_wheel_without_record() -> None:
    """RECORD and WHEEL may be missing."""
    assert wheel(zip_of((f"{INFO}/METADATA", METADATA))).data == METADATA


def test_wheel_nested_info() -> None:
    """A `.dist-info` folder that a wheel carries deeper inside is content, not metadata."""
    data = zip_of((f"{INFO}/METADATA", METADATA), (f"demo/_vendor/{INFO}/METADATA", b"Name: other\n"))
    assert wheel(data).data == METADATA


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("files", "why"),
    [
        ((), "has 0 .dist-info folders"),
        ((("demo.py", b""),), "has 0 .dist-info folders"),
        (((f"{INFO}/WHEEL", b""),), "has 0 METADATA files"),
        (((f"{INFO}/METADATA", METADATA), (f"{INFO}/METADATA", METADATA)), "has 2 METADATA files"),
        (
            ((f"{INFO}/METADATA", METADATA), ("other-1.dist-info/METADATA", METADATA)),
            "has 2 .dist-info folders",
        ),
        ((("other-1.0.dist-info/METADATA", METADATA),), "its metadata folder is `other-1.0.dist-info`"),
        (((f"{INFO}/METADATA", core_metadata("other", "1.0")),), "its METADATA names the project `other`"),
        (((f"{INFO}/METADATA", core_metadata("demo", "2.0")),), "its METADATA names the version `2.0`"),
        (((f"{INFO}/METADATA", core_metadata("demo", "one")),), "its METADATA names the version `one`"),
        (
            ((f"{INFO}/METADATA", core_metadata("demo", "9" * 5_000)),),  # more digits than int() reads
            f"its METADATA names the version `{'9' * 80}`",
        ),
        (((f"{INFO}/METADATA", b"Version: 1.0\n"),), "its METADATA has no Name"),
        (((f"{INFO}/METADATA", b"Name: demo\n"),), "its METADATA has no Version"),
        (((f"{INFO}/METADATA", METADATA + b"Name: other\n"),), "its METADATA has more than one Name"),
        (
            ((f"{INFO}/METADATA", METADATA + b"Requires-Python: >=2\n"),),
            "its METADATA has more than one Requires-Python",
        ),
        (((f"{INFO}/METADATA", b"\x00\xff" * 100),), "its METADATA has no Name"),
    ],
)
def test_wheel_refused(files: tuple[tuple[str, bytes], ...], why: str) -> None:
    """A wheel is refused unless one metadata file speaks for it, and says what the file name says."""
    with pytest.raises(UnreadableDistribution) as caught:
        wheel(zip_of(*files))
    assert str(caught.value) == why


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"<html>404</html>", lambda data: data[:-30]])
def test_wheel_broken(damage: Callable[[bytes], bytes]) -> None:
    """An empty, foreign or truncated file is no wheel."""
    with pytest.raises(UnreadableDistribution, match="is no readable zip archive"):
        wheel(damage(zip_of((f"{INFO}/METADATA", METADATA))))


def test_wheel_flipped_byte() -> None:
    """Metadata that fails its checksum is not served."""
    data = zip_of((f"{INFO}/METADATA", METADATA))
    at = len(f"{INFO}/METADATA") + 35  # behind the local header of 30 bytes and the name
    with pytest.raises(UnreadableDistribution, match="is no readable zip archive"):
        wheel(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])


def test_wheel_metadata_bomb() -> None:
    """Metadata that unpacks to more than 10 MB is refused."""
    data = zip_of((f"{INFO}/METADATA", METADATA + b"x" * metadata.MAX_METADATA))
    assert len(data) < 100_000
    with pytest.raises(UnreadableDistribution, match="its metadata is longer than 10485760 bytes"):
        wheel(data)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_wheel_bomb_of_another_kind(compression: int) -> None:
    """What zipfile would unpack without a limit is not unpacked at all: a gigabyte fits into a kilobyte."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        archive.writestr(f"{INFO}/METADATA", METADATA)
    with pytest.raises(UnreadableDistribution, match="compressed in a way that wheels are not"):
        wheel(data.getvalue())


def test_wheel_huge_directory(tmp_path: Path) -> None:
    """A central directory of more than 32 MB is not read into memory."""
    claimed = 40 * 2**20
    path = tmp_path / "huge.whl"
    with path.open("wb") as file:
        file.truncate(claimed)  # a sparse file of zeros
        file.seek(0, io.SEEK_END)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, claimed, 0, 0))
    with path.open("rb") as file, pytest.raises(UnreadableDistribution, match="too many entries"):
        read_wheel(file, project=DEMO, version=Version("1.0"))


def test_wheel_encrypted() -> None:
    """Encrypted metadata cannot be read, and is no crash."""
    data = bytearray(zip_of((f"{INFO}/METADATA", METADATA)))
    data[6] |= 1  # the flag in the local header, and in the central directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(UnreadableDistribution, match="is no readable zip archive"):
        wheel(bytes(data))


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_sdist(tmp_path: Path, suffix: str) -> None:
    """An sdist's PKG-INFO is found in both kinds that uv and pip read."""
    path = make_sdist(tmp_path, "demo", "1.0", requires_python=">=3.9", filename=f"demo-1.0{suffix}")
    with path.open("rb") as file:
        found = read_sdist(file, path.name, project=DEMO, version=Version("1.0"))
    assert found == CoreMetadata(core_metadata("demo", "1.0", requires_python=">=3.9"), ">=3.9")


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tar.xz", lzma.compress),
        (".tar", bytes),
        (".TAR.GZ", gzip.compress),
    ],
)
def test_sdist_of_old(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    """The other kinds of sdist that pip reads are read as well."""
    found = sdist(pack(tar_of({"demo-1.0/PKG-INFO": METADATA})), f"demo-1.0{suffix}")
    assert found == CoreMetadata(METADATA, ">=3.8")


@pytest.mark.parametrize("suffix", [".tar.lz", ".tar.zst", ".tar.Z"])
def test_sdist_of_no_kind(suffix: str) -> None:
    """An archive that no installer can open is refused."""
    with pytest.raises(UnreadableDistribution, match="of a kind that installers do not read"):
        sdist(b"anything", f"demo-1.0{suffix}")


def test_sdist_without_metadata() -> None:
    """An sdist may lack PKG-INFO; one that lies deeper is another project's."""
    assert sdist(gzip.compress(tar_of({"demo-1.0/bundled/PKG-INFO": METADATA}))) is None


def test_sdist_dynamic() -> None:
    """A dynamic Requires-Python says nothing of the wheel that will be built (PEP 643)."""
    data = METADATA + b"Dynamic: requires-python\n"
    found = sdist(gzip.compress(tar_of({"demo-1.0/PKG-INFO": data})))
    assert found == CoreMetadata(data, None, is_static=False)


@pytest.mark.parametrize(
    ("text", "is_static"),
    [
        ("Metadata-Version: 2.2\nName: demo\nVersion: 1.0\n", True),
        ("Metadata-Version: 2.10\nName: Demo\nVersion: 1.0.0\nRequires-Dist: a\n", True),
        ("Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nDynamic: License-File\nDynamic: summary\n", True),
        ("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n", False),
        ("Metadata-Version: 2\nName: demo\nVersion: 1.0\n", False),
        ("Metadata-Version: 2.1\nMetadata-Version: 2.2\nName: demo\nVersion: 1.0\n", False),
        ("Name: demo\nVersion: 1.0\n", False),
        ("Metadata-Version: 2.2\nVersion: 1.0\n", False),
        ("Metadata-Version: 2.2\nName: demo\n", False),
        ("Metadata-Version: 2.2\nName: demo\nVersion: 1.1\n", False),
        ("Metadata-Version: 2.2\nName: demo\nVersion: 1.0\nVersion: 1.0\n", False),
        ("Metadata-Version: 2.2\nName: demo\nVersion: 1.0\nDynamic:  Requires-DIST \n", False),
        ("Metadata-Version: 2.2\nName: demo\nVersion: 1.0\nDynamic: provides-extra\n", False),
        ("Metadata-Version: 2.2\nName: demo\nVersion: 1.0\nDynamic: version\n", False),
    ],
)
def test_sdist_static(text: str, is_static: bool) -> None:
    """Resolvers may go by what an sdist says where no build can change what they read of it (PEP 643)."""
    found = sdist(gzip.compress(tar_of({"demo-1.0/PKG-INFO": text.encode()})))
    assert found is not None
    assert found.is_static is is_static


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"demo-1.0/PKG-INFO": core_metadata("foo", "1.0")}, "its PKG-INFO names the project `foo`"),
        ({"a/PKG-INFO": METADATA, "b/PKG-INFO": METADATA}, "has more than one PKG-INFO"),
        ({"demo-1.0/PKG-INFO": b"x" * (metadata.MAX_METADATA + 1)}, "its metadata is longer than"),
    ],
)
@pytest.mark.parametrize("kind", [".tar.gz", ".zip"])
def test_sdist_refused(files: dict[str, bytes], why: str, kind: str) -> None:
    """An sdist of another project, of two, or with boundless metadata is refused."""
    data = gzip.compress(tar_of(files)) if kind == ".tar.gz" else zip_of(*files.items())
    with pytest.raises(UnreadableDistribution, match=why):
        sdist(data, f"demo-1.0{kind}")


@pytest.mark.parametrize("cut", [0, 10, 200, -1, -8])
def test_sdist_truncated(cut: int) -> None:
    """A truncated sdist is refused, however little is missing."""
    data = gzip.compress(tar_of({"demo-1.0/PKG-INFO": METADATA, "demo-1.0/demo.py": b"x = 1\n" * 500}))
    with pytest.raises(UnreadableDistribution, match="is no readable archive"):
        sdist(data[:cut])


def test_sdist_damaged_end() -> None:
    """The compression's checksum is verified, though the archive's members end before it."""
    data = bytearray(gzip.compress(tar_of({"demo-1.0/PKG-INFO": METADATA})))
    data[-6] ^= 0xFF
    with pytest.raises(UnreadableDistribution, match="is no readable archive"):
        sdist(bytes(data))


def test_sdist_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """An sdist that unpacks to more than the limit is refused, be it in members or after them."""
    monkeypatch.setattr(metadata, "MAX_UNPACKED", 2**20)
    plain = tar_of({"demo-1.0/PKG-INFO": METADATA})
    for bomb in (tar_of({"demo-1.0/x": bytes(2**21), "demo-1.0/PKG-INFO": METADATA}), plain + bytes(2**21)):
        with pytest.raises(UnreadableDistribution, match="unpacks to more than 1048576 bytes"):
            sdist(gzip.compress(bomb))


def test_sdist_too_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """An sdist of more members than the limit is refused."""
    monkeypatch.setattr(metadata, "MAX_TAR_MEMBERS", 3)
    files = {f"demo-1.0/{number}": b"x" for number in range(4)}
    with pytest.raises(UnreadableDistribution, match="has more than 3 members"):
        sdist(gzip.compress(tar_of(files)))


def test_sdist_long_header() -> None:
    """An extended header that claims more than 10 MB is not gathered in memory."""
    header = tarfile.TarInfo("././@LongLink")
    header.type = tarfile.GNUTYPE_LONGNAME
    header.size = 11 * 2**20
    data = header.tobuf(tarfile.GNU_FORMAT) + bytes(11 * 2**20)
    with pytest.raises(UnreadableDistribution, match="a header is too long"):
        sdist(gzip.compress(data))


def test_sdist_endless_header() -> None:
    """A sparse map of endless length is given up before it fills the memory."""
    fields = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "x",
        "GNU.sparse.realsize": "1",
    }
    member = tarfile.TarInfo("x")
    member.pax_headers = fields
    data = member.tobuf(tarfile.PAX_FORMAT) + b"99999999\n" + b"1\n" * (300 * metadata.MAX_TAR_READS)
    with pytest.raises(UnreadableDistribution, match="too many headers in a row"):
        sdist(gzip.compress(data))


def test_messages_are_one_line() -> None:
    """Text from an archive reaches a message without control characters, and cut."""
    data = zip_of((f"{INFO}/METADATA", core_metadata("evil\x1b[31m" + "x" * 500, "1.0")))
    with pytest.raises(UnreadableDistribution) as caught:
        wheel(data)
    assert str(caught.value) == f"its METADATA names the project `evil?[31m{'x' * 71}`"
