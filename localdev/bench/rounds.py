"""Servers take turns at the same load, round by round, and each turn keeps what it gave and took.

A B A B and not A A B B: whatever else the machine does hits both alike, so the ratio of neighbours holds when neither figure does.
"""

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Self

from localdev.bench import load
from localdev.bench.load import Outcome, Target
from localdev.bench.servers import Server

WARM_SECONDS = 0.5


@dataclass(frozen=True)
class Effort:
    """How long and how often."""

    rounds: int
    seconds: float
    connections: int

    def total(self, servers: int) -> float:
        """Seconds that a case takes with so many servers, about."""
        return servers * (WARM_SECONDS + 2 * self.rounds * self.seconds)


@dataclass(frozen=True)
class Turn:
    """One server's turn."""

    outcome: Outcome
    cpu_ms: float
    """Per request, all processes of the server."""


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some figures."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Self:
        """Of at least one figure."""
        return cls(min(figures), statistics.median(figures), max(figures))

    @classmethod
    def ratio(cls, ours: Sequence[float], theirs: Sequence[float]) -> Self:
        """Of the ratios of neighbours."""
        return cls.of([one / other for one, other in zip(ours, theirs, strict=True)])

    def show(self, digits: int) -> str:
        """median (least to greatest)."""
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.greatest:.{digits}f})"


class Generator:
    """The process that makes the load. Use it in a `with`."""

    def __init__(self) -> None:
        # Spawned, so that nothing of this process (threads, sockets) is in it.
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def pid(self) -> int:
        """Of its process."""
        return self._pool.submit(os.getpid).result()

    def closed(self, server: Server, target: Target, connections: int, seconds: float, at_least: int = 0) -> Turn:
        """As `load.closed`, with what the server used meanwhile."""
        return self._turn(server, lambda: self._pool.submit(load.closed, target, connections, seconds, at_least).result())

    def opened(self, server: Server, target: Target, rate: float, seconds: float) -> Turn:
        """As `load.opened`, with what the server used meanwhile."""
        return self._turn(server, lambda: self._pool.submit(load.opened, target, rate, seconds).result())

    def _turn(self, server: Server, run: Callable[[], Outcome]) -> Turn:
        before = server.cpu_seconds()
        outcome = run()
        used = server.cpu_seconds() - before
        return Turn(outcome, used * 1000 / max(outcome.requests, 1))


@dataclass(frozen=True)
class Measured:
    """All turns of one server at one load."""

    full: list[Turn]
    half: list[Turn]

    def cpu_ms(self) -> list[float]:
        return [turn.cpu_ms for turn in self.full]

    def throughputs(self) -> list[float]:
        return [turn.outcome.throughput for turn in self.full]

    def p50_ms(self) -> list[float]:
        return [turn.outcome.p50 * 1000 for turn in self.full]

    def p99_ms(self) -> list[float]:
        return [turn.outcome.p99 * 1000 for turn in self.full]

    def half_p99_ms(self) -> list[float]:
        return [turn.outcome.p99 * 1000 for turn in self.half]


def compare(generator: Generator, contestants: Sequence[tuple[Server, Target]], effort: Effort) -> tuple[list[Measured], float]:
    """Each contestant's turns: at full load, then at half of what the slowest could do. And that rate."""
    for server, target in contestants:
        # Every token once, so that no turn pays for looking them all up.
        generator.closed(server, target, effort.connections, WARM_SECONDS, at_least=len(target.tokens))
    measured = [Measured([], []) for _ in contestants]
    for _ in range(effort.rounds):
        for (server, target), kept in zip(contestants, measured, strict=True):
            kept.full.append(generator.closed(server, target, effort.connections, effort.seconds))
    rate = min(statistics.median(kept.throughputs()) for kept in measured) / 2
    for _ in range(effort.rounds):
        for (server, target), kept in zip(contestants, measured, strict=True):
            kept.half.append(generator.opened(server, target, rate, effort.seconds))
    return measured, rate
