"""Log-in attempts, counted per e-mail + address, per address and per e-mail, in a window; memory is bounded.

Each process counts for itself, so the real limit is this times the number of processes. The limit per e-mail is wide: it stops a guesser with many
addresses, and is far above what would let a stranger lock a user out by accident.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic

from functions.query.answers import TooMany

WINDOW_SECONDS = 300.0
PER_PAIR, PER_ADDRESS, PER_EMAIL = 10, 100, 100
REMEMBERED = 20_000


class Throttle:
    """Counts attempts before they are tried, so that many at once are not all let through."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._attempts: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def attempt(self, email: str, address: str) -> None:
        """Count one. Raises TooMany (429) when one of the limits is reached; a refused attempt isn't counted."""
        now = self._clock()
        limits = (((email, address), PER_PAIR), (("", address), PER_ADDRESS), ((email, ""), PER_EMAIL))
        for key, limit in limits:
            times = self._attempts.get(key)
            while times and times[0] <= now - WINDOW_SECONDS:
                times.popleft()
            if times and len(times) >= limit:
                wait = math.ceil(times[0] + WINDOW_SECONDS - now)
                raise TooMany(f"too many log-in attempts: try again in {math.ceil(wait / 60)} min", wait)
        for key, _ in limits:
            self._attempts.setdefault(key, deque()).append(now)
            self._attempts.move_to_end(key)
        while len(self._attempts) > REMEMBERED:
            self._attempts.popitem(last=False)

    def forgive(self, email: str, address: str) -> None:
        """A successful log-in clears its own attempts; those of the address and of the e-mail stand less this one."""
        self._attempts.pop((email, address), None)
        for key in (("", address), (email, "")):
            if times := self._attempts.get(key):
                times.pop()
