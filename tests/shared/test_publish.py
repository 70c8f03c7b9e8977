"""Publishing returns after the broker's yes, or raises Later."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from time import monotonic
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException

from shared import envelope
from shared.contract import MAX_RECORD_BYTES, EventType, Scope, Source, Topic
from shared.envelope import Key, Record
from shared.errors import Later, Refused
from shared.publish import TURN_SECONDS, Publisher
from shared.settings import Broker as BrokerSettings
from shared.tenant import Tenant
from tests.edges import PARTITIONS, Broker
from tests.told import told

TENANT = Tenant(str(uuid4()), str(uuid4()), frozenset(Scope))


def record(value: bytes = b"v") -> Record:
    return envelope.new(TENANT, EventType.TRACES, Source.OTLP, Topic.TRACES, value, key=envelope.key_of(TENANT.id, b""))


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


async def test_client_that_cannot_go_on_is_replaced(publisher: Publisher, broker: Broker) -> None:
    """Whoever waits for the old one, or is the first to hear of it, sends again; then all is well."""
    broker.silent = True
    waiting = asyncio.create_task(publisher.publish(record()))
    await asyncio.sleep(0)
    broker.silent, broker.fatal = False, set(broker.producers)
    with pytest.raises(Later, match="parted"):
        await publisher.publish(record())
    await publisher.publish(record(b"again"))
    assert broker.messages[-1].value == b"again"
    assert len(broker.producers) == 2
    with pytest.raises(Later):
        await waiting


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


async def test_what_is_sent_together_gathers_in_few_partitions_though_a_tenant_has_a_few_of_its_own(publisher: Publisher, broker: Broker) -> None:
    tenants = [str(uuid4()) for _ in range(200)]
    for tenant in tenants:
        await publisher.publish(replace(record(), key=envelope.keys(tenant)[0].text))  # so all partitions were seen
    keys = [publisher.gather(Topic.TRACES, envelope.keys(tenant)) for tenant in tenants]
    assert all(key in envelope.keys(tenant) for key, tenant in zip(keys, tenants, strict=True))
    (_, most), *_ = Counter(key.hash % PARTITIONS for key in keys).most_common(1)
    assert most > 200 * 0.35  # 1 - (7/8)^4 = 0.41 have the preferred one among theirs, where spreading evenly would give each 0.125


async def test_the_preferred_partition_changes_with_time(publisher: Publisher, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    now = monotonic()
    monkeypatch.setattr("shared.publish.monotonic", lambda: now)
    for n in range(100):
        await publisher.publish(replace(record(), key=envelope.keys(str(uuid4()))[n % 4].text))
    keys, seen = [Key(str(n), n) for n in range(8)], []
    for _ in range(8):
        now += TURN_SECONDS
        seen.append(publisher.gather(Topic.TRACES, keys).hash)
    assert sorted(seen) == list(range(8))


async def test_closing_waits_for_what_is_under_way_but_no_longer_than_publishing_may_take(broker: Broker) -> None:
    broker.silent = True
    publisher = Publisher(BrokerSettings(publish_timeout_seconds=0.05))
    waiting = asyncio.ensure_future(publisher.publish(record()))
    await asyncio.sleep(0)
    await publisher.close()
    assert not waiting.done()
    waiting.cancel()


async def test_publishing_goes_on_after_a_poll_that_failed(publisher: Publisher, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    polls, poll = 0, publisher._producer.poll

    def fail_once(seconds: float) -> int:
        nonlocal polls
        polls += 1
        if polls == 1:
            raise KafkaException(KafkaError(KafkaError._FAIL))
        return poll(seconds)

    monkeypatch.setattr(publisher._producer, "poll", fail_once)
    monkeypatch.setattr(publisher._loop, "call_exception_handler", lambda _: None)
    await asyncio.wait_for(publisher.publish(record()), 5)
    assert polls > 1


async def test_records_under_way_are_told(publisher: Publisher, broker: Broker) -> None:
    broker.silent = True
    under_way = [asyncio.ensure_future(publisher.publish(record())) for _ in range(3)]
    await asyncio.sleep(0)
    assert told("obstack_publish_waiting_records") == 3
    broker.silent = False
    await publisher.publish(record())
    assert told("obstack_publish_waiting_records") == 3, "one was acknowledged"
    publisher._waiting = 0  # those of the silent broker never are
    for one in under_way:
        one.cancel()
