"""nginx's question before it takes a large body: may who sends it do what it is for?

nginx spools a whole ruleset before the API hears of it, and is to do so only for those who may replace one. What the API
says, it says itself; here is only whether it would say no before it reads the body.
"""

import json

from flask import Blueprint, Response

from decider.errors import DeciderError, InvalidRequest
from decider.web.api.operation import authorise, operations
from decider.web.problems import problem_members, problem_response

__all__ = ["blueprint"]

_TOLD = ("WWW-Authenticate", "Retry-After")

blueprint = Blueprint("bodies", __name__, url_prefix="/-")


@blueprint.get("/decision/ruleset")
def decide_ruleset() -> Response:
    """200 where a ruleset may be replaced; 403 with status, headers and body of the answer where it may not."""
    declared = operations()["replace_ruleset"]
    try:
        authorise(declared, declared.query)
    except InvalidRequest:
        pass  # somebody who is known: the API has the words, too many for a header
    except DeciderError as error:
        refusal = problem_response(error)
        headers = {name: refusal.headers[name] for name in _TOLD if name in refusal.headers}
        words = json.dumps(problem_members(error), separators=(",", ":"))
        return Response(status=403, headers=headers | {"Told": str(refusal.status_code), "Failed": words})
    return Response()
