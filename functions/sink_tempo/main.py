"""Event with a batch of spans → Tempo. 204 means that Tempo has every span, in its log where that is waited for, or the dead letters have it with a reason.

Source: OTLP/gRPC; equal spans are combined on read, so a redelivery adds nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from functions.sink_tempo import answers, request, wal
from functions.sink_tempo.channel import Channel, Failed
from shared import delivery, grouping
from shared.breaker import Breaker
from shared.codecs import halves
from shared.contract import NOBODY
from shared.delivery import Delivery, Died
from shared.envelope import Record
from shared.isolation import Isolation, Way
from shared.runtime import Function
from shared.settings import TempoSink


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    isolation: Isolation
    export: grouping.Send[str]
    """One call, for a tenant id."""
    together: grouping.Group[str, bytes, None]
    breaker: Breaker
    through: wal.Through
    """Around each call: until its yes counts."""


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open the channel to Tempo and the way to the dead letters; flush at the end."""
    settings = TempoSink()
    async with (
        delivery.opened("sink_tempo", settings, settings.tempo_writes) as deliveries,
        Channel(settings.tempo_otlp_endpoint, request.METHOD, settings.backend_timeout_seconds) as tempo,
        wal.opened(settings) as through,
    ):
        breaker = Breaker("tempo")
        export = partial(_export, tempo, breaker)
        yield Needs(deliveries, Isolation(), export, grouping.messages(export), breaker, through)


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> Died:
    """Export a batch; what can never be stored is buried, alone."""
    tenant_id = request.tenant_of(record)
    way = Way(
        partial(needs.through, partial(needs.export, tenant_id)),
        halves.traces,
        lambda: needs.export(NOBODY, request.probe()),
        needs.breaker,
        partial(needs.delivery.bury, record),
        first=partial(needs.through, partial(needs.together.do, tenant_id)),
        limit=request.MOST_BYTES,
    )
    return await needs.isolation.run(record, way)


async def _export(tempo: Channel, breaker: Breaker, tenant_id: str, part: bytes) -> None:
    with breaker.closed():
        try:
            answers.check(await tempo.call(part, request.metadata(tenant_id)))
        except Failed as error:
            answers.failed(error.code, error.message)


app = function.app(__name__)
