"""A group seen from outside: what it has committed, and when the oldest record that it hasn't done was written. By a consumer of that group which is given no
work: it joins nothing and commits nothing, so it disturbs nobody, and no group comes to be by looking.

When: the record's Kafka timestamp, which is the publisher's clock a few milliseconds after `ce_time`. The record is read, since no request tells a timestamp by
offset; one whose offset is still the same isn't read again.

Not the admin client's question for a group's offsets: librdkafka 2.16 crashes when a coordinator answers that it is none, or not yet, as one does that has just
started (librdkafka issue 5040).
"""

import logging
from collections.abc import Iterable, Mapping
from time import monotonic

from confluent_kafka import Consumer, KafkaException, TopicPartition

from localdev.trigger.errands import Place

log = logging.getLogger("trigger")

COMMITTED_SECONDS, SECONDS = 2.0, 1.0
"""For the committed offsets; for the oldest records of all partitions that are asked for at once."""


class Group:
    """Looks at one group. For one thread at a time."""

    def __init__(self, bootstrap_servers: str, group: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group = group
        self._consumer: Consumer | None = None
        self._known: dict[Place, tuple[int, int]] = {}

    def committed(self, places: Iterable[Place]) -> dict[Place, int]:
        """The committed offset of each partition that has one. Raises KafkaException when the coordinator doesn't say."""
        found = self._open().committed([TopicPartition(*place) for place in places], timeout=COMMITTED_SECONDS)
        for partition in found:
            if partition.error:
                raise KafkaException(partition.error)
        return {(partition.topic, partition.partition): partition.offset for partition in found if partition.offset >= 0}

    def timestamps(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        """Milliseconds since 1970 of the first record at or after each offset; those left out couldn't be read in time."""
        self._known = {place: known for place, known in self._known.items() if offsets.get(place) == known[0]}
        missing = {place: offset for place, offset in offsets.items() if place not in self._known}
        if missing:
            try:
                self._read(missing)
            except KafkaException as error:
                log.warning("oldest records unknown", extra={"error": str(error)})
        return {place: millis for place, (_, millis) in self._known.items()}

    def _read(self, offsets: dict[Place, int]) -> None:
        consumer = self._open()
        deadline = monotonic() + SECONDS
        consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        try:
            while offsets and (left := deadline - monotonic()) > 0:
                for message in consumer.consume(len(offsets), left):
                    place = (message.topic() or "", message.partition() or 0)
                    # More of a partition may come before its pause is heard of.
                    if not message.error() and place in offsets:
                        self._known[place] = (offsets.pop(place), message.timestamp()[1])
                        consumer.pause([TopicPartition(*place)])
        finally:
            consumer.unassign()

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    "bootstrap.servers": self._bootstrap_servers,
                    "client.id": "lag",
                    "group.id": self._group,
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    # One batch a partition is enough, and a broker hands out a whole one however little is asked for.
                    "fetch.message.max.bytes": 65_536,
                    "queued.min.messages": 1,
                    "queued.max.messages.kbytes": 1024,
                    "fetch.wait.max.ms": 100,
                },
                logger=logging.getLogger("trigger.kafka"),
            )
        return self._consumer
