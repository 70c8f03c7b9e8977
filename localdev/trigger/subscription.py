"""One function's consumer group membership: a thread that polls, an event loop that delivers, and the hand-over between them.

Promises: an offset is stored only when every record before it is in good hands (lane.py), and librdkafka commits stored offsets every second, when partitions
go, and on close. Polling never stops, retries or not, so the group never throws us out; a partition of which enough records wait is paused instead.
Only the thread touches the consumer: the client library makes other threads wait until a poll happens to end. The loop leaves errands for it (errands.py), and
the thread hands over a bounded number of records ahead of the loop.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from localdev.functions import Function, Trigger
from localdev.trigger import metrics
from localdev.trigger.errands import Errands, Place
from localdev.trigger.events import Record, from_record
from localdev.trigger.lane import Deliver, Lane

log = logging.getLogger("trigger")

DRAIN_SECONDS = 5.0
POLL_SECONDS = 0.1
"""Without records, an errand waits so long at most."""
HANDED_OVER = 64
"""Records that the thread may be ahead of the loop."""
COMPLAINT_SECONDS = 10.0


def consumer_config(bootstrap_servers: str, group: str) -> dict[str, Any]:
    """librdkafka's settings: low latency, bounded memory, quick recovery on one machine."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "client.id": f"trigger-{group}",
        "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False,
        "enable.auto.commit": True,
        "auto.commit.interval.ms": 1000,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 6000,  # the broker's smallest: how long a killed trigger's partitions stay unread
        "heartbeat.interval.ms": 1500,
        "fetch.wait.max.ms": 100,  # a new record is answered at once; this is how long a resumed partition may wait for its turn
        "fetch.queue.backoff.ms": 20,
        "fetch.message.max.bytes": 1_048_576,
        "queued.min.messages": 1000,
        "queued.max.messages.kbytes": 16_384,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 30_000,
    }


class Subscription:
    """Calls one function for the records of its topics."""

    def __init__(self, function: Function, trigger: Trigger, bootstrap_servers: str, deliver: Deliver) -> None:
        self.trigger = trigger
        self.joined = asyncio.Event()
        """Set once the group has given us our share, which may be none."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the thread ends, or with the error that makes going on senseless."""
        self._name = function.name
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._consumer = Consumer(consumer_config(bootstrap_servers, trigger.group) | {"error_cb": self._complain}, logger=logging.getLogger("trigger.kafka"))
        self._lanes: dict[Place, Lane] = {}
        self._paused: set[Place] = set()
        self._errands = Errands()
        self._ahead = threading.Semaphore(HANDED_OVER)
        self._stopping = threading.Event()
        self._next_complaint = 0.0
        self._thread = threading.Thread(target=self._consume, name=f"consume-{function.name}", daemon=True)
        metrics.IN_FLIGHT.labels(self._name).set_function(lambda: sum(lane.in_flight for lane in list(self._lanes.values())))
        metrics.PAUSED.labels(self._name).set_function(lambda: len(self._paused))

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    async def stop(self) -> None:
        """Deliver what is in flight, commit, leave the group."""
        self._stopping.set()
        await asyncio.wait([self.ended])

    # On the thread

    def _consume(self) -> None:
        try:
            self._consumer.subscribe(list(self.trigger.topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            while not self._stopping.is_set():
                message = self._consumer.poll(POLL_SECONDS)
                if message is not None:
                    self._hand_over(message)
                self._run_errands()
            self._consumer.close()  # revokes, which drains and commits
            self._on_loop(self._end)
        except Exception as error:  # whatever it is, a trigger that doesn't read must end
            log.exception("consumer failed", extra={"target": self._name})
            self._on_loop(self._end, error)

    def _hand_over(self, message: Message) -> None:
        if error := message.error():
            self._complain(error)
            return
        self._ahead.acquire()
        self._on_loop(self._accept, record_of(message))

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("assigned", extra={"target": self._name, "partitions": _names(partitions)})
        self._on_loop(self.joined.set)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("revoked", extra={"target": self._name, "partitions": _names(partitions)})
        offsets = self._drop(partitions, DRAIN_SECONDS)
        if not offsets:
            return
        try:
            consumer.store_offsets(offsets=offsets)  # else the library would commit the older ones it holds, after this and back in time
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("not committed, will be delivered again", extra={"target": self._name, "error": str(error)})

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Taken from us without asking, so nothing may be committed and there is nothing to wait for."""
        log.warning("lost", extra={"target": self._name, "partitions": _names(partitions)})
        self._drop(partitions, 0)

    def _drop(self, partitions: list[TopicPartition], seconds: float) -> list[TopicPartition]:
        """Close the partitions' lanes on the loop and wait for it; what may be committed. Records handed over before are before it in the loop's queue."""
        ends = asyncio.run_coroutine_threadsafe(self._close(map(_place, partitions), seconds), self._loop).result()
        self._errands.forget(ends)
        self._consumer.resume(partitions)  # a pause would outlive the assignment
        return [TopicPartition(*place, end) for place, end in ends.items() if end is not None]

    def _run_errands(self) -> None:
        errands = self._errands.take()
        if not errands:
            return
        try:
            self._consumer.store_offsets(offsets=[TopicPartition(*place, offset) for place, offset in errands.offsets.items()])
            self._consumer.pause([TopicPartition(*place) for place, pause in errands.pauses.items() if pause])
            self._consumer.resume([TopicPartition(*place) for place, pause in errands.pauses.items() if not pause])
        except KafkaException as error:  # of a partition that is just going; its records will be delivered again
            log.warning("errand refused", extra={"target": self._name, "error": str(error)})

    def _on_loop(self, call: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(call, *arguments)

    def _complain(self, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        if monotonic() > self._next_complaint:
            log.warning("kafka: %s", error.str(), extra={"target": self._name})
            self._next_complaint = monotonic() + COMPLAINT_SECONDS

    # On the loop

    def _accept(self, record: Record) -> None:
        try:
            self._take_over(record)
        except Exception as error:  # a record that is passed over would be lost with the next one's commit
            log.exception("defect in taking a record over", extra={"target": self._name, "topic": record.topic, "offset": record.offset})
            self._end(error)

    def _take_over(self, record: Record) -> None:
        self._ahead.release()
        place = (record.topic, record.partition)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(self.trigger.in_flight, self._deliver, lambda: self._delivered(place), self._end)
        lane.add(record.offset, from_record(record, f"/apis/v1/namespaces/local/kafkasources/{self.trigger.group}"))
        if lane.full and place not in self._paused:
            self._paused.add(place)
            self._errands.pause(place)

    def _delivered(self, place: Place) -> None:
        lane = self._lanes.get(place)
        if lane is None:
            return
        if lane.committable is not None:
            self._errands.store(place, lane.committable)
        if place in self._paused and lane.wants_more:
            self._paused.discard(place)
            self._errands.resume(place)

    async def _close(self, places: Iterable[Place], seconds: float) -> dict[Place, int | None]:
        """Close these lanes; the offset to go on from, for each."""
        lanes = {place: lane for place in places if (lane := self._lanes.pop(place, None))}
        self._paused -= lanes.keys()
        return dict(zip(lanes, await asyncio.gather(*(lane.close(seconds) for lane in lanes.values())), strict=True))

    def _end(self, error: BaseException | None = None) -> None:
        if self.ended.done():
            return
        if error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)


def record_of(message: Message) -> Record:
    """A message of the client library."""
    _, timestamp = message.timestamp()
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=timestamp,
        key=message.key(),
        value=message.value(),
        headers=tuple(cast(list[tuple[str, bytes | None]], message.headers() or [])),
    )


def _place(partition: TopicPartition) -> Place:
    return partition.topic, partition.partition


def _names(partitions: list[TopicPartition]) -> list[str]:
    return [f"{partition.topic}/{partition.partition}" for partition in partitions]
