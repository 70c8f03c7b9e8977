"""How long events wait for their next try at a function that takes none: as many as there are, together they try it about ten times a second, and when it takes
one again all the others are tried at once.

Without that, 512 events under way (64 in each of 8 partitions), each tried every few seconds, took a sixth of a core from the three other sinks for as long as
their backend was away.
"""

import asyncio
import random
from time import monotonic
from typing import Final

from localdev.trigger import policy

CROWD: Final = 25
"""Up to so many waiting events each keeps its own time, every 2.5 s on average in the end."""
AWAY_SECONDS: Final = 5.0
"""A function that took nothing for so long takes nothing of anybody's. Before that it may be about one tenant, and what others achieve says nothing to him."""


class Patience:
    """Of all events for one function. Lives on the event loop."""

    def __init__(self) -> None:
        self._waiting = 0
        self._last_taken = float("-inf")
        self._back = asyncio.Event()

    def taken(self) -> None:
        """The function has taken an event."""
        now = monotonic()
        if self._waiting and self._is_away(now):
            self._back.set()
            self._back = asyncio.Event()
        self._last_taken = now

    async def wait(self, retry: int, closing: asyncio.Event) -> None:
        """Until it is time for retry number `retry` (from 0) of an event, or `closing` is set."""
        self._waiting += 1
        ends = [asyncio.create_task(event.wait()) for event in (closing, self._back)]
        try:
            await asyncio.wait(ends, timeout=self.seconds(retry), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting -= 1
            for end in ends:
                end.cancel()

    def seconds(self, retry: int) -> float:
        """How long one of those that wait now waits."""
        crowd = max(1.0, self._waiting / CROWD) if self._is_away(monotonic()) else 1.0
        return crowd * policy.delay(retry, random.random())  # noqa: S311 jitter

    def _is_away(self, now: float) -> bool:
        return now - self._last_taken > AWAY_SECONDS
