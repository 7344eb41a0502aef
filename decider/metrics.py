"""What is counted, for Prometheus: all processes of one machine together, at the price of a few writes to memory.

Each process has a *seat*: files in one folder, mapped into memory, that it alone writes and every process reads. A seat
that is left, however its process ended, is taken by the next one, which counts on from there: no number is lost, and
there are no more files than there are processes at a time. Without a folder each process counts for itself.
https://prometheus.github.io/client_python/multiprocess/

(!) Labels are names from the settings and words of ours: a client that could make them up could fill the memory.
"""

import fcntl
import logging
import os
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

__all__ = [
    "CONTENT_TYPE",
    "FOLDER",
    "Meters",
    "clear_seats",
    "count_noted",
    "meters",
    "note_decision",
    "render",
    "take_seat",
    "touch_egress",
]

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = "run/metrics"  #: below data_dir
_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by the library whenever it opens a file
_MB = 1024 * 1024
# The library's files, one for each type and each way of putting gauges together; some 250 bytes a series.
_FILES = {"counter": _MB, "histogram": _MB} | dict.fromkeys(
    ("gauge_livemin", "gauge_livemax", "gauge_livesum", "gauge_livemostrecent"), _MB // 16
)
_DECISION_S = (0.0005, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10, 30)
_INDEX_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FETCH_S = (*_INDEX_S, 120)  # the largest files take minutes


# https://nginx.org/en/docs/http/ngx_http_stub_status_module.html, in the order of its page.
_NGINX = """\
# HELP decider_nginx_connections Connections of clients to nginx now.
# TYPE decider_nginx_connections gauge
decider_nginx_connections{{state="active"}} {0}
decider_nginx_connections{{state="reading"}} {4}
decider_nginx_connections{{state="writing"}} {5}
decider_nginx_connections{{state="waiting"}} {6}
# HELP decider_nginx_connections_accepted_total Connections that clients have opened.
# TYPE decider_nginx_connections_accepted_total counter
decider_nginx_connections_accepted_total {1}
# HELP decider_nginx_connections_dropped_total Connections that nginx had no room for (worker_connections).
# TYPE decider_nginx_connections_dropped_total counter
decider_nginx_connections_dropped_total {dropped}
# HELP decider_nginx_requests_total Requests, those of the decider for indexes included.
# TYPE decider_nginx_requests_total counter
decider_nginx_requests_total {3}
"""


class Meters:
    """Everything that one process counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.decisions = Counter(
            "decider_decisions",
            "Decisions made by the decider; those that nginx still knew are in decider_responses only.",
            ("kind", "verdict"),
            registry=registry,
        )
        self.decision_seconds = Histogram(
            "decider_decision_seconds",
            "Time to decide, waiting for indexes included.",
            ("kind",),
            buckets=_DECISION_S,
            registry=registry,
        )
        self.pages = Counter(
            "decider_pages_rendered",
            "Pages written, each for nginx to keep.",
            ("kind", "media_type"),
            registry=registry,
        )
        self.index_answers = Counter(
            "decider_index_answers",
            "Answers to questions for index pages; cache is nginx's word for where it had them from.",
            ("index", "outcome", "cache"),
            registry=registry,
        )
        self.index_seconds = Histogram(
            "decider_index_answer_seconds",
            "Time to get an answer: from the index itself, or from nginx's cache of it.",
            ("index", "source"),
            buckets=_INDEX_S,
            registry=registry,
        )
        self.fetch_seconds = Histogram(
            "decider_file_fetch_seconds",
            "Time in which an index gave a file that nginx did not have, redirects included; status is the client's.",
            ("index", "status"),
            buckets=_FETCH_S,
            registry=registry,
        )
        self.fetches = Counter(
            "decider_egress_fetches",
            "What the fetcher was asked for, by what came of it.",
            ("kind", "outcome"),
            registry=registry,
        )
        self.egress_seconds = Histogram(
            "decider_egress_seconds",
            "Time in which the fetcher got it, or failed.",
            ("kind",),
            buckets=_FETCH_S,
            registry=registry,
        )
        self.digest_mismatches = Counter(
            "decider_digest_mismatch",
            "Files that were not what the index's page says; none of them was given whole.",
            ("index",),
            registry=registry,
        )
        self.responses = Counter(
            "decider_responses",
            "Answers to clients, as nginx logged them; cache is none where no cache was asked.",
            ("kind", "status", "cache"),
            registry=registry,
        )
        self.response_bytes = Counter(
            "decider_response_bytes", "Bytes of bodies sent to clients.", ("kind",), registry=registry
        )
        self.revision = Gauge(
            "decider_rules_revision",
            "Revision of the rules that decisions are made by; the lowest of all processes.",
            ("store",),
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.confirmed_at = Gauge(
            "decider_rules_confirmed_timestamp_seconds",
            "When the store last said which rules are in force; the earliest of all processes.",
            ("store",),
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.workers = Gauge(
            "decider_workers", "Processes that decide.", registry=registry, multiprocess_mode="livesum"
        )
        self.store_away = Gauge(
            "decider_store_away",
            "1 while a process decides by its last rules because the store cannot be asked.",
            ("store",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.index_away = Gauge(
            "decider_index_away",
            "1 where the last question to an index had to be answered without it, or could not be answered.",
            ("index",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.disk_free = Gauge(
            "decider_disk_free_bytes",
            "Room where the database and logs (data_dir), the caches and the decisions (memory) are.",
            ("place",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.pending = Gauge(
            "decider_pending_writes",
            "Writes that decisions have caused and that the store has not taken yet.",
            ("kind",),
            registry=registry,
            multiprocess_mode="livesum",
        )


class _Seat:
    """The place of this process among those that count in one folder; given up when the process ends."""

    def __init__(self, folder: Path, role: str) -> None:
        self.folder = folder
        self.name, self._lock = _free_seat(folder, role)
        # What a gauge said of the process before is true no more; what it counted stays counted.
        mark_process_dead(self.name, str(folder))
        for prefix, size in _FILES.items():
            _reserve(folder / f"{prefix}_{self.name}.db", size)


def _free_seat(folder: Path, role: str) -> tuple[str, IO[str]]:
    """The first seat that nobody has, with the lock that keeps others away."""
    number = 0
    while True:
        name = f"{role}-{number}"
        lock = (folder / f"{name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            number += 1
        else:
            return name, lock


def _reserve(file: Path, size: int) -> None:
    """Make the file, all of it on disk; raise OSError where there is no room.

    (!) Writing to memory that stands for a hole in a file ends the process (SIGBUS) once the disk is full.
    """
    if file.exists():
        return
    fresh = file.with_suffix(".new")  # nobody reads half a file
    try:
        with fresh.open("wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, size)
        fresh.replace(file)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


_meters = Meters()
_seat: _Seat | None = None
# (!) Some ten microseconds of counting are left for a thread that nobody waits for: only an append is in the way of a
# decision. Where that thread cannot keep up the oldest go uncounted, not the memory.
_noted: deque[tuple[str, str, float]] = deque(maxlen=100_000)


def note_decision(kind: str, verdict: str, seconds: float) -> None:
    """Have a decision counted by the next `count_noted`."""
    _noted.append((kind, verdict, seconds))


def count_noted() -> None:
    """Count the decisions that were noted."""
    for _ in range(len(_noted)):
        try:
            kind, verdict, seconds = _noted.popleft()
        except IndexError:
            return  # another thread does the same
        _meters.decisions.labels(kind, verdict).inc()
        _meters.decision_seconds.labels(kind).observe(seconds)


def meters() -> Meters:
    """What this process counts with now."""
    return _meters


def clear_seats(folder: Path, role: str) -> None:
    """Forget what processes of that role counted; for whoever starts them, before it does."""
    for file in [*folder.glob(f"*_{role}-*.db"), *folder.glob(f"{role}-*.lock")]:
        file.unlink(missing_ok=True)


def take_seat(folder: Path, role: str) -> None:
    """Count together with all processes that have a seat in `folder`, from now on; alone where there is no room.

    `role` tells apart processes that start and are cleared separately; lower-case letters.
    """
    global _meters, _seat  # noqa: PLW0603 (one process, one seat, before its threads start)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _seat = _Seat(folder.resolve(), role)
    except OSError as error:
        log.warning("metrics.alone", extra={"folder": str(folder), "cause": str(error)})
        return
    os.environ[_FOLDER_VARIABLE] = str(_seat.folder)
    name = _seat.name
    values.ValueClass = values.MultiProcessValue(lambda: name)
    _meters = Meters()


def touch_egress(indexes: Iterable[str]) -> None:
    """Have the fetcher's numbers there, and their files open, before it leaves root."""
    for index in indexes:
        _meters.digest_mismatches.labels(index)
    for kind in ("file", "page", "part", "event"):
        _meters.egress_seconds.labels(kind)
        _meters.fetches.labels(kind, "away")


def render(stub_status: str | None = None) -> bytes:
    """The text that Prometheus reads, of all processes with a seat; `stub_status`: what nginx says of itself."""
    count_noted()
    if _seat is None:
        text = generate_latest(_meters.registry)
    else:
        _bury_the_dead(_seat)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(_seat.folder))
        text = generate_latest(registry)
    return text + (b"" if stub_status is None else _of_nginx(stub_status))


def _bury_the_dead(seat: _Seat) -> None:
    """Take away what gauges say of processes that are gone."""
    for file in seat.folder.glob("*.lock"):
        if file.stem == seat.name:
            continue
        with file.open("a") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            mark_process_dead(file.stem, str(seat.folder))


def _of_nginx(stub_status: str) -> bytes:
    """Its seven numbers by name; nothing where there are not seven."""
    numbers = [int(number) for number in re.findall(r"\d+", stub_status)]
    if len(numbers) != 7:
        return b""
    return _NGINX.format(*numbers, dropped=numbers[1] - numbers[2]).encode()
