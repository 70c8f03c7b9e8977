"""What an answer means and when to try again. Pure.

Statuses as in KafkaSource. Unlike there, tries have no limit, for a trigger that gives up during an outage would empty the topic into the dead letters; and the
longest wait is short, since on a laptop a backend is back soon. `Retry-After` is not honoured, as it isn't there.
"""

from enum import StrEnum

from shared.contract import RETRIED

BASE_SECONDS = 0.1
CAP_SECONDS = 5.0


class Verdict(StrEnum):
    """What becomes of a delivery."""

    DONE = "done"
    RETRY = "retry"
    DEAD = "dead"


def verdict(status: int | None) -> Verdict:
    """By the HTTP status; None stands for no answer at all."""
    if status is None or status in RETRIED or status >= 500:
        return Verdict.RETRY
    return Verdict.DONE if 200 <= status < 300 else Verdict.DEAD


def delay(retry: int, chance: float) -> float:
    """Seconds before retry number `retry` (from 0): exponential, full jitter, so that many waiting records don't come back as one wave."""
    return chance * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(retry, 16))
