"""A directory of distributions as an index."""

import errno
import hashlib
import itertools
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import pytest
from packaging.version import Version

from decider.errors import IndexUnavailable, UnreadableDistribution
from decider.files import DistributionFile, ProjectPage
from decider.index import Index, local, publishing
from decider.index.directory import Candidate, Contents, look_into
from decider.index.local import LocalFault, LocalIndex
from decider.index.metadata import CoreMetadata, read_wheel
from decider.index.permissions import Reader
from decider.index.staging import Stage
from decider.names import NormalizedName
from tests.distributions import core_metadata, make_sdist, make_wheel, set_age

DEMO = NormalizedName("demo")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = 1_800_000_000.0
WHEEL = "demo-1.0-py3-none-any.whl"
STRANGER = Reader(61_234, 61_234)  #: in no group of ours, shut out of pytest's folders


@dataclass
class Site:
    """A directory, what an index keeps of it, and both clocks."""

    folder: Path
    now_s: float = 0.0

    @property
    def root(self) -> Path:
        return self.folder / "packages"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def index(self, root: Path | None = None, **options: Any) -> LocalIndex:
        return LocalIndex(
            "internal",
            root or self.root,
            cache_dir=self.cache,
            clock=lambda: self.now_s,
            wall_clock=lambda: NOW + self.now_s,
            **options,
        )

    def wheel(self, folder: str = "", name: str = "demo", version: str = "1.0", **options: Any) -> Path:
        """A wheel that was written an hour ago."""
        age_s = options.pop("age_s", 3600)
        return set_age(make_wheel(self.root / folder, name, version, **options), age_s, now=NOW + self.now_s)

    def sdist(self, folder: str = "", name: str = "demo", version: str = "1.0", **options: Any) -> Path:
        """An sdist that was written an hour ago."""
        return set_age(make_sdist(self.root / folder, name, version, **options), 3600, now=NOW + self.now_s)

    def file(self, path: str, content: bytes = b"") -> Path:
        """Any file, written an hour ago."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return set_age(target, 3600, now=NOW + self.now_s)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.root.mkdir()
    return site


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def page(index: LocalIndex, project: str = "demo") -> ProjectPage:
    found = index.fetch_page(NormalizedName(project))
    assert found is not None
    return found


def names(index: LocalIndex, project: str = "demo") -> list[str]:
    return [file.filename for file in page(index, project).files]


def only_file(index: LocalIndex, project: str = "demo") -> DistributionFile:
    (file,) = page(index, project).files
    return file


# What a page says


def test_wheel(site: Site) -> None:
    """A wheel in the folder is listed with sha256, size, upload time, Requires-Python and core metadata."""
    path = site.wheel(requires_python=">=3.8", requires=["acme>=1"])
    index = site.index()
    metadata = core_metadata("demo", "1.0", requires_python=">=3.8", requires=["acme>=1"])
    metadata_sha256 = hashlib.sha256(metadata).hexdigest()
    found = page(index)
    assert found.files == (
        DistributionFile(
            filename=WHEEL,
            url="",
            hashes={"sha256": sha256(path)},
            size=path.stat().st_size,
            upload_time=EPOCH + timedelta(seconds=NOW - 3600),
            requires_python=">=3.8",
            core_metadata={"sha256": metadata_sha256},
            path=WHEEL,
            metadata_path=f"internal/metadata/{metadata_sha256}.metadata",
        ),
    )
    assert (found.index, found.project, found.versions, found.api_version) == (
        "internal",
        DEMO,
        ("1.0",),
        (1, 4),
    )


def test_metadata_file(site: Site) -> None:
    """The metadata file holds METADATA's very bytes, and everyone may read it, whatever the process's umask."""
    site.wheel(metadata=core_metadata("demo", "1.0") + b"\n\xe9\r\n")
    before = os.umask(0o077)
    try:
        file = only_file(site.index())
    finally:
        os.umask(before)
    assert file.metadata_path is not None
    kept = site.cache / file.metadata_path
    assert kept.read_bytes() == core_metadata("demo", "1.0") + b"\n\xe9\r\n"
    assert kept.stat().st_mode & 0o777 == 0o644
    folders = [folder for folder in kept.parents if folder.is_relative_to(site.cache)]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o755}


def test_sdist(site: Site) -> None:
    """An sdist is listed with its Requires-Python; metadata that building may change is not offered (PEP 643)."""
    path = site.sdist(metadata=b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Python: >=3.9\n")
    file = only_file(site.index())
    assert (file.filename, file.requires_python, file.core_metadata, file.metadata_path, file.sha256) == (
        "demo-1.0.tar.gz",
        ">=3.9",
        False,
        None,
        sha256(path),
    )


def test_sdist_with_static_metadata(site: Site) -> None:
    """An sdist whose metadata no build can change offers it, so that resolvers need not build it (PEP 643)."""
    site.sdist(requires=["other>=1"])
    found = only_file(site.index())
    data = core_metadata("demo", "1.0", requires=["other>=1"])
    assert found.core_metadata == {"sha256": hashlib.sha256(data).hexdigest()}
    assert found.metadata_path is not None
    assert (site.cache / found.metadata_path).read_bytes() == data


def test_upload_time_microseconds(site: Site) -> None:
    """The upload time is the modification time, cut to whole microseconds."""
    path = site.wheel()
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    assert only_file(site.index()).upload_time == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)


def test_order(site: Site) -> None:
    """Files come by version, then name; versions are normalized and named once."""
    for version in ("10.0", "9.0", "9.0rc1", "1!0.1", "9.0+local.1"):
        site.wheel(version=version)
    site.wheel(version="9.0", build="1")
    site.sdist(version="9.00", filename="demo-9.00.tar.gz")
    found = page(site.index())
    assert [file.filename for file in found.files] == [
        "demo-9.0rc1-py3-none-any.whl",
        "demo-9.0-1-py3-none-any.whl",
        "demo-9.0-py3-none-any.whl",
        "demo-9.00.tar.gz",
        "demo-9.0+local.1-py3-none-any.whl",
        "demo-10.0-py3-none-any.whl",
        "demo-1!0.1-py3-none-any.whl",
    ]
    assert found.versions[0] == "9.0rc1"
    assert found.versions[-3:] == ("9.0+local.1", "10.0", "1!0.1")


def test_digest(site: Site) -> None:
    """The digest changes with everything that a page shows, and with nothing else."""
    first = site.wheel()
    index = site.index()
    digests = [page(index).digest]

    def look() -> str:
        for _ in range(2):
            site.now_s += 10
            index.scan()
        return page(index).digest

    assert look() == digests[0]
    site.wheel(name="other")
    assert look() == digests[0]
    moved = site.root / "demo" / first.name
    moved.parent.mkdir()
    first.rename(moved)
    assert look() == digests[0]
    assert page(site.index()).digest == digests[0]  # another process says the same
    site.wheel(version="2.0")
    digests.append(look())
    os.utime(moved, (1, 1))
    digests.append(look())
    moved.unlink()
    digests.append(look())
    assert len(set(digests)) == 4
    assert all(len(digest) == 64 for digest in digests)


def test_unchanged_page_is_kept(site: Site) -> None:
    """A scan that finds another project changed keeps this one's page as it is."""
    site.wheel()
    index = site.index()
    before = page(index)
    site.wheel(name="other")
    assert index.refresh_page(DEMO) is before


# Layout


def test_is_an_index(site: Site) -> None:
    """A directory is an index that claims its names."""
    index: Index = site.index()
    assert (index.name, index.is_internal) == ("internal", True)


def test_projects(site: Site) -> None:
    """Flat files and folders both make projects; a name that neither speaks of is not there."""
    site.wheel(name="Flat.One")
    site.wheel(folder="In_Folder", name="in-folder")
    index = site.index()
    assert index.fetch_projects() == {"flat-one", "in-folder"}
    assert only_file(index, "in-folder").path == "In_Folder/in_folder-1.0-py3-none-any.whl"
    assert index.fetch_page(NormalizedName("nope")) is None


def test_empty_folder(site: Site) -> None:
    """A project's folder without files is a project with an empty page, not a missing one."""
    (site.root / "demo").mkdir()
    found = page(site.index())
    assert (found.files, found.versions, found.api_version) == ((), (), (1, 4))


def test_folder_names_the_project(site: Site) -> None:
    """A name that is ambiguous alone belongs to the project in whose folder it lies."""
    site.sdist("foo", name="foo", filename="foo-1.0-2.tar.gz")
    index = site.index()
    assert page(index, "foo").versions == ("1.0.post2",)
    assert index.fetch_page(NormalizedName("foo-1-0")) is None


def test_folder_and_flat(site: Site) -> None:
    """Flat files and folders of one project, however spelled, make one page."""
    site.wheel(name="my-demo")
    site.wheel("My.Demo", name="my-demo", version="2.0")
    site.wheel("my_demo", name="my-demo", version="3.0")
    assert page(site.index(), "my-demo").versions == ("1.0", "2.0", "3.0")


def test_same_name_twice(site: Site) -> None:
    """Of two files of one name the first by path is listed, the other is a fault; it takes over when alone."""
    flat = site.wheel()
    other = site.wheel("demo", extra_files={"demo/other.py": "x = 1"})
    index = site.index()
    assert only_file(index).sha256 == sha256(flat)
    assert index.faults() == (LocalFault(f"demo/{WHEEL}", f"is listed already as `{WHEEL}`"),)
    flat.unlink()
    index.refresh_page(DEMO)
    assert only_file(index).sha256 == sha256(other)
    assert index.faults() == ()


def test_ignored(site: Site) -> None:
    """Hidden files, names that uploaders use meanwhile, and what lies deeper than a project's folder are ignored."""
    for path in (
        f".{WHEEL}",
        f"{WHEEL}.part",
        f"{WHEEL}.filepart",
        f"{WHEEL}.tmp",
        f"{WHEEL}~",
        f"~{WHEEL}",
        f".cache/{WHEEL}",
    ):
        site.file(path)
    site.wheel("other/deeper")
    index = site.index()
    assert (set(index.fetch_projects()), index.faults()) == ({"other"}, ())


def test_links(site: Site, tmp_path: Path) -> None:
    """A symbolic link within the directory is followed; one that leaves it, or leads nowhere, is a fault."""
    outside = make_wheel(tmp_path / "outside", "demo", "9.0")
    site.wheel(".pool", version="1.0")
    (site.root / WHEEL).symlink_to(site.root / ".pool" / WHEEL)
    (site.root / outside.name).symlink_to(outside)
    (site.root / "outside").symlink_to(outside.parent)
    (site.root / "demo-3.0-py3-none-any.whl").symlink_to("nothing")
    site.wheel("real", name="real")
    (site.root / "linked").symlink_to("real")
    index = site.index()
    assert only_file(index).path == f".pool/{WHEEL}"
    assert index.faults() == (
        LocalFault("demo-3.0-py3-none-any.whl", "is a symbolic link to nothing"),
        LocalFault("demo-9.0-py3-none-any.whl", "is a symbolic link that leaves the directory"),
        LocalFault("linked/real-1.0-py3-none-any.whl", "is a wheel of `real` in the folder of `linked`"),
        LocalFault("outside", "is a symbolic link that leaves the directory"),
    )


def test_link_owns_its_name(site: Site, tmp_path: Path) -> None:
    """What cannot be listed but has a distribution's name speaks of its project all the same: a store that is not
    mounted must hand no name to another index."""
    (site.root / "away-1.0-py3-none-any.whl").symlink_to(
        tmp_path / "not-mounted" / "away-1.0-py3-none-any.whl"
    )
    (site.root / "gone-1.0.tar.gz").symlink_to("nothing")
    os.mkfifo(site.root / "pipe-1.0.tar.gz")
    (site.root / "README").symlink_to(tmp_path)
    index = site.index()
    assert index.fetch_projects() == {"away", "gone", "pipe"}
    assert [page(index, name).files for name in ("away", "gone", "pipe")] == [(), (), ()]
    assert len(index.faults()) == 4


def test_linked_root(site: Site, tmp_path: Path) -> None:
    """The directory itself may be a symbolic link."""
    site.wheel()
    link = tmp_path / "link"
    link.symlink_to(site.root)
    index = site.index(link)
    assert only_file(index).path == WHEEL


# Faults


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [
        (WHEEL, b"", "is no readable zip archive: File is not a zip file"),
        ("demo-1.0.tar.gz", b"<html>", "is no readable archive: Not a gzipped file (b'<h')"),
        ("README.txt", b"", "is neither a wheel nor an sdist"),
        ("demo-1.0-py2.7.egg", b"", "is neither a wheel nor an sdist"),
        ("demo-py3-none-any.whl", b"", "has a name that no wheel may have (PEP 427)"),
        ("demo-one-py3-none-any.whl", b"", "has a name that no wheel may have (PEP 427)"),
        ("demo.tar.gz", b"", "has a name that no sdist may have (PEP 625)"),
        ("demo-one.tar.gz", b"", "has a name that gives no version of `demo`"),
        (f"other/{WHEEL}", b"", "is a wheel of `demo` in the folder of `other`"),
        ("other/demo-1.0.tar.gz", b"", "has a name that gives no version of `other`"),
        ("demo-1.0-py3-none-any\n.whl", b"", "has a name that cannot be served"),
        (os.fsdecode(b"demo-1.0-py3-none-\xff.whl"), b"", "has a name that cannot be served"),
        ("-bad-/demo-1.0.tar.gz", b"", "is a folder whose name is no project name"),
    ],
)
def test_fault(site: Site, path: str, content: bytes, why: str) -> None:
    """A file that cannot be listed is left out with the reason; all others are served."""
    site.wheel("fine", name="fine")
    site.file(path, content)
    index = site.index()
    (found,) = index.faults()
    assert found.why == why
    assert found.path.isprintable()
    assert only_file(index, "fine").filename == "fine-1.0-py3-none-any.whl"


def test_fault_of_contents(site: Site) -> None:
    """A wheel whose metadata contradicts its name is left out."""
    site.wheel(metadata=core_metadata("other", "1.0"))
    assert site.index().faults() == (LocalFault(WHEEL, "its METADATA names the project `other`"),)


def test_fault_keeps_the_name(site: Site) -> None:
    """A project whose only file is broken has an empty page: the name must not come from another index."""
    site.file(WHEEL, b"broken")
    index = site.index()
    assert page(index).files == ()
    assert index.fetch_projects() == {"demo"}


def test_special_file(site: Site) -> None:
    """A pipe is a fault, and not read."""
    os.mkfifo(site.root / WHEEL)
    assert site.index().faults() == (LocalFault(WHEEL, "is no regular file"),)


def test_fault_is_logged_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A fault is logged when it is found, not at every scan, and again when it comes back."""
    index = site.index()

    def logged() -> list[tuple[str, object, object]]:
        caplog.clear()
        index.refresh_page(DEMO)
        return [
            (r.message, vars(r)["path"], vars(r)["why"])
            for r in caplog.records
            if r.levelno == logging.WARNING
        ]

    entry = ("index.file_skipped", "README", "is neither a wheel nor an sdist")
    assert logged() == []
    path = site.file("README")
    assert logged() == [entry]
    site.wheel()
    assert logged() == []
    path.unlink()
    assert logged() == []
    site.file("README")
    assert logged() == [entry]


def test_repaired_file(site: Site) -> None:
    """A broken file that is replaced by a whole one is listed."""
    site.file(WHEEL, b"broken")
    index = site.index()
    assert names(index) == []
    site.wheel()
    index.refresh_page(DEMO)
    site.now_s += publishing.SETTLE_S
    assert names(index) == [WHEEL]
    assert index.faults() == ()


def test_unwritable_cache(site: Site) -> None:
    """Where results cannot be kept the file is a fault, and tried again some seconds later."""
    site.wheel()
    site.cache.write_bytes(b"in the way")
    index = site.index()
    (fault,) = index.faults()
    assert fault.why.startswith("cannot be read or kept: ")
    site.cache.unlink()
    index.refresh_page(DEMO)
    assert names(index) == []
    site.now_s += 5
    assert names(index) == [WHEEL]


def test_modification_time_out_of_range() -> None:
    """A modification time that no calendar has is a fault of the file."""
    candidate = Candidate(WHEEL, WHEEL, WHEEL, None, 1, 10**21, 1)
    with pytest.raises(UnreadableDistribution, match="modification time beyond the year 9999"):
        publishing._upload_time(candidate)


# The directory as a whole


def test_missing_root(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A directory that is missing cannot be asked; it does not lack the project. Once there, it answers.

    Where it lies is told to the log, once, and to no client.
    """
    site.root.rmdir()
    index = site.index()
    for ask in (
        lambda: index.fetch_page(DEMO),
        index.fetch_projects,
        index.faults,
        lambda: index.refresh_page(DEMO),
    ):
        with pytest.raises(
            IndexUnavailable,
            match=r"^index `internal`: its directory cannot be read: No such file or directory$",
        ):
            ask()
    (record,) = caplog.records
    assert (record.message, vars(record)["path"]) == ("index.directory_unreadable", str(site.root))
    site.wheel()
    site.now_s += 0.5
    assert names(index) == [WHEEL]


def test_root_goes_away(site: Site) -> None:
    """A directory that goes away is not answered for from memory, and comes back with the same page."""
    site.wheel()
    index = site.index()
    digest = page(index).digest
    away = site.root.rename(site.folder / "away")
    site.root.write_bytes(b"a file")
    site.now_s += 1
    with pytest.raises(IndexUnavailable, match="cannot be read: Not a directory"):
        index.fetch_page(DEMO)
    site.root.unlink()
    away.rename(site.root)
    site.now_s += 1
    assert page(index).digest == digest


def test_unreadable_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose folder cannot be listed cannot be asked for; all others can, and the fault is named."""
    site.wheel("demo")
    site.wheel("other", name="other")
    scandir = os.scandir

    def guarded(path: str) -> Any:
        if path.endswith("/demo"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", guarded)
    index = site.index()
    with pytest.raises(IndexUnavailable, match="the folder `demo` cannot be read: Permission denied"):
        index.fetch_page(DEMO)
    assert names(index, "other") == ["other-1.0-py3-none-any.whl"]
    assert index.fetch_projects() == {"demo", "other"}
    assert index.faults() == (LocalFault("demo", "is a folder that cannot be read: Permission denied"),)


# Time


def test_dropped_file(site: Site) -> None:
    """A file dropped at any moment into a directory that is asked all the time is listed within a second."""
    index = site.index()
    index.scan()
    for tenth in range(10):
        site.now_s += 10 + tenth / 10
        index.scan()
        site.now_s += 0.1 * tenth
        site.wheel(version=f"1.{tenth}", age_s=0)
        dropped = site.now_s
        while (found := index.fetch_page(DEMO)) is None or f"1.{tenth}" not in found.versions:
            site.now_s += 0.01
        assert 0.5 <= site.now_s - dropped + 0.001 <= 1.0


def test_removed_file(site: Site) -> None:
    """A file that is deleted leaves its page; the project leaves with its last file."""
    path = site.wheel()
    index = site.index()
    index.scan()
    path.unlink()
    site.now_s += 0.5
    assert index.fetch_page(DEMO) is None
    assert index.fetch_projects() == set()


def test_scan_interval(site: Site) -> None:
    """Within the scan interval the last result is used; a refresh looks at once."""
    index = site.index()
    index.scan()
    site.wheel()
    site.now_s += 0.49
    assert index.fetch_page(DEMO) is None
    found = index.refresh_page(DEMO)
    assert found is not None
    assert found.versions == ("1.0",)


def test_scan_share(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a scan is slow the next one waits: scanning takes a tenth of the time at most."""
    looks: list[float] = []

    def slow(root: Path, reader: Reader | None) -> Contents:
        looks.append(site.now_s)
        site.now_s += 0.2
        return look_into(root, reader)

    monkeypatch.setattr(local, "look_into", slow)
    index = site.index()
    for _ in range(100):
        index.scan()
        site.now_s += 0.1
    assert len(looks) == 6
    assert all(later - earlier > 1.99 for earlier, later in itertools.pairwise(looks))


def test_dropped_into_a_large_directory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that comes or goes does not wait until it is time for the next slow scan, in whatever folder it is."""
    site.wheel("other", name="other")

    def slow(root: Path, reader: Reader | None) -> Contents:
        found = look_into(root, reader)
        site.now_s += 0.2
        return found

    monkeypatch.setattr(local, "look_into", slow)
    index = site.index()
    index.scan()
    for folder in ("", "other"):
        path = site.wheel(folder, name="other", version="2.0")
        os.utime(
            path.parent, ns=(1, 1)
        )  # file systems tell moments apart only when they lie milliseconds apart
        site.now_s += 0.6
        assert page(index, "other").versions == ("1.0", "2.0")
        path.unlink()
        os.utime(path.parent, ns=(2, 2))
        site.now_s += 0.6
        assert page(index, "other").versions == ("1.0",)


def test_growing_file(site: Site) -> None:
    """A file that grows is not listed before it has been still for half a second, even if its clock is wrong."""
    whole = make_wheel(site.folder / "elsewhere", "demo", "1.0").read_bytes()
    index = site.index()
    index.scan()
    for length in (10, 20, len(whole)):
        site.file(WHEEL, whole[:length])
        if length == 10:
            os.utime(site.root / WHEEL, (NOW + site.now_s, NOW + site.now_s))
        site.now_s += 0.4
        index.refresh_page(DEMO)
        assert names(index) == []
    assert index.faults() == ()
    site.now_s += 0.5
    assert names(index) == [WHEEL]


def test_file_from_the_future(site: Site) -> None:
    """A file whose modification time lies in the future is listed once it is seen to stay the same."""
    site.wheel(age_s=-3600)
    index = site.index()
    assert names(index) == []
    site.now_s += 0.5
    assert names(index) == [WHEEL]


def test_replaced_file(site: Site) -> None:
    """A file that is replaced under the same name is listed again with its new hash, never with the old one."""
    site.wheel()
    index = site.index()
    old = only_file(index).sha256
    other = make_wheel(site.folder / "elsewhere", "demo", "1.0", extra_files={"demo/more.py": "y = 2"})
    set_age(other, 7200, now=NOW).replace(site.root / WHEEL)
    site.now_s += 0.5
    assert names(index) == []
    site.now_s += 0.5
    new = only_file(index).sha256
    assert new == sha256(site.root / WHEEL) != old


@pytest.mark.parametrize("does", ["grow", "vanish"])
def test_changes_while_read(site: Site, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """A file that changes, or goes, while it is read is neither listed half-read nor a fault."""
    path = site.wheel()
    data = path.read_bytes()

    def read_then_change(file: BinaryIO, *, project: NormalizedName, version: Version) -> CoreMetadata:
        found = read_wheel(file, project=project, version=version)
        path.write_bytes(data + b"more")
        return found

    def find_it_gone(file: BinaryIO, **_: object) -> CoreMetadata:
        path.unlink()
        raise FileNotFoundError(2, "No such file or directory", file.name)

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "read_wheel", read_then_change if does == "grow" else find_it_gone)
        index = site.index()
        assert (names(index), index.faults()) == ([], ())
    path.write_bytes(data)
    set_age(path, 3600, now=NOW)
    index.refresh_page(DEMO)
    site.now_s += publishing.SETTLE_S
    assert only_file(index).sha256 == sha256(path)


# Memory


def test_only_changes_are_read(site: Site) -> None:
    """A file is read again only when size, modification time or inode changed, in this process and in the next."""
    path = site.wheel()
    index = site.index()
    before = only_file(index).sha256
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    index.refresh_page(DEMO)
    assert only_file(index).sha256 == before
    assert only_file(site.index()).sha256 == before


@pytest.mark.parametrize("kept", ["entries", "metadata"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\x00", b'{"size": 1, "sha256": "x"}', None])
def test_damaged_cache(site: Site, kept: str, content: bytes | None) -> None:
    """What is damaged or missing in the cache is made anew."""
    site.wheel()
    before = only_file(site.index())
    (target,) = (site.cache / "internal" / kept).iterdir()
    good = target.read_bytes()
    if content is None:
        target.unlink()
    else:
        target.write_bytes(content)
    assert only_file(site.index()) == before
    assert target.read_bytes() == good


def test_no_scraps(site: Site) -> None:
    """The cache holds one entry and one metadata file a wheel, and no leftovers of writing."""
    site.wheel()
    site.wheel("copy", name="copy")
    site.index().scan()
    assert len(list((site.cache / "internal" / "entries").iterdir())) == 2
    assert len(list((site.cache / "internal" / "metadata").iterdir())) == 2


def test_cache_is_swept(site: Site) -> None:
    """What is kept of a deleted file goes hours later; what is in use stays."""
    site.wheel()
    gone = site.wheel(name="gone")
    index = site.index()
    index.scan()
    gone.unlink()
    counts = []
    for _ in range(4):
        site.now_s += 3600
        index.scan()
        counts.append(
            [len(list((site.cache / "internal" / kept).iterdir())) for kept in ("entries", "metadata")]
        )
    assert counts == [[2, 2], [1, 1], [1, 1], [1, 1]]
    assert only_file(site.index()).filename == WHEEL


# Threads and processes


def run_all(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_processes_share_the_cache(site: Site) -> None:
    """Several indexes over one directory and one cache, starting at once, say the same."""
    for number in range(20):
        site.wheel(version=f"1.{number}")
    indexes = [site.index() for _ in range(4)]
    run_all(*(threading.Thread(target=index.scan) for index in indexes))
    assert len({page(index).digest for index in indexes}) == 1
    assert len(names(indexes[0])) == 20


@dataclass
class Gate:
    """Stands in for looking into the directory, and lets nobody through until it is opened."""

    entered: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    looks: int = 0

    def __call__(self, root: Path, reader: Reader | None) -> Contents:
        self.looks += 1
        self.entered.set()
        assert self.opened.wait(30)
        return look_into(root, reader)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(local, "look_into", gate)
    yield gate
    gate.opened.set()


def test_first_scan_is_waited_for(site: Site, gate: Gate) -> None:
    """Threads that come while the first scan runs wait for it, and do not scan again."""
    site.wheel()
    index = site.index()
    seen: list[list[str]] = []
    threads = [threading.Thread(target=lambda: seen.append(names(index))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert gate.entered.wait(30)
    assert seen == []
    gate.opened.set()
    for thread in threads:
        thread.join(30)
    assert seen == [[WHEEL]] * 4
    assert gate.looks == 1


def test_later_scans_are_not_waited_for(site: Site, gate: Gate) -> None:
    """While one thread scans, the others are answered by the last result."""
    site.wheel()
    index = site.index()
    gate.opened.set()
    index.scan()
    gate.opened.clear()
    gate.entered.clear()
    site.wheel(version="2.0")
    site.now_s += 1
    scanning = threading.Thread(target=index.scan)
    scanning.start()
    assert gate.entered.wait(30)
    assert page(index).versions == ("1.0",)
    gate.opened.set()
    scanning.join(30)
    assert page(index).versions == ("1.0", "2.0")


# Staging


@pytest.fixture
def stage(site: Site) -> Path:
    return site.folder / "stage"


@pytest.fixture
def open_site() -> Iterator[Site]:
    """A site whose folders a stranger can enter."""
    with TemporaryDirectory() as name:
        for folder in (Path(name), Path(name) / "packages"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        yield Site(Path(name))


def test_staged_where_nginx_cannot_read(open_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Only files that nginx's user cannot read in place are copied, which the log says once; a new mode ends it."""
    closed, opened = open_site.wheel(), open_site.wheel(name="opened")
    closed.chmod(0o600)
    opened.chmod(0o644)
    stage = open_site.folder / "stage"
    index = open_site.index(stage_dir=stage, reader=STRANGER)
    file = only_file(index)
    assert (file.is_staged, file.path) == (True, f"{sha256(closed)}/{WHEEL}")
    assert (stage / str(file.path)).read_bytes() == closed.read_bytes()
    assert (only_file(index, "opened").is_staged, only_file(index, "opened").path) == (False, opened.name)
    assert index.copied() == (WHEEL,)
    open_site.now_s += 1
    index.scan()
    assert [record.message for record in caplog.records] == ["index.files_copied"]
    closed.chmod(0o644)
    open_site.now_s += 1
    index.scan()
    open_site.now_s += 1
    assert (only_file(index).is_staged, only_file(index).path) == (False, WHEEL)
    assert index.copied() == ()


def test_no_stage(site: Site) -> None:
    """Without staging, files are served from the directory itself."""
    site.wheel().chmod(0o600)
    assert (only_file(site.index()).is_staged, only_file(site.index()).path) == (False, WHEEL)


@pytest.mark.parametrize("is_root", [True, False])
def test_file_that_nobody_may_read(site: Site, stage: Path, *, is_root: bool) -> None:
    """A file whose mode shuts everybody out is left out, also by root, who could read it; its name stays owned."""
    site.wheel().chmod(0o000)
    index = site.index(stage_dir=stage, reader=STRANGER) if is_root else site.index()
    assert page(index).files == ()
    assert index.faults() == (LocalFault(WHEEL, "cannot be read: its mode lets nobody"),)


def test_staged_link(site: Site, stage: Path) -> None:
    """A file that everyone may read is staged as a hard link, in folders that everyone may traverse."""
    path = site.wheel("demo")
    path.chmod(0o644)
    index = site.index(stage_dir=stage, reader=STRANGER)
    file = only_file(index)
    assert (file.is_staged, file.path) == (True, f"{sha256(path)}/{WHEEL}")
    staged = stage / str(file.path)
    assert staged.samefile(path)
    assert (staged.parent.stat().st_mode & 0o777, stage.stat().st_mode & 0o777) == (0o755, 0o755)
    assert [found.name for found in staged.parent.iterdir()] == [WHEEL]


def test_staged_copy(site: Site, stage: Path) -> None:
    """A file that only we may read is copied, readable by all, as old as the original, whose mode stays."""
    path = site.wheel()
    path.chmod(0o600)
    staged = stage / str(only_file(site.index(stage_dir=stage, reader=STRANGER)).path)
    assert not staged.samefile(path)
    assert staged.read_bytes() == path.read_bytes()
    assert (staged.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o644, 0o600)
    assert staged.stat().st_mtime_ns == path.stat().st_mtime_ns


def test_staged_elsewhere(site: Site, stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no hard link can be made, as on another file system, the file is copied."""

    def refuse(_target: Path, _source: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = site.wheel()
    path.chmod(0o644)
    staged = stage / str(only_file(site.index(stage_dir=stage, reader=STRANGER)).path)
    assert not staged.samefile(path)
    assert staged.read_bytes() == path.read_bytes()


def candidate_of(site: Site) -> Candidate:
    """The only one."""
    (found,) = look_into(site.root).candidates
    return found


def test_staged_other_bytes(site: Site, stage: Path) -> None:
    """Bytes that are not those of the digest are never staged under it."""
    path = site.wheel()
    path.chmod(0o600)
    with pytest.raises(UnreadableDistribution, match="changed while it was copied"):
        Stage(stage).place(path, candidate_of(site), sha256="0" * 64)
    assert list((stage / ("0" * 64)).iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_staged_instead(site: Site, stage: Path, tmp_path: Path, swapped: str, mode: int) -> None:
    """What a link in a file's or its folder's place leads to is never staged, whoever may read it."""
    path = site.wheel("demo")
    digest, candidate = sha256(path), candidate_of(site)
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / path.name
    secret.write_bytes(b"secret")
    secret.chmod(mode)
    if swapped == "file":
        path.unlink()
        path.symlink_to(secret)
    else:
        path.parent.rename(tmp_path / "before")
        path.parent.symlink_to(outside)
    with pytest.raises(UnreadableDistribution, match="changed while it was copied"):
        Stage(stage).place(path, candidate, sha256=digest)
    assert list((stage / digest).iterdir()) == []


def test_staged_once(site: Site, stage: Path) -> None:
    """A restarted process finds what is staged; a link whose original was replaced since is made anew."""
    path = site.wheel()
    path.chmod(0o600)
    staged = stage / str(only_file(site.index(stage_dir=stage, reader=STRANGER)).path)
    inode = staged.stat().st_ino
    only_file(site.index(stage_dir=stage, reader=STRANGER))
    assert staged.stat().st_ino == inode
    staged.unlink()
    only_file(site.index(stage_dir=stage, reader=STRANGER))
    assert staged.read_bytes() == path.read_bytes()


def test_staged_link_of_another_inode(site: Site, stage: Path) -> None:
    """A staged link is not trusted once it is no longer the listed file: somebody may have written to it."""
    path = site.wheel()
    data = path.read_bytes()
    staged = stage / str(only_file(site.index(stage_dir=stage, reader=STRANGER)).path)
    path.rename(site.folder / "kept")
    with (site.folder / "kept").open("r+b") as file:
        file.write(b"changed")
    path.write_bytes(data)
    set_age(path, 3600, now=NOW)
    only_file(site.index(stage_dir=stage, reader=STRANGER))
    assert staged.read_bytes() == data


def test_stage_is_swept(site: Site, stage: Path) -> None:
    """What is no longer listed leaves the stage a minute or two later; what is listed stays."""
    kept, gone = site.wheel(), site.wheel(name="gone")
    gone_sha256 = sha256(gone)
    index = site.index(stage_dir=stage, reader=STRANGER)
    index.scan()
    gone.unlink()
    (stage / ".left-behind.tmp").write_bytes(b"")
    for _ in range(3):
        site.now_s += 60
        index.scan()
    assert [found.name for found in stage.iterdir()] == [sha256(kept)]
    assert gone_sha256 != sha256(kept)


def test_stage_is_full(site: Site, stage: Path) -> None:
    """A file that cannot be staged cannot be served: it is a fault, and tried again."""
    site.wheel()
    stage.write_bytes(b"in the way")
    index = site.index(stage_dir=stage, reader=STRANGER)
    assert [fault.path for fault in index.faults()] == [WHEEL]
    stage.unlink()
    site.now_s += 5
    assert names(index) == [WHEEL]
