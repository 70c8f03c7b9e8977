"""When a batch is in its topic for others to read: a reader of all topics notes the moment at which it gets each record that carries a trace context."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, TopicPartition

log = logging.getLogger("load.kafka")
_SECONDS: Final = 10.0


class Sightings:
    """Reads on a thread of its own, from now on. Use it in a `with`. Raises KafkaException where the broker is away."""

    def __init__(self, servers: str, topics: Iterable[str]) -> None:
        settings = {"bootstrap.servers": servers, "group.id": "load", "enable.auto.commit": False, "fetch.wait.max.ms": 100}
        self._consumer = Consumer(settings, logger=log)  # no group is joined and nothing committed: partitions are assigned
        known = self._consumer.list_topics(timeout=_SECONDS).topics
        places = [TopicPartition(topic, number) for topic in topics for number in known[topic].partitions]
        self._consumer.assign([TopicPartition(one.topic, one.partition, self._consumer.get_watermark_offsets(one, timeout=_SECONDS)[1]) for one in places])
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, name="sightings", daemon=True)
        self.seen: dict[str, float] = {}
        """By trace id: when the last record that carries it was read, in seconds since 1970."""

    def __enter__(self) -> "Sightings":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._ending.is_set():
            message = self._consumer.poll(0.1)  # one at a time: a read of many waits for many
            if message is not None and not message.error() and (trace := trace_of(dict(message.headers() or []))):
                self.seen[trace] = time.time()


def trace_of(headers: Mapping[str, bytes | str | None]) -> str:
    """The trace id in a record's headers, if there is one."""
    value = headers.get("ce_traceparent")
    return value.decode("ascii").split("-")[1] if isinstance(value, bytes) else ""
