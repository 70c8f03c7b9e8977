"""Event of a dead letter → object in S3. 204 means that it is stored; 503, that it shall come again: S3 is away.

Called for `telemetry.dead-letters`, and as the dead-letter sink of every other trigger. It refuses nothing: what it can't read is stored as it is, since there
is nobody behind it. Its own trigger must never give up (on Knative: no dead-letter sink, and as many retries as there can be).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from shared import dead_letters, delivery
from shared.breaker import Breaker
from shared.contract import Reason
from shared.object_store import ObjectStore
from shared.runtime import Function
from shared.settings import ObjectStore as Settings
from shared.telemetry import logs, metrics


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    store: ObjectStore
    breaker: Breaker


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open the bucket."""
    store = ObjectStore(Settings())
    try:
        yield Needs(store, Breaker("s3"))
    finally:
        await store.close()


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event. Raises Later."""
    letter = dead_letters.from_event(event.headers, await event.body())
    logs.tenant_id.set(letter.place.tenant_id)
    logs.record_id.set(letter.place.id)
    with needs.breaker.closed():
        await needs.store.put(letter.place.key, letter.body, letter.attributes)
    reason = letter.attributes.get("reason", "")
    metrics.BURIED.labels(letter.place.sink, reason if reason in set(Reason) else "other").inc()
    return Response(status_code=204)


app = function.app(__name__)
