"""What is sent: so many tenants, records a second of each signal, records a request; and what is special about it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

LOGS, SAMPLES, SPANS = "logs", "samples", "spans"
SIGNALS: Final = (LOGS, SAMPLES, SPANS)

WINDOW_SECONDS: Final = 10.0
"""The noisy tenant is noisy in every second window of this length, so that both kinds of windows see the same machine."""
AWAY: Final = (0.2, 0.5)
"""From which part of the run to which the Collectors are away."""
AWAY_SHARE: Final = 0.5
"""Of the tenants."""


@dataclass(frozen=True)
class Stream:
    """One signal of all tenants together: records a second, and records a request."""

    per_second: float
    batch: int


@dataclass(frozen=True)
class Profile:
    """A load."""

    what: str
    streams: Mapping[str, Stream]
    tenants: int = 100
    noisy: float = 1.0
    """How many times its share one of the tenants sends in every second window."""
    away: bool = False
    """Half of the tenants' clients can't reach us for a while, keep what happens, and send it all at once when they can."""
    timed: bool = False
    """Whether the bars of latency hold for it. Loads beyond the baseline must lose nothing and be caught up with."""

    @property
    def rates(self) -> str:
        """In words."""
        streams = ", ".join(f"{stream.per_second:,g} {signal}/s in requests of {stream.batch:,}" for signal, stream in self.streams.items())
        return f"{self.tenants} tenants, {streams}"

    def scaled(self, factor: float) -> "Profile":
        """So many times the records and the requests."""
        return replace(self, streams={signal: replace(stream, per_second=stream.per_second * factor) for signal, stream in self.streams.items()})


def _streams(logs: Stream, samples: Stream, spans: Stream) -> Mapping[str, Stream]:
    return {LOGS: logs, SAMPLES: samples, SPANS: spans}


_BASELINE: Final = Profile(
    "100 tenants: 2,000 log records, 1,000 samples and 200 spans a second", _streams(Stream(2000, 20), Stream(1000, 100), Stream(200, 10))
)

PROFILES: Final[Mapping[str, Profile]] = {
    "baseline": replace(_BASELINE, timed=True),
    "peak": replace(_BASELINE.scaled(5), what="five times the baseline, in as large requests"),
    "noisy": replace(_BASELINE, noisy=20.0, what="the baseline, in which one tenant sends 20 times its share in every second window"),
    "tiny": Profile("many requests of a single record", _streams(Stream(250, 1), Stream(100, 1), Stream(50, 1))),
    "huge": Profile("few requests near the largest that is taken", _streams(Stream(2000, 35_000), Stream(1000, 10_000), Stream(500, 10_000)), tenants=5),
    "outage": replace(_BASELINE, away=True, what="the baseline, but half of the tenants' Collectors can't reach us for a while and then send all they kept"),
}
"""By name. A request's record in the topic is at most 10 MB, which 35,000 log records of some 260 bytes come near."""
