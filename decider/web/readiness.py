"""Whether this decider can do its work: the store and the indexes that its repositories cannot do without.

A public index that is away is named and required by nobody: what is cached goes on (DESIGN, section 11).
"""

import threading
import time

import msgspec
from flask import Response

from decider.errors import DeciderError
from decider.index.remote import RemoteIndex
from decider.services import Services

__all__ = ["readiness"]

PROBE_TIMEOUT_S = 3.0
PROBE_LIFETIME_S = 2.0  #: probes reach the indexes themselves: not one for each request

_lock = threading.Lock()
_last: dict[int, tuple[float, dict[str, str], list[str]]] = {}


def readiness(parts: Services) -> Response:
    """200 or 503, with what was found about each part."""
    with _lock:
        known = _last.get(id(parts))
        if known is None or time.monotonic() - known[0] > PROBE_LIFETIME_S:
            known = _last[id(parts)] = (time.monotonic(), *_probe(parts))
    _, states, failing = known
    body = {"ready": not failing, "failing": failing, "parts": states}
    response = Response(
        msgspec.json.encode(body), content_type="application/json", status=503 if failing else 200
    )
    response.headers["Cache-Control"] = "no-store"
    if failing:
        response.headers["Retry-After"] = "5"
    return response


def _probe(parts: Services) -> tuple[dict[str, str], list[str]]:
    """Part → "ok" or what is wrong; and the names of required parts that fail."""
    states: dict[str, str] = {}
    failing: list[str] = []
    try:
        parts.store.ping()
        parts.repositories.keeper.refresh()
        states["store"] = "ok"
    except DeciderError as error:
        states["store"] = type(error).__name__
        failing.append("store")
    for name, index in parts.repositories.indexes.items():
        label = f"index {name}"
        try:
            if isinstance(index, RemoteIndex):
                index.ping(timeout_s=PROBE_TIMEOUT_S)
            else:
                index.fetch_projects()
            states[label] = "ok"
        except DeciderError as error:
            states[label] = str(error)
            if index.is_internal:
                failing.append(label)
    return states, failing
