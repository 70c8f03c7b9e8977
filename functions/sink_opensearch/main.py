"""Event with a batch of logs → OpenSearch, one document a log record. 204 means that every record is there, or the dead letters have it with a reason.

Source: OpenSearch's bulk API; a document's id follows from its batch, so a batch that comes again adds nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from opensearchpy import AsyncOpenSearch
from starlette.requests import Request
from starlette.responses import Response

from functions.sink_opensearch import identity, request
from functions.sink_opensearch.bulk import Bulk
from functions.sink_opensearch.documents import alone, documents, part_of
from functions.sink_opensearch.progress import Unfinished
from shared import delivery
from shared.backend import Backend
from shared.breaker import Breaker
from shared.delivery import Delivery, Died
from shared.envelope import Dead, Record
from shared.errors import Later, Never
from shared.runtime import Function
from shared.settings import OpenSearchSink

MOST_SECONDS: Final = 20.0
"""How long one delivery works on a batch; a trigger waits for 30 s and more."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    bulk: Bulk
    unfinished: Unfinished


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open OpenSearch's pool and the way to the dead letters; flush at the end. OpenSearch may be away still."""
    # The client tells of every request, and at DEBUG what is in it.
    logging.getLogger("opensearch").setLevel(logging.ERROR)
    settings = OpenSearchSink()
    seconds = settings.backend_timeout_seconds
    async with (
        delivery.opened("sink_opensearch", settings, settings.opensearch_writes) as deliveries,
        Backend(settings.opensearch_url, seconds) as opensearch,
        AsyncOpenSearch(settings.opensearch_url, max_retries=0, timeout=seconds) as client,
    ):
        yield Needs(deliveries, Bulk(opensearch, client, Breaker("opensearch"), seconds), Unfinished())


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> Died:
    """Index a batch; what can never be stored is buried, alone, and an unreadable batch as a whole. Raises Later."""
    try:
        batch = request.parse(record)
    except Never as never:
        await needs.delivery.bury(record, [Dead(record.value, never.reason, never.detail)])
        return Died.WHOLE
    record = identity.digested(record)
    with needs.unfinished.of(record) as progress:
        try:
            async with asyncio.timeout(MOST_SECONDS):
                for chunk in request.chunks(documents(record, batch, progress.done)):
                    refused = await needs.bulk.store(chunk)
                    dead = (Dead(alone(one), never.reason, never.detail, never.status, part_of(record, one)) for one, never in refused)
                    for letters in delivery.chunks(dead):
                        await needs.delivery.bury(record, letters)
                        progress.died = delivery.how_much(letters)
                    progress.done += len(chunk)
        except TimeoutError:
            raise Later(f"{progress.done} records done so far; to be continued") from None
        return progress.died


app = function.app(__name__)
