"""A trigger's request → a backend's yes, or 503, or dead letters with a reason. What all sinks share.

2xx only when every record of the batch is stored or lies acknowledged in the dead letters. Later answers 503 and the trigger redelivers.
Writing a dead letter is a publish like any other; its failure is Later. How the records that are refused are found: `shared.isolation`.
"""

import asyncio
import collections
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from time import monotonic
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from shared import bodies, envelope, flags
from shared.contract import MAX_RECORD_BYTES, EventType, Flag, Reason, Switch, Topic
from shared.envelope import Dead, Record
from shared.errors import Later, Refused
from shared.flags import Flags
from shared.publish import Publisher
from shared.settings import Sink
from shared.telemetry import logs, metrics, tracing

log = logging.getLogger(__name__)


DEAD_HEADER: Final = "obstack-dead-letters"
"""In a 204: something of the batch is a dead letter now. Whoever replays a letter learns by it that it died again, and whether as the same letter."""
SKIPPED_HEADER: Final = "obstack-skipped"
"""In a 204: `1` when the batch was let go by the sink's switch, and is nowhere. A trigger needn't know; whoever would delete a letter for this yes must."""
REASON_HEADER: Final = "kne-reason"
"""In a refusal: why. A trigger makes the attribute `reason` of it, as KafkaSource does of each `kne-…`."""
MOST_BYTES: Final = MAX_RECORD_BYTES + 65_536
"""Of an event's body; no record that we publish is larger."""
LETTERS: Final = 500
LETTER_BYTES: Final = 4 * 1024 * 1024
"""Dead letters published at once: many fill the client's queue, and then none gets through however often it is tried."""


class Died(StrEnum):
    """How much of a batch lies in the dead letters: `DEAD_HEADER`, unless nothing does."""

    NOTHING = ""
    PARTS = "parts"
    WHOLE = "whole"


Store = Callable[[Record], Awaitable[Died]]
"""Stores a record's batch, and buries what can never be stored (`Delivery.bury`); how much that was. Raises Later."""


class Delivery:
    """Delivers a sink's events, unless its flag says otherwise; owns nothing but the way to the dead letters."""

    def __init__(self, sink: str, publisher: Publisher, flags: Flags) -> None:
        self._sink = sink
        self._publisher = publisher
        self._flags = flags
        for reason in Reason:  # told as 0: a counter that appears with its first letters has not increased, to Prometheus
            metrics.DEAD.labels(reason)

    async def handle(self, request: Request, store: Store) -> Response:
        """Answer a trigger's request: 204 when the batch is in good hands, or skipped. Raises Refused (no event of ours, or too large for one) and Later."""
        began = monotonic()
        record = envelope.from_event(request.headers, await bodies.read(request, MOST_BYTES, ()))
        logs.tenant_id.set(record.tenant_id)
        logs.record_id.set(record.id)
        if (switch := self._flags.of(record.tenant_id)) is not Switch.ON:
            metrics.SWITCHED.labels(switch).inc()
            if switch is Switch.SKIP:
                return Response(status_code=204, headers={SKIPPED_HEADER: "1"})
            raise Later(f"{self._sink} is switched to {switch}", flags.HOLD_SECONDS)
        counts = _counts(record.type)
        try:
            with tracing.delivering(record.traceparent, record.topic, record.tenant_id, record.id):
                died = await store(record)
        except Later as later:
            counts.postponed.inc()
            log.warning("postponed: %s", later)
            raise
        counts.delivered.inc()
        counts.seconds.observe(monotonic() - began)
        counts.age.observe((datetime.now(UTC) - datetime.fromisoformat(record.time)).total_seconds())
        return Response(status_code=204, headers={DEAD_HEADER: died} if died else None)

    async def bury(self, record: Record, dead: Sequence[Dead]) -> None:
        """Return when all these dead letters are acknowledged; they are published at once (`chunks`). Raises Later, then none of them is under way any more."""
        letters = (envelope.dead_letter(record, one, self._sink) for one in dead)
        outcomes = await asyncio.gather(*(self._publisher.publish(letter, Topic.DEAD_LETTERS) for letter in letters), return_exceptions=True)
        failures = [outcome.with_traceback(None) for outcome in outcomes if outcome is not None]
        del outcomes
        if failures:
            raise failures.pop()  # no name here for what is raised: its traceback holds this frame
        for reason, count in collections.Counter(one.reason for one in dead).items():
            metrics.DEAD.labels(reason).inc(count)
        log.error("%d dead letters, the first: %s: %s", len(dead), dead[0].reason, dead[0].detail)


@asynccontextmanager
async def opened(sink: str, settings: Sink, writes: Switch) -> AsyncIterator[Delivery]:
    """What a sink of this name needs to deliver: the way to the dead letters, flushed at the end, and its flag, whose default is `writes`."""
    publisher = Publisher(settings)
    try:
        async with flags.opened({Flag(sink.replace("_", ".", 1)): writes}, settings.database_url, settings.flags_seconds) as own:
            yield Delivery(sink, publisher, own)
    finally:
        await publisher.close()


@dataclass(frozen=True, slots=True)
class _Counts:
    """The metrics of one type of record: looking one up by its label costs more than counting."""

    delivered: Counter
    postponed: Counter
    seconds: Histogram
    age: Histogram


@cache
def _counts(kind: EventType) -> _Counts:
    return _Counts(metrics.DELIVERED.labels(kind), metrics.POSTPONED.labels(kind), metrics.DELIVERY_SECONDS.labels(kind), metrics.AGE_SECONDS.labels(kind))


def chunks(dead: Iterable[Dead]) -> Iterator[Sequence[Dead]]:
    """As many at a time as may be published at once."""
    chunk, size = list[Dead](), 0
    for one in dead:
        if chunk and (len(chunk) == LETTERS or size + len(one.value) > LETTER_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += len(one.value)
    if chunk:
        yield chunk


def how_much(dead: Sequence[Dead]) -> Died:
    """Of the batch that these are of; at least one."""
    return Died.PARTS if dead[0].part else Died.WHOLE


def refuse(_: Request, error: Refused | Later) -> Response:
    """How a sink says no: 503 makes every trigger redeliver; a 4xx sends an event that isn't ours to the dead letters."""
    if isinstance(error, Later):
        return PlainTextResponse(str(error), 503, {"retry-after": str(error.retry_after)})
    log.error("refused: %s", error)
    return PlainTextResponse(str(error), error.status, {REASON_HEADER: str(error.reason)})
