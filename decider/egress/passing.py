"""An answer to nginx that begins with the first byte that goes out: until then there may be a failure in its place.

Which bytes go out, and under which headers, may not be decided here.
"""

from aiohttp import web

__all__ = ["Passing"]

WRITE_BYTES = 16 * 1024  #: that wait for nginx to take them, before the next are read


class Passing:
    """One answer on its way."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.headers: dict[str, str] = {}
        self.length: int | None = None  #: bytes; None where it is known at the end alone
        self.response: web.StreamResponse | None = None  #: None before the first byte

    async def _begin(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=self.headers)
        if self.length is None:
            response.enable_chunked_encoding()
        else:
            response.content_length = self.length
        await response.prepare(self._request)
        if self._request.transport is not None:
            # What nginx does not take at once is in nobody's way but this answer's.
            self._request.transport.set_write_buffer_limits(high=WRITE_BYTES)
        self.response = response
        return response

    async def write(self, part: bytes | bytearray) -> None:
        """Send on; wait until nginx takes it."""
        response = self.response or await self._begin()
        await response.write(part)

    async def end(self) -> web.StreamResponse:
        """Say that it is whole."""
        response = self.response or await self._begin()
        await response.write_eof()
        return response

    def break_off(self) -> None:
        """Leave no doubt that it is not whole."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()
