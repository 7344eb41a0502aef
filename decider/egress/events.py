"""A webhook's event on its way to the one address that the settings name. What events say may not be added here."""

from aiohttp import web

from decider.egress.answers import failure
from decider.egress.counting import counted
from decider.egress.upstream import Upstream
from decider.errors import FetchFailed

__all__ = ["EventSender"]

WITHIN_S = 10.0
_PASSED_ON = ("Content-Type", "webhook-id", "webhook-timestamp", "webhook-signature")


def _require_taken(status: int) -> None:
    if not 200 <= status < 300:
        raise FetchFailed("refused", f"the receiver answered {status:03}")


class EventSender:
    """Sends events to the webhook."""

    def __init__(self, upstream: Upstream, url: str) -> None:
        self._upstream = upstream
        self._url = url

    async def give(self, request: web.Request) -> web.StreamResponse:
        """204 once the receiver has taken it; else why not. (!) Nothing of the receiver's address is in the words."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        body = await request.read()
        try:
            with counted("event") as course:
                _require_taken(
                    await self._upstream.post(self._url, headers=headers, body=body, within_s=WITHIN_S)
                )
                course.outcome = "taken"
        except FetchFailed as error:
            return failure(error, "the event was not taken")
        return web.Response(status=204)
