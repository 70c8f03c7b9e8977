"""When each client has a batch to send: known before the run, and independent of how the answers come."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from localdev.load.profiles import AWAY, AWAY_SHARE, SAMPLES, SIGNALS, WINDOW_SECONDS, Profile

RECORD_NS: Final = 1_000
"""Between two log records or spans of a batch."""
_APART_SECONDS: Final = 0.05
NOISY: Final = 0
"""The tenant that is noisy, where one is."""


@dataclass(frozen=True)
class Batch:
    """Seconds from the start of the run: `happened`, when its records are dated; `due`, when it is to be sent. Its records are numbered from `first` on."""

    due: float
    happened: float
    first: int


@dataclass(frozen=True)
class Client:
    """One tenant's sender of one signal."""

    tenant: int
    signal: str
    size: int
    batches: tuple[Batch, ...]

    @property
    def records(self) -> int:
        """All of them."""
        return len(self.batches) * self.size


def clients(profile: Profile, seconds: float, seed: int = 1) -> list[Client]:
    """All of a profile's, the same each time for the same `seed`."""
    made = []
    for tenant in range(profile.tenants):
        for signal in SIGNALS:
            stream = profile.streams[signal]
            chance = random.Random(f"{seed} {tenant} {signal}")  # noqa: S311 no secret
            moments = _apart(_moments(profile, tenant, signal, seconds, chance), stream.batch)
            batches = tuple(
                Batch(due(profile, tenant, moment, seconds), moment, number * stream.batch) for number, moment in zip(count(), moments, strict=False)
            )
            made.append(Client(tenant, signal, stream.batch, batches))
    return made


def first_batches(profile: Profile) -> list[Client]:
    """One of each client, a little apart: what makes tokens known, and indices and streams of new tenants there."""
    places = [(tenant, signal) for tenant in range(profile.tenants) for signal in SIGNALS]
    return [
        Client(tenant, signal, min(profile.streams[signal].batch, 100), (Batch(number * _APART_SECONDS, number * _APART_SECONDS, 0),))
        for number, (tenant, signal) in enumerate(places)
    ]


def is_noisy(moment: float, seconds: float) -> bool:
    """Whether the noisy tenant is noisy then, in a run of so many seconds: at least two windows of each kind."""
    return int(moment // min(WINDOW_SECONDS, seconds / 4)) % 2 == 1


def due(profile: Profile, tenant: int, moment: float, seconds: float) -> float:
    """When what happened at that moment can be sent."""
    begin, end = (part * seconds for part in AWAY)
    away = profile.away and tenant < profile.tenants * AWAY_SHARE and begin <= moment < end
    return end if away else moment


def _apart(moments: Iterator[float], size: int) -> Iterator[float]:
    """Never so soon after the one before that records would have equal times: a reader's pages are cut between times."""
    least = 0.0
    for moment in moments:
        yield max(moment, least)
        least = max(moment, least) + 2 * size * RECORD_NS / 1e9


def _moments(profile: Profile, tenant: int, signal: str, seconds: float, chance: random.Random) -> Iterator[float]:
    """A Collector's batches come at random (a Poisson process), Prometheus' at even intervals."""
    stream = profile.streams[signal]
    usual = stream.batch * profile.tenants / stream.per_second
    regular = signal == SAMPLES
    moment = chance.uniform(0, usual) if regular else 0.0
    while True:
        gap = usual / (profile.noisy if tenant == NOISY and is_noisy(moment, seconds) else 1.0)
        if not regular:
            moment += chance.expovariate(1 / gap)
        if moment >= seconds:
            return
        yield moment
        if regular:
            moment += gap
