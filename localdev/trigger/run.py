"""The trigger process: one subscription per event function, a timer per function that wants one, and an HTTP port for readiness and metrics."""

import asyncio
import signal
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from localdev.functions import Function
from localdev.trigger.dead_letters import DeadLetters
from localdev.trigger.delivery import Delivery
from localdev.trigger.lag import Lag
from localdev.trigger.subscription import Subscription
from localdev.trigger.timer import Timer
from shared import garbage

IDLE_SECONDS = 15.0
"""An unused connection is closed after this; shorter than the functions' server waits, so that it never closes one just as we use it."""


async def run(functions: Iterable[Function], bootstrap_servers: str, port: int, host: str = "127.0.0.1") -> None:
    """Deliver until SIGTERM. Raises when a consumer fails for good."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)))
        functions, dead_letters = list(functions), DeadLetters(bootstrap_servers)
        subscriptions = [
            Subscription(function, function.trigger, bootstrap_servers, Delivery(function, session, dead_letters).deliver)
            for function in functions
            if function.trigger
        ]
        runner = web.AppRunner(_status(subscriptions, bootstrap_servers), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, host, port).start()
        for function in functions:
            if function.every:
                await stack.enter_async_context(Timer(function.url, function.every, session))
        for subscription in subscriptions:
            subscription.start()
        garbage.collect_less()
        await _until_stopped(stop, subscriptions)


async def _until_stopped(stop: asyncio.Event, subscriptions: Sequence[Subscription]) -> None:
    stopped = asyncio.create_task(stop.wait())
    ended: list[asyncio.Future[Any]] = [subscription.ended for subscription in subscriptions]
    await asyncio.wait([stopped, *ended], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    await asyncio.gather(*(subscription.stop() for subscription in subscriptions))
    await asyncio.gather(*ended)


def _status(subscriptions: Sequence[Subscription], bootstrap_servers: str) -> web.Application:
    """`/readyz`: 200 once every group was joined. `/metrics`: for Prometheus."""
    REGISTRY.register(Lag(bootstrap_servers, [subscription.trigger for subscription in subscriptions]))

    async def ready(_: web.Request) -> web.Response:
        waiting = [subscription.trigger.group for subscription in subscriptions if not subscription.joined.is_set()]
        return web.Response(status=503 if waiting else 200, text=f"waiting for groups: {', '.join(waiting)}\n" if waiting else "ready\n")

    async def metrics(_: web.Request) -> web.Response:
        page = await asyncio.to_thread(generate_latest)  # asks the broker
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/readyz", ready), web.get("/metrics", metrics)])
    return app
