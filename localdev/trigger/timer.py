"""Calls a function every so often, as Knative's PingSource and OpenFaaS' cron-connector do. What it answers is its own affair; that it doesn't is logged."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Self

import aiohttp

log = logging.getLogger("trigger")

ANSWER_SECONDS = 120.0


class Timer(AbstractAsyncContextManager["Timer"]):
    """Ticks for the length of the block; the next tick begins `seconds` after the answer to the last one."""

    def __init__(self, url: str, seconds: float, session: aiohttp.ClientSession) -> None:
        self._url = f"{url}/"
        self._seconds = seconds
        self._session = session
        self._silent = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            said = await self._tick()
            if said and not self._silent:
                log.warning("tick not taken: %s", said, extra={"target": self._url})
            self._silent = bool(said)

    async def _tick(self) -> str:
        """What is wrong; empty when nothing is."""
        try:
            async with self._session.post(self._url, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=2)) as response:
                return "" if response.ok else str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            return str(error) or type(error).__name__
