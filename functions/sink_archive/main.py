"""Event with a batch of any signal → object in S3, byte for byte, for `./task backfill`. 204 means that it is stored. Off by default."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from shared import archive, delivery, envelope
from shared.breaker import Breaker
from shared.delivery import Delivery, Died
from shared.envelope import Record
from shared.object_store import ObjectStore
from shared.runtime import Function
from shared.settings import ArchiveSink


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    store: ObjectStore
    breaker: Breaker


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open the bucket."""
    settings = ArchiveSink()
    store = ObjectStore(settings)
    try:
        async with delivery.opened("sink_archive", settings, settings.archive_writes) as deliveries:
            yield Needs(deliveries, store, Breaker("s3"))
    finally:
        await store.close()


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> Died:
    """Store a batch; no batch is one that S3 would never take. Raises Refused and Later."""
    key = archive.key(record)
    with needs.breaker.closed():
        await needs.store.put(key, record.value, envelope.attributes(record))
    return Died.NOTHING


app = function.app(__name__)
