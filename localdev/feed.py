"""Events to one function again, as its trigger delivers them, for commands that a person runs: patient for a while, then it says what is wrong.

Plain requests to the function's URL, as KafkaSource's are, so the same works wherever that URL is reached: nothing is published, and no other sink sees it.
"""

import argparse
import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from localdev.admin import Failure
from localdev.functions import Function
from localdev.trigger import policy
from localdev.trigger.policy import Verdict
from shared import tokens
from shared.delivery import DEAD_HEADER

PATIENCE_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 60.0
_AUTOMATIC: Final = ("User-Agent", "Accept", "Accept-Encoding")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The function's final word: taken or refused. `dead`: what its backend refused is dead letters now, the whole batch or parts of it."""

    status: int
    reason: str
    text: str
    dead: str

    @property
    def taken(self) -> bool:
        return policy.verdict(self.status) is Verdict.DONE


class Feeder:
    """Sends to one function. `rate`: events a second, None for as many as it takes."""

    def __init__(self, function: Function, rate: float | None = None) -> None:
        self._function = function
        self._pause = 1 / rate if rate else 0.0
        self._next = 0.0
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS, sock_connect=2))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def send(self, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Raises Failure when the function can't say yes or no within a minute."""
        await self._wait()
        until, retry = monotonic() + PATIENCE_SECONDS, 0
        while True:
            try:
                outcome = await self._post(headers, body)
                said = f"{outcome.status} {outcome.text}"
                if policy.verdict(outcome.status) is not Verdict.RETRY:
                    return outcome
            except (aiohttp.ClientError, TimeoutError) as error:
                said = str(error) or type(error).__name__
            if monotonic() > until:
                raise Failure(
                    f"{self._function.name} takes nothing now: {said}\nRun the same command again when it does: what it has taken already adds nothing."
                )
            await asyncio.sleep(policy.delay(retry, random.random()))  # noqa: S311 jitter
            retry += 1

    async def _wait(self) -> None:
        """For this event's turn."""
        if self._pause:
            turn = max(self._next, monotonic())
            self._next = turn + self._pause
            await asyncio.sleep(turn - monotonic())

    async def _post(self, headers: Mapping[str, str], body: bytes) -> Outcome:
        url = f"{self._function.url}/"
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False, skip_auto_headers=_AUTOMATIC) as response:
            text = " ".join((await response.text(errors="replace")).split())[:300]
            return Outcome(response.status, response.headers.get("kne-reason", ""), text, response.headers.get(DEAD_HEADER, ""))


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


def moment(text: str) -> datetime:
    """For argparse: `2h` (that long ago), `2026-11-24`, `2026-11-24T10:30`, with `Z` or an offset; without one it is UTC."""
    try:
        return datetime.now(UTC) - tokens.lifetime(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment such as 2h (ago), 2026-11-24 or 2026-11-24T10:30Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
