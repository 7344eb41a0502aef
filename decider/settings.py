"""Where things are: one TOML file and the environment, read once into frozen values.

Every fault is reported at once, by key. What is allowed belongs to rules, not here.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

__all__ = ["IndexSettings", "RepositorySettings", "Settings", "load_settings"]


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One index."""

    name: str
    path: str | None = None  #: absolute; a directory of distributions; None for a remote index
    url: str | None = None  #: remote: simple API base, ends in "/", without credentials
    file_hosts: tuple[str, ...] = ()  #: "host" or "host:port"; (): any https DNS name that the index points to
    page_ttl_s: int = 600
    stale_if_error_s: int = 7 * 86_400
    internal: bool = False  #: a remote index of our own

    @property
    def is_local(self) -> bool:
        """Whether it is a directory."""
        return self.path is not None

    @property
    def is_internal(self) -> bool:
        """Whether it claims its names."""
        return self.is_local or self.internal


class RepositorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a client points at."""

    name: str
    indexes: tuple[str, ...]  #: priority order
    hide_refused: bool = False  #: refused files leave the page instead of being listed as yanked


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decider.toml says."""

    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    internal_host: str = "127.0.0.1"
    internal_port: int = 8081
    data_dir: str  #: absolute
    store: str = "sqlite"
    workers: int = 2
    grace_s: int = 300
    max_policy_age_s: int = 3600
    public_url: str | None = None
    indexes: tuple[IndexSettings, ...]
    repositories: tuple[RepositorySettings, ...]
    config_file: str | None = None  #: absolute; None: no file, defaults and environment


def load_settings(file: Path | None, *, environ: Mapping[str, str], cwd: Path, cpu_count: int) -> Settings:
    """The settings that the file and the environment give; raise InvalidSettings with every fault, by key."""
    raise NotImplementedError
