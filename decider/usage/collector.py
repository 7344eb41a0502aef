"""The collector: follows nginx's usage log into the recent records, and has those kept as they should be.

Runs beside nginx, at the lowest priority: the log on disk waits, requests do not. It may be killed at any moment.
"""

import fcntl
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from decider.errors import UsageUnavailable
from decider.metrics import meters
from decider.settings import Settings
from decider.usage.columns import Row
from decider.usage.following import LOG, Log, logs_in, nginx_pid, reopen, turn_over
from decider.usage.keeping import Keeper
from decider.usage.lines import Line, fetch_of, read_line, row_of
from decider.usage.reading import clients_of, local_folder, parts_folder
from decider.usage.staging import Place, Staging

__all__ = ["Collector"]

log = logging.getLogger(__name__)

POLL_S = 0.5
AGAIN_S = 5.0  #: after a failure
TURN_BYTES = 64 * 1024 * 1024
TURN_S = 3_600.0
TURN_PSEUDONYMISED_S = (
    60.0  #: nginx writes addresses: where they are not wanted they do not lie there for long
)
SEAL_ROWS = 50_000
SEAL_AFTER = timedelta(hours=1)
SEAL_SHARED_AFTER = timedelta(minutes=1)  #: other nodes see only what is sealed
TEND_S = 30.0
EXPIRE_S = 3_600.0


def _count(lines: Sequence[Line]) -> None:
    """Count them for Prometheus."""
    found: Counter[tuple[str, str, str]] = Counter()
    sent: Counter[str] = Counter()
    for line in lines:
        found[line.asked, line.status, line.cache or "none"] += 1
        sent[line.asked] += line.bytes
        if (fetch := fetch_of(line)) is not None:
            meters().fetch_seconds.labels(fetch.index, fetch.status).observe(fetch.seconds)
    for labels, number in found.items():
        meters().responses.labels(*labels).inc(number)
    for asked, size in sent.items():
        meters().response_bytes.labels(asked).inc(size)


class Stopping(Protocol):
    """What tells the collector to stop: a threading.Event, or signals."""

    def is_set(self) -> bool:
        """Whether to stop now."""

    def wait(self, timeout: float | None = None) -> bool:
        """As is_set, waiting for so many seconds."""


class Collector:
    """Collects on one machine; `run` does so until told to stop."""

    def __init__(self, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        """Prepare the folders; raise UsageUnavailable."""
        self._clock = clock
        self._logs = Path(settings.data_dir) / "logs"
        self._pid_file = Path(settings.data_dir) / "run" / "nginx.pid"
        self._local = local_folder(settings)
        try:
            self._local.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clients = clients_of(settings)
        except OSError as error:
            raise UsageUnavailable(f"{self._local}: {error}") from error
        self._turn_s = TURN_PSEUDONYMISED_S if settings.usage.pseudonymise else TURN_S
        self._seal_after = SEAL_SHARED_AFTER if settings.usage.folder else SEAL_AFTER
        self._keeper = Keeper(
            self._local,
            parts_folder(settings),
            retention_days=settings.usage.retention_days,
            max_size=settings.usage.max_size,
        )
        self._staging = Staging(self._local, is_writer=True)
        self._open: dict[tuple[int, int], Log] = {}
        self._turned_at = time.monotonic()
        self._tend_at = 0.0
        self._expire_at = time.monotonic() + TEND_S
        self._keeping: threading.Thread | None = None

    def close(self) -> None:
        """Let go of everything; the keeping that is under way ends with the process."""
        for one in self._open.values():
            one.close()
        self._open.clear()
        self._staging.close()

    def run(self, stopping: Stopping) -> None:
        """Collect until `stopping` is set, and then what is there; alone on this machine."""
        with self._alone(stopping) as is_alone:
            while is_alone and not stopping.is_set():
                try:
                    count = self.collect()
                    if time.monotonic() >= self._tend_at:
                        self._tend_at = time.monotonic() + TEND_S
                        self.tend()
                    if not count:
                        stopping.wait(POLL_S)
                except (UsageUnavailable, OSError) as error:
                    log.error("usage.delayed", extra={"cause": str(error)})  # noqa: TRY400 (a full disk, no fault)
                    stopping.wait(AGAIN_S)
            if is_alone:
                self.collect()

    def collect(self) -> int:
        """Take over what nginx has written since; how many lines. Raise UsageUnavailable or OSError."""
        self._find_logs()
        return sum(self._collect_from(one) for one in list(self._open.values()))

    def tend(self) -> None:
        """Turn the log over where it is time, remove logs that were read to their end, start keeping where it is due."""
        self._remove_finished()
        self._turn_over()
        self._staging.forget_places(but=[one.head for one in self._open.values() if one.head])
        if self._keeping is not None and self._keeping.is_alive():
            return
        if self._is_sealing_due():
            self._keep(self._keeper.keep)
        elif time.monotonic() >= self._expire_at:
            # Where nobody asks for anything, time is over all the same.
            self._keep(self._keeper.expire)

    # -- From the log to the recent records

    def _find_logs(self) -> None:
        """Open logs that are new here; let go of those that are gone, or were cut short under us."""
        found = {}
        for path in logs_in(self._logs):
            try:
                one = Log(path)
            except FileNotFoundError:
                continue  # turned over, or removed, between the two looks
            known = self._open.get(one.inode)
            if known is not None and known.size >= self._place(known) and not known.is_begun_anew():
                one.close()
                known.path = path
                one = known
            found[one.inode] = one
        for inode, one in self._open.items():
            if found.get(inode) is not one:
                one.close()
        self._open = found

    def _collect_from(self, one: Log) -> int:
        count = 0
        while True:
            place = self._place(one)
            if one.head is None or one.size <= place:
                return count
            chunk = one.read(place)
            if chunk.position == place:
                return count
            read, rows, unreadable = self._read(chunk.lines)
            self._staging.add(rows, Place(one.head, chunk.position), unreadable=unreadable)
            if unreadable:
                log.warning("usage.unreadable", extra={"log": one.path.name, "lines": unreadable})
            _count(read)
            count += len(chunk.lines)

    def _read(self, lines: Sequence[bytes]) -> tuple[list[Line], list[Row], int]:
        """What the lines say, the rows that they make, and how many cannot be read."""
        read: list[Line] = []
        rows: list[Row] = []
        fault: Exception | None = None
        for line in lines:
            try:
                said = read_line(line)
                row = None if said is None else row_of(said, self._clients)
            except Exception as error:  # noqa: BLE001 (one line must not keep all that follow from being read)
                fault = error
                continue
            if said is not None:
                read.append(said)
            if row is not None:
                rows.append(row)
        if fault is not None:  # one of them: clients write what makes a line
            log.error("usage.line_failed", exc_info=fault)
        return read, rows, len(lines) - len(read)

    def _place(self, one: Log) -> int:
        return 0 if one.head is None else self._staging.place(one.head)

    # -- Logs that are over

    def _remove_finished(self) -> None:
        for inode, one in list(self._open.items()):
            is_turned = one.path.name != LOG
            # In this order: what is written before nobody writes any more has been read, or is read the next time.
            if is_turned and one.is_finished() and one.size <= self._unread_from(one):
                one.path.unlink(missing_ok=True)
                del self._open[inode]
                one.close()

    def _unread_from(self, one: Log) -> int:
        """Where lines that are still to be read begin; a last line without its end is none."""
        place = self._place(one)
        return one.size if one.read(place).position == place else place

    def _turn_over(self) -> None:
        pid = nginx_pid(self._pid_file)
        if pid is None:
            return
        present = next((one for one in self._open.values() if one.path.name == LOG), None)
        if present is None:
            if self._open:
                reopen(pid)  # killed between the two steps, we left it without
            return
        is_old = time.monotonic() - self._turned_at >= self._turn_s
        if present.size >= TURN_BYTES or (is_old and present.size):
            turn_over(self._logs, pid)
            self._turned_at = time.monotonic()

    # -- Keeping

    def _is_sealing_due(self) -> bool:
        count, oldest = self._staging.waiting()
        return count >= SEAL_ROWS or (oldest is not None and self._clock() - oldest >= self._seal_after)

    def _keep(self, step: Callable[[datetime], None]) -> None:
        """Have that step of keeping done beside the collecting."""

        def run() -> None:
            try:
                step(self._clock())
            except UsageUnavailable as error:
                log.error("usage.keeping_delayed", extra={"cause": str(error)})  # noqa: TRY400 (its cause is told)

        self._expire_at = time.monotonic() + EXPIRE_S
        self._keeping = threading.Thread(target=run, name="usage-keeping", daemon=True)
        self._keeping.start()

    @contextmanager
    def _alone(self, stopping: Stopping) -> Iterator[bool]:
        """Whether this process is the one that collects; it waits for that, or for being stopped."""
        with (self._local / "collector.lock").open("a") as lock:
            while not stopping.is_set():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    stopping.wait(POLL_S)
                else:
                    yield True
                    return
            yield False
