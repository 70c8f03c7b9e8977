"""Publishing with a promise: `publish` returns after acks=all, or raises Later. The only module that imports a Kafka client.

librdkafka calls back on the thread that polls, never on the event loop: one thread polls, and hands all deliveries of a poll over in one wake-up.
An idempotent producer keeps order and adds no duplicates by its own retries; a timed-out record may still be in the log ("possibly persisted"), which is why
everything behind is idempotent by record id.
"""

import asyncio
import logging
from collections import deque
from functools import cache
from threading import Event, Thread
from time import monotonic

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Histogram

from shared.contract import MAX_RECORD_BYTES, Reason
from shared.envelope import Record, kafka_headers
from shared.errors import Later, Refused
from shared.settings import Broker
from shared.telemetry import metrics

log = logging.getLogger(__name__)


@cache
def _seconds(topic: str) -> Histogram:
    return metrics.PUBLISH_SECONDS.labels(topic)


class Publisher:
    """A producer for one event loop. Open it in `start`, close it at the end: `close` flushes."""

    def __init__(self, settings: Broker) -> None:
        self._timeout = settings.publish_timeout_seconds
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "client.id": settings.function_name,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 1,
                "delivery.timeout.ms": int(self._timeout * 1000),
                "message.max.bytes": MAX_RECORD_BYTES + 65_536,
                "queue.buffering.max.kbytes": 131_072,
                "partitioner": "murmur2_random",
                "allow.auto.create.topics": False,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 4,
            },
            logger=log,
        )
        self._loop = asyncio.get_running_loop()
        self._delivered: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._closing = Event()
        self._poller = Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._poller.start()

    async def publish(self, record: Record, topic: str | None = None) -> None:
        """Append to the record's topic (or another) and wait until all in-sync replicas have it.

        Raises Refused when it is larger than the topic takes, Later when the broker is away, slow, or the queue is full.
        """
        if len(record.value) > MAX_RECORD_BYTES:
            raise Refused(Reason.TOO_LARGE, f"{len(record.value)} bytes decompressed; at most {MAX_RECORD_BYTES} go into one record", 413)
        future: asyncio.Future[None] = self._loop.create_future()
        topic, began = topic or record.topic, monotonic()

        def done(error: KafkaError | None, _: Message) -> None:
            self._delivered.append((future, error))

        try:
            self._producer.produce(topic, record.value, record.key, headers=kafka_headers(record), on_delivery=done)
        except (BufferError, KafkaException) as error:
            raise Later(f"broker: {error}") from error
        await future
        _seconds(topic).observe(monotonic() - began)

    async def close(self) -> None:
        """Wait for what is under way, at most the publish timeout, then stop polling."""
        await asyncio.to_thread(self._producer.flush, self._timeout)
        self._closing.set()
        await asyncio.to_thread(self._poller.join)
        self._settle()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)
            if self._delivered:
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._delivered:
            future, error = self._delivered.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(Later(f"broker: {error.str()}"))
