"""Plugin rate-limiting, policy local: requests in fixed periods of the clock, as Kong counts them."""

import math
import time
from collections import Counter
from collections.abc import Callable

from localdev.gateway.config import RateLimit


class Limiter:
    """Counts requests; what was counted in a period that is over is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counts: dict[tuple[str, str], tuple[int, Counter[str]]] = {}

    def take(self, rule: RateLimit, who: str) -> tuple[bool, dict[str, str]]:
        """Whether the request may pass, and the headers of its answer. One that may not isn't counted."""
        now = self._clock()
        left = {period: most - self._counter(rule, period, now, seconds)[who] for period, seconds, most in rule.limits}
        passes = all(number > 0 for number in left.values())
        if passes:
            for period, seconds, _ in rule.limits:
                self._counter(rule, period, now, seconds)[who] += 1
                left[period] -= 1
        headers: dict[str, str] = {}
        for period, _, most in rule.limits:
            headers |= {f"X-RateLimit-Limit-{period.title()}": str(most), f"X-RateLimit-Remaining-{period.title()}": str(max(0, left[period]))}
        nearest, seconds, most = min(rule.limits, key=lambda limit: left[limit[0]])
        reset = str(max(1, math.ceil(seconds - now % seconds)))
        headers |= {"RateLimit-Limit": str(most), "RateLimit-Remaining": str(max(0, left[nearest])), "RateLimit-Reset": reset}
        return passes, headers if passes else {**headers, "Retry-After": reset}

    def _counter(self, rule: RateLimit, period: str, now: float, seconds: int) -> Counter[str]:
        number = int(now // seconds)
        known, counter = self._counts.get((rule.scope, period), (number, Counter()))
        if known != number:
            counter = Counter()
        self._counts[rule.scope, period] = number, counter
        return counter
