"""How far behind each group is: end of each partition less its committed offset, asked of the broker when somebody scrapes, so that it costs nothing otherwise.

Asked for all partitions, not only our own: a group that nobody serves is the one whose lag matters.
"""

import logging
from collections.abc import Iterable

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from localdev.functions import Trigger
from localdev.trigger import metrics

log = logging.getLogger("trigger")

_SECONDS = 2.0


class Lag:
    """Fills the gauge. Blocking, for a thread."""

    def __init__(self, bootstrap_servers: str, triggers: Iterable[Trigger]) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "client.id": "trigger-lag"}, logger=logging.getLogger("trigger.kafka"))
        self._triggers = list(triggers)

    def measure(self) -> None:
        """Set the gauge anew; a broker that doesn't answer leaves it empty rather than old."""
        metrics.LAG.clear()
        try:
            places = self._partitions()
            ends = self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
            starts = self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
            for trigger in self._triggers:
                committed = self._committed(trigger.group)
                for place in places:
                    if place[0] in trigger.topics:
                        lag = ends[place] - max(committed.get(place, 0), starts[place])
                        metrics.LAG.labels(trigger.group, place[0], str(place[1])).set(max(0, lag))
        except KafkaException as error:
            log.warning("lag unknown", extra={"error": str(error)})

    def _partitions(self) -> list[tuple[str, int]]:
        topics = self._admin.list_topics(timeout=_SECONDS).topics
        wanted = {name for trigger in self._triggers for name in trigger.topics}
        return [(name, partition) for name in wanted & topics.keys() for partition in topics[name].partitions]

    def _offsets(self, places: list[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = self._admin.list_offsets({TopicPartition(*place): spec for place in places}, request_timeout=_SECONDS)
        return {(partition.topic, partition.partition): answer.result().offset for partition, answer in asked.items()}

    def _committed(self, group: str) -> dict[tuple[str, int], int]:
        asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=_SECONDS)
        return {(partition.topic, partition.partition): partition.offset for partition in asked[group].result().topic_partitions}
