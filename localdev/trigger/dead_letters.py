"""Where refused events go: the topic `telemetry.dead-letters`, acknowledged by all replicas before anybody may rely on it."""

import asyncio
import logging

from confluent_kafka import KafkaException, Producer

from localdev.trigger.events import Event, KafkaHeaders
from shared.contract import Topic

log = logging.getLogger("trigger")

PUBLISH_SECONDS = 10.0


class DeadLetters:
    """Publishes one letter at a time; refusals are rare."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": "trigger",
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": int(PUBLISH_SECONDS * 1000),
                "message.max.bytes": 32_000_000,  # the topic's own limit decides
                "compression.type": "lz4",  # the letter is its record and more, which may have been just below the limit
            },
            logger=logging.getLogger("trigger.kafka"),
        )
        self._turn = asyncio.Lock()

    async def publish(self, event: Event, headers: KafkaHeaders) -> bool:
        """Whether the letter is safe."""
        async with self._turn:
            return await asyncio.to_thread(self._publish, event, headers)

    def _publish(self, event: Event, headers: KafkaHeaders) -> bool:
        outcome: list[bool] = []
        try:
            self._producer.produce(Topic.DEAD_LETTERS.value, event.body, event.key, headers=headers, on_delivery=lambda error, _: outcome.append(error is None))
        except (BufferError, KafkaException):
            log.exception("dead letter not published")
            return False
        self._producer.flush(PUBLISH_SECONDS + 1)
        return outcome == [True]
