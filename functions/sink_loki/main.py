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
from shared import delivery, grouping
from shared.backend import Backend
from shared.breaker import Breaker
from shared.codecs import halves
from shared.contract import NOBODY
from shared.delivery import Delivery, Died
from shared.envelope import Record
from shared.isolation import Isolation, Way
from shared.runtime import Function
from shared.settings import LokiSink


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    isolation: Isolation
    push: grouping.Send[str]
    """One request, for a tenant id."""
    together: grouping.Group[str, bytes, None]
    breaker: Breaker


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open Loki's pool and the way to the dead letters; flush at the end."""
    settings = LokiSink()
    async with (
        delivery.opened("sink_loki", settings, settings.loki_writes) as deliveries,
        Backend(settings.loki_url, settings.backend_timeout_seconds) as loki,
    ):
        breaker = Breaker("loki")
        push = partial(_push, loki, breaker)
        yield Needs(deliveries, Isolation(), push, grouping.messages(push), breaker)


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> Died:
    """Push a batch; what can never be stored is buried, alone."""
    tenant_id = request.tenant_of(record)
    way = Way(
        partial(needs.push, tenant_id),
        halves.logs,
        lambda: needs.push(NOBODY, request.probe()),
        needs.breaker,
        partial(needs.delivery.bury, record),
        first=partial(needs.together.do, tenant_id),
        limit=request.MOST_BYTES,
    )
    return await needs.isolation.run(record, way)


async def _push(loki: Backend, breaker: Breaker, tenant_id: str, part: bytes) -> None:
    with breaker.closed():
        answers.check(await loki.post(request.PATH, part, request.headers(tenant_id)))


app = function.app(__name__)
