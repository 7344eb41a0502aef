"""Records and log lines for tests of usage."""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from decider.files import FileIdentity
from decider.settings import Settings, UsageSettings
from decider.usage.clients import Clients
from decider.usage.columns import Row
from decider.usage.exposure import SeenJudge
from decider.usage.filters import UsageFilter
from decider.usage.lines import read_line, row_of
from decider.usage.reading import Usage
from decider.usage.staging import Place, Staging

__all__ = ["AT", "PIP", "UV", "judge", "make_line", "make_row", "seconds", "settings_of", "stage", "staged"]

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
PIP = (
    'pip/26.3 {"ci":true,"cpu":"x86_64","distro":{"id":"bookworm","name":"Debian GNU/Linux","version":"12"},'
    '"implementation":{"name":"CPython","version":"3.11.7"},"installer":{"name":"pip","version":"26.3"},'
    '"python":"3.11.7","setuptools_version":"65.5.0","system":{"name":"Linux","release":"6.1"}}'
)
UV = (
    'uv/0.13.9 {"installer":{"name":"uv","version":"0.13.9","subcommand":["pip","install"]},"python":"3.12.1",'
    '"implementation":{"name":"CPython","version":"3.12.1"},"distro":null,"system":{"name":"Darwin","release":"24"},'
    '"cpu":"arm64","openssl_version":null,"setuptools_version":null,"rustc_version":null,"ci":null}'
)


def make_line(
    *, filename: str = "demo-1.0-py3-none-any.whl", agent: str = PIP, second: float = 0, **fields: Any
) -> bytes:
    """A line as nginx writes it, with its end; `second` counts from AT."""
    said = {
        "at": AT.timestamp() + second,
        "asked": "file",
        "client": "192.0.2.7",
        "user": "",
        "repository": "default",
        "project": "demo",
        "method": "GET",
        "status": "200",
        "bytes": 1000,
        "cache": "HIT",
        "decided": f"version=1.0&sha256={'ab' * 32}&verdict=allow&index=public&uploaded=2026-11-01T00:00:00Z",
        **fields,
    }
    return json.dumps(said, separators=(",", ":")).encode() + f"\t{filename}\t{agent}\n".encode()


def make_row(**fields: Any) -> Row:
    """The row of such a line."""
    said = read_line(make_line(**fields).rstrip(b"\n"))
    assert said is not None
    row = row_of(said, Clients(None))
    assert row is not None
    return row


def judge(
    first_seen: Mapping[FileIdentity, datetime] | None = None, *, at: datetime = AT, index: str = "public"
) -> SeenJudge:
    """One at AT, by those first-seen times of the files of one index."""
    return SeenJudge(at=at, first_seen_of=lambda asked, _: (first_seen or {}) if asked == index else {})


def settings_of(data_dir: Path, **usage: Any) -> Settings:
    """Settings that name a data_dir, and little else."""
    (data_dir / "logs").mkdir(parents=True, exist_ok=True)
    (data_dir / "run").mkdir(exist_ok=True)
    return Settings(data_dir=str(data_dir), indexes=(), repositories=(), usage=UsageSettings(**usage))


def stage(data_dir: Path, rows: Iterable[Row], *, head: str = "a log") -> None:
    """Have the rows among the recent records of that data_dir."""
    folder = data_dir / "usage"
    folder.mkdir(exist_ok=True)
    staging = Staging(folder, is_writer=True)
    staging.add(list(rows), Place(head, staging.place(head) + 1))
    staging.close()


def seconds(settings: Settings) -> list[int]:
    """What was recorded, by the second of its line; sorted."""
    records = Usage(settings).export(UsageFilter(kind=None))
    return sorted(int((record.at - AT).total_seconds()) for record in records)


def staged(settings: Settings) -> int:
    """How many records wait to be sealed."""
    with closing(Staging(Path(settings.data_dir) / "usage")) as staging:
        return staging.waiting()[0]
