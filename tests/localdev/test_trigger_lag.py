"""Lag against a real broker: of a group that works, of one that nobody serves, of one that has never committed; told by the exporter alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so
from prometheus_client.parser import text_string_to_metric_families

from localdev.functions import Trigger, catalogue
from localdev.paths import ROOT
from localdev.ports import free_port
from localdev.trigger import group
from localdev.trigger.lag import Lag
from tests.waiting import until

PARTITIONS = 2
Key = tuple[str, str, str]


class Topic:
    """A topic with two partitions, and the groups that read it."""

    def __init__(self, broker: str) -> None:
        self.name, self.broker = f"lag-{uuid4()}", broker
        self._producer = Producer({"bootstrap.servers": broker})
        self.admin = AdminClient({"bootstrap.servers": broker})  # kept: one that ends beside its answer crashes in a thread of the library
        self.admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])[self.name].result()

    def publish(self, partition: int, age: float, count: int = 1) -> None:
        """Records that were written so many seconds ago, by their timestamps."""
        for _ in range(count):
            self._producer.produce(self.name, b"x" * 2000, partition=partition, timestamp=int((time.time() - age) * 1000))
        assert self._producer.flush(10) == 0

    def commit(self, group: str, partition: int, offset: int) -> None:
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": group})
        consumer.commit(offsets=[TopicPartition(self.name, partition, offset)], asynchronous=False)
        consumer.close()

    def lag(self, *groups: str) -> Lag:
        return Lag(self.broker, [Trigger((self.name,), group, 1) for group in groups])


@pytest.fixture
def topic(kafka: str) -> Topic:
    return Topic(kafka)


def values(lag: Lag, name: str) -> dict[tuple[str, ...], float]:
    """(group, partition) → value, of one look."""
    return {
        tuple(sample.labels[label] for label in ("group", "partition") if label in sample.labels): sample.value
        for family in lag.collect()
        for sample in family.samples
        if family.name == f"obstack_{name}"
    }


def test_group_that_has_never_committed_is_behind_by_all(topic: Topic) -> None:
    """Also one that doesn't exist; an empty partition is never late."""
    topic.publish(0, age=500, count=2)
    lag = topic.lag("nobody")
    until(lambda: values(lag, "group_lag_records") == {("nobody", "0"): 2, ("nobody", "1"): 0}, what="the group's coordinator has started")
    until(lambda: values(lag, "group_lag_seconds") == {("nobody", "0"): pytest.approx(500, abs=60), ("nobody", "1"): 0}, what="the oldest record's age")
    assert values(lag, "broker_up") == {(): 1}


def test_age_is_that_of_the_record_at_the_committed_offset(topic: Topic) -> None:
    """Each group has its own, although nobody serves either; committing all ends it."""
    topic.publish(0, age=5000)
    topic.publish(0, age=500)
    topic.commit("ahead", 0, 1)
    lag = topic.lag("ahead", "behind")
    expected = {("ahead", "0"): pytest.approx(500, abs=60), ("ahead", "1"): 0, ("behind", "0"): pytest.approx(5000, abs=60), ("behind", "1"): 0}
    until(lambda: values(lag, "group_lag_seconds") == expected, what="both groups' ages")
    assert values(lag, "group_lag_records") == {("ahead", "0"): 1, ("ahead", "1"): 0, ("behind", "0"): 2, ("behind", "1"): 0}
    topic.commit("ahead", 0, 2)
    assert values(lag, "group_lag_records")["ahead", "0"] == 0
    assert values(lag, "group_lag_seconds")["ahead", "0"] == 0


def test_all_partitions_are_read_at_once(topic: Topic) -> None:
    """More waits in each than one answer of the broker holds."""
    topic.publish(0, age=300, count=200)
    topic.publish(1, age=900, count=200)
    lag = topic.lag("nobody")
    until(
        lambda: values(lag, "group_lag_seconds") == {("nobody", "0"): pytest.approx(300, abs=60), ("nobody", "1"): pytest.approx(900, abs=60)},
        what="both partitions' ages",
    )


def test_records_that_retention_has_removed_are_not_waited_for(topic: Topic) -> None:
    """What a late group may still read counts."""
    topic.publish(0, age=900)
    topic.publish(0, age=300)
    deleted = topic.admin.delete_records([TopicPartition(topic.name, 0, 1)])
    assert [one.result().low_watermark for one in deleted.values()] == [1]
    lag = topic.lag("nobody")
    assert values(lag, "group_lag_records")["nobody", "0"] == 1
    until(lambda: values(lag, "group_lag_seconds").get(("nobody", "0")) == pytest.approx(300, abs=60), what="the age of what is left")


def test_record_that_cannot_be_read_leaves_its_age_out(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than telling that nothing waits."""
    monkeypatch.setattr(group, "SECONDS", 0.0)
    topic.publish(0, age=500)
    lag = topic.lag("nobody")
    assert values(lag, "group_lag_records") == {("nobody", "0"): 1, ("nobody", "1"): 0}
    assert values(lag, "group_lag_seconds") == {("nobody", "1"): 0}


def test_looking_leaves_no_group_behind(topic: Topic) -> None:
    topic.publish(0, age=500)
    lag = topic.lag("nobody")
    until(lambda: ("nobody", "0") in values(lag, "group_lag_seconds"), what="the record's age")
    groups = topic.admin.list_consumer_groups().result()
    assert "nobody" not in {one.group_id for one in groups.valid}


def test_broker_that_is_away_leaves_lag_out() -> None:
    lag = Lag(f"127.0.0.1:{free_port()}", [Trigger(("telemetry.logs",), "sink-loki", 1)])
    assert values(lag, "group_lag_records") == {}
    assert values(lag, "group_lag_seconds") == {}
    assert values(lag, "broker_up") == {(): 0}


@pytest.fixture
def exporter(kafka: str) -> Iterator[str]:
    """The program that a cluster runs, alone; its URL."""
    port = free_port()
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka, "TRIGGER_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "localdev.trigger.lag"], cwd=ROOT, env=environment) as process:
        try:
            yield f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_exporter_ends_well_in_the_middle_of_a_scrape(exporter: str) -> None:
    """It is told to end while a look is under way, which takes a while: in its end a thread in the client library would crash."""
    until(lambda: _answers(exporter), what="the exporter's page")
    threading.Thread(target=_answers, args=(exporter,), daemon=True).start()


def _answers(exporter: str) -> bool:
    try:
        return httpx2.get(f"{exporter}/metrics", timeout=30).status_code == 200
    except httpx2.HTTPError:
        return False


def test_exporter_alone_tells_every_group_of_the_catalogue(exporter: str) -> None:
    def groups() -> set[str]:
        try:
            page = httpx2.get(f"{exporter}/metrics", timeout=30).text
        except httpx2.HTTPError:
            return set()
        return {
            sample.labels["group"] for family in text_string_to_metric_families(page) for sample in family.samples if sample.name == "obstack_group_lag_records"
        }

    assert until(groups, what="the exporter's page") == {row.trigger.group for row in catalogue() if row.trigger}
