"""`python -m localdev.bench.stack NAME…`: the supervisor of these backends, and of nothing else: no function shall take CPU that isn't under test."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from localdev import seed, topics
from localdev.service import Service
from localdev.supervisor import stack
from localdev.supervisor.run import run

_SECONDS = 15.0
_OVERRIDES = {
    # A run writes up to a hundred megabytes a second that nobody reads: small segments, removed soon.
    "log.segment.bytes": 33_554_432,
    "log.retention.bytes": 67_108_864,
    "log.retention.check.interval.ms": 2_000,
    "log.segment.delete.delay.ms": 1_000,
    "log.initial.task.delay.ms": 2_000,
}


def reference(topic: str) -> str:
    """The topic that the reference server writes to: as many partitions, settings alike."""
    return topic.replace("telemetry.", "bench.")


def services(names: Iterable[str]) -> list[Service]:
    """Backends by name: Kafka with all topics, PostgreSQL with all tables, the others as the stack has them."""
    found = {service.name: service for service in stack.services()}
    kafka = found["kafka"]
    overrides: Sequence[str] = [word for name, value in _OVERRIDES.items() for word in ("--override", f"{name}={value}")]
    found["kafka"] = replace(kafka, command=lambda: [*kafka.command(), *overrides], on_ready=_create_topics)
    found["postgres"] = replace(found["postgres"], on_ready=seed.migrate)
    return [found[name] for name in names]


def _create_topics() -> None:
    topics.create()
    admin = AdminClient({"bootstrap.servers": topics.bootstrap_servers()})
    there = admin.list_topics(timeout=_SECONDS).topics
    new = [NewTopic(reference(topic.name), topic.partitions, 1, config=dict(topic.config)) for topic in topics.declared() if reference(topic.name) not in there]
    for created in admin.create_topics(new, request_timeout=_SECONDS).values() if new else ():
        created.result(_SECONDS)


if __name__ == "__main__":
    run(services(sys.argv[1:]))
