"""How far behind each group is, asked of the broker when somebody scrapes, so that it costs nothing otherwise: records, and the age of the oldest one.

Asked for all partitions, not only our own: a group that nobody serves is the one whose lag matters. A group that has never committed is behind by all that its
topics hold. The trigger tells it on its own page; where KafkaSource is the trigger, `python -m localdev.trigger.lag` does, alone.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from localdev import functions, topics
from localdev.functions import Trigger
from localdev.ports import ports
from localdev.trigger.errands import Place
from localdev.trigger.group import Group
from shared.telemetry import logs

log = logging.getLogger("trigger")

_SECONDS = 2.0
_LABELS = ("group", "topic", "partition")


class Lag(Collector):
    """Measures on each scrape. Blocking, for a thread; several may scrape at once."""

    def __init__(self, bootstrap_servers: str, triggers: Iterable[Trigger]) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "client.id": "lag"}, logger=logging.getLogger("trigger.kafka"))
        self._triggers = list(triggers)
        self._groups = {trigger.group: Group(bootstrap_servers, trigger.group) for trigger in self._triggers}
        self._one_at_a_time = threading.Lock()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The metrics without values: a registry asks for their names before there may be a broker."""
        return self._families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A broker that doesn't answer leaves lag out rather than old."""
        records, seconds, up = self._families()
        with self._one_at_a_time:
            try:
                self._measure(records, seconds)
            except KafkaException as error:
                log.warning("lag unknown", extra={"error": str(error)})
                records, seconds, _ = self._families()
                up.add_metric((), 0)
            else:
                up.add_metric((), 1)
        yield from (records, seconds, up)

    def close(self) -> None:
        """Let nobody measure any more, and return when nobody does: a thread inside the client library would outlive the interpreter, and crash."""
        self._one_at_a_time.acquire()  # for good

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily("obstack_group_lag_records", "End of the partition less the committed offset, or its beginning.", labels=_LABELS),
            GaugeMetricFamily(
                "obstack_group_lag_seconds",
                "Age, by Kafka's timestamp, of the partition's oldest record that isn't done; 0 when all are. Missing while that record can't be read.",
                labels=_LABELS,
            ),
            GaugeMetricFamily("obstack_broker_up", "1: the broker has just answered what is asked of it about lag."),
        )

    def _measure(self, records: GaugeMetricFamily, seconds: GaugeMetricFamily) -> None:
        places = self._partitions()
        ends = self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        starts = self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        for trigger in self._triggers:
            group = self._groups[trigger.group]
            own = [place for place in places if place[0] in trigger.topics]
            committed = group.committed(own) if own else {}
            done = {place: max(committed.get(place, 0), starts[place]) for place in own}
            behind = {place: offset for place, offset in done.items() if offset < ends[place]}
            ages = dict.fromkeys(done.keys() - behind.keys(), 0.0)
            now = time.time()
            ages |= {place: max(0.0, now - millis / 1000) for place, millis in group.timestamps(behind).items()}
            for place, offset in done.items():
                labels = (trigger.group, place[0], str(place[1]))
                records.add_metric(labels, max(0, ends[place] - offset))
                if place in ages:
                    seconds.add_metric(labels, ages[place])

    def _partitions(self) -> list[Place]:
        found = self._admin.list_topics(timeout=_SECONDS).topics
        wanted = {name for trigger in self._triggers for name in trigger.topics}
        return [(name, partition) for name in sorted(wanted & found.keys()) for partition in found[name].partitions]

    def _offsets(self, places: list[Place], spec: OffsetSpec) -> dict[Place, int]:
        asked = self._admin.list_offsets({TopicPartition(*place): spec for place in places}, request_timeout=_SECONDS)
        return {(partition.topic, partition.partition): answer.result().offset for partition, answer in asked.items()}


def serve(bootstrap_servers: str, triggers: Iterable[Trigger], port: int, host: str) -> None:
    """Tell lag, and nothing else, at `/metrics` until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    registry = CollectorRegistry()
    lag = Lag(bootstrap_servers, triggers)
    registry.register(lag)
    server, _ = start_http_server(port, host, registry)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.shutdown()
    lag.close()


if __name__ == "__main__":
    logs.configure("lag", "INFO")
    serve(
        os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or topics.bootstrap_servers(),
        [function.trigger for function in functions.catalogue() if function.trigger],
        ports()["TRIGGER_PORT"],
        os.environ.get("HOST", "127.0.0.1"),
    )
