"""One backend away for long, while batches of all signals keep coming: the other sinks go on, and its own catches up when it is back.

Away is stopped, cleanly, with a port that refuses: what a killed backend forgets by itself is another question, which `harm.kill` asks.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from rich.table import Table

from localdev.chaos.harm import NotBack
from localdev.chaos.load import LOGS_PER_BATCH, SAMPLES_PER_BATCH, SPANS_PER_BATCH, Run, Sender
from localdev.chaos.watch import TRIGGER, Moment, Watch
from localdev.supervisor import control

SINKS: Final = {"loki": "sink_loki", "opensearch": "sink_opensearch", "prometheus": "sink_prom", "tempo": "sink_tempo"}
"""Backends that can be taken away, and whose sink then waits."""
RECORDS: Final = {"loki": LOGS_PER_BATCH, "opensearch": LOGS_PER_BATCH, "prometheus": SAMPLES_PER_BATCH, "tempo": SPANS_PER_BATCH}
"""Records in each batch that a backend is sent."""
BEFORE_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 10.0
"""About what stopping and starting it take together."""
AFTER: Final = 0.2
"""Batches keep coming when it is back, for so much of the time that it was away."""
SETTLED_SECONDS: Final = 2.0
"""A sink has caught up when its lag is what comes in so long: the trigger commits once a second."""
NEWS_SECONDS: Final = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Which backend, for how many seconds, while so many batches of each signal come a minute."""

    backend: str
    seconds: float
    rate: float

    @property
    def sending(self) -> float:
        """Seconds from the first batch to the last."""
        return BEFORE_SECONDS + CHANGE_SECONDS + self.seconds * (1 + AFTER)

    @property
    def settled(self) -> int:
        """The lag, in batches, of a sink that has caught up."""
        return max(2, round(self.rate / 60 * SETTLED_SECONDS))

    def run(self, name: str) -> Run:
        """Its records."""
        batches = max(1, round(self.rate / 60 * self.sending))
        return Run(name, batches * LOGS_PER_BATCH, batches * SAMPLES_PER_BATCH, batches * SPANS_PER_BATCH, seconds=self.sending)


@dataclass(frozen=True)
class Course:
    """How it went. `gone`, `ready`, `caught_up`: the moments at which the backend was away, was back, and had everything; `moments`: all, from the start."""

    plan: Plan
    gone: Moment
    ready: Moment
    caught_up: Moment
    moments: Sequence[Moment]

    def story(self) -> str:
        """In a sentence."""
        sink, backend = SINKS[self.plan.backend], self.plan.backend
        took = self.caught_up.at - self.ready.at
        batches = self.ready.lag[sink] - self.caught_up.lag[sink] + self.plan.rate / 60 * took
        rate = f"{batches * 60 / took:,.0f} batches/min, {batches * RECORDS[backend] / took:,.0f} records/s"
        most = max(moment.lag[sink] for moment in self.moments)
        return f"{backend} was away for {self.ready.at - self.gone.at:.0f} s, {most:,} batches behind; caught up {took:.1f} s after it was ready: {rate}"

    def table(self) -> Table:
        """A row for each sink, and the trigger."""
        table = Table(
            "", "lag while away, most", "when ready", "after, most", "at the end", "memory before, MiB", "while away", "after", "cores while away", "after"
        )
        away, after = self._between(self.gone, self.ready), self._between(self.ready, self.moments[-1])
        before = self._between(self.moments[0], self.gone)
        for name in (*self.gone.lag, TRIGGER):
            lags = [_most(away, name), f"{self.ready.lag[name]:,}", _most(after, name), f"{after[-1].lag[name]:,}"] if name != TRIGGER else [""] * 4
            table.add_row(name, *lags, *(_memory(part, name) for part in (before, away, after)), _cores(away, name), _cores(after, name))
        return table

    def _between(self, first: Moment, last: Moment) -> list[Moment]:
        return [moment for moment in self.moments if first.at <= moment.at <= last.at]


def _most(moments: Sequence[Moment], sink: str) -> str:
    return f"{max(moment.lag[sink] for moment in moments):,}"


def _memory(moments: Sequence[Moment], name: str) -> str:
    sizes = [moment.memory[name] / 2**20 for moment in moments]
    return f"{min(sizes):.0f} to {max(sizes):.0f}"


def _cores(moments: Sequence[Moment], name: str) -> str:
    first, last = moments[0], moments[-1]
    return f"{(last.cpu[name] - first.cpu[name]) / (last.at - first.at):.3f}" if last.at > first.at else ""


def course(plan: Plan, sender: Sender, say: Say, patience: float) -> Course:
    """Send everything, with the backend away in the midst of it; return when all sinks have all of it. Raises NotBack, GaveUp, control.Failure."""
    sink = SINKS[plan.backend]
    with Watch(SINKS.values()) as watch:
        under_way = sender.start(0, plan.sending)
        _wait(watch, under_way, time.monotonic() + BEFORE_SECONDS)
        with _away(plan.backend):
            gone = _now(watch)
            say(f"{plan.backend} is away")
            while (left := gone.at + plan.seconds - time.monotonic()) > 0:
                _wait(watch, under_way, time.monotonic() + min(left, NEWS_SECONDS))
                say(f"{time.monotonic() - gone.at:4.0f} s of {plan.seconds:.0f}: lag {', '.join(f'{name} {lag:,}' for name, lag in _now(watch).lag.items())}")
        ready = _now(watch)
        say(f"{plan.backend} is ready again, {sink} is {ready.lag[sink]:,} batches behind")
        caught_up = _down_to(plan.settled, watch, lambda moment: moment.lag[sink], patience)
        say(f"{sink} has caught up after {caught_up.at - ready.at:.1f} s; records keep coming for a little while")
        for future in under_way:
            future.result()
        _down_to(0, watch, lambda moment: sum(moment.lag.values()), patience)
        return Course(plan, gone, ready, caught_up, watch.moments)


@contextmanager
def _away(backend: str) -> Iterator[None]:
    try:
        control.stop(backend)
        yield
    finally:
        control.start(backend)


def _wait(watch: Watch, under_way: Sequence[Future[None]], until: float) -> None:
    """Until that time, unless sending fails before: then raise why."""
    while (left := until - time.monotonic()) > 0:
        watch.wait_for(lambda _: True, left)
        for future in under_way:
            if future.done():
                future.result()


def _down_to(most: int, watch: Watch, behind: Callable[[Moment], int], patience: float) -> Moment:
    """The first moment from now on at which it is no more than that. Raises NotBack when it becomes no less for so long."""
    moment = _now(watch)
    while behind(moment) > most:
        better = watch.wait_for(partial(_less, behind, behind(moment)), patience)
        if better is None:
            raise NotBack(f"no sink has got further within {patience:.0f} s; batches behind: {moment.lag}")
        moment = better
    return moment


def _less(behind: Callable[[Moment], int], than: int, moment: Moment) -> bool:
    return behind(moment) < than


def _now(watch: Watch) -> Moment:
    moment = watch.wait_for(lambda _: True, 10)
    if moment is None:
        raise NotBack("the trigger doesn't tell its lag")
    return moment
