"""The index that a run is measured against: pages and files as they stand on disk, for a static nginx to serve.

Recorded once from the index that pip uses here, and kept; or made up, for a run that only checks that it works.
"""

import gzip
import html
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from decider.pip_config import pip_index, pip_setting
from tests.uploads import make_wheel, sha256

__all__ = ["BENCH_FILES", "LARGE_FILE", "SMALL_FILE", "Recording", "make_up", "record"]

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SIZES = {"small": "six", "medium": "requests", "large": "boto3"}

BENCH_FILES = "bench-files"  #: the project whose two made-up wheels are downloaded
SMALL_FILE = "bench_files-1.0-py3-none-any.whl"
LARGE_FILE = "bench_files-2.0-py3-none-any.whl"
_SMALL_BYTES, _LARGE_BYTES = 60_000, 60_000_000


@dataclass(frozen=True, slots=True)
class Recording:
    """An index on disk: simple/<project>/index.json and .html, files/<project>/<filename>, each page gzipped too."""

    folder: Path
    requirements: tuple[str, ...]  #: pinned, all that an installation of them needs
    sizes: Mapping[str, str]  #: small, medium, large: a project whose page is that

    @property
    def projects(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "simple").iterdir() if path.is_dir())

    def files(self, project: str) -> list[str]:
        """Names of those files whose bytes are here."""
        folder = self.folder / "files" / project
        return sorted(p.name for p in folder.glob("*") if p.suffix != ".metadata")


def record(cache: Path) -> Recording:
    """The recording in `cache`; made from the index that pip uses where there is none yet."""
    pins = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    python = f"{sys.implementation.name}{sys.version_info.major}{sys.version_info.minor}"
    folder = cache / f"index-{sha256(' '.join(pins).encode())[:8]}-{python}"
    if not folder.is_dir():
        fresh = folder.with_suffix(".part")
        shutil.rmtree(fresh, ignore_errors=True)
        _record_into(fresh, pins)
        fresh.rename(folder)
    return Recording(folder, tuple(pins), SIZES)


def _record_into(folder: Path, pins: Sequence[str]) -> None:
    base = pip_index(os.environ)
    certificates = pip_setting("cert", os.environ)
    with requests.Session() as session:
        session.verify = certificates.value if certificates else True
        for pin in pins:
            requirement = Requirement(pin)
            project = canonicalize_name(requirement.name)
            print(f"recording {project}", file=sys.stderr)
            address = f"{base}{project}/"
            answer = session.get(address, headers={"Accept": JSON_TYPE}, timeout=60)
            answer.raise_for_status()
            page = answer.json()
            wanted = _best_file(page, requirement)
            url = requests.compat.urljoin(answer.url, wanted["url"])
            _keep(folder, project, wanted["filename"], _download(session, url))
            if wanted.get("core-metadata"):
                metadata = _download(session, f"{url}.metadata")
                _keep(folder, project, f"{wanted['filename']}.metadata", metadata)
            _keep_page(folder, project, page)
    _add_bench_files(folder, _LARGE_BYTES)
    _keep_list(folder)


def _download(session: requests.Session, url: str) -> bytes:
    answer = session.get(url, timeout=120)
    answer.raise_for_status()
    return answer.content


def _best_file(page: Mapping[str, Any], requirement: Requirement) -> dict[str, Any]:
    """The wheel of that version which this interpreter likes best."""
    rank = {tag: number for number, tag in enumerate(sys_tags())}
    found: list[tuple[int, dict[str, Any]]] = []
    for file in page["files"]:
        try:
            _, version, _, tags = parse_wheel_filename(file["filename"])
        except InvalidWheelFilename:
            continue
        if version in requirement.specifier and (ranks := [rank[tag] for tag in tags if tag in rank]):
            found.append((min(ranks), file))
    if not found:
        raise SystemExit(f"{requirement}: the index has no wheel of it for this Python")
    return min(found, key=lambda pair: pair[0])[1]


def make_up(folder: Path, *, large_files: int = 4_000) -> Recording:
    """A small index of projects that do not exist."""
    for size, files in (("small", 6), ("medium", 150), ("large", large_files)):
        project = f"{size}-page"
        wheel = make_wheel(project, "1.0")
        entries = [_entry(wheel.filename, wheel.data)]
        _keep(folder, project, wheel.filename, wheel.data)
        for number in range(1, files):
            filename = f"{size}_page-0.{number}-py3-none-any.whl"
            entries.append(_entry(filename, filename.encode()))
        _keep_page(folder, project, _page(project, entries))
    _add_bench_files(folder, _SMALL_BYTES)
    _keep_list(folder)
    sizes = {size: f"{size}-page" for size in SIZES}
    return Recording(folder, tuple(f"{project}==1.0" for project in sizes.values()), sizes)


def _entry(filename: str, data: bytes) -> dict[str, Any]:
    return {
        "filename": filename,
        "url": filename,
        "hashes": {"sha256": sha256(data)},
        "requires-python": ">=3.8",
        "size": len(data),
        "upload-time": "2024-05-06T07:08:09.101112Z",
        "yanked": False,
    }


def _page(project: str, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    versions = list(dict.fromkeys(entry["filename"].split("-")[1] for entry in entries))
    return {"meta": {"api-version": "1.1"}, "name": project, "versions": versions, "files": list(entries)}


def _add_bench_files(folder: Path, large_bytes: int) -> None:
    entries = []
    for version, size in (("1.0", _SMALL_BYTES), ("2.0", large_bytes)):
        wheel = make_wheel(BENCH_FILES, version, padding=size)
        _keep(folder, BENCH_FILES, wheel.filename, wheel.data)
        entries.append(_entry(wheel.filename, wheel.data))
    _keep_page(folder, BENCH_FILES, _page(BENCH_FILES, entries))


def _keep(folder: Path, project: str, filename: str, data: bytes) -> None:
    path = folder / "files" / project / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _keep_page(folder: Path, project: str, page: Mapping[str, Any]) -> None:
    """The page in both formats, with the files beside it: `../../files/…`."""
    files = [{**file, "url": f"../../files/{project}/{file['filename']}"} for file in page["files"]]
    document = {**page, "files": files}
    _write_both(folder / "simple" / project, document, (_anchor(file) for file in files))


def _anchor(file: Mapping[str, Any]) -> str:
    digest = file["hashes"].get("sha256", "")
    attributes = ""
    if file.get("requires-python"):
        attributes += f' data-requires-python="{html.escape(file["requires-python"])}"'
    if file.get("yanked"):
        attributes += f' data-yanked="{html.escape(str(file["yanked"]))}"'
    return f'<a href="{file["url"]}#sha256={digest}"{attributes}>{file["filename"]}</a><br/>'


def _keep_list(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "simple").iterdir())
    document = {"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in names]}
    _write_both(folder / "simple", document, (f'<a href="{name}/">{name}</a>' for name in names))


def _write_both(folder: Path, document: Mapping[str, Any], anchors: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(anchors)
    texts = {
        "index.json": json.dumps(document, separators=(",", ":")),
        "index.html": f"<!DOCTYPE html>\n<html><head><title>links</title></head><body>\n{lines}\n</body></html>\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
