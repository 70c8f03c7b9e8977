"""Reading a topic by time, against a real broker."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from localdev.past import Past

pytestmark = pytest.mark.stack
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def topic(kafka: str) -> str:
    """Of a test's own, with two partitions."""
    name, admin = f"past-{uuid4()}", AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(name, 2, 1, config={"message.timestamp.after.max.ms": str(2**62)})])[name].result(10)
    return name


@pytest.fixture
def past(kafka: str, topic: str) -> Iterator[Past]:
    made = Past(kafka, [topic])
    yield made
    made.close()


def publish(kafka: str, topic: str, partition: int, *minutes: int) -> None:
    """A record each, so many minutes after noon."""
    producer = Producer({"bootstrap.servers": kafka})
    for minute in minutes:
        moment = NOON + timedelta(minutes=minute)
        producer.produce(topic, str(minute).encode(), partition=partition, timestamp=int(moment.timestamp() * 1000))
    assert producer.flush(10) == 0


async def read(past: Past, begin: int, end: int) -> list[int]:
    return [int(event.body) async for event in past.between(NOON + timedelta(minutes=begin), NOON + timedelta(minutes=end))]


async def test_records_between_two_moments_are_read_in_order(past: Past, kafka: str, topic: str) -> None:
    publish(kafka, topic, 0, *range(0, 500, 2))
    publish(kafka, topic, 1, *range(1, 500, 2))
    for _ in range(2):  # nothing is committed
        found = await read(past, 100, 110)
        assert [[minute for minute in found if minute % 2 == partition] for partition in (0, 1)] == [[100, 102, 104, 106, 108], [101, 103, 105, 107, 109]]
    assert sorted(await read(past, -60, 1000)) == list(range(500))
    assert await read(past, 600, 700) == []


async def test_empty_topic_has_nothing_and_has_lost_nothing(past: Past) -> None:
    assert await read(past, 0, 10) == []
    assert past.lost_before() is None


async def test_what_retention_took_is_known(past: Past, kafka: str, topic: str) -> None:
    publish(kafka, topic, 0, 10, 20, 30)
    publish(kafka, topic, 1, 5)
    assert past.lost_before() is None
    admin = AdminClient({"bootstrap.servers": kafka})
    for change in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        change.result(10)
    assert past.lost_before() == NOON + timedelta(minutes=30)
    assert sorted(await read(past, 0, 60)) == [5, 30]


async def test_one_fast_clock_hides_nothing_behind_it(past: Past, kafka: str, topic: str) -> None:
    """What an instance published in the future is left out; what others published after it is not."""
    publish(kafka, topic, 0, 1, 300, 2, 3, 400)
    publish(kafka, topic, 1, 4)
    assert sorted(await read(past, 0, 10)) == [1, 2, 3, 4]
