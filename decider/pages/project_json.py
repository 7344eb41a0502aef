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

from decider.filenames import FileType, file_type
from decider.files import DistributionFile, ProjectPage, Release

__all__ = ["render_project_json"]

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


def render_project_json(
    page: ProjectPage, version: str | None, *, file_base: str, refused: Collection[str] = frozenset()
) -> bytes:
    """The project with all its releases, or, where `version` is given, that one release, which the page must have.

    `version` is any spelling of it. File URLs are `file_base` and the quoted file name. Files whose name tells no
    version belong to no release and are left out; so are those that are `refused`, which the page lists as yanked, and
    the releases that only they had.
    """
    shown = _newest(page.releases.values()) if version is None else page.release(version)
    body = _ProjectJson(
        info=_info(page, shown),
        urls=[_file(file, file_base) for file in shown.files if file.filename not in refused]
        if shown
        else [],
        last_serial=UNSET if page.last_serial is None else page.last_serial,
    )
    if version is None:
        body.releases = {
            release.version: [_file(file, file_base) for file in offered]
            for release in page.releases.values()
            if (offered := [file for file in release.files if file.filename not in refused])
            or not release.files
        }
    return msgspec.json.encode(body)


def _newest(releases: Collection[Release]) -> Release | None:
    """The release that an installer would take: one that is not yanked whole, no prerelease if it can be."""

    def is_offered(release: Release) -> bool:
        return any(file.yanked is None for file in release.files)

    def merit(release: Release) -> tuple[bool, Version]:
        version = _parsed(release.version)
        return not version.is_prerelease, version

    # Only those are parsed that it may be: that is most of the work.
    offered = [release for release in releases if is_offered(release)]
    candidates = offered or [release for release in releases if release.files] or releases
    return max(candidates, key=merit, default=None)


def _info(page: ProjectPage, release: Release | None) -> _Info:
    """What is known of the release that is shown, if there is one."""
    files = release.files if release else ()
    offered = [file for file in files if file.yanked is None]
    is_yanked = bool(files) and not offered
    return _Info(
        name=page.project,
        version=release.version if release else None,
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


def _parsed(version: str) -> Version:
    """The version, where PEP 440 knows none one that is older than all."""
    try:
        return Version(version)
    except InvalidVersion:
        return _NOTHING
