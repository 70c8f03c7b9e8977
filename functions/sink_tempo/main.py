"""Event with a batch of spans → Tempo. 204 means that Tempo has every span, or the dead letters have it with a reason.

Source: OTLP/gRPC; equal spans are combined on read, so a redelivery adds nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from functions.sink_tempo import answers, request
from functions.sink_tempo.channel import Channel, Failed
from shared import delivery
from shared.codecs import halves
from shared.delivery import Delivery
from shared.envelope import Dead, Record
from shared.publish import Publisher
from shared.runtime import Function
from shared.settings import TempoSink


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    tempo: Channel


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open the channel to Tempo and the way to the dead letters; flush at the end."""
    settings = TempoSink()
    publisher = Publisher(settings)
    try:
        async with Channel(settings.tempo_otlp_endpoint, request.METHOD, request.SECONDS) as tempo:
            yield Needs(Delivery("sink_tempo", publisher), tempo)
    finally:
        await publisher.close()


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> list[Dead]:
    """Export a batch; what can never be stored is returned, alone."""
    metadata = request.metadata(record)

    async def export(part: bytes) -> None:
        try:
            answers.check(await needs.tempo.call(part, metadata))
        except Failed as error:
            answers.failed(error.code, error.message)

    return await delivery.isolate(record.value, export, halves.traces, request.MOST_BYTES)


app = function.app(__name__)
