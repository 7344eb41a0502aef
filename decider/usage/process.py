"""One process that collects: signals, priority, settings that are read again."""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from decider.errors import DeciderError
from decider.settings import Settings
from decider.usage.collector import AGAIN_S, Collector

__all__ = ["run_collector"]

log = logging.getLogger(__name__)

NICENESS = 19
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
_CHANGING = frozenset({signal.SIGHUP})


class _Signals:
    """Whether to go on, as an Event would say it; signals wait until they are asked for and interrupt nothing."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING | _CHANGING)
        self.is_ending = False
        self.is_changing = False

    def is_set(self) -> bool:
        """Whether a signal has come that ends the present run."""
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> bool:
        """As is_set, waiting for so many seconds."""
        if not (self.is_ending or self.is_changing):
            got = signal.sigtimedwait(_ENDING | _CHANGING, timeout or 0)
            if got is not None:
                self.is_ending = got.si_signo in _ENDING
                self.is_changing = not self.is_ending
        return self.is_ending or self.is_changing


def run_collector(load: Callable[[], Settings], *, clock: Callable[[], datetime]) -> None:
    """Collect by the settings that `load` gives until SIGTERM or SIGINT; SIGHUP has them loaded again."""
    signals = _Signals()
    # What the kernel sends when somebody wants a file that a lease was just asked for (see following.Log).
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    _step_back()
    settings = load()
    while not signals.is_ending:
        try:
            collector = Collector(settings, clock=clock)
        except DeciderError as error:
            log.error("usage.delayed", extra={"cause": str(error)})  # noqa: TRY400 (its cause is told)
            signals.wait(AGAIN_S)
        else:
            try:
                collector.run(signals)
            finally:
                collector.close()
        if signals.is_changing:
            signals.is_changing = False
            settings = _loaded(load, settings)


def _step_back() -> None:
    """Let everybody else go first, also where the kernel weighs sessions rather than processes (sched(7), autogroup)."""
    # Who was started with less keeps it: to take more needs a privilege.
    os.nice(max(0, NICENESS - os.nice(0)))
    if os.getsid(0) == os.getpid():  # never the session of somebody's shell
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def _loaded(load: Callable[[], Settings], present: Settings) -> Settings:
    """The settings now; the present ones where they are faulty."""
    try:
        return load()
    except (DeciderError, OSError, ValueError) as error:
        log.error("reload.refused", extra={"fault": str(error)})  # noqa: TRY400 (an operator's fault, no trace)
        return present
