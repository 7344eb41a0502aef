"""What a wheel or sdist says of itself, read out of the archive within limits, with nothing unpacked to disk.

Read in this order: binary distribution format (PEP 427), core metadata, metadata files at an index (PEP 658, 714),
metadata in sdists (PEP 643), source distribution format (PEP 625).

Archives are hostile input: every number in them is checked before memory or time is spent on it. Listing, hashing
and caching may not be added here.
"""

import bz2
import gzip
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from email.parser import BytesHeaderParser
from typing import IO, Any, BinaryIO, cast

import msgspec
from packaging.version import Version

from decider.errors import InvalidName, UnreadableDistribution
from decider.names import NormalizedName, parse_project_name

__all__ = ["CoreMetadata", "read_sdist", "read_wheel"]

MAX_METADATA = 10 * 2**20  #: bytes, unpacked
MAX_ZIP_DIRECTORY = 32 * 2**20  #: bytes: some 300,000 entries
MAX_TAR_MEMBERS = 200_000
MAX_TAR_READS = 10_000  #: headers in a row without a file's contents between them
MAX_UNPACKED = 2 * 2**30  #: bytes that a compressed tar may unpack to
#: The fields that resolvers read. `Version` may never be dynamic in an sdist, nor `Name`.
_RESOLVED = frozenset({"requires-dist", "requires-python", "provides-extra", "name", "version"})
_METADATA_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\Z", re.ASCII)

# What the standard library raises on a broken or forged archive; RuntimeError: an encrypted entry.
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
    NotImplementedError, ValueError, OverflowError,
)  # fmt: skip

_OPENERS: tuple[tuple[tuple[str, ...], Callable[[BinaryIO], IO[bytes]]], ...] = (
    ((".tar.gz", ".tgz"), lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file))),
    ((".tar.bz2", ".tbz"), bz2.BZ2File),
    ((".tar.xz", ".txz"), lzma.LZMAFile),
    ((".tar",), lambda file: file),
)


class CoreMetadata(msgspec.Struct, frozen=True):
    """A METADATA or PKG-INFO file."""

    data: bytes  #: as it is in the archive
    requires_python: str | None  #: raw, one line; None when absent, empty or, in an sdist, dynamic
    is_static: bool = (
        True  #: whether resolvers may go by it: a wheel's, or an sdist's that building cannot change
    )


def read_wheel(file: BinaryIO, *, project: NormalizedName, version: Version) -> CoreMetadata:
    """The wheel's METADATA; raise UnreadableDistribution unless there is exactly one, for that project and version.

    RECORD and WHEEL may be missing: an installer says so better than a page can.
    """
    try:
        with _opened_zip(file) as archive:
            data = _read_entry(archive, _metadata_entry(archive, project))
    except _BROKEN as error:
        raise UnreadableDistribution(f"is no readable zip archive: {_told(error)}") from error
    fields = _Fields(data, "METADATA")
    if _normalized(fields.one("Name")) != project:
        raise UnreadableDistribution(f"its METADATA names the project `{_short(fields.one('Name'))}`")
    if _parsed(fields.one("Version")) != version:
        raise UnreadableDistribution(f"its METADATA names the version `{_short(fields.one('Version'))}`")
    return CoreMetadata(data, fields.optional("Requires-Python"))


def read_sdist(
    file: BinaryIO, filename: str, *, project: NormalizedName, version: Version
) -> CoreMetadata | None:
    """The sdist's PKG-INFO, None when it has none; raise UnreadableDistribution where the archive is not whole.

    It is static, and `core-metadata` for a page, only where it says so: else a wheel built from the sdist may say
    something else to a resolver (PEP 643).
    """
    try:
        data = _zip_pkg_info(file) if filename.lower().endswith(".zip") else _tar_pkg_info(file, filename)
    except _BROKEN as error:
        raise UnreadableDistribution(f"is no readable archive: {_told(error)}") from error
    if data is None:
        return None
    fields = _Fields(data, "PKG-INFO")
    name = fields.optional("Name")
    if name is not None and _normalized(name) != project:
        raise UnreadableDistribution(
            f"its PKG-INFO names the project `{_short(name)}`, its place or name `{project}`"
        )
    dynamic = {field.strip().lower() for field in fields.all("Dynamic")}
    is_static = (
        name is not None
        and dynamic.isdisjoint(_RESOLVED)
        and _knows_dynamic(fields.all("Metadata-Version"))
        and [_parsed(text) for text in fields.all("Version")] == [version]
    )
    requires_python = None if "requires-python" in dynamic else fields.optional("Requires-Python")
    return CoreMetadata(data, requires_python, is_static)


class _Fields:
    """The header fields of a metadata file."""

    def __init__(self, data: bytes, source: str) -> None:
        self._message = BytesHeaderParser().parsebytes(data)
        self._source = source

    def all(self, field: str) -> Sequence[str]:
        return [" ".join(str(value).split()) for value in self._message.get_all(field, [])]

    def optional(self, field: str) -> str | None:
        """The field, None when absent or empty; two of them are a fault: readers would disagree which counts."""
        values = self.all(field)
        if len(values) > 1:
            raise UnreadableDistribution(f"its {self._source} has more than one {field}")
        return values[0] or None if values else None

    def one(self, field: str) -> str:
        value = self.optional(field)
        if value is None:
            raise UnreadableDistribution(f"its {self._source} has no {field}")
        return value


class _BoundedZip:
    """A file for zipfile that refuses to read a huge central directory at once, whatever the archive claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        wanted = self._size - self._file.tell() if size < 0 else size
        if wanted > MAX_ZIP_DIRECTORY:
            raise zipfile.BadZipFile("too many entries")
        return self._file.read(wanted)


class _BoundedTar:
    """An uncompressing stream for tarfile that ends in an error before memory or time runs away.

    It moves forward only, never past MAX_UNPACKED, and knows that tarfile reads headers and skips contents: a long
    row of reads is a forged header that tarfile would gather without end.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._reads = 0
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > MAX_TAR_READS:
            raise tarfile.ReadError("too many headers in a row")
        if not 0 <= size <= MAX_METADATA:
            raise tarfile.ReadError("a header is too long")
        return self._stream.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        self._reads = 0
        if whence != os.SEEK_SET or position < self.tell():
            raise tarfile.ReadError("a header points backwards")
        if position > MAX_UNPACKED:
            raise tarfile.ReadError(f"unpacks to more than {MAX_UNPACKED} bytes")
        return self._stream.seek(position)

    def finish(self) -> None:
        """Read on to the end, so that the compression's own checksum is verified."""
        while self._stream.read(2**20):
            if self.tell() > MAX_UNPACKED:
                raise tarfile.ReadError(f"unpacks to more than {MAX_UNPACKED} bytes")


def _knows_dynamic(stated: Sequence[str]) -> bool:
    """Whether that metadata version has the field `Dynamic`, so that its absence says something: 2.2 on."""
    found = _METADATA_VERSION.match(stated[0]) if len(stated) == 1 else None
    return found is not None and (int(found[1]), int(found[2])) >= (2, 2)


def _opened_zip(file: BinaryIO) -> zipfile.ZipFile:
    return zipfile.ZipFile(cast("IO[bytes]", _BoundedZip(file)))


def _metadata_entry(archive: zipfile.ZipFile, project: NormalizedName) -> zipfile.ZipInfo:
    """As pip and uv look for it: one `.dist-info` folder at the top, named after the project."""
    names = archive.namelist()
    folders = {name.split("/", 1)[0] for name in names if ".dist-info/" in name}
    folders = {folder for folder in folders if folder.endswith(".dist-info")}
    if len(folders) != 1:
        raise UnreadableDistribution(f"has {len(folders)} .dist-info folders")
    folder = folders.pop()
    if _normalized(folder.removesuffix(".dist-info").rpartition("-")[0]) != project:
        raise UnreadableDistribution(f"its metadata folder is `{_short(folder)}`")
    path = f"{folder}/METADATA"
    if names.count(path) != 1:
        raise UnreadableDistribution(f"has {names.count(path)} METADATA files")
    return archive.getinfo(path)


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # (!) zipfile unpacks the other kinds without a limit, a gigabyte out of a kilobyte; no build tool writes them.
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UnreadableDistribution("its metadata is compressed in a way that wheels are not")
    # The stated size may lie; reading one byte too many tells, and reading to the end verifies the checksum.
    with archive.open(entry) as stream:
        data = stream.read(MAX_METADATA + 1)
    if len(data) > MAX_METADATA:
        raise UnreadableDistribution(f"its metadata is longer than {MAX_METADATA} bytes")
    return data


def _zip_pkg_info(file: BinaryIO) -> bytes | None:
    with _opened_zip(file) as archive:
        entries = [entry for entry in archive.infolist() if _is_pkg_info(entry.filename)]
        return _only([_read_entry(archive, entry) for entry in entries[:2]])


def _tar_pkg_info(file: BinaryIO, filename: str) -> bytes | None:
    """Reads the archive to its end: a truncated upload must not be listed."""
    stream = _BoundedTar(_uncompressed(file, filename))
    found: list[bytes] = []
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
        for _ in range(MAX_TAR_MEMBERS):
            member = archive.next()
            if member is None:
                break
            if member.isreg() and _is_pkg_info(member.name):
                found.append(_read_member(archive, member))
            cast("Any", archive).members = []  # tarfile would keep them all
        else:
            raise UnreadableDistribution(f"has more than {MAX_TAR_MEMBERS} members")
    stream.finish()
    return _only(found)


def _uncompressed(file: BinaryIO, filename: str) -> IO[bytes]:
    for suffixes, opened in _OPENERS:
        if filename.lower().endswith(suffixes):
            return opened(file)
    raise UnreadableDistribution("is an archive of a kind that installers do not read")


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_METADATA:
        raise UnreadableDistribution(f"its metadata is longer than {MAX_METADATA} bytes")
    stream = archive.extractfile(member)
    return b"" if stream is None else stream.read()


def _is_pkg_info(path: str) -> bool:
    """`<folder>/PKG-INFO`; deeper ones belong to bundled projects or `.egg-info` folders."""
    parts = path.removeprefix("./").split("/")
    return len(parts) == 2 and parts[1] == "PKG-INFO"


def _only(found: Sequence[bytes]) -> bytes | None:
    if len(found) > 1:
        raise UnreadableDistribution("has more than one PKG-INFO")
    return found[0] if found else None


def _normalized(name: str) -> NormalizedName | None:
    try:
        return parse_project_name(name)
    except InvalidName:
        return None


def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except ValueError:  # InvalidVersion, and the int of thousands of digits
        return None


def _short(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:80])


def _told(error: BaseException) -> str:
    return _short(str(error)) or type(error).__name__
