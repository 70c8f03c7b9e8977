"""Many tasks, a few at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

Start = Callable[[Coroutine[Any, Any, None]], Awaitable[None]]


@asynccontextmanager
async def turns(most: int) -> AsyncIterator[Start]:
    """For a block that starts tasks: at most `most` are under way, and none outlives the block. Raises the first error of any."""
    under_way: set[asyncio.Task[None]] = set()

    async def start(task: Coroutine[Any, Any, None]) -> None:
        """Begin, and return when there is room for another."""
        nonlocal under_way
        under_way.add(asyncio.create_task(task))
        if len(under_way) >= most:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*done)

    try:
        yield start
        await asyncio.gather(*under_way)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
