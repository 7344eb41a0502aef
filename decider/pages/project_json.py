"""Writes the JSON that PyPI has under `/pypi/<project>/json`, for tools that never moved to the simple API.

It is no specification but a habit (the registry's own API documentation; STANDARDS C52). It is made of the same page
model as the simple API's pages, and lists what they offer. Files that are refused are left out: who reads this is no
installer that would skip them as yanked, but takes every file (mirror tools) or every release (update tools). Of a
release that is refused whole its own page still says so, as yanked with the reason. What a page does not tell is null, or left out where a value would be a claim: a list of `vulnerabilities` above all, which
auditing tools would read as a clean bill. Judging what is listed may not be added here.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType
from packaging.version import InvalidVersion, Version

from decider.files import DistributionFile, FileType, ProjectPage, file_type, file_version

__all__ = ["find_release", "render_project_json"]

_PACKAGE_TYPES = {".egg": "bdist_egg", ".exe": "bdist_wininst", ".msi": "bdist_msi", ".rpm": "bdist_rpm"}
_EGG_PYTHON = re.compile(r"-py([0-9.]+)(?:-[^-]*)?\.(?:egg|exe|msi)\Z", re.ASCII)


class _Info(msgspec.Struct):
    """What is known of the release that is shown; null: the page does not tell."""

    name: str
    version: str | None
    requires_python: str | None
    yanked: bool
    yanked_reason: str | None
    summary: None = None
    description: None = None
    author: None = None
    license: None = None
    home_page: None = None
    project_urls: None = None
    requires_dist: None = None


class _File(msgspec.Struct):
    filename: str
    url: str
    digests: Mapping[str, str]
    size: int | None
    packagetype: str
    python_version: str | None
    requires_python: str | None
    upload_time: str | None  #: UTC without saying so, to the second
    upload_time_iso_8601: datetime | None
    yanked: bool
    yanked_reason: str | None


class _ProjectJson(msgspec.Struct, omit_defaults=True):
    info: _Info
    urls: list[_File]
    releases: dict[str, list[_File]] | UnsetType = UNSET
    last_serial: int | UnsetType = UNSET


_Releases = dict[str, list[DistributionFile]]  #: version → its files, in page order


def render_project_json(
    page: ProjectPage, version: str | None, *, file_base: str, refused: Collection[str] = frozenset()
) -> bytes:
    """The project with all its releases, or, where `version` is given, that one release.

    `version` is spelt as find_release gives it. File URLs are `file_base` and the quoted file name. Files whose name
    tells no version belong to no release and are left out; so are those that are `refused`, which the page lists as
    yanked, and the releases that only they had.
    """
    releases = _releases(page)
    shown = version if version is not None else _newest(releases)
    files = releases.get(shown, []) if shown is not None else []
    body = _ProjectJson(
        info=_info(page, shown, files),
        urls=[_file(file, file_base) for file in files if file.filename not in refused],
        last_serial=UNSET if page.last_serial is None else page.last_serial,
    )
    if version is None:
        body.releases = {
            one: [_file(file, file_base) for file in offered]
            for one, files in releases.items()
            if (offered := [file for file in files if file.filename not in refused]) or not files
        }
    return msgspec.json.encode(body)


def find_release(page: ProjectPage, text: str) -> str | None:
    """The page's own spelling of the version that `text` means (`1.0.0` is 1.0); None where it has no such release."""
    known, wanted = page.known_versions(), _parsed(text)
    if wanted is None:
        return text if text in known else None
    return next((version for version in known if _parsed(version) == wanted), None)


def _releases(page: ProjectPage) -> _Releases:
    """The files by release; of two spellings of one version the first stands for both."""
    spellings: dict[Version, str] = {}
    releases: _Releases = {}
    for version in page.known_versions():
        parsed = _parsed(version)
        if parsed is None or spellings.setdefault(parsed, version) == version:
            releases[version] = []
    for file in page.files:
        found = file_version(page.project, file.filename)
        if found is not None and found in spellings:
            releases[spellings[found]].append(file)
    return releases


def _newest(releases: _Releases) -> str | None:
    """The release that an installer would take: one that is not yanked whole, no prerelease if it can be."""

    def merit(version: str) -> tuple[bool, bool, bool, Version]:
        files, parsed = releases[version], _parsed(version)
        is_offered = any(file.yanked is None for file in files)
        return is_offered, bool(files), not (parsed or _NOTHING).is_prerelease, parsed or _NOTHING

    return max(releases, key=merit, default=None)


def _info(page: ProjectPage, version: str | None, files: list[DistributionFile]) -> _Info:
    offered = [file for file in files if file.yanked is None]
    is_yanked = bool(files) and not offered
    return _Info(
        name=page.project,
        version=version,
        requires_python=next(
            (file.requires_python for file in offered or files if file.requires_python), None
        ),
        yanked=is_yanked,
        yanked_reason=(files[0].yanked or None) if is_yanked else None,
    )


def _file(file: DistributionFile, base: str) -> _File:
    time = file.upload_time
    return _File(
        filename=file.filename,
        url=base + quote(file.filename, safe=""),
        digests=file.hashes,
        size=file.size,
        packagetype=_package_type(file.filename),
        python_version=_python_version(file.filename),
        requires_python=file.requires_python,
        upload_time=None if time is None else f"{time:%Y-%m-%dT%H:%M:%S}",
        upload_time_iso_8601=time,
        yanked=file.yanked is not None,
        yanked_reason=file.yanked or None,
    )


def _package_type(filename: str) -> str:
    kind = file_type(filename)
    if kind is FileType.WHEEL:
        return "bdist_wheel"
    if kind is FileType.SDIST:
        return "sdist"
    return _PACKAGE_TYPES.get(filename[-4:].lower(), "bdist_dumb")


def _python_version(filename: str) -> str | None:
    """A wheel's Python tag, the word `source` for an sdist; None where the name does not tell."""
    kind = file_type(filename)
    if kind is FileType.SDIST:
        return "source"
    if kind is FileType.WHEEL:
        tags = filename[:-4].split("-")
        return tags[-3] if len(tags) in {5, 6} else None
    found = _EGG_PYTHON.search(filename)
    return found[1] if found else None


_NOTHING = Version("0.dev0")


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
