"""The fetcher's routes, for nginx and the decider alone: over a unix socket that only their users can open."""

import asyncio
import resource
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from decider.egress.events import EventSender
from decider.egress.files import FileFetcher
from decider.egress.pages import PageFetcher
from decider.egress.parts import PartFetcher
from decider.egress.targets import Target, make_target
from decider.egress.upstream import Upstream
from decider.settings import Settings

__all__ = ["Targets", "make_runner", "make_targets"]

KEEPALIVE_S = 75.0  #: longer than nginx keeps its connections
RESOLVERS = 32  #: threads that wait for name servers
DRAIN_S = 3600.0  #: an old process that gives large files may take so long to end
_WEBHOOK = ""  #: stands for the webhook among the names of indexes

Targets = Mapping[str, Target]


def make_targets(settings: Settings) -> Targets:
    """Where this decider may go, by index; raise OSError where a certificate cannot be read."""
    remote = {index.name: index for index in settings.indexes if index.url is not None}
    targets = {
        name: make_target(index, egress=settings.egress, ca_file=settings.ca_file)
        for name, index in remote.items()
    }
    if settings.webhook is not None:
        targets[_WEBHOOK] = make_target(None, egress=settings.egress, ca_file=settings.ca_file)
    return targets


def make_runner(settings: Settings, targets: Targets) -> web.AppRunner:
    """The service of one process, within a running event loop."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two a download
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(RESOLVERS, "resolver"))
    upstreams = {name: Upstream(target) for name, target in targets.items()}
    app = web.Application()
    app.router.add_get("/alive", _alive)
    app.router.add_get("/page/{index}/{path:.*}", PageFetcher(upstreams).give)
    app.router.add_get("/file", FileFetcher(upstreams, max_file_size=settings.egress.max_file_size).give)
    app.router.add_get("/part", PartFetcher(upstreams).give)
    if settings.webhook is not None:
        app.router.add_post("/event", EventSender(upstreams[_WEBHOOK], settings.webhook.url).give)

    async def close(_: web.Application) -> AsyncIterator[None]:
        yield
        for upstream in upstreams.values():
            await upstream.close()

    app.cleanup_ctx.append(close)
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,  # nobody reads on: nobody need be asked
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=DRAIN_S,
        max_line_size=16 * 1024,
        max_field_size=16 * 1024,
        auto_decompress=False,
    )


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
