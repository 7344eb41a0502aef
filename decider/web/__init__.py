"""The Flask application: a blueprint for nginx's questions, one for the decision API, one for people.

Rules, SQL and parsing of pages may not be added here.
"""

from functools import partial

from flask import Flask, current_app

from decider.services import Services, build, now, start_background
from decider.settings import Settings

__all__ = ["Services", "create_app", "now", "services"]


def services() -> Services:
    """The services of the running application."""
    found: Services = current_app.extensions["decider"]
    return found


def create_app(settings: Settings, *, parts: Services | None = None) -> Flask:
    """The application; `parts` replaces the services that the settings name, and then nothing runs behind it."""
    # They import `services` from here.
    from decider.web import (  # noqa: PLC0415
        api,
        bodies,
        gate,
        made_metadata,
        monitoring,
        people,
        problems,
        project_json,
        project_list,
    )

    app = Flask("decider", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["decider"] = parts or build(settings, observe=monitoring.count_index_answer)
    if parts is None:
        start_background(
            app.extensions["decider"], report=partial(monitoring.report, app.extensions["decider"])
        )
    problems.register(app)
    app.register_blueprint(gate.blueprint)
    app.register_blueprint(made_metadata.blueprint)
    app.register_blueprint(project_list.blueprint)
    app.register_blueprint(project_json.blueprint)
    app.register_blueprint(people.blueprint)
    app.register_blueprint(api.blueprint)
    app.register_blueprint(bodies.blueprint)
    return app
