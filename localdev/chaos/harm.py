"""What is done to the running stack: kill -9, a freeze, a backend that takes nothing more, records that no backend can read."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import httpx2
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from localdev.supervisor import state
from localdev.supervisor.board import State
from shared import envelope
from shared.contract import EventType, Source, Topic
from shared.tenant import Tenant

BACK_SECONDS: Final = 120.0
"""Within which a killed service must be ready again."""
log = logging.getLogger("chaos.kafka")

POISON: Final = b"\xff\xff\xff not a message"
_TYPES: Final = {
    Topic.LOGS: (EventType.LOGS, Source.OTLP),
    Topic.METRICS: (EventType.METRICS, Source.OTLP),
    Topic.TRACES: (EventType.TRACES, Source.OTLP),
    Topic.REMOTE_WRITE: (EventType.REMOTE_WRITE_1, Source.PROMETHEUS),
}

READERS: Final = {
    Topic.LOGS: ("sink_loki", "sink_opensearch"),
    Topic.METRICS: ("sink_prom",),
    Topic.TRACES: ("sink_tempo",),
    Topic.REMOTE_WRITE: ("sink_prom",),
}
"""Sinks that must find a topic's poison."""


class NotBack(Exception):
    """A service didn't come back, or isn't there."""


@dataclass(frozen=True)
class Harm:
    """One thing to do: its name, and the doing, which returns when the stack is whole again."""

    name: str
    do: Callable[[], None]


def services() -> list[str]:
    """Everything that can be killed, in the stack's order. Raises NotBack when no stack runs."""
    now = state.snapshot()
    if now is None:
        raise NotBack("no stack is running; ./task up starts it")
    return [name for name, status in now.services.items() if status.pid]


def kill(service: str) -> Harm:
    """SIGKILL to its process; the supervisor brings it back."""

    def do() -> None:
        pid = _pid(service)
        os.kill(pid, signal.SIGKILL)
        _until(lambda: _ready_pid(service) not in {None, pid}, f"{service} is back")

    return Harm(f"kill -9 {service}", do)


def freeze(service: str, seconds: float) -> Harm:
    """SIGSTOP to its process: it accepts connections and never answers."""

    def do() -> None:
        pid = _pid(service)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return Harm(f"freeze {service} for {seconds:.0f} s", do)


def block_opensearch(url: str, tenant: str, seconds: float) -> Harm:
    """What OpenSearch does itself when its disk is full: the tenant's indices take nothing more."""

    def put(value: bool | None) -> None:
        body = {"index.blocks.read_only_allow_delete": value}
        httpx2.put(f"{url}/logs-tenant-{tenant}-*/_settings?expand_wildcards=all", json=body, timeout=30).raise_for_status()

    def do() -> None:
        put(True)
        try:
            time.sleep(seconds)
        finally:
            put(None)

    return Harm(f"opensearch's disk is full for {seconds:.0f} s", do)


def poison(servers: str, tenant: str) -> dict[str, Topic]:
    """Put a record that can't be read into every topic: the id of each, and its topic."""
    producer, sent = Producer({"bootstrap.servers": servers, "acks": "all"}), {}
    whose = Tenant(tenant, tenant, frozenset())
    failed: list[KafkaError] = []

    for topic, (kind, source) in _TYPES.items():
        record = envelope.new(whose, kind, source, topic, POISON, key=envelope.keys(tenant)[0])
        producer.produce(
            topic, record.value, record.key, headers=envelope.kafka_headers(record), on_delivery=lambda error, _: failed.append(error) if error else None
        )
        sent[record.id] = topic
    if producer.flush(30) or failed:
        raise NotBack(f"the broker takes nothing: {failed}")
    return sent


Letter = tuple[str, str, str, str]
"""Record id, sink, reason and detail."""


class DeadLetters:
    """What comes into the topic of dead letters from now on."""

    def __init__(self, servers: str) -> None:
        settings = {"bootstrap.servers": servers, "group.id": f"chaos-{os.getpid()}", "enable.auto.commit": False}
        self._consumer = Consumer(settings, logger=log)  # which says that the broker is away; that it is killed is no news
        partitions = self._consumer.list_topics(Topic.DEAD_LETTERS, timeout=10).topics[Topic.DEAD_LETTERS].partitions
        ends = {n: self._consumer.get_watermark_offsets(TopicPartition(Topic.DEAD_LETTERS, n), timeout=10)[1] for n in partitions}
        self._consumer.assign([TopicPartition(Topic.DEAD_LETTERS, n, end) for n, end in ends.items()])

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def read(self, seconds: float) -> Iterator[Letter]:
        """Those that come within so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self._consumer.poll(0.2)
            if message is not None and not message.error():
                headers = _headers(message)
                yield headers.get("ce_id", ""), headers.get("ce_sink", ""), headers.get("ce_reason", ""), headers.get("ce_detail", "")


def _headers(message: Message) -> dict[str, str]:
    headers: list[tuple[str, bytes]] = list(message.headers() or [])  # type: ignore[arg-type]
    return {name: value.decode() for name, value in headers}


def _pid(service: str) -> int:
    _until(lambda: _ready_pid(service) is not None, f"{service} is ready")
    pid = _ready_pid(service)
    if pid is None:
        raise NotBack(f"{service} went away again")
    return pid


def _ready_pid(service: str) -> int | None:
    now = state.snapshot()
    status = now.services.get(service) if now else None
    return status.pid if status and status.state is State.READY else None


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BACK_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotBack(f"{what}: not within {BACK_SECONDS:.0f} s; ./task status tells more")
        time.sleep(0.1)
