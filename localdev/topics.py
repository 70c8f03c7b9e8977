"""Makes the broker's topics what `stack/redpanda/topics.yml` says. Idempotent; partitions are only ever added, as Kafka has it."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import yaml
from confluent_kafka import KafkaError, KafkaException
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

_SECONDS = 15.0


@dataclass(frozen=True)
class Topic:
    """One topic as declared."""

    name: str
    partitions: int
    config: Mapping[str, str]


def declared() -> list[Topic]:
    """The file's topics."""
    rows = yaml.safe_load((STACK / "redpanda" / "topics.yml").read_text())["topics"]
    return [Topic(name, row["partitions"], {key: str(value) for key, value in row["config"].items()}) for name, row in rows.items()]


def bootstrap_servers() -> str:
    """Where this machine's broker is."""
    return f"127.0.0.1:{ports()['KAFKA_PORT']}"


def create() -> None:
    """Create what is missing, add partitions, set the configuration. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers()})
    topics = declared()
    existing = {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=_SECONDS).topics.items()}
    new = [NewTopic(topic.name, topic.partitions, 1, config=dict(topic.config)) for topic in topics if topic.name not in existing]
    grown = [NewPartitions(topic.name, topic.partitions) for topic in topics if 0 < existing.get(topic.name, 0) < topic.partitions]
    kept = [_alteration(topic) for topic in topics if topic.name in existing and topic.config]
    if new:
        _finish(admin.create_topics(new, request_timeout=_SECONDS))
    if grown:
        _finish(admin.create_partitions(grown, request_timeout=_SECONDS))
    if kept:
        _finish(admin.incremental_alter_configs(kept, request_timeout=_SECONDS))


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
