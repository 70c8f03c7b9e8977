"""Events to one function again, as its trigger delivers them, for commands that a person runs: patient for a while, then it says what is wrong.

Plain requests to the function's URL, as KafkaSource's are, so the same works wherever that URL is reached: nothing is published, and no other sink sees it.
"""

import argparse
import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Final, Self

from localdev import where
from localdev.admin import Failure
from localdev.functions import Function
from localdev.trigger import policy
from shared import replay, tokens
from shared.backend import Backend
from shared.errors import Later
from shared.replay import Outcome

PATIENCE_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 60.0
_AGAIN: Final = "Run the same command again when it {}: what it has taken already adds nothing."


class Feeder:
    """Sends to one function. `rate`: events a second, None for as many as it takes. Raises Failure when nobody says where the function is."""

    def __init__(self, function: Function, rate: float | None = None) -> None:
        self._name = function.name
        self._pause = 1 / rate if rate else 0.0
        self._next = 0.0
        self._backend = Backend(where.sink_url(function), _REQUEST_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._backend.__aexit__()

    async def send(self, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Raises Failure when the function can't say yes or no within a minute, and at once when it is switched to skip: its yes stores nothing then."""
        await self._wait()
        outcome = await self._ask(headers, body)
        if outcome.skipped:
            raise Failure(f"{self._name} is switched to skip, so nothing of this is stored: ./task flags -- list\n{_AGAIN.format('is on')}")
        return outcome

    async def _ask(self, headers: Mapping[str, str], body: bytes) -> Outcome:
        until, retry = monotonic() + PATIENCE_SECONDS, 0
        while True:
            try:
                return await replay.ask(self._backend, headers, body)
            except Later as later:
                if monotonic() > until:
                    raise Failure(f"{self._name} takes nothing now: {later}\n{_AGAIN.format('does')}") from None
            await asyncio.sleep(policy.delay(retry, random.random()))  # noqa: S311 jitter
            retry += 1

    async def _wait(self) -> None:
        """For this event's turn."""
        if self._pause:
            turn = max(self._next, monotonic())
            self._next = turn + self._pause
            await asyncio.sleep(turn - monotonic())


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
