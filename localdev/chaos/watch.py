"""What sinks and trigger are at while something is done to the stack: their lag, memory and CPU, a moment every now and then."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families

from localdev import functions
from localdev.ports import ports
from localdev.supervisor import state

TRIGGER: Final = "trigger"
SECONDS: Final = 0.5
_LAG: Final = "obstack_group_lag_records"


@dataclass(frozen=True)
class Moment:
    """Of each sink: lag, in records of its topics. Of each process: resident memory in bytes, CPU seconds so far, open descriptors. `at`: time.monotonic."""

    at: float
    lag: dict[str, int]
    memory: dict[str, int]
    cpu: dict[str, float]
    descriptors: dict[str, int] = field(default_factory=dict)


class Watch:
    """Looks on a thread of its own, at these sinks, the trigger and `more` of the stack's processes, every so many seconds. Use it in a `with`."""

    def __init__(self, sinks: Iterable[str], more: Iterable[str] = (), every: float = SECONDS) -> None:
        self._every = every
        self._groups = {row.trigger.group: row.name for row in functions.catalogue() if row.trigger and row.name in set(sinks)}
        self._names = list(dict.fromkeys((*self._groups.values(), TRIGGER, *more)))
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{ports()['TRIGGER_PORT']}", timeout=10)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._news = threading.Condition()
        self.moments: list[Moment] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._client.close()

    def wait_for(self, condition: Callable[[Moment], bool], seconds: float) -> Moment | None:
        """The first moment from now on of which that is true; None when there is none in time."""
        first = len(self.moments)
        with self._news:
            self._news.wait_for(lambda: any(map(condition, self.moments[first:])), seconds)
            return next(filter(condition, self.moments[first:]), None)

    def _look(self) -> None:
        while not self._ending.wait(self._every):
            if moment := self._moment():
                with self._news:
                    self.moments.append(moment)
                    self._news.notify_all()

    def _moment(self) -> Moment | None:
        """None while the trigger, the broker or the supervisor doesn't tell."""
        try:
            lag = lags(self._client.get("/metrics").text, self._groups)
        except httpx2.HTTPError:
            return None
        now = state.snapshot()
        if lag.keys() != set(self._groups.values()) or now is None:
            return None
        memory, cpu, descriptors = dict[str, int](), dict[str, float](), dict[str, int]()
        for name in self._names:
            try:
                process = psutil.Process(now.services[name].pid or -1)
                memory[name], times, descriptors[name] = process.memory_info().rss, process.cpu_times(), process.num_fds()
            except (psutil.Error, ValueError):
                return None
            cpu[name] = times.user + times.system
        return Moment(time.monotonic(), lag, memory, cpu, descriptors)


def lags(page: str, groups: dict[str, str]) -> dict[str, int]:
    """By sink: the sum over its partitions, of the trigger's page of metrics. A sink that the page doesn't know is left out."""
    found: dict[str, int] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == _LAG and (sink := groups.get(sample.labels["group"])):
                found[sink] = found.get(sink, 0) + int(sample.value)
    return found
