"""Makes the broker's topics what `stack/redpanda/topics.yml` says. Idempotent; partitions are only ever added, as Kafka has it.

`python -m localdev.topics` is the Job of a cluster and the one-shot of compose; these environment variables are its settings:
KAFKA_BOOTSTRAP_SERVERS; TOPIC_REPLICATION_FACTOR (1; of topics that it makes, not of those that are there); TOPIC_RETENTION_HOURS (of the customers' records;
without it the file's. Prometheus takes what is 72 hours late, so more is for the others).
"""

import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import stamina
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from localdev.paths import STACK
from localdev.ports import ports
from localdev.rows import rows
from shared import contract

_SECONDS = 15.0
_LEADER_SECONDS = 30.0


@dataclass(frozen=True)
class Topic:
    """One topic as declared."""

    name: str
    partitions: int
    config: Mapping[str, str]


def declared() -> list[Topic]:
    """The file's topics."""
    found = rows(STACK / "redpanda" / "topics.yml", "topics", "partitions config")
    return [Topic(name, row["partitions"], {key: str(value) for key, value in row["config"].items()}) for name, row in found.items()]


def bootstrap_servers() -> str:
    """Where this machine's broker is."""
    return f"127.0.0.1:{ports()['KAFKA_PORT']}"


def create(servers: str = "", *, replication: int = 1, retention_hours: int | None = None) -> None:
    """Create what is missing, add partitions, set the configuration, wait until all can be used. Without `servers` on this machine. Raises KafkaException."""
    servers = servers or bootstrap_servers()
    admin = AdminClient({"bootstrap.servers": servers})
    topics = [_kept_for(topic, retention_hours) for topic in declared()]
    existing = {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=_SECONDS).topics.items()}
    new = [NewTopic(topic.name, topic.partitions, replication, config=dict(topic.config)) for topic in topics if topic.name not in existing]
    grown = [NewPartitions(topic.name, topic.partitions) for topic in topics if 0 < existing.get(topic.name, 0) < topic.partitions]
    kept = [_alteration(topic) for topic in topics if topic.name in existing and topic.config]
    if new:
        _finish(admin.create_topics(new, request_timeout=_SECONDS))
    if grown:
        _finish(admin.create_partitions(grown, request_timeout=_SECONDS))
    if kept:
        _finish(admin.incremental_alter_configs(kept, request_timeout=_SECONDS))
    _await_leaders(servers, topics)


def _await_leaders(servers: str, topics: Iterable[Topic]) -> None:
    """A broker says yes to a new partition a moment before the partition has a leader; who reads it then gets an error."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "topics", "enable.auto.commit": False})  # no group is joined: nothing is subscribed
    partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    try:
        for attempt in stamina.retry_context(on=KafkaException, attempts=None, timeout=_LEADER_SECONDS, wait_initial=0.05, wait_max=0.5):
            with attempt:
                for partition in partitions:
                    consumer.get_watermark_offsets(partition, timeout=_SECONDS)
    finally:
        consumer.close()


def _kept_for(topic: Topic, hours: int | None) -> Topic:
    """A dead letter is kept as long as the file says: somebody should look at it first."""
    return (
        topic if hours is None or topic.name == contract.Topic.DEAD_LETTERS else replace(topic, config={**topic.config, "retention.ms": str(hours * 3_600_000)})
    )


def _alteration(topic: Topic) -> ConfigResource:
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in topic.config.items()]
    return ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)


def _finish(changes: Mapping[Any, Future[None]]) -> None:
    """Wait for all; another process having created the same topic meanwhile is fine."""
    for change in changes.values():
        try:
            change.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def main() -> int:
    """Create them as the environment says; exit code 1 when a setting is wrong or the broker refuses."""
    try:
        hours = os.environ.get("TOPIC_RETENTION_HOURS")
        create(
            os.environ.get("KAFKA_BOOTSTRAP_SERVERS", ""),
            replication=_number("TOPIC_REPLICATION_FACTOR", os.environ.get("TOPIC_REPLICATION_FACTOR") or "1"),
            retention_hours=_number("TOPIC_RETENTION_HOURS", hours) if hours else None,
        )
    except (ValueError, KafkaException) as error:
        print(f"topics: {error}", file=sys.stderr)
        return 1
    return 0


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or not 0 < int(value) < 32_768:
        raise ValueError(f"{name}={value!r}: a whole number from 1 to 32767 is allowed")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
