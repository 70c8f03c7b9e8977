"""A trigger's request → a backend's yes, or 503, or dead letters with a reason. What all sinks share.

2xx only when every record of the batch is stored or lies acknowledged in the dead letters. Later answers 503 and the trigger redelivers. A batch that is
refused is halved until the culprits are alone: a bad record never blocks a partition and never sinks its neighbours. When nothing at all got through and the
backend named no reason, the fault is ours or the backend's: Later, so that lag grows instead of the topic being emptied into dead letters.
Writing a dead letter is a publish like any other; its failure is Later.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from time import monotonic

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from shared import envelope
from shared.contract import Topic
from shared.envelope import Dead, Record
from shared.errors import Later, Never, Refused
from shared.publish import Publisher
from shared.telemetry import logs, metrics

log = logging.getLogger(__name__)


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
            for part, dead in enumerate(await store(record)):
                await self._bury(record, dead, part)
        except Later as later:
            metrics.POSTPONED.labels(record.type).inc()
            log.warning("postponed: %s", later)
            raise
        metrics.DELIVERED.labels(record.type).inc()
        metrics.DELIVERY_SECONDS.labels(record.type).observe(monotonic() - began)
        metrics.AGE_SECONDS.labels(record.type).observe((datetime.now(UTC) - datetime.fromisoformat(record.time)).total_seconds())
        return Response(status_code=204)

    async def _bury(self, record: Record, dead: Dead, part: int) -> None:
        letter = envelope.dead_letter(record, dead, self._sink, part)
        await self._publisher.publish(letter, Topic.DEAD_LETTERS)
        metrics.DEAD.labels(dead.reason).inc()
        log.error("dead letter: %s: %s", dead.reason, dead.detail)


def refuse(_: Request, error: Refused | Later) -> Response:
    """How a sink says no: 503 makes every trigger redeliver; a 4xx sends an event that isn't ours to the dead letters."""
    if isinstance(error, Later):
        return PlainTextResponse(str(error), 503, {"retry-after": str(error.retry_after)})
    log.error("refused: %s", error)
    return PlainTextResponse(str(error), error.status, {"kne-reason": str(error.reason)})


async def isolate(value: bytes, send: Callable[[bytes], Awaitable[None]], halves: Callable[[bytes], tuple[bytes, bytes] | None]) -> list[Dead]:
    """Send a batch; when it is refused (Never), send its halves, down to single records (`halves` gives None).

    Returns the single records that were refused. Raises Later, also when nothing was stored and no refusal was named.
    """
    dead: list[tuple[bytes, Never]] = []
    stored = False
    waiting = [value]
    while waiting:
        part = waiting.pop()
        try:
            await send(part)
            stored = True
        except Never as never:
            if split := halves(part):
                waiting.extend(reversed(split))
            else:
                dead.append((part, never))
    if dead and not stored and not any(never.named for _, never in dead):
        raise Later(f"the backend refuses everything, without naming a record: {dead[0][1]}")
    return [Dead(part, never.reason, never.detail) for part, never in dead]
