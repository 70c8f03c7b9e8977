"""What a sink whose backend is away costs the three others: they work off the same records with that sink blocked, and with that sink left out, in turns.

The backend is away in both, so the difference is what its sink and the trigger do about it: each event that is under way is tried again and again, with waits
of some seconds. A turn has a trigger of its own; one with the blocked sink begins when that has been tried until the waits are as long as they become.
"""

import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final
from uuid import UUID

from confluent_kafka import Producer
from uuid_utils import uuid7

from localdev import functions, topics
from localdev.bench import bodies, events, servers
from localdev.bench.ingest import Say
from localdev.bench.load import LoadError
from localdev.bench.report import Table
from localdev.bench.rounds import Effort, Spread
from localdev.bench.servers import Server
from localdev.chaos.outage import SINKS
from localdev.chaos.watch import lags
from localdev.supervisor import control
from shared import envelope
from shared.contract import EventType, Source, Topic
from shared.envelope import Record
from shared.tenant import Tenant

BACKENDS: Final = ("kafka", "postgres", *SINKS)
TOPIC: Final = {"sink_loki": Topic.LOGS, "sink_opensearch": Topic.LOGS, "sink_prom": Topic.REMOTE_WRITE, "sink_tempo": Topic.TRACES}
EVENTS: Final = {Topic.LOGS: 600, Topic.TRACES: 1200, Topic.REMOTE_WRITE: 1200}
"""Of each topic, in a turn whose length is 1; two cores bring them all to the backends in about two seconds."""
RECORDS: Final = 10
"""In each event: log records, spans, samples."""
TENANTS: Final = 10
"""Always the same: enough for all partitions."""
TRIES: Final = 6
"""Of each event under way, on average, until the waits between them are as long as they become."""
IDLE_SECONDS: Final = 2.0
TURN_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.05
_DELIVERED: Final = "obstack_sink_delivered_records_total"
_UNDER_WAY: Final = "obstack_trigger_in_flight_records"
_RETRIES: Final = "obstack_trigger_retries_total"


@dataclass(frozen=True)
class Turn:
    """Events a second of the other sinks together; CPU an event of those sinks, and of the trigger, in µs; and the cores that trigger and the sink in question
    used before that, when nothing was to be done for the others.
    """

    rate: float
    sinks_us: float
    trigger_us: float
    idle: tuple[float, float]


def run(effort: Effort, say: Say) -> list[Table]:
    """Each backend, one after the other."""
    rows, batches = [], records()
    with ExitStack() as running:
        sinks = {name: running.enter_context(servers.function(name)) for name in SINKS.values()}
        for backend, name in SINKS.items():
            control.stop(backend)
            publish(batches, {TOPIC[name]: EVENTS[TOPIC[name]]})  # what it is blocked with
            turns: dict[bool, list[Turn]] = {True: [], False: []}
            for number in range(effort.rounds + 1):
                for blocked in (True, False) if number % 2 else (False, True):  # neither is always the later one: the backends get warm
                    turns[blocked].append(turn(sinks, name, blocked, batches, effort.seconds))
                say(f"{backend} away: {number} of {effort.rounds} rounds, and one to get warm")
            control.start(backend)
            _catch_up(sinks[name])  # or it would do so in the next turns
            rows.append(row(backend, turns[True][1:], turns[False][1:]))
            say("  ".join(rows[-1]))
    columns = (
        "away",
        "events/s of the others",
        "ratio, median (min to max)",
        "CPU of their sinks an event, µs",
        "ratio, median (min to max)",
        "CPU of the trigger an event, µs",
        "cores used for waiting: trigger, the blocked sink",
    )
    return [Table(f"One backend away: the three other sinks, {RECORDS} records an event, with its sink blocked / left out", columns, rows)]


def row(backend: str, blocked: Sequence[Turn], without: Sequence[Turn]) -> tuple[str, ...]:
    """Of the table: medians, ratios of neighbours."""
    sides = (blocked, without)
    rates, sinks = [[one.rate for one in side] for side in sides], [[one.sinks_us for one in side] for side in sides]
    waiting = ([[one.idle[place] for one in side] for side in sides] for place in range(2))
    return (
        backend,
        _medians(rates, 0),
        Spread.ratio(*rates).show(2),
        _medians(sinks, 0),
        Spread.ratio(*sinks).show(2),
        _medians([[one.trigger_us for one in side] for side in sides], 0),
        ", ".join(_medians(cores, 3) for cores in waiting),
    )


def turn(sinks: Mapping[str, Server], name: str, blocked: bool, batches: Mapping[Topic, Sequence[Record]], length: float) -> Turn:
    """All sinks but this one work off so many events, with it blocked or left out. Raises LoadError."""
    others = [sink for sink in sinks.values() if sink.name != name]
    counts = {topic: max(TENANTS, round(EVENTS[topic] * length)) for topic in {TOPIC[sink.name] for sink in others}}
    with servers.trigger_of(*(sinks if blocked else [sink.name for sink in others])) as trigger:
        if blocked:
            _until_blocked(name, trigger)
        idle = _cores((trigger, sinks[name]), IDLE_SECONDS)
        goals = {sink: total(page(sink), _DELIVERED) + counts[TOPIC[sink.name]] for sink in others}
        used, began = [server.cpu_seconds() for server in (trigger, *others)], time.perf_counter()
        publish(batches, counts)
        while late := [sink.name for sink, goal in goals.items() if total(page(sink), _DELIVERED) < goal]:
            if time.perf_counter() - began > TURN_SECONDS:
                raise LoadError(f"{', '.join(late)}: not done after {TURN_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
        took = time.perf_counter() - began
        cpu = [server.cpu_seconds() - before for server, before in zip((trigger, *others), used, strict=True)]
    done = sum(counts[TOPIC[sink.name]] for sink in others)
    return Turn(done / took, sum(cpu[1:]) * 1e6 / done, cpu[0] * 1e6 / done, idle)


def records() -> dict[Topic, list[Record]]:
    """Of each topic, one for each key that its tenants have."""
    kinds = {
        Topic.LOGS: (EventType.LOGS, Source.OTLP, bodies.logs(RECORDS)),
        Topic.TRACES: (EventType.TRACES, Source.OTLP, bodies.traces(RECORDS)),
        Topic.REMOTE_WRITE: (EventType.REMOTE_WRITE_1, Source.PROMETHEUS, bodies.series_1(RECORDS)),
    }
    tenants = [Tenant(str(UUID(int=number, version=4)), str(uuid7()), frozenset()) for number in range(TENANTS)]
    keys = [(tenant, key) for tenant in tenants for key in envelope.keys(tenant.id)]
    return {topic: [envelope.new(tenant, kind, source, topic, value, key=key) for tenant, key in keys] for topic, (kind, source, value) in kinds.items()}


def publish(batches: Mapping[Topic, Sequence[Record]], counts: Mapping[Topic, int]) -> None:
    """So many records into each topic, each with an id and a batch of its own; partitions by the keys, as ingest does. Raises LoadError."""
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers(), "linger.ms": 5})
    for topic, count in counts.items():
        for one in map(events.again, islice(cycle(batches[topic]), count)):
            producer.produce(topic, one.value, one.key, headers=envelope.kafka_headers(one))
            producer.poll(0)
    if producer.flush(TURN_SECONDS):
        raise LoadError("the broker doesn't take the records")


def page(server: Server) -> bytes:
    """Its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        return bytes(answer.read())


def total(metrics: bytes, name: str, labels: str = "") -> int:
    """Sum of a metric's samples whose labels have these words."""
    found = re.findall(rb"^%s(?:\{([^}]*)\})? (\S+)$" % name.encode(), metrics, re.MULTILINE)
    return round(sum(float(value) for one, value in found if labels.encode() in one))


def _until_blocked(name: str, trigger: Server) -> None:
    deadline, label = time.monotonic() + TURN_SECONDS, f'function="{name}"'
    while not (under_way := total(now := page(trigger), _UNDER_WAY, label)) or total(now, _RETRIES, label) < TRIES * under_way:
        if time.monotonic() > deadline:
            raise LoadError(f"{name} is not blocked after {TURN_SECONDS:.0f} s")
        time.sleep(0.5)


def _catch_up(sink: Server) -> None:
    groups = {row.trigger.group: row.name for row in functions.catalogue() if row.trigger and row.name == sink.name}
    with servers.trigger_of(sink.name) as trigger:
        deadline = time.monotonic() + TURN_SECONDS
        while lags(page(trigger).decode(), groups) != {sink.name: 0}:
            if time.monotonic() > deadline:
                raise LoadError(f"{sink.name} has not caught up after {TURN_SECONDS:.0f} s")
            time.sleep(0.5)


def _cores(of: Sequence[Server], seconds: float) -> tuple[float, float]:
    used, began = [server.cpu_seconds() for server in of], time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    first, second = ((server.cpu_seconds() - before) / took for server, before in zip(of, used, strict=True))
    return first, second


def _medians(sides: Sequence[Sequence[float]], digits: int) -> str:
    return " / ".join(f"{Spread.of(side).median:,.{digits}f}" for side in sides)
