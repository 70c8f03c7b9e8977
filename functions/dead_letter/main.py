"""Event of a dead letter → object in S3. 204 means that it is stored; 503, that it shall come again: S3 is away.

Called for `telemetry.dead-letters`, and as the dead-letter sink of every other trigger. It refuses nothing that a topic can hold: what it can't read is stored
as it is, since there is nobody behind it. Its own trigger must never give up (on Knative: no dead-letter sink, and as many retries as there can be).
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from shared import bodies, dead_letters, delivery
from shared.breaker import Breaker
from shared.contract import Reason
from shared.dead_letters import Letter
from shared.errors import Later, Refused
from shared.object_store import ObjectStore, Unfit
from shared.runtime import Function
from shared.settings import ObjectStore as Settings
from shared.telemetry import logs, metrics

MOST_BYTES: Final = 12_582_912
"""Of a letter: the topic's `max.message.bytes`."""

log = logging.getLogger(__name__)


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
    letter = dead_letters.from_event(event.headers, await _body(event))
    logs.tenant_id.set(letter.place.tenant_id)
    logs.record_id.set(letter.place.id)
    try:
        await _put(needs, letter)
    except Unfit as unfit:
        bare = dead_letters.bare(letter)
        log.error("kept as %s without its metadata, since S3 refuses it as it is: %s", bare.place.key, unfit)  # noqa: TRY400 an answer, no defect
        await _put(needs, bare)
    reason = letter.attributes.get("reason", "")
    metrics.BURIED.labels(letter.place.sink, reason if reason in set(Reason) else "other").inc()
    return Response(status_code=204)


async def _body(event: Request) -> bytes:
    """Raises Later, also for what no letter is: refused it would be lost."""
    try:
        return await bodies.read(event, MOST_BYTES, ())
    except Refused as refused:
        log.error("held, since it is no dead letter: %s", refused)  # noqa: TRY400 an answer, no defect
        raise Later(str(refused)) from refused


async def _put(needs: Needs, letter: Letter) -> None:
    with needs.breaker.closed():
        await needs.store.put(letter.place.key, letter.body, letter.attributes)


app = function.app(__name__)
