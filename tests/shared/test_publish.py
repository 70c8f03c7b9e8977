"""Publishing returns after the broker's yes, or raises Later."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError

from shared import envelope
from shared.contract import MAX_RECORD_BYTES, EventType, Scope, Source, Topic
from shared.envelope import Record
from shared.errors import Later, Refused
from shared.publish import Publisher
from shared.settings import Broker as BrokerSettings
from shared.tenant import Tenant
from tests.edges import Broker

TENANT = Tenant(str(uuid4()), str(uuid4()), frozenset(Scope))


def record(value: bytes = b"v") -> Record:
    return envelope.new(TENANT, EventType.TRACES, Source.OTLP, Topic.TRACES, value, spread=b"")


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[Publisher]:
    made = Publisher(BrokerSettings())
    yield made
    await made.close()


async def test_record_lies_in_its_topic_with_key_and_headers(publisher: Publisher, broker: Broker) -> None:
    made = record()
    await publisher.publish(made)
    (message,) = broker.messages
    assert (message.topic, message.key, message.value, message.headers["ce_id"]) == ("telemetry.traces", made.key, b"v", made.id)


async def test_many_at_once_are_all_acknowledged(publisher: Publisher, broker: Broker) -> None:
    await asyncio.gather(*(publisher.publish(record()) for _ in range(200)))
    assert len(broker.messages) == 200


async def test_failed_delivery_is_later(publisher: Publisher, broker: Broker) -> None:
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    with pytest.raises(Later):
        await publisher.publish(record())


async def test_full_queue_is_later(publisher: Publisher, broker: Broker) -> None:
    broker.full = True
    with pytest.raises(Later):
        await publisher.publish(record())


async def test_record_over_the_topics_limit_is_refused(publisher: Publisher) -> None:
    with pytest.raises(Refused) as refused:
        await publisher.publish(record(bytes(MAX_RECORD_BYTES + 1)))
    assert refused.value.status == 413


async def test_client_gone_meanwhile_does_no_harm(publisher: Publisher, broker: Broker) -> None:
    waiting = asyncio.ensure_future(publisher.publish(record()))
    await asyncio.sleep(0)
    waiting.cancel()
    await publisher.publish(record())
    assert len(broker.messages) == 2
