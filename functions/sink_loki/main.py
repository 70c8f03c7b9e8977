"""Event with a batch of logs → Loki. 204 means that Loki has every entry, or the dead letters have it with a reason.

Source: Loki's OTLP endpoint; same timestamp and line are one entry, so a redelivery adds nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from functions.sink_loki import answers, request
from shared import delivery
from shared.codecs import halves
from shared.delivery import Delivery
from shared.envelope import Dead, Record
from shared.publish import Publisher
from shared.runtime import Function
from shared.settings import LokiSink
from shared.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    loki: Upstream


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open Loki's pool and the way to the dead letters; flush at the end."""
    settings = LokiSink()
    publisher = Publisher(settings)
    try:
        async with Upstream(settings.loki_url) as loki:
            yield Needs(Delivery("sink_loki", publisher), loki)
    finally:
        await publisher.close()


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> list[Dead]:
    """Push a batch; what can never be stored is returned, alone."""
    headers = request.headers(record)

    async def push(part: bytes) -> None:
        answers.check(await needs.loki.post(request.PATH, part, headers))

    return await delivery.isolate(record.value, push, halves.logs, request.MOST_BYTES)


app = function.app(__name__)
