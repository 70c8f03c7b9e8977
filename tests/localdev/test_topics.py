"""On a real broker: topics are said to be there once every partition has a leader, not a moment before."""

from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from localdev import topics


class Electing:
    """A client of the real broker for which the first partitions it asks about have no leader yet."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.answered = set[tuple[str, int]]()

    def __call__(self, settings: dict[str, Any]) -> "Electing":
        self._consumer = Consumer(settings)
        return self

    def get_watermark_offsets(self, partition: Any, timeout: float) -> tuple[int, int]:
        if self.left:
            self.left -= 1
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        offsets: tuple[int, int] = self._consumer.get_watermark_offsets(partition, timeout=timeout)
        self.answered.add((partition.topic, partition.partition))
        return offsets

    def close(self) -> None:
        self._consumer.close()


def test_topics_are_there_when_every_partition_has_a_leader(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Electing(2)
    monkeypatch.setattr(topics, "Consumer", client)
    topics.create(kafka)
    assert client.answered == {(topic.name, number) for topic in topics.declared() for number in range(topic.partitions)}


def test_a_partition_that_gets_no_leader_is_an_error(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "Consumer", Electing(1_000_000))
    monkeypatch.setattr(topics, "_LEADER_SECONDS", 0.5)
    with pytest.raises(KafkaException, match="NOT_LEADER_FOR_PARTITION"):
        topics.create(kafka)
