"""One process that is kept running: started again when it dies, stopped gently and then less so, with all its family.

What the processes are for may not be added here.
"""

import ctypes
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Process"]

log = logging.getLogger(__name__)

_STABLE_S = 5.0  #: one that lived this long is started again at once
_MAX_PAUSE_S = 10.0
_STOP_WITHIN_S = 12.0
_LEFT_WITHIN_S = 2.0  #: for the rest of a family whose head has died
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Process:
    """A child process, in a session of its own, and those that it starts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        cwd: Path,
        stop_signal: signal.Signals,
        removes: Sequence[Path] = (),
        keeps_open: Sequence[int] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stop_signal` asks for a graceful end, of the process and of each of its own.

        `removes`: what one that was killed may have left, and is in the way of the next. `keeps_open`: descriptors of
        ours that they have too.
        """
        self.name = name
        self._command = command
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._removes = tuple(removes)
        self._keeps_open = tuple(keeps_open)
        self._monotonic = monotonic
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0  # monotonic, as all times here
        self._start_at = 0.0  # not before
        self._pause_s = 0.0

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; raise OSError when that cannot be."""
        for path in self._removes:
            path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            preexec_fn=self._in_child,  # noqa: PLW1509 (the supervisor has one thread)
            start_new_session=True,
            pass_fds=self._keeps_open,
        )
        self._started_at = self._monotonic()

    def _in_child(self) -> None:
        """Between fork and exec: end with the supervisor, however it ends, and take signals again (prctl(2))."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self.is_running:
            self._process.send_signal(number)

    def revive(self) -> None:
        """Start it again when it has died: at once, but one that dies again and again more and more slowly."""
        if self.is_running:
            return
        now = self._monotonic()
        if self._process is not None:
            is_stable = now - self._started_at > _STABLE_S
            self._put_off(
                0.0 if is_stable else self._pause_s * 2 + 0.25, f"status {self._process.returncode}"
            )
            self._forget()
        if self._monotonic() >= self._start_at:
            try:
                self.start()
            except OSError as error:  # no more processes, no more memory: the others go on
                self._put_off(self._pause_s * 2 + 0.25, str(error))

    def stop(self) -> None:
        """End it and all that it started; return when they are gone."""
        self.send(self._stop_signal)
        self._wait_or(signal.SIGTERM, _STOP_WITHIN_S / 2)
        self._wait_or(signal.SIGKILL, _STOP_WITHIN_S / 4)
        if self._process is not None:
            self._process.wait()
            self._forget()

    def _put_off(self, pause_s: float, cause: str) -> None:
        self._pause_s = min(pause_s, _MAX_PAUSE_S)
        self._start_at = self._monotonic() + self._pause_s
        log.error("child.died", extra={"child": self.name, "cause": cause, "restart_in_s": self._pause_s})

    def _wait_or(self, number: signal.Signals, within_s: float) -> None:
        if self._process is not None:
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.send(number)

    def _forget(self) -> None:
        """End what a dead process left: workers would go on by an old configuration, and hold the port of new ones."""
        process, self._process = self._process, None
        if process is None:
            return
        # The process is gone; its id still names the group, and is nobody else's as long as a member lives.
        for number in (self._stop_signal, signal.SIGKILL):
            give_up_at = time.monotonic() + _LEFT_WITHIN_S
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
                while time.monotonic() < give_up_at:
                    with suppress(ChildProcessError):  # ours only where nobody else takes orphans
                        os.waitpid(-process.pid, os.WNOHANG)
                    os.killpg(process.pid, 0)
                    time.sleep(_POLL_S)
                continue
            return
