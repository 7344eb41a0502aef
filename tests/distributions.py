"""Small real wheels and sdists for tests: valid enough for pip and uv to resolve, build and install."""

import base64
import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["core_metadata", "make_sdist", "make_wheel", "set_age"]

_ZIP_TIME = (2020, 1, 1, 0, 0, 0)  # fixed, so that equal input gives equal bytes
_BACKEND = '''\
"""A build backend in one file, so that building needs neither network nor dependencies."""

import base64
import hashlib
import zipfile
from pathlib import Path

STEM, INFO, MODULE = {stem!r}, {info!r}, {module!r}


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, INFO)
    folder.mkdir()
    for name, data in _info_files().items():
        Path(metadata_directory, name).write_bytes(data)
    return INFO


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    filename = STEM + "-py3-none-any.whl"
    files = {{MODULE: Path(MODULE).read_bytes(), **_info_files()}}
    record = ""
    with zipfile.ZipFile(Path(wheel_directory, filename), "w") as wheel:
        for name, data in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{{name}},sha256={{digest}},{{len(data)}}\\n"
            wheel.writestr(name, data)
        wheel.writestr(INFO + "/RECORD", record + INFO + "/RECORD,,\\n")
    return filename


def _info_files():
    return {{
        INFO + "/METADATA": Path("PKG-INFO").read_bytes(),
        INFO + "/WHEEL": b"Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
'''


def core_metadata(
    name: str, version: str, *, requires: Sequence[str] = (), requires_python: str | None = None
) -> bytes:
    """A METADATA or PKG-INFO file of Metadata-Version 2.2."""
    lines = ["Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}", f"Summary: {name} for tests"]
    if requires_python is not None:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return ("\n".join(lines) + "\n").encode()


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    requires_python: str | None = None,
    extra_files: Mapping[str, str | bytes] | None = None,
    build: str | None = None,
    metadata: bytes | None = None,
) -> Path:
    """A pure wheel in `folder`, made if need be, with one module named after the project; replaced if there.

    `extra_files` maps paths inside the wheel to contents; `metadata` replaces the METADATA file's bytes.
    """
    stem = f"{_escaped(name)}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{_module(name)}.py": f"__version__ = {version!r}\n".encode(),
        **{path: _bytes(content) for path, content in (extra_files or {}).items()},
        f"{info}/METADATA": metadata
        if metadata is not None
        else core_metadata(name, version, requires=requires, requires_python=requires_python),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    tag = f"-{build}" if build else ""
    return _write(folder / f"{stem}{tag}-py3-none-any.whl", _zip(files))


def make_sdist(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    requires_python: str | None = None,
    extra_files: Mapping[str, str | bytes] | None = None,
    metadata: bytes | None = None,
    filename: str | None = None,
) -> Path:
    """An sdist in `folder`, made if need be, that builds without network; replaced if there.

    `extra_files` maps paths below the sdist's top folder to contents; `metadata` replaces PKG-INFO's bytes;
    `filename` the file's name, whose suffix `.tar.gz` or `.zip` says what is written.
    """
    stem = f"{_escaped(name)}-{version}"
    module = f"{_module(name)}.py"
    backend = _BACKEND.format(stem=stem, info=f"{stem}.dist-info", module=module)
    contents = {
        "PKG-INFO": metadata
        if metadata is not None
        else core_metadata(name, version, requires=requires, requires_python=requires_python),
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend.encode(),
        module: f"__version__ = {version!r}\n".encode(),
        **{path: _bytes(content) for path, content in (extra_files or {}).items()},
    }
    files = {f"{stem}/{path}": content for path, content in contents.items()}
    target = folder / (filename or f"{stem}.tar.gz")
    return _write(target, _zip(files) if target.name.endswith(".zip") else _tar_gz(files))


def set_age(path: Path, age_s: float, *, now: float) -> Path:
    """`path`, whose modification time now lies `age_s` seconds before `now` (seconds since the epoch)."""
    os.utime(path, (now - age_s, now - age_s))
    return path


def _escaped(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _module(name: str) -> str:
    escaped = _escaped(name)
    return escaped if escaped.isidentifier() else f"_{escaped}"


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    lines = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    return ("\n".join([*lines, f"{own},,"]) + "\n").encode()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, _ZIP_TIME), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _tar_gz(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _write(target: Path, content: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target
