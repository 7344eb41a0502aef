"""Whether this decider can do its work: the store and the indexes that its repositories cannot do without.

A public index that is away is named and required by nobody: what is cached goes on (DESIGN, section 11).
"""

import time
from collections.abc import Callable, Mapping

import msgspec
from flask import Response, current_app

from decider.errors import DeciderError
from decider.index.remote import RemoteIndex
from decider.index.sharing import Flights
from decider.services import Services

__all__ = ["Readiness", "readiness"]

PROBE_TIMEOUT_S = 3.0
PROBE_LIFETIME_S = 2.0  #: probes reach the indexes themselves: not one for each request
STALE_FOR_S = 30.0  #: while a probe is under way, its forerunner is told for so long


class _Findings(msgspec.Struct, frozen=True):
    """What a probe found."""

    ended_at: float  #: monotonic
    states: Mapping[str, str]  #: part → "ok", or what is wrong
    failing: tuple[str, ...]  #: required parts that fail


class Readiness:
    """The last probe of an application's parts; one thread probes at a time, and the others do not wait for it."""

    def __init__(self, parts: Services, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._monotonic = monotonic
        self._flights: Flights[None, _Findings] = Flights()
        self._last: _Findings | None = None

    def findings(self) -> _Findings:
        """What was found at most two seconds ago, or is found now."""
        last, now = self._last, self._monotonic()
        if last is not None and now - last.ended_at <= PROBE_LIFETIME_S:
            return last
        is_usable = last is not None and now - last.ended_at <= STALE_FOR_S
        return self._flights.share(None, self._probe, meanwhile=last if is_usable else None)

    def _probe(self) -> _Findings:
        states: dict[str, str] = {}
        failing: list[str] = []
        try:
            self._parts.store.ping()
            self._parts.repositories.keeper.refresh()
            states["store"] = "ok"
        except DeciderError as error:
            states["store"] = type(error).__name__
            failing.append("store")
        for name, index in self._parts.repositories.indexes.items():
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
        self._last = _Findings(self._monotonic(), states, tuple(failing))
        return self._last


def readiness(parts: Services) -> Response:
    """200 or 503, with what was found about each part."""
    found = current_app.extensions.setdefault("decider-readiness", Readiness(parts)).findings()
    body = {"ready": not found.failing, "failing": found.failing, "parts": found.states}
    response = Response(
        msgspec.json.encode(body), content_type="application/json", status=503 if found.failing else 200
    )
    response.headers["Cache-Control"] = "no-store"
    if found.failing:
        response.headers["Retry-After"] = "5"
    return response
