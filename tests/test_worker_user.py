"""Whom nginx's workers run as, and what that user can read."""

import os
import pwd
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from decider import worker_user as module
from decider.errors import CannotStart
from decider.worker_user import WorkerUser, worker_user

STRANGER = WorkerUser("stranger", "strangers", 54_321, 54_321)


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a system with just these users, as root or not."""

    def have(*names: str, uid: int = 0) -> None:
        def getpwnam(name: str) -> SimpleNamespace:
            if name not in names:
                raise KeyError(name)
            return SimpleNamespace(pw_name=name, pw_uid=100 + names.index(name), pw_gid=200)

        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(pwd, "getpwnam", getpwnam)
        monkeypatch.setattr(module, "getgrgid", lambda gid: SimpleNamespace(gr_name=f"group{gid}"))

    return have


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(("nobody", "www-data", "nginx"), "www-data"), (("nobody", "nginx"), "nginx"), (("nobody",), "nobody")],
)
def test_root_steps_down(users: Callable[..., None], names: tuple[str, ...], chosen: str) -> None:
    """Started as root, workers run as the first unprivileged user that the system has, in its own group."""
    users(*names)
    found = worker_user()
    assert found == WorkerUser(chosen, "group200", 100 + names.index(chosen), 200)


def test_nobody_to_step_down_to(users: Callable[..., None]) -> None:
    """Where there is no such user, root does not serve clients itself."""
    users("root")
    with pytest.raises(CannotStart, match="www-data, nginx, nobody"):
        worker_user()


def test_others_stay_who_they_are(users: Callable[..., None]) -> None:
    """Who is not root cannot switch."""
    users("www-data", uid=1000)
    assert worker_user() is None
