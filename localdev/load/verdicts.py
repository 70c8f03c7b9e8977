"""What was measured against what is promised (NFR-P1, P3, P4, R1): each bar once, here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from localdev.bench.load import percentile
from localdev.load import schedule
from localdev.load.measure import Measured
from localdev.load.profiles import AWAY

PUSH_P99: Final = 0.3
TOPIC_P99: Final = 0.5
QUERYABLE_P95: Final = 5.0
QUERYABLE_P99: Final = 15.0
NOISY_RATIO: Final = 2.0
"""The others' push p99 while one tenant is noisy, over that while it isn't."""


@dataclass(frozen=True)
class Verdict:
    """A bar, and whether it holds."""

    what: str
    measured: str
    bar: str
    holds: bool


def judge(measured: Measured) -> list[Verdict]:
    """All that apply to its profile."""
    profile = measured.order.profile
    verdicts = [*_whole(measured)]
    if profile.timed:
        verdicts += _timed(measured)
    if profile.noisy != 1:
        noisy, quiet = noisy_and_quiet(measured)
        ratio = p(noisy, 99) / p(quiet, 99)
        shown = f"{ratio:.2f} ({p(noisy, 99) * 1000:.0f} ms / {p(quiet, 99) * 1000:.0f} ms)"
        verdicts.append(Verdict("the others' push p99 beside the noisy tenant / without", shown, f"≤ {NOISY_RATIO:g}", ratio <= NOISY_RATIO))
    return verdicts


def p(values: Iterable[float], percent: int) -> float:
    """A percentile; not a number where there are no values, which no bar holds for."""
    return percentile(sorted(values), percent)


def noisy_and_quiet(measured: Measured) -> tuple[list[float], list[float]]:
    """Push latencies of all but the noisy tenant, in its noisy windows and in the others."""
    seconds = measured.order.seconds
    others = [push for push in measured.pushes if push.tenant != schedule.NOISY]
    return (
        [push.latency for push in others if schedule.is_noisy(push.due, seconds)],
        [push.latency for push in others if not schedule.is_noisy(push.due, seconds)],
    )


def backlog(measured: Measured) -> tuple[float, float] | None:
    """After an outage: seconds until the clients' backlog was taken, and until the sinks were no further behind than before it; None where that didn't come."""
    begin, back = (part * measured.order.seconds for part in AWAY)
    taken = max((push.answered for push in measured.pushes if push.due == back), default=back)
    usual = max((sum(moment.lag.values()) for moment in measured.moments if 0 <= moment.at < begin), default=0)
    sunk = next((moment.at for moment in measured.moments if moment.at > taken and sum(moment.lag.values()) <= usual), None)
    return None if sunk is None else (taken - back, sunk - back)


def _whole(measured: Measured) -> Sequence[Verdict]:
    """Nothing is lost, and nothing waits for ever: for every profile."""
    found = measured.found.values()
    lost, doubled, never = sum(one.missing for one in found), sum(one.doubled for one in found), sum(measured.never.values())
    sent = " + ".join(f"{one.sent:,}" for one in found)
    caught_up = measured.caught_up
    when = "never" if caught_up is None else f"{max(0.0, caught_up - measured.order.seconds):.1f} s after the last batch was due"
    return [
        Verdict(
            "batches given up by their clients", f"{len(measured.given_up):,} of {len(measured.given_up) + len(measured.pushes):,}", "0", not measured.given_up
        ),
        Verdict("lost: records sent that are missing in a backend", f"{lost:,} of {sent}", "0", not lost and bool(measured.found)),
        Verdict("records that are there twice", f"{doubled:,}", "0", not doubled),
        Verdict("dead letters", f"{len(measured.letters):,}", "0", not measured.letters),
        Verdict("probes that were never found", f"{never:,}", "0", not never),
        Verdict("lag back to 0", when, "in the end", caught_up is not None),
    ]


def _timed(measured: Measured) -> Sequence[Verdict]:
    push, topic = p((push.latency for push in measured.pushes), 99), p((took for _, took in measured.topic), 99)
    verdicts = [
        Verdict("push p99", f"{push * 1000:.0f} ms", f"≤ {PUSH_P99 * 1000:.0f} ms", push <= PUSH_P99),
        Verdict("2xx → topic p99", f"{topic * 1000:.0f} ms", f"≤ {TOPIC_P99 * 1000:.0f} ms", topic <= TOPIC_P99),
    ]
    for backend, found in measured.queryable.items():
        for percent, bar in ((95, QUERYABLE_P95), (99, QUERYABLE_P99)):
            took = p((took for _, took in found), percent)
            verdicts.append(Verdict(f"event → queryable in {backend}, p{percent}", f"{took:.1f} s", f"≤ {bar:g} s", took <= bar))
    return verdicts
