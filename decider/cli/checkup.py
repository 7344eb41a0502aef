"""`decider check`: each part looked at the way that running would use it."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from decider.data_dir import prepare_data_dir
from decider.errors import DeciderError
from decider.index.local import COPIED, LocalIndex
from decider.index.remote import RemoteIndex
from decider.nginx_config import render_nginx_config
from decider.nginx_program import nginx_fault
from decider.services import Services, build
from decider.settings import Settings
from decider.worker_user import WorkerUser, worker_user

__all__ = ["Finding", "checkup"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found."""

    part: str
    level: Literal["ok", "warning", "error"]
    detail: str

    def as_dict(self) -> dict[str, str]:
        """For --json."""
        return asdict(self)


def checkup(settings: Settings) -> list[Finding]:
    """All findings, in the order in which a start would meet them."""
    findings = [Finding("settings", "ok", settings.config_file or "defaults and environment")]
    try:
        user = worker_user()
        data_dir = prepare_data_dir(settings, user)
        findings.append(_check_nginx(settings, data_dir, user))
        parts = build(settings)
    except DeciderError as error:
        return [*findings, Finding("start", "error", str(error))]
    try:
        findings += _check_store(parts)
        findings += _check_indexes(parts, user)
    finally:
        parts.store.close()
    return findings


def _check_nginx(settings: Settings, data_dir: Path, user: WorkerUser | None) -> Finding:
    text = render_nginx_config(settings, prefix="", user=user)
    with tempfile.NamedTemporaryFile("w", dir=data_dir / "run", suffix=".conf") as trial:
        trial.write(text)
        trial.flush()
        fault = nginx_fault(data_dir, f"run/{Path(trial.name).name}")
    return Finding("nginx", "error", fault) if fault else Finding("nginx", "ok", "accepts its configuration")


def _check_store(parts: Services) -> Iterator[Finding]:
    try:
        parts.store.ping()
        yield Finding("store", "ok", f"revision {parts.store.revision()}")
        fault = parts.store.durability_fault()
        if fault is not None:
            yield Finding("store", "warning", fault)
    except DeciderError as error:
        yield Finding("store", "error", str(error))


def _check_indexes(parts: Services, user: WorkerUser | None) -> Iterator[Finding]:
    any_host = {one.name for one in parts.settings.indexes if one.url is not None and not one.file_hosts}
    for name, index in parts.repositories.indexes.items():
        part = f"index {name}"
        if isinstance(index, LocalIndex):
            yield from _check_local(part, index, user, parts)
        elif isinstance(index, RemoteIndex):
            try:
                index.ping(timeout_s=5.0)
                yield Finding(part, "ok", "answers")
            except DeciderError as error:
                yield Finding(
                    part,
                    "warning",
                    f"{error} (it is asked through nginx and the fetcher: does `decider up` run?)",
                )
            if name in any_host:
                yield Finding(
                    part,
                    "ok",
                    "files may come from any https name that its pages give; `file_hosts` narrows it",
                )


def _check_local(part: str, index: LocalIndex, user: WorkerUser | None, parts: Services) -> Iterator[Finding]:
    root = next(Path(one.path or "") for one in parts.settings.indexes if one.name == index.name)
    try:
        projects = index.fetch_projects()
    except DeciderError as error:
        yield Finding(part, "error", f"{error} ({root})")
        return
    yield Finding(part, "ok", f"{len(projects)} projects")
    if user is not None and not user.can_read(root):
        detail = f"nginx's user {user.name} cannot read {root}: its files are copied into data_dir and served from there"
        yield Finding(part, "warning", detail)
    else:
        for path in index.copied():
            yield Finding(part, "warning", f"{path}: {COPIED}")
    for fault in index.faults():
        yield Finding(part, "warning", f"{fault.path}: {fault.why}")
