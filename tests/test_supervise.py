"""The supervisor's own judgement: what it refuses to take over, whom it follows, what it never forgets."""

import signal
import socket
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decider import supervise
from decider.data_dir import prepare_data_dir
from decider.errors import CannotStart, Fault, InvalidSettings
from decider.settings import IndexSettings, RepositorySettings, Settings
from decider.supervise import Supervisor
from tests.stack import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=str(tmp_path),
        listen_port=free_port(),
        internal_port=free_port(),
        indexes=(IndexSettings(name="public", url="https://index.example/simple/"),),
        repositories=(RepositorySettings(name="default", indexes=("public",)),),
    )


class Child:
    """A process that only takes notes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[int] = []
        self.is_running = True
        self.revived = 0

    def send(self, number: int) -> None:
        self.sent.append(number)

    def revive(self) -> None:
        """Note that it was looked after."""
        self.revived += 1


@pytest.fixture
def make(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Supervisor, list[Child]]]:
    """Make supervisors of children that only take notes, whose configuration nginx always accepts."""
    monkeypatch.setattr(supervise, "nginx_fault", lambda *_: None)
    monkeypatch.setattr(supervise, "render_nginx_config", lambda *_, **__: "")
    monkeypatch.setattr(Supervisor, "_fetcher", lambda _: Child("egress"))
    sockets = count()
    monkeypatch.setattr(Supervisor, "_fetchers_socket", lambda _: next(sockets))

    def one(reread: Callable[[], Settings] = lambda: settings) -> tuple[Supervisor, list[Child]]:
        supervisor = Supervisor(settings, reload_settings=reread)
        prepare_data_dir(settings, None)
        children = [Child("usage"), Child("egress"), Child("decider"), Child("nginx")]
        supervisor._children = children  # type: ignore[assignment]
        return supervisor, children

    return one


def changed(settings: Settings, **fields: Any) -> Settings:
    return msgspec.structs.replace(settings, **fields)


def test_reload(make: Callable[..., Any], settings: Settings) -> None:
    """A good configuration is written for the children, and they are told."""
    new = changed(settings, workers=7)
    supervisor, children = make(lambda: new)
    fetcher = children[1]
    supervisor._reload()
    assert [child.sent for child in children] == [[signal.SIGHUP], [], [signal.SIGHUP], [signal.SIGHUP]]
    assert supervisor._settings == new
    # A new fetcher takes the socket over; the old one gives what it was giving, and is not forgotten.
    assert children[1] is not fetcher
    assert children[1].revived == 1
    assert supervisor._leaving == [fetcher]
    assert fetcher.sent == []


def raising(error: Exception) -> Callable[[], Settings]:
    def reread() -> Settings:
        raise error

    return reread


@pytest.mark.parametrize(
    "error",
    [
        InvalidSettings([Fault("grace", "must be a duration")]),
        CannotStart("nginx refuses its configuration"),
        OSError(28, "No space left on device"),
        PermissionError(13, "Permission denied"),
    ],
)
def test_faulty_reload(
    make: Callable[..., Any], settings: Settings, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """A configuration that cannot be read, or written, is logged, and everything goes on as before."""
    supervisor, children = make(raising(error))
    supervisor._reload()
    assert [child.sent for child in children] == [[], [], [], []]
    assert supervisor._settings == settings
    assert "reload.refused" in caplog.text


def test_reload_to_another_data_dir(
    make: Callable[..., Any], settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """data_dir cannot change under running processes."""
    supervisor, children = make(lambda: changed(settings, data_dir=str(tmp_path / "other")))
    supervisor._reload()
    assert children[0].sent == []
    assert "data_dir" in str(caplog.records[-1].__dict__["fault"])


def test_reload_to_a_port_that_is_taken(
    make: Callable[..., Any], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """An address that somebody else has is refused before anything is taken over; the present ones are our own."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_server(("127.0.0.1", settings.listen_port)),
    ):
        port = other.getsockname()[1]
        supervisor, children = make(lambda: changed(settings, internal_port=port))
        supervisor._reload()
        assert children[0].sent == []
        assert str(port) in str(caplog.records[-1].__dict__["fault"])
        supervisor, children = make(lambda: settings)
        supervisor._reload()
        assert children[0].sent == [signal.SIGHUP]


def test_start_with_a_port_that_is_taken() -> None:
    """A port that somebody listens on is named, with the reason, in both address families."""
    for host in ("127.0.0.1", "::1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as other:
            port = other.getsockname()[1]
            with pytest.raises(CannotStart, match=f"{port}: address already in use"):
                supervise._refuse_taken([(host, port)])
        supervise._refuse_taken([(host, port)])


def test_hangup_during_the_start_is_not_lost(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGHUP that comes before everything serves reloads once it does."""
    supervisor, children = make()
    monkeypatch.setattr(supervisor, "_answers", lambda *_: True)
    monkeypatch.setattr(supervisor, "_nginx_answers", lambda: True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, supervise._SIGNALS)
    try:
        signal.raise_signal(signal.SIGHUP)
        assert supervisor._wait_until_ready()
        signal.raise_signal(signal.SIGTERM)
        supervisor._watch()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert [child.sent for child in children] == [[signal.SIGHUP], [], [signal.SIGHUP], [signal.SIGHUP]]


def test_stop_during_the_start(make: Callable[..., Any]) -> None:
    """SIGTERM that comes before everything serves ends the start."""
    supervisor, _ = make()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, supervise._SIGNALS)
    try:
        signal.raise_signal(signal.SIGTERM)
        assert not supervisor._wait_until_ready()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_child_that_ends_while_starting(make: Callable[..., Any]) -> None:
    """A child that dies before everything serves ends the start with its name."""
    supervisor, children = make()
    children[2].is_running = False
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, supervise._SIGNALS)
    try:
        with pytest.raises(CannotStart, match="decider ended while starting"):
            supervisor._wait_until_ready()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_usage_that_ends_while_starting(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of usage keeps nobody from installing: its process is started again, and the rest is served."""
    supervisor, children = make()
    children[0].is_running = False
    monkeypatch.setattr(supervisor, "_answers", lambda *_: children[0].revived > 1)
    monkeypatch.setattr(supervisor, "_nginx_answers", lambda: True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, supervise._SIGNALS)
    try:
        assert supervisor._wait_until_ready()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
