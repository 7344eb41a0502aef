"""The application over a harness, asked as nginx asks it."""

from flask.testing import FlaskClient

from decider.services import Services
from decider.web import create_app
from tests.repository_harness import Harness

__all__ = ["client_of"]


def client_of(harness: Harness) -> FlaskClient:
    """Who asks, over what the harness decides."""
    parts = Services(
        settings=harness.settings, store=harness.store, repositories=harness.repositories, clock=harness.clock
    )
    return create_app(harness.settings, parts=parts).test_client()
