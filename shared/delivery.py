"""A trigger's request → a backend's yes, or 503, or dead letters with a reason. What all sinks share.

2xx only when every record of the batch is stored or lies acknowledged in the dead letters. Later answers 503 and the trigger redelivers.
Writing a dead letter is a publish like any other; its failure is Later. How the records that are refused are found: `shared.isolation`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from shared import envelope
from shared.contract import Topic
from shared.envelope import Dead, Record
from shared.errors import Later, Never, Refused
from shared.publish import Publisher
from shared.telemetry import logs, metrics

log = logging.getLogger(__name__)


DEAD_HEADER: Final = "obstack-dead-letters"
"""In a 204: something of the batch is a dead letter now. Whoever replays a letter learns by it that it died again, and whether as the same letter."""
WHOLE: Final = "whole"
PARTS: Final = "parts"

Store = Callable[[Record], Awaitable[Sequence[Dead]]]
"""Stores a record's batch and returns what can never be stored; raises Later."""


class Delivery:
    """Delivers a sink's events; owns nothing but the way to the dead letters."""

    def __init__(self, sink: str, publisher: Publisher) -> None:
        self._sink = sink
        self._publisher = publisher

    async def handle(self, request: Request, store: Store) -> Response:
        """Answer a trigger's request: 204 when the batch is in good hands. Raises Refused (not an event of ours) and Later."""
        began = monotonic()
        record = envelope.from_event(request.headers, await request.body())
        logs.tenant_id.set(record.tenant_id)
        logs.record_id.set(record.id)
        try:
            dead = await store(record)
            await self._bury(record, dead)
        except Later as later:
            metrics.POSTPONED.labels(record.type).inc()
            log.warning("postponed: %s", later)
            raise
        metrics.DELIVERED.labels(record.type).inc()
        metrics.DELIVERY_SECONDS.labels(record.type).observe(monotonic() - began)
        metrics.AGE_SECONDS.labels(record.type).observe((datetime.now(UTC) - datetime.fromisoformat(record.time)).total_seconds())
        return Response(status_code=204, headers={DEAD_HEADER: PARTS if dead[0].part else WHOLE} if dead else None)

    async def _bury(self, record: Record, dead: Sequence[Dead]) -> None:
        """Return when all dead letters are acknowledged. Raises Later."""
        if not dead:
            return
        letters = (envelope.dead_letter(record, one, self._sink) for one in dead)
        await asyncio.gather(*(self._publisher.publish(letter, Topic.DEAD_LETTERS) for letter in letters))
        for reason, count in Counter(one.reason for one in dead).items():
            metrics.DEAD.labels(reason).inc(count)
        log.error("%d dead letters, the first: %s: %s", len(dead), dead[0].reason, dead[0].detail)


def refuse(_: Request, error: Refused | Later) -> Response:
    """How a sink says no: 503 makes every trigger redeliver; a 4xx sends an event that isn't ours to the dead letters."""
    if isinstance(error, Later):
        return PlainTextResponse(str(error), 503, {"retry-after": str(error.retry_after)})
    log.error("refused: %s", error)
    return PlainTextResponse(str(error), error.status, {"kne-reason": str(error.reason)})


def settle(dead: Sequence[tuple[str, bytes, Never]], *, stored: bool) -> list[Dead]:
    """What becomes dead letters, of (part, bytes, refusal). Raises Later when nothing was stored and no refusal was named: the backend's fault, or ours."""
    if dead and not stored and not any(never.named for _, _, never in dead):
        raise Later(f"the backend refuses everything, without naming a record: {dead[0][2]}")
    return [Dead(value, never.reason, never.detail, never.status, part) for part, value, never in dead]
