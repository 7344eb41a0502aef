"""The Flask application: a blueprint for nginx's questions, one for the decision API, one for people.

Rules, SQL and parsing of pages may not be added here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask, current_app

from decider.repository import Repositories
from decider.settings import Settings
from decider.store import Store

__all__ = ["Services", "create_app", "services"]


@dataclass(frozen=True, slots=True)
class Services:
    """What the views work with."""

    settings: Settings
    store: Store
    repositories: Repositories
    clock: Callable[[], datetime]


def services() -> Services:
    """The services of the running application."""
    found: Services = current_app.extensions["decider"]
    return found


def now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def create_app(settings: Settings, *, parts: Services | None = None) -> Flask:
    """The application; `parts` replaces the store, repositories and clock that the settings name."""
    raise NotImplementedError
