"""What the library's errors mean here, in words of ours."""

import re
from typing import NoReturn

import aiohttp

from decider.egress.connecting import Forbidden
from decider.errors import FetchFailed

__all__ = ["fail"]


def fail(error: Exception) -> NoReturn:
    """Raise what the library's errors mean here."""
    if isinstance(error, aiohttp.ServerTimeoutError | TimeoutError):
        raise FetchFailed("timeout", "no answer in time") from error
    if isinstance(error, aiohttp.ClientHttpProxyError):
        raise FetchFailed("away", f"the proxy answered {error.status}") from error
    if isinstance(error, aiohttp.ClientResponseError):
        raise FetchFailed("malformed", f"its answer is no proper HTTP: {_words(error.message)}") from error
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = error.__cause__
        if isinstance(cause, aiohttp.http_exceptions.ContentLengthError | ConnectionError) or (
            "Not enough data" in str(error)
        ):
            raise FetchFailed("away", "its answer ended before its end") from error
        raise FetchFailed("malformed", f"its answer is no proper HTTP: {_words(str(error))}") from error
    if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, Forbidden):
        raise FetchFailed("refused", str(error.os_error)) from error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        raise FetchFailed("away", "its host's name cannot be resolved") from error
    if isinstance(error, aiohttp.ClientSSLError):
        raise FetchFailed("away", f"no TLS with it: {_words(str(error.os_error))}") from error
    if isinstance(error, aiohttp.InvalidURL):
        raise FetchFailed("refused", "its URL is none") from error
    if isinstance(error, aiohttp.ServerDisconnectedError):
        raise FetchFailed("away", "it closed the connection without an answer") from error
    raise FetchFailed("away", f"no connection with it: {_words(_reason(error))}") from error


def _reason(error: Exception) -> str:
    os_error = getattr(error, "os_error", error)
    return getattr(os_error, "strerror", None) or str(os_error) or type(error).__name__


def _words(text: str) -> str:
    """The library's words, which may quote the host's: one short line that no reader takes for markup."""
    line = re.sub(r"[^ -~]+|[<>\"\\`{}]", " ", text.split("\n\n", maxsplit=1)[0])
    return " ".join(line.split())[:160].rstrip(" :")
