"""What is said of this service to Prometheus: counted where it happens, gathered here when asked for."""

import os
import time
from contextlib import suppress
from pathlib import Path

from flask import Response
from urllib3.exceptions import HTTPError

from decider.caches import decisions_folder
from decider.metrics import CONTENT_TYPE, count_noted, meters, render
from decider.run_files import INDEXES_SOCKET
from decider.services import Services
from decider.settings import Settings
from decider.unix_sockets import UnixPool

__all__ = ["count_index_answer", "metrics_page", "report"]

NGINX_TIMEOUT_S = 2.0
_FROM_CACHE = frozenset({"HIT", "STALE", "UPDATING"})
_AWAY = frozenset({"error", "timeout", "unavailable", "unreadable"})


def count_index_answer(index: str, outcome: str, cache: str, seconds: float) -> None:
    """Count an answer of an index, as index.asking observes it."""
    counted = meters()
    counted.index_answers.labels(index, outcome, cache or "none").inc()
    counted.index_seconds.labels(index, "cache" if cache in _FROM_CACHE else "index").observe(seconds)
    counted.index_away.labels(index).set(outcome in _AWAY or cache == "STALE")


def report(parts: Services) -> None:
    """Count what was noted, and state what is true now; called once a second, apart from any request."""
    count_noted()
    stated, keeper = meters(), parts.repositories.keeper
    store = parts.settings.store.partition(":")[0]
    stated.workers.set(1)
    stated.store_away.labels(store).set(keeper.is_degraded)
    if keeper.revision is not None:
        stated.revision.labels(store).set(keeper.revision)
        stated.confirmed_at.labels(store).set(time.time() - keeper.age_s)
    for kind, length in parts.repositories.writes.lengths.items():
        stated.pending.labels(kind).set(length)
    for place, folder in _places(parts.settings).items():
        with suppress(OSError):
            found = os.statvfs(folder)
            stated.disk_free.labels(place).set(found.f_bavail * found.f_frsize)


def _places(settings: Settings) -> dict[str, Path]:
    """What may run full, by the name that the metric has for it."""
    memory = decisions_folder(settings)
    places = {
        "data_dir": Path(settings.data_dir),
        "caches": Path(settings.cache_dir or settings.data_dir),
    }
    return places if memory is None else places | {"memory": memory.parent.parent}


def metrics_page(settings: Settings) -> Response:
    """Everything that the processes of this machine have counted, and what nginx says of itself."""
    response = Response(render(_stub_status(settings)), content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def _stub_status(settings: Settings) -> str | None:
    """What nginx says of its connections; None where it does not tell, as an nginx run by hand may not."""
    with suppress(HTTPError):
        nginx = UnixPool(Path(settings.data_dir) / INDEXES_SOCKET, connections=1)
        answer = nginx.request("GET", "/nginx", timeout=NGINX_TIMEOUT_S, retries=False)
        if answer.status == 200:
            return answer.data.decode("latin-1")
    return None
