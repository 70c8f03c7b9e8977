"""Kafka → Loki: trigger and sink_loki beside the Collector, each working off the same records from a topic of its own, in turns.

Loki says how many log records it was pushed, for each tenant, and how it answered. A turn ends when it was pushed as many as there are. One more, or an answer
that isn't 2xx, would be work that the other side didn't have, and ends the run.

Of many tenants, sink_loki makes pushes for each alone; the Collector makes one push a record whoever's it is, here all in one tenant's name.
"""

import re
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from uuid import uuid4

from confluent_kafka import Producer

from localdev import topics
from localdev.backends import loki
from localdev.bench import bodies, events, servers, stack
from localdev.bench.ingest import Say
from localdev.bench.load import LoadError
from localdev.bench.report import Table
from localdev.bench.rounds import Effort, Spread
from localdev.bench.servers import Server
from shared import envelope
from shared.contract import Topic

CASES = ((10, 1, 2000), (10, 100, 1500), (512, 1, 200))
"""Log records in each record, tenants, and how many records two cores work off in about a second."""
TURN_SECONDS = 60.0
_SETTLE_SECONDS = 0.1
"""Loki counts a push when it has read it; the answer comes a little later."""
_POLL_SECONDS = 0.05
_WARM_SECONDS = 0.2
_LINES = re.compile(rb'^loki_distributor_lines_received_total\{[^}]*tenant="([^"]*)"[^}]*\} (\S+)$', re.MULTILINE)
_ANSWERS = re.compile(rb'^loki_request_duration_seconds_count\{[^}]*route="otlp_v1_logs"[^}]*status_code="(\w+)"[^}]*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Side:
    """Who brings records from `topic` to Loki, as these tenants'."""

    topic: str
    tenant_ids: Sequence[str]
    servers: Sequence[Server]


@dataclass(frozen=True)
class Turn:
    """What it took. `cpu`: seconds of each server of the side."""

    lines: int
    pushes: int
    seconds: float
    cpu: tuple[float, ...]

    @property
    def first_us(self) -> float:
        """CPU per log record, of the side's first server alone."""
        return self.cpu[0] * 1e6 / self.lines

    @property
    def all_us(self) -> float:
        """Of all of them."""
        return sum(self.cpu) * 1e6 / self.lines


def run(effort: Effort, say: Say) -> list[Table]:
    """All sizes, one after the other."""
    theirs_id, rows = str(uuid4()), []
    with servers.function("sink_loki") as sink, servers.trigger_of("sink_loki") as trigger, servers.collector_to_loki(theirs_id) as collector:
        for size, tenants, a_second in CASES:
            ours = Side(Topic.LOGS, [str(uuid4()) for _ in range(tenants)], (sink, trigger))
            theirs = Side(stack.reference(Topic.LOGS), [theirs_id], (collector,))
            turns: list[list[Turn]] = [[], []]
            value = bodies.logs(size)
            for number in range(effort.rounds + 1):
                for side, kept in zip((ours, theirs), turns, strict=True):
                    kept.append(turn(side, value, size, max(tenants, round(a_second * (effort.seconds if number else _WARM_SECONDS)))))
            rows.append(row(f"{size} log records a record, {tenants} tenant{'s' if tenants > 1 else ''}", *(kept[1:] for kept in turns)))
            say("  ".join(rows[-1]))
    columns = (
        "records",
        "CPU per log record, µs: sink, with trigger / Collector",
        "ratio, sink alone",
        "ratio, with trigger",
        "log records/s",
        "log records per push",
    )
    return [Table("Kafka → Loki, sink_loki and trigger / Collector", columns, rows)]


def row(name: str, ours: Sequence[Turn], theirs: Sequence[Turn]) -> tuple[str, ...]:
    """Of the table: ours first, medians, ratios of neighbours."""
    alone, both, other = [one.first_us for one in ours], [one.all_us for one in ours], [one.all_us for one in theirs]
    rates = [Spread.of([one.lines / one.seconds for one in side]).median for side in (ours, theirs)]
    sizes = [Spread.of([one.lines / one.pushes for one in side]).median for side in (ours, theirs)]
    return (
        name,
        f"{Spread.of(alone).median:.2f}, {Spread.of(both).median:.2f} / {Spread.of(other).median:.2f}",
        Spread.ratio(alone, other).show(2),
        Spread.ratio(both, other).show(2),
        f"{rates[0]:,.0f} / {rates[1]:,.0f}",
        f"{sizes[0]:.0f} / {sizes[1]:.0f}",
    )


def turn(side: Side, value: bytes, size: int, count: int) -> Turn:
    """Publish `count` records and wait until Loki has them all. Raises LoadError."""
    lines, pushes = pushed(side.tenant_ids)
    used, began = [server.cpu_seconds() for server in side.servers], time.perf_counter()
    publish(side, value, count)
    while (now := pushed(side.tenant_ids))[0] < lines + size * count:
        if time.perf_counter() - began > TURN_SECONDS:
            raise LoadError(f"{side.topic}: Loki has {now[0] - lines} of {size * count} log records after {TURN_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)
    took = time.perf_counter() - began
    time.sleep(_SETTLE_SECONDS)
    cpu = tuple(server.cpu_seconds() - before for server, before in zip(side.servers, used, strict=True))
    now = pushed(side.tenant_ids)
    if now[0] != lines + size * count:
        raise LoadError(f"{side.topic}: Loki was sent {now[0] - lines} log records, and there were {size * count}")
    return Turn(size * count, now[1] - pushes, took, cpu)


def publish(side: Side, value: bytes, count: int) -> None:
    """The same batch so many times, with the tenants' keys in turn, so in their partitions as ingest would. Raises LoadError."""
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers(), "linger.ms": 5})
    partitions = next(topic.partitions for topic in topics.declared() if topic.name == Topic.LOGS)
    sources = [
        (events.record(tenant_id, value, key), key)
        for shard in range(envelope.SHARDS)
        for tenant_id in side.tenant_ids
        for key in [envelope.keys(tenant_id)[shard]]
    ]
    for one, key in islice(cycle(sources), count):
        producer.produce(side.topic, value, key.text, key.hash % partitions, headers=envelope.kafka_headers(events.again(one)))
        producer.poll(0)
    if producer.flush(TURN_SECONDS):
        raise LoadError("the broker doesn't take the records")


def pushed(tenant_ids: Sequence[str]) -> tuple[int, int]:
    """Log records that Loki was pushed as these tenants', and pushes of everybody's that it took. Raises LoadError when it refused one."""
    with urllib.request.urlopen(f"{loki.url()}/metrics", timeout=10) as answer:  # noqa: S310 our own
        return counted(answer.read(), tenant_ids)


def counted(page: bytes, tenant_ids: Sequence[str]) -> tuple[int, int]:
    """The same, of Loki's page of metrics."""
    wanted = frozenset(tenant_ids)
    lines = [float(count) for tenant_id, count in _LINES.findall(page) if tenant_id.decode() in wanted]
    pushes = {status.decode(): int(float(count)) for status, count in _ANSWERS.findall(page)}
    if bad := {status: count for status, count in pushes.items() if not status.startswith("2")}:
        raise LoadError(f"Loki refused pushes: {bad}")
    return round(sum(lines)), sum(pushes.values())
