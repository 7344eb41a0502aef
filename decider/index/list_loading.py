"""Loads the project list of a remote index and keeps its names in a file; runs as a child: `python -m` this module.

The list is read with the same limits as pages. Keeping it up to date may not be added here.
"""

from pathlib import Path

import msgspec

from decider.children import run_child, serve_job
from decider.errors import (
    ChildFailed,
    IndexError_,
    IndexMisbehaved,
    IndexTimeout,
    IndexUnavailable,
    UnreadablePage,
)
from decider.index.asking import FETCH_DEADLINE_S, IndexAsker
from decider.index.project_names import write_names
from decider.pages import parse_projects
from decider.settings import IndexSettings

__all__ = ["ListJob", "LoadedList", "load_list"]

MAX_MEMORY = 1024 * 2**20  #: bytes of address space; a million names take a third of it
PARSE_WITHIN_S = 30.0


class ListJob(msgspec.Struct, frozen=True, kw_only=True):
    """Whose list to load, and where to keep the names."""

    index: IndexSettings
    socket: str  #: absolute; where nginx listens for the decider
    folder: str  #: absolute


class LoadedList(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    digest: str = ""  #: of the names' file
    is_stale: bool = False  #: the index is away: nginx has had it before
    failure: str = ""  #: class of the error that there is instead
    detail: str = ""


_FAILURES: dict[str, type[IndexError_]] = {
    kind.__name__: kind for kind in (IndexUnavailable, IndexMisbehaved, IndexTimeout, UnreadablePage)
}


def load_list(job: ListJob) -> LoadedList:
    """Load it in a child; raise IndexUnavailable, IndexTimeout or UnreadablePage."""
    name = job.index.name
    # The child asks nginx: only the fetcher needs them.
    index = msgspec.structs.replace(job.index, credentials=None, proxy=None)
    job = msgspec.structs.replace(job, index=index)
    try:
        loaded = run_child(__name__, job, LoadedList, timeout_s=FETCH_DEADLINE_S + PARSE_WITHIN_S)
    except ChildFailed as error:
        raise IndexUnavailable(name, f"its project list could not be loaded: {error}") from error
    if loaded.failure:
        raise _FAILURES[loaded.failure](name, loaded.detail)
    return loaded


def _load(job: ListJob) -> LoadedList:
    try:
        return _load_names(job)
    except UnreadablePage as error:
        return LoadedList(failure=UnreadablePage.__name__, detail=error.reason)
    except (IndexUnavailable, IndexTimeout) as error:
        return LoadedList(failure=type(error).__name__, detail=error.detail)
    except MemoryError:
        return LoadedList(failure=UnreadablePage.__name__, detail="its project list is too large")


def _load_names(job: ListJob) -> LoadedList:
    answer = IndexAsker(job.index, socket=Path(job.socket), connections=1).get("")
    if answer.status != 200:
        raise IndexUnavailable(job.index.name, f"its project list answered {answer.status}")
    names = parse_projects(answer.body, content_type=answer.content_type, index=job.index.name)
    digest = write_names(Path(job.folder), names)
    return LoadedList(digest=digest, is_stale=answer.cache_status == "STALE")


if __name__ == "__main__":
    serve_job(ListJob, _load, max_memory=MAX_MEMORY)
