"""The decision API at /api/v1: rules, rulesets, explain, reviews, audit, usage, indexes, tokens (DESIGN section 6).

operation   the decorator that declares, guards and documents a route
inputs      query parameters, bodies, preconditions
shapes      JSON shapes that no other module has
asking      many projects at once; effects: what a change would do
document    the OpenAPI document, made from the declarations; docs: the same for people
the others  the routes, one noun each
"""

from pathlib import Path

from flask.blueprints import BlueprintSetupState

from decider.web import auth
from decider.web.api import audit, docs, explain, indexes, ownership, reviews, rules, rulesets, tokens, usage
from decider.web.api.operation import blueprint

__all__ = [
    "audit",
    "blueprint",
    "docs",
    "explain",
    "indexes",
    "ownership",
    "reviews",
    "rules",
    "rulesets",
    "tokens",
    "usage",
]


@blueprint.record_once
def _register_auth(state: BlueprintSetupState) -> None:
    auth.register(state.app.extensions, data_dir=Path(state.app.extensions["decider"].settings.data_dir))
