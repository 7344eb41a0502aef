"""`decider up`: nginx, gunicorn, the fetcher and the collector of usage in the foreground, as one supervised whole.

A child that dies is started again; SIGTERM and SIGINT stop all and leave nothing behind; SIGHUP reads the
configuration again and reloads all without dropping a request. What a request means may not be added here.
"""

import http.client
import logging
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from decider.caches import decisions_folder
from decider.data_dir import prepare_data_dir, replace_file
from decider.errors import CannotStart, DeciderError, InvalidSettings
from decider.log_files import turn_over_large
from decider.metrics import FOLDER, clear_seats
from decider.nginx_config import render_nginx_config
from decider.nginx_program import find_nginx, nginx_fault
from decider.processes import Process
from decider.run_files import EGRESS_SOCKET, INDEXES_SOCKET, SOCKET
from decider.run_locks import Hold, take_hold
from decider.settings import Settings, settings_to_json
from decider.unix_sockets import connect_unix
from decider.worker_user import worker_user

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_START_WITHIN_S = 30.0
_TAKE_OVER_WITHIN_S = 5.0
_ACCEPTED = "run/accepted.json"
_CONFIG = "run/nginx.conf"
_COLLECTOR = "usage"
_FETCHER = "egress"


class Supervisor:
    """nginx, gunicorn, the fetcher and the collector of usage over one data_dir."""

    def __init__(self, settings: Settings, *, reload_settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._reload_settings = reload_settings
        self._user = worker_user()
        self._data_dir = Path(settings.data_dir)
        self._hold: Hold | None = None
        self._children: list[Process] = []
        self._leaving: list[Process] = []
        self._is_reload_wanted = False

    def run(self, *, on_ready: Callable[[], None]) -> None:
        """Start, call `on_ready` once all serve, and stay until told to stop; raise CannotStart."""
        prepare_data_dir(self._settings, self._user)
        self._hold = take_hold(self._data_dir)
        _refuse_taken(_listened(self._settings))
        self._accept(self._settings)
        clear_seats(self._data_dir / FOLDER, _FETCHER)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._children = [
            # Before the others, so that it is stopped after them: nginx's last lines are collected too.
            *([self._collector()] if self._settings.usage.enabled else []),
            self._fetcher(),
            self._process(
                "decider", [sys.executable, "-m", "decider.wsgi", _ACCEPTED], stop_signal=signal.SIGTERM
            ),
            self._process(
                "nginx",
                [find_nginx(), "-p", "./", "-e", "stderr", "-c", _CONFIG, "-g", "daemon off;"],
                stop_signal=signal.SIGQUIT,
                # (!) One that was killed leaves its own, and the next could not listen there.
                removes=(self._data_dir / INDEXES_SOCKET,),
            ),
        ]
        try:
            self._start()
            if self._wait_until_ready():
                on_ready()
                self._watch()
        finally:
            self._stop()

    def _collector(self) -> Process:
        command = [sys.executable, "-m", "decider.usage", _ACCEPTED]
        return self._process(_COLLECTOR, command, stop_signal=signal.SIGTERM)

    def _fetcher(self) -> Process:
        command = [sys.executable, "-m", "decider.egress", _ACCEPTED]
        return self._process(_FETCHER, command, stop_signal=signal.SIGTERM)

    def _process(
        self,
        name: str,
        command: list[str],
        *,
        stop_signal: signal.Signals,
        removes: Sequence[Path] = (),
    ) -> Process:
        return Process(
            name,
            command,
            cwd=self._data_dir,
            stop_signal=stop_signal,
            removes=removes,
            keeps_open=() if self._hold is None else (self._hold.family.fileno(),),
        )

    # -- Starting

    def _start(self) -> None:
        try:
            for child in self._children:
                child.start()
        except OSError as error:
            raise CannotStart(f"a process cannot be started: {error.strerror}") from error

    def _accept(self, settings: Settings) -> None:
        """Write what the children read, once nginx has found it good; raise CannotStart or InvalidSettings."""
        text = render_nginx_config(settings, prefix="", user=self._user)
        trial = f"{_CONFIG}.trial"
        replace_file(self._data_dir / trial, text.encode(), 0o600)
        fault = nginx_fault(self._data_dir, trial)
        if fault is not None:
            raise CannotStart(f"nginx refuses its configuration: {fault}")
        (self._data_dir / trial).replace(self._data_dir / _CONFIG)
        replace_file(self._data_dir / _ACCEPTED, settings_to_json(settings), 0o600)
        self._settings = settings

    def _wait_until_ready(self) -> bool:
        """Whether all answer; False when told to stop meanwhile. Raise CannotStart when one cannot start."""
        give_up_at = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < give_up_at:
            got = signal.sigtimedwait(_SIGNALS, 0.05)
            number = got.si_signo if got is not None else 0
            if number in {signal.SIGTERM, signal.SIGINT}:
                return False
            self._is_reload_wanted |= number == signal.SIGHUP
            for child in self._children:
                # Nothing that clients ask for waits for usage: what keeps it from starting must not keep them out.
                if child.name == _COLLECTOR:
                    child.revive()
                elif not child.is_running:
                    raise CannotStart(
                        f"{child.name} ended while starting: see the lines above and {self._data_dir}/logs"
                    )
            if (
                self._answers(EGRESS_SOCKET, "/alive")
                and self._answers(SOCKET, "/-/alive")
                and self._nginx_answers()
            ):
                return True
        raise CannotStart(f"no answer within {_START_WITHIN_S:.0f} s")

    def _answers(self, name: str, path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(2)
            connect_unix(client, self._data_dir / name)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: decider\r\nConnection: close\r\n\r\n".encode())
            return client.recv(64).startswith(b"HTTP/1.1 200 ")
        return False

    def _nginx_answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(
                self._settings.internal_host, self._settings.internal_port, timeout=2
            )
            connection.request("GET", "/-/ping")
            status = connection.getresponse().status
            connection.close()
            return status == http.HTTPStatus.OK
        return False

    # -- Running

    def _watch(self) -> None:
        while True:
            if self._is_reload_wanted:
                self._is_reload_wanted = False
                self._reload()
            for child in self._children:
                child.revive()
            is_whole = all(child.is_running for child in self._children)
            got = signal.sigtimedwait(_SIGNALS, 1.0 if is_whole else 0.5)
            number = got.si_signo if got is not None else 0
            if number in {signal.SIGTERM, signal.SIGINT}:
                return
            self._is_reload_wanted = number == signal.SIGHUP
            self._leaving = [child for child in self._leaving if child.is_running]
            self._turn_over_logs()

    def _turn_over_logs(self) -> None:
        try:
            turned = turn_over_large(self._data_dir)
        except OSError as error:
            log.error("logs.not_turned", extra={"cause": str(error)})  # noqa: TRY400 (its cause is told)
        else:
            if turned:
                log.info("logs.turned", extra={"logs": turned})

    def _reload(self) -> None:
        """Take a changed configuration over; keep the old one where the new one is faulty."""
        try:
            settings = self._reload_settings()
            if settings.data_dir != self._settings.data_dir:
                raise CannotStart("data_dir: a change of it needs a restart")
            # nginx would keep the old address, and decider ask at the new one.
            _refuse_taken(_listened(settings) - _listened(self._settings))
            prepare_data_dir(settings, self._user)
            self._accept(settings)
        except InvalidSettings as error:
            for fault in error.faults:
                log.error("reload.refused", extra={"key": fault.field, "fault": fault.detail})  # noqa: TRY400 (an operator's fault, no trace)
            return
        except (DeciderError, OSError) as error:  # OSError: a full disk, say, is no reason to end
            log.error("reload.refused", extra={"fault": str(error)})  # noqa: TRY400 (an operator's fault, no trace)
            return
        self._replace_fetcher()
        for child in self._children:
            if child.name != _FETCHER:
                child.send(signal.SIGHUP)
        if settings.usage.enabled and self._children[0].name != _COLLECTOR:
            self._children.insert(0, self._collector())  # started as whatever is not running
        log.info("reload.done")

    def _replace_fetcher(self) -> None:
        """Have a new one take the socket over, before anybody asks by the new settings; the old one ends when it has given
        what it is giving.
        """
        place = next(place for place, child in enumerate(self._children) if child.name == _FETCHER)
        self._leaving.append(self._children[place])
        before, give_up_at = self._fetchers_socket(), time.monotonic() + _TAKE_OVER_WITHIN_S
        self._children[place] = self._fetcher()
        self._children[place].revive()
        while self._fetchers_socket() == before and time.monotonic() < give_up_at:
            time.sleep(0.02)

    def _fetchers_socket(self) -> int | None:
        """Which one it is; None where there is none."""
        try:
            return (self._data_dir / EGRESS_SOCKET).stat().st_ino
        except OSError:
            return None

    # -- Stopping

    def _stop(self) -> None:
        """Nginx first, so that no request finds the decider gone; gently, then less so."""
        for child in [*reversed(self._children), *self._leaving]:
            child.stop()
        in_memory = decisions_folder(self._settings)
        if in_memory is not None:
            shutil.rmtree(in_memory.parent, ignore_errors=True)
        for left in (SOCKET, EGRESS_SOCKET, INDEXES_SOCKET, "run/nginx.pid"):
            (self._data_dir / left).unlink(missing_ok=True)


def _listened(settings: Settings) -> set[tuple[str, int]]:
    return {
        (settings.listen_host, settings.listen_port),
        (settings.internal_host, settings.internal_port),
    }


def _refuse_taken(places: Iterable[tuple[str, int]]) -> None:
    """Raise CannotStart when nobody can listen at one of these hosts and ports now."""
    for host, port in sorted(places):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CannotStart(
                    f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}"
                ) from None
