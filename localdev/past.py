"""What lies in topics, read by time and without a group, so that no trigger's offsets move. Blocking reads run on a thread."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from localdev.trigger.errands import Place
from localdev.trigger.events import Event, from_record
from localdev.trigger.subscription import record_of

_SECONDS: Final = 10.0
_READ_SECONDS: Final = 0.1
"""A read waits so long for its batch to be full."""
_SILENT_SECONDS: Final = 30.0
"""Without a record where there are some, the broker is away."""
_SOURCE: Final = "/apis/v1/namespaces/local/backfill"


class Past:
    """Some topics' records. All methods raise KafkaException."""

    def __init__(self, bootstrap_servers: str, topics: Sequence[str]) -> None:
        self._topics = topics
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "backfill",  # asked for by the library; nothing is committed, and no group is joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
            }
        )

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def lost_before(self) -> datetime | None:
        """Before this moment some partition may have had records that are gone; None when none has lost any."""
        moments = [self._first(partition) for partition in self._partitions() if self._bounds(partition)[0] > 0]
        return max(moments, default=None)

    async def between(self, begin: datetime, end: datetime) -> AsyncIterator[Event]:
        """The events that the topics' times put between the two, as far as they were published when this began; each partition's in order.

        Each partition is read to the end that it had then: times are its publishers', and one fast clock would hide what others published after it.
        """
        stops = await asyncio.to_thread(self._assign, begin)
        silent = 0
        while stops:
            messages = await asyncio.to_thread(self._read)
            for message in messages:
                record = record_of(message)
                place = (record.topic, record.partition)
                if record.offset >= stops.get(place, 0):
                    continue
                if record.offset + 1 == stops[place]:
                    del stops[place]
                    self._consumer.incremental_unassign([TopicPartition(*place)])
                if record.timestamp_ms < end.timestamp() * 1000:
                    yield from_record(record, _SOURCE)
            silent = 0 if messages else silent + 1
            if silent * _READ_SECONDS > _SILENT_SECONDS:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 the library's own name for it

    def _assign(self, begin: datetime) -> dict[Place, int]:
        """Read from that moment on; the offset before which to stop, of each partition that has something."""
        ranges = {(partition.topic, partition.partition): self._range(partition, begin) for partition in self._partitions()}
        ranges = {place: (first, stop) for place, (first, stop) in ranges.items() if first < stop}
        self._consumer.assign([TopicPartition(*place, first) for place, (first, _) in ranges.items()])
        return {place: stop for place, (_, stop) in ranges.items()}

    def _partitions(self) -> list[TopicPartition]:
        known = self._consumer.list_topics(timeout=_SECONDS).topics
        return [TopicPartition(topic, number) for topic in self._topics if topic in known for number in sorted(known[topic].partitions)]

    def _bounds(self, partition: TopicPartition) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(partition, timeout=_SECONDS)
        return int(low), int(high)

    def _range(self, partition: TopicPartition, begin: datetime) -> tuple[int, int]:
        """Offsets: the first at or after the moment, and the end."""
        low, high = self._bounds(partition)
        (found,) = self._consumer.offsets_for_times(
            [TopicPartition(partition.topic, partition.partition, max(0, int(begin.timestamp() * 1000)))], timeout=_SECONDS
        )
        return (max(low, found.offset), high) if found.offset >= 0 else (high, high)

    def _first(self, partition: TopicPartition) -> datetime:
        """When the oldest record that is left was published; now, if none is."""
        low, high = self._bounds(partition)
        if low >= high:
            return datetime.now(UTC)
        self._consumer.assign([TopicPartition(partition.topic, partition.partition, low)])
        messages = self._read(1, _SECONDS)
        return datetime.fromtimestamp(record_of(messages[0]).timestamp_ms / 1000, UTC) if messages else datetime.now(UTC)

    def _read(self, most: int = 200, seconds: float = _READ_SECONDS) -> list[Message]:
        messages = self._consumer.consume(most, timeout=seconds)
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
        return list(messages)
