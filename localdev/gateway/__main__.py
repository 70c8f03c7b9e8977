"""`python -m localdev.gateway`: Kong's stand-in on GATEWAY_PORT, its figures on GATEWAY_STATUS_PORT, until SIGTERM; requests under way are finished first."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

import aiohttp
import uvloop
from aiohttp import web

from localdev import functions
from localdev.gateway import config
from localdev.gateway.config import Config
from localdev.gateway.health import Health
from localdev.gateway.proxy import IDLE_SECONDS, Proxy
from localdev.gateway.schema import ConfigError
from localdev.gateway.status import Status
from localdev.paths import STACK
from localdev.ports import ports
from shared.telemetry import logs

DRAIN_SECONDS = 10.0
LINGER_SECONDS = 2.0
"""How long the rest of a refused upload is read and thrown away, so that its sender gets to see why."""


async def serve(settings: Config, addresses: Mapping[str, str], port: int, status_port: int, stop: asyncio.Event) -> None:
    """Listen until `stop`, then finish what is under way. `addresses`: where the upstreams are, by host."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        )
        health = Health(settings, addresses, session)
        status = Status(settings, health.healthy)
        proxy = Proxy(settings, addresses, session, status, health.healthy)
        watching = asyncio.create_task(health.watch())
        stack.push_async_callback(_cancel, watching)
        for handler, number in ((status.handle, status_port), (proxy.handle, port)):
            server = web.Server(handler, access_log=None, auto_decompress=False, lingering_time=LINGER_SECONDS)
            runner = web.ServerRunner(server, shutdown_timeout=DRAIN_SECONDS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", number).start()
        await stop.wait()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def addresses(settings: Config) -> dict[str, str]:
    """Host in kong.yml → where that function listens on this machine. Raises ConfigError for a host that is no function."""
    known = {function.host: function.url for function in functions.catalogue()}
    if unknown := {route.upstream.host for route in settings.routes} - known.keys():
        raise ConfigError(f"upstreams: {', '.join(sorted(unknown))}: no function of functions.yml has this host name")
    return known


async def main() -> None:
    """Read kong.yml and serve."""
    logs.configure("gateway", "INFO")
    settings = config.load(STACK / "kong" / "kong.yml")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, addresses(settings), ports()["GATEWAY_PORT"], ports()["GATEWAY_STATUS_PORT"], stop)


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except ConfigError as error:
        sys.exit(f"stack/kong/kong.yml: {error}")
