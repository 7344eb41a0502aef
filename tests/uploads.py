"""Distribution files in memory, as an uploader would send them to an index or drop them into a folder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import distributions

__all__ = ["Distribution", "make_sdist", "make_wheel", "sha256"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """One file."""

    filename: str
    data: bytes
    metadata: bytes  #: the METADATA or PKG-INFO inside it

    @property
    def sha256(self) -> str:
        return sha256(self.data)


def sha256(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def make_wheel(
    name: str, version: str, *, requires: Sequence[str] = (), build: str | None = None, padding: int = 0
) -> Distribution:
    """An installable wheel, the same bytes every time; `padding` adds that many incompressible ones."""
    metadata = distributions.core_metadata(name, version, requires=requires, requires_python=">=3.8")
    blocks = (
        hashlib.sha256(f"{name} {version} {number}".encode()).digest() for number in range(padding // 32)
    )
    extra = {f"{name}.bin": b"".join(blocks)} if padding else None
    with TemporaryDirectory() as folder:
        path = distributions.make_wheel(
            Path(folder), name, version, metadata=metadata, build=build, extra_files=extra
        )
        return Distribution(path.name, path.read_bytes(), metadata)


def make_sdist(name: str, version: str) -> Distribution:
    """A source distribution that builds without network."""
    metadata = distributions.core_metadata(name, version, requires_python=">=3.8")
    with TemporaryDirectory() as folder:
        path = distributions.make_sdist(Path(folder), name, version, metadata=metadata)
        return Distribution(path.name, path.read_bytes(), metadata)
