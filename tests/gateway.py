"""Kong's stand-in, started in a test before functions that the test makes up."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict

from localdev.gateway import __main__ as gateway
from localdev.gateway import config
from localdev.paths import STACK
from localdev.ports import free_port
from tests import waiting

KONG: dict[str, Any] = yaml.safe_load((STACK / "kong" / "kong.yml").read_text())
HTTP = [service for service in KONG["services"] if service["protocol"] == "http"]

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def plugin(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """The plugin of a service or route."""
    found: dict[str, Any] = next(plugin for plugin in entry["plugins"] if plugin["name"] == name)
    return found


def copied() -> dict[str, Any]:
    """kong.yml to change: nothing in it is there twice, as it is in YAML with anchors."""
    raw: dict[str, Any] = json.loads(json.dumps(KONG))
    return raw


def changed(max_bytes: int = 1000, **changes: Any) -> dict[str, Any]:
    """kong.yml with a smaller size limit, shorter timeouts, and the given changes of each service."""
    raw = copied()
    for service in raw["services"]:
        service.update({"connect_timeout": 500, "read_timeout": 2000, **changes})
        if service["protocol"] == "http":
            plugin(service, "request-size-limiting")["config"] = {"allowed_payload_size": max_bytes, "size_unit": "bytes"}
    return raw


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A function's server, by its address."""
    runner = web.ServerRunner(web.Server(handler, auto_decompress=False, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Gateway:
    """The stand-in before one function that all routes lead to, and a client of it."""

    def __init__(self, port: int, status_port: int, client: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        self.port = port
        self.status_url = f"http://127.0.0.1:{status_port}"
        self.url = f"http://127.0.0.1:{port}"
        self.client = client
        self.stop = stop

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, read all that comes until the other side closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def before(upstream: str | Handler, raw: dict[str, Any] | None = None, **others: Handler) -> AsyncIterator[Gateway]:
    """The gateway before a function, or before an address where none may be; `others`: who else there is, by host."""
    async with AsyncExitStack() as stack:
        address = upstream if isinstance(upstream, str) else await stack.enter_async_context(serving(upstream))
        settings = config.parse(changed() if raw is None else raw)
        port, status_port, stop = free_port(), free_port(), asyncio.Event()
        addresses = {route.upstream.host: address for route in settings.routes}
        addresses |= {host: await stack.enter_async_context(serving(handler)) for host, handler in others.items()}
        task = asyncio.create_task(gateway.serve(settings, addresses, port, status_port, stop))
        client = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        await _listening(port, task)
        yield Gateway(port, status_port, client, stop)
        stop.set()
        await task


async def _listening(port: int, task: asyncio.Task[None]) -> None:
    def listens() -> bool:
        assert not task.done()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await waiting.until_so(listens, what="the gateway listens")


async def mirror(request: web.BaseRequest) -> web.Response:
    """A function that answers with what it was asked."""
    body = await request.read()
    headers = [[name.decode(), value.decode()] for name, value in request.raw_headers]
    return web.json_response({"method": request.method, "path": request.raw_path, "headers": headers, "body": body.hex()})


def seen(answer: dict[str, Any]) -> CIMultiDict[str]:
    """The headers that the mirror saw."""
    return CIMultiDict((name, value) for name, value in answer["headers"])
