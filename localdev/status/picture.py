"""What the stack is at: processes, each sink's lag and rates, letters, switches. None stands for what could not be asked, never for zero."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from localdev import functions
from localdev.functions import Function, Trigger
from localdev.ports import ports
from localdev.status.logs import LastError, last_error
from localdev.status.rates import Look, rates
from localdev.status.scrape import Metrics, Scrape
from localdev.supervisor import state
from localdev.supervisor.board import State, Status
from localdev.supervisor.state import Snapshot

TRIGGER, SUPERVISOR, BROKER = "trigger", "supervisor", "kafka"
_INGEST = "ingest_"
LAG_RECORDS, LAG_SECONDS = "obstack_group_lag_records", "obstack_group_lag_seconds"
SECONDS = 0.45
"""Until a process must have told its metrics; with the first look at rates, all of it stays below a second."""
LAG_PATIENCE = 2.5
"""The same of the trigger, which tells lag."""


@dataclass(frozen=True)
class ServiceRow:
    """A process. `rss_bytes`: of all its processes; pages that they share count in each."""

    name: str
    state: State
    since: float
    pid: int | None
    restarts: int
    detail: str
    rss_bytes: float | None
    last_error: LastError | None


@dataclass(frozen=True)
class SinkRow:
    """A consumer group. Records are Kafka's: a customer's batch each. Rates are a second; `letters_dead` since dead_letter started."""

    name: str
    group: str
    lag_records: float | None
    lag_seconds: float | None
    published: float | None
    delivered: float | None
    postponed: float | None
    letters_waiting: float | None
    letters_dead: float | None


@dataclass(frozen=True)
class Picture:
    """The whole. `rates_over`: seconds that rates are of; `taken`: records a second by signal; `switched`: flag → value that isn't `on`, or for how many
    tenants; `silent`: whose metrics could not be had."""

    at: float
    rates_over: float
    services: list[ServiceRow]
    taken: dict[str, float | None]
    refused: float | None
    sinks: list[SinkRow]
    switched: dict[str, str]
    silent: list[str]

    @property
    def ready(self) -> bool:
        """Whether every service is."""
        return all(row.state is State.READY for row in self.services)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"ready": self.ready}


def take(now: Snapshot) -> Picture:
    """Ask everybody at once. Takes less than a second, whoever doesn't answer; longer only while the broker answers the trigger slowly."""
    rows = [row for row in functions.catalogue(everything=True) if row.name in now.services]
    counting = {row.name: row.metrics_port for row in rows}
    began = time.time()
    # The trigger asks the broker first, and reads the oldest records of groups that are behind: of it more is awaited than of others, if it can be had at all.
    there = all(name in now.services and now.services[name].state is State.READY for name in (TRIGGER, BROKER))
    trigger = Scrape({TRIGGER: ports()["TRIGGER_PORT"]} if TRIGGER in now.services else {}, LAG_PATIENCE if there else SECONDS)
    found = Scrape({**counting, SUPERVISOR: ports()["SUPERVISOR_PORT"]}, SECONDS).found()
    per_second, over = rates(_look(found, rows), lambda: _look(Scrape({name: counting[name] for name in counting if name in found}, SECONDS).found(), rows))
    found |= trigger.found()
    # Who isn't ready takes nothing over; who is and doesn't tell, leaves the sums unknown.
    ingest = [row.name for row in rows if row.name.startswith(_INGEST) and now.services[row.name].state is State.READY]
    signals = sorted({topic.removeprefix("telemetry.") for row in rows if row.trigger for topic in row.trigger.topics} - {"dead-letters"})
    return Picture(
        at=began,
        rates_over=over,
        services=[_service(name, status, found.get(SUPERVISOR)) for name, status in now.services.items()],
        taken={signal: _of_all(ingest, signal, per_second) for signal in signals},
        refused=_of_all(ingest, "refused", per_second),
        sinks=[_sink(row.name, row.trigger, ingest, found, per_second) for row in rows if row.trigger],
        switched=_switched(found),
        silent=[name for name in (*counting, SUPERVISOR, *([TRIGGER] if TRIGGER in now.services else [])) if name not in found],
    )


def _look(found: Mapping[str, Metrics], rows: list[Function]) -> Look:
    """The counters that rates are made of, each of one function: a restart of one says nothing about the others."""
    look: dict[str, float] = {}
    topics = {topic for row in rows if row.trigger for topic in row.trigger.topics}
    for row in rows:
        if (metrics := found.get(row.name)) is None:
            continue
        if row.name.startswith(_INGEST):
            look[f"{row.name} refused"] = metrics.sum("obstack_ingest_refused_requests_total")
            for topic in topics:
                look[f"{row.name} {topic}"] = metrics.sum("obstack_publish_seconds_count", topic=topic)
                signal = topic.removeprefix("telemetry.")
                look[f"{row.name} {signal}"] = metrics.sum("obstack_ingest_accepted_records_total", signal=signal)
        elif row.trigger:
            look[f"{row.name} delivered"] = metrics.sum("obstack_sink_delivered_records_total")
            look[f"{row.name} postponed"] = metrics.sum("obstack_sink_postponed_records_total")
    return look


def _of_all(names: Iterable[str], what: str, per_second: Mapping[str, float]) -> float | None:
    """The functions' rates together; unknown as soon as one of them is."""
    found = [per_second.get(f"{name} {what}") for name in names]
    return None if None in found else sum(rate for rate in found if rate)


def _sink(name: str, subscribed: Trigger, ingest: list[str], found: Mapping[str, Metrics], per_second: Mapping[str, float]) -> SinkRow:
    group = subscribed.group
    trigger, letters, replay = found.get(TRIGGER), found.get("dead_letter"), found.get("replay")
    published = [_of_all(ingest, topic, per_second) for topic in subscribed.topics]
    return SinkRow(
        name=name,
        group=group,
        lag_records=trigger.by("group", LAG_RECORDS).get(group) if trigger else None,
        lag_seconds=trigger.highest("group", LAG_SECONDS).get(group) if trigger else None,
        published=None if name == "dead_letter" or None in published else sum(rate for rate in published if rate),
        delivered=per_second.get(f"{name} delivered"),
        postponed=per_second.get(f"{name} postponed"),
        letters_waiting=replay.sum("obstack_replay_waiting_letters", sink=name) if replay else None,
        letters_dead=letters.sum("obstack_dead_letter_stored_letters_total", sink=name) if letters else None,
    )


def _switched(found: Mapping[str, Metrics]) -> dict[str, str]:
    """What isn't `on`, as the functions have it: the database may be away, and a function may not have looked yet."""
    switched: dict[str, str] = {}
    for metrics in found.values():
        for labels, value in metrics.samples.get("obstack_flag", ()):
            if value == 1 and labels["value"] != "on":
                switched[labels["flag"]] = labels["value"]
        for flag, tenants in metrics.by("flag", "obstack_flag_tenants").items():
            if tenants and flag not in switched:
                switched[flag] = f"not on for {tenants:.0f} tenants"
    return dict(sorted(switched.items()))


def _service(name: str, status: Status, supervisor: Metrics | None) -> ServiceRow:
    memory = supervisor.by("service", "obstack_service_rss_bytes").get(name) if supervisor else None
    error = last_error(state.log_folder() / f"{name}.log")
    return ServiceRow(name, status.state, status.since, status.pid, status.restarts, status.detail, memory, error)
