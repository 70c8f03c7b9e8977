"""On a real broker: a record is seen once it is in its topic, by its trace, and what was there before isn't looked at."""

import time

from confluent_kafka import Producer

from localdev.load.sightings import Sightings
from shared.contract import Topic
from tests.waiting import until


def publish(producer: Producer, trace: str, topic: str = Topic.LOGS) -> None:
    headers: list[tuple[str, str | bytes | None]] = [("ce_id", b"1"), ("ce_traceparent", f"00-{trace}-{trace[:16]}-00".encode())]
    producer.produce(topic, b"value", headers=headers)
    assert producer.flush(30) == 0


def test_records_are_seen_from_now_on(kafka: str) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    for topic in (Topic.LOGS, Topic.TRACES):
        publish(producer, "a" * 32, topic)
    with Sightings(kafka, [Topic.LOGS, Topic.TRACES]) as sightings:
        began = time.time()
        publish(producer, "b" * 32)
        until(lambda: sightings.seen, 30, "the record is seen")
    assert sightings.seen.keys() == {"b" * 32}
    assert began <= sightings.seen["b" * 32] <= time.time()
