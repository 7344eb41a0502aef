"""DuckDB in a process of its own: started for a few queries, limited in memory and time, then gone.

The web workers stay small, and a query that goes wrong takes nothing else along. The process reads columnar files and
one file of recent records, as one table `records`; `engine_process` is its other half. What is asked may not be added
here.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from decider.errors import UsageUnavailable

__all__ = ["QUERY_S", "Engine", "open_engine"]

log = logging.getLogger(__name__)

QUERY_S = 60.0
_WAIT_S = 20.0
_THREADS = 2  #: of a process that answers somebody who waits; sealing and merging have time, and take less memory with one
_AT_ONCE = threading.BoundedSemaphore(2)  #: processes that this one may have running: each may take MEMORY


class Sources(msgspec.Struct, frozen=True):
    """What `records` is made of."""

    parts: tuple[str, ...]  #: columnar files
    recent: str | None  #: lines of JSON
    node: str  #: whose the recent ones are
    temporary: str  #: a folder for what does not fit into memory
    threads: int


class Question(msgspec.Struct, frozen=True):
    """One statement."""

    statement: str
    parameters: tuple[Any, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """A line of the answer: some rows, or its end."""

    rows: list[list[Any]] | None = None
    fault: str | None = None
    done: bool = False


class Engine:
    """One such process."""

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions = questions
        self._answers = answers

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> Iterator[list[Any]]:
        """The rows of a statement, as they come; raise UsageUnavailable. One statement at a time."""
        try:
            _send(self._questions, Question(statement, tuple(parameters)))
        except OSError:
            raise _failed("it ended") from None
        for line in self._answers:
            if not line.endswith(b"\n"):
                break  # killed as it wrote
            answer = msgspec.json.decode(line, type=Answer)
            if answer.fault is not None:
                raise _failed(answer.fault)
            if answer.done:
                return
            yield from answer.rows or ()
        raise _failed("it ended, or took too long")

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[list[Any]]:
        """All rows of a statement."""
        return list(self.rows(statement, parameters))


@contextmanager
def open_engine(
    parts: Sequence[Path],
    recent: IO[bytes] | None,
    *,
    node: str,
    temporary: Path,
    within_s: float = QUERY_S,
    is_background: bool = False,
) -> Iterator[Engine]:
    """A process over those files, killed after `within_s`; raise UsageUnavailable."""
    if not is_background and not _AT_ONCE.acquire(timeout=_WAIT_S):
        raise _failed("too many other queries are running")
    try:
        with _started(recent) as process:
            killer = threading.Timer(within_s, process.kill)
            killer.daemon = True
            killer.start()
            try:
                sources = Sources(
                    parts=tuple(map(str, parts)),
                    recent=None if recent is None else f"/proc/self/fd/{recent.fileno()}",
                    node=node,
                    temporary=str(temporary),
                    threads=1 if is_background else _THREADS,
                )
                questions, answers = _pipes(process)
                with suppress(OSError):  # a process that is gone says so when it is asked
                    _send(questions, sources)
                yield Engine(questions, answers)
            finally:
                killer.cancel()
    finally:
        if not is_background:
            _AT_ONCE.release()


@contextmanager
def _started(recent: IO[bytes] | None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "decider.usage.engine_process", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=() if recent is None else (recent.fileno(),),
        # Its modules are this process's own, wherever this one found them.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        yield process
    finally:
        process.kill()
        with suppress(OSError):
            process.communicate()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:  # pragma: no cover (both were asked for)
        raise _failed("it has no pipes")
    return process.stdin, process.stdout


def _send(questions: IO[bytes], value: Sources | Question) -> None:
    questions.write(msgspec.json.encode(value) + b"\n")
    questions.flush()


def _failed(cause: str) -> UsageUnavailable:
    log.error("usage.query_failed", extra={"cause": cause})
    return UsageUnavailable(f"the query did not end well: {cause}")
