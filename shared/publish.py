"""Publishing with a promise: `publish` returns after acks=all, or raises Later. The only module that imports a Kafka client.

librdkafka calls back when it is polled, so the event loop polls it, every millisecond while a record is under way: a thread of its own would fight the loop
for the interpreter's lock, 5 ms at a time. An idempotent producer keeps order and adds no duplicates by its own retries; a timed-out record may still be in
the log ("possibly persisted"), and its client sends it again as another record, which is why everything behind knows a batch by what is in it.

What the client calls fatal (its sequence numbers and the broker's have parted) it says of all that comes after, for ever: then another one takes its place.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from time import monotonic

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Histogram

from shared.contract import MAX_RECORD_BYTES, Reason
from shared.envelope import Key, Record, kafka_headers
from shared.errors import Later, Refused
from shared.settings import Broker
from shared.telemetry import metrics

log = logging.getLogger(__name__)

POLL_SECONDS, IDLE_SECONDS = 0.001, 1.0
"""How often the client is asked for acknowledgements while some are due; and else, for what it has to log."""
TURN_SECONDS = 0.05
"""How long records gather in the same partitions."""


@cache
def _seconds(topic: str) -> Histogram:
    return metrics.PUBLISH_SECONDS.labels(topic)


class Publisher:
    """A producer for one event loop. Open it in `start`, close it at the end: `close` waits for what is under way."""

    def __init__(self, settings: Broker) -> None:
        self._timeout = settings.publish_timeout_seconds
        self._config = {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "client.id": settings.function_name,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0.3,
            "delivery.timeout.ms": int(self._timeout * 1000),
            "message.max.bytes": MAX_RECORD_BYTES + 65_536,
            "queue.buffering.max.kbytes": 131_072,
            "partitioner": "consistent_random",  # CRC-32 of the key, as Key.hash
            "allow.auto.create.topics": False,
            "reconnect.backoff.max.ms": 1000,
            "log_level": 4,
        }
        self._producer = Producer(self._config, logger=log)
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        metrics.PUBLISH_WAITING.set_function(lambda: self._waiting)
        self._timer = self._loop.call_later(IDLE_SECONDS, self._poll)
        self._partitions: dict[str, int] = {}
        self._turn, self._turn_ends = 0, 0.0

    def gather(self, topic: str, keys: Sequence[Key]) -> Key:
        """The key, of those that a record may have, which brings it together with others that are sent now.

        The client sends a request for each partition, whatever is in it: with a thousand tenants spread over all partitions that costs as much as all the
        rest. So all prefer the same partition, the next one with the next turn, and each takes what its keys allow that comes nearest.
        """
        now = monotonic()
        if now >= self._turn_ends:
            self._turn, self._turn_ends = self._turn + 1, now + TURN_SECONDS
        turn, partitions = self._turn, self._partitions.get(topic, 1)
        return min(keys, key=lambda key: (key.hash - turn) % partitions)

    async def publish(self, record: Record, topic: str | None = None) -> None:
        """Append to the record's topic (or another) and wait until all in-sync replicas have it.

        Raises Refused when it is larger than the topic takes, Later when the broker is away, slow, or the queue is full.
        """
        if len(record.value) > MAX_RECORD_BYTES:
            raise Refused(Reason.TOO_LARGE, f"{len(record.value)} bytes decompressed; at most {MAX_RECORD_BYTES} go into one record", 413)
        future: asyncio.Future[None] = self._loop.create_future()
        topic, began = topic or record.topic, monotonic()

        def done(error: KafkaError | None, message: Message) -> None:
            self._waiting -= 1
            if error is None:
                self._learn(topic, message.partition())
            if future.done():  # its client is gone
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(Later(f"broker: {error.str()}"))

        try:
            self._producer.produce(topic, record.value, record.key, headers=kafka_headers(record), on_delivery=done)
        except (BufferError, KafkaException) as error:
            self._replace_if_fatal(error)
            raise Later(f"broker: {error}") from error
        self._waiting += 1
        if self._waiting == 1:
            self._poll_in(POLL_SECONDS)
        else:
            self._producer.poll(0)  # the loop's timers are no finer than a millisecond, which is long for those who wait
        try:
            await future
        except Later as later:  # its traceback holds this frame, which holds it and the body: as a cycle they would wait for the garbage collector
            raise Later(later.with_traceback(None).detail) from None
        _seconds(topic).observe(monotonic() - began)

    def _replace_if_fatal(self, error: Exception) -> None:
        """Whoever waits for the old one is told that its records were given up: they may be in the log, and come again."""
        fatal = error.args[0] if isinstance(error, KafkaException) else None
        if not isinstance(fatal, KafkaError) or not fatal.fatal():
            return
        log.critical("the broker's client can't go on and is replaced: %s", fatal.str())
        old, self._producer = self._producer, Producer(self._config, logger=log)
        old.purge()
        old.poll(0)

    async def close(self) -> None:
        """Wait for what is under way, at most the publish timeout, then stop polling."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                while self._waiting:  # noqa: ASYNC110 an event would be set for every record, for this once
                    await asyncio.sleep(POLL_SECONDS)
        self._timer.cancel()

    def _poll(self) -> None:
        try:
            self._producer.poll(0)
        finally:  # whatever it raises: without the next poll nobody would ever get an answer
            self._poll_in(POLL_SECONDS if self._waiting else IDLE_SECONDS)

    def _poll_in(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._poll)

    def _learn(self, topic: str, partition: int | None) -> None:
        """A topic has as many partitions as were seen, from 0 on. Taking it for fewer than it has costs time, and nothing else."""
        if partition is not None and partition >= self._partitions.get(topic, 1):
            self._partitions[topic] = partition + 1
