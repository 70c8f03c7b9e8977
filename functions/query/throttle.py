"""Log-in attempts, counted per e-mail + address, per address and per e-mail, in a window.

Each process counts for itself, in bounded memory; with `limits_storage_url` all instances count together in Redis, and each for itself while that is away.
The limit per e-mail is wide: it stops a guesser with many addresses, and is far above what would let a stranger lock a user out by accident.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from hashlib import sha256
from time import monotonic, time
from typing import Any

from functions.query.answers import TooMany
from shared.limits import Sharing, Windows
from shared.settings import Database as Settings

WINDOW_SECONDS = 300.0
PER_PAIR, PER_ADDRESS, PER_EMAIL = 10, 100, 100
REMEMBERED = 20_000
"""Keys, three an attempt at most. Only log-ins whose turn comes are counted (`users`): at 0.2 s for a password, on two threads, 3,000 in a window."""


class Throttle(Sharing["Shared"]):
    """Counts attempts before they are tried, so that many at once are not all let through."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(settings, Shared, clock)
        self._local = Local(clock)

    async def attempt(self, email: str, address: str) -> None:
        """Count one. Raises TooMany (429) when one of the limits is reached."""
        if self._shared is None or not await self._ask(self._shared.attempt, email, address):
            self._local.attempt(email, address)

    async def forgive(self, email: str, address: str) -> None:
        """A successful log-in clears its own attempts; those of the address and of the e-mail stand less this one."""
        if self._shared is None or not await self._ask(self._shared.forgive, email, address):
            self._local.forgive(email, address)


class Local:
    """Moments of attempts in memory. A refused attempt isn't counted."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._attempts: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def attempt(self, email: str, address: str) -> None:
        """See Throttle."""
        now = self._clock()
        for key, limit in _limits(email, address):
            times = self._attempts.get(key)
            while times and times[0] <= now - WINDOW_SECONDS:
                times.popleft()
            if times and len(times) >= limit:
                raise _too_many(times[0] + WINDOW_SECONDS - now)
        for key, _ in _limits(email, address):
            self._attempts.setdefault(key, deque()).append(now)
            self._attempts.move_to_end(key)
        while len(self._attempts) > REMEMBERED:
            self._attempts.popitem(last=False)

    def forgive(self, email: str, address: str) -> None:
        """See Throttle."""
        self._attempts.pop((email, address), None)
        for key in (("", address), (email, "")):
            if times := self._attempts.get(key):
                times.pop()


class Shared(Windows):
    """Fixed windows; a refused attempt counts too. Names are digests: the storage needn't know who logs in."""

    async def attempt(self, email: str, address: str) -> None:
        """See Throttle."""
        for key, limit in _limits(email, address):
            item, name = self._window_of(key, limit)
            if not await self.windows.hit(item, "log-in", name):
                raise _too_many((await self.windows.get_window_stats(item, "log-in", name)).reset_time - time())

    async def forgive(self, email: str, address: str) -> None:
        """See Throttle."""
        pair, *others = (self._window_of(key, limit) for key, limit in _limits(email, address))
        await self.windows.clear(pair[0], "log-in", pair[1])
        for item, name in others:
            await self.windows.hit(item, "log-in", name, cost=-1)

    def _window_of(self, key: tuple[str, str], limit: int) -> tuple[Any, str]:
        return self.item(limit, int(WINDOW_SECONDS)), sha256("\0".join(key).encode(errors="replace")).hexdigest()


def _limits(email: str, address: str) -> tuple[tuple[tuple[str, str], int], ...]:
    return ((email, address), PER_PAIR), (("", address), PER_ADDRESS), ((email, ""), PER_EMAIL)


def _too_many(seconds: float) -> TooMany:
    wait = max(1, math.ceil(seconds))
    return TooMany(f"too many log-in attempts: try again in {math.ceil(wait / 60)} min", wait)
