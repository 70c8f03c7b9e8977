"""Event with metrics, by OTLP or remote_write → Prometheus. 204 means that it has every sample, or the dead letters have it with a reason.

Sources: OTLP/HTTP; remote_write 1.0 and 2.0. Equal samples are one sample, within the out-of-order window, so a redelivery adds nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from functions.sink_prom import request
from functions.sink_prom.receiver import Receiver
from shared import delivery, grouping
from shared.backend import Backend
from shared.contract import NOBODY, EventType
from shared.delivery import Delivery, Died
from shared.envelope import Record
from shared.isolation import Isolation, Way
from shared.runtime import Function
from shared.settings import PrometheusSink


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    isolation: Isolation
    prometheus: Receiver
    together: grouping.Group[tuple[EventType, str], bytes, None]


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open Prometheus' pool and the way to the dead letters; flush at the end."""
    settings = PrometheusSink()
    async with (
        delivery.opened("sink_prom", settings, settings.prometheus_writes) as deliveries,
        Backend(settings.prometheus_url, settings.backend_timeout_seconds) as backend,
    ):
        prometheus = Receiver(backend)
        yield Needs(deliveries, Isolation(), prometheus, grouping.messages(prometheus.write))


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> Died:
    """Write a batch; what can never be stored is buried, alone and without our label."""
    kind, key = request.kind_of(record), (record.type, record.tenant_id)
    way = Way(
        partial(needs.prometheus.write, key),
        kind.halves,
        lambda: needs.prometheus.write((record.type, NOBODY), kind.probe()),
        needs.prometheus.breaker,
        partial(needs.delivery.bury, record),
        first=partial(needs.together.do, key) if kind.joins else None,
        limit=request.MOST_BYTES,
    )
    return await needs.isolation.run(record, way)


app = function.app(__name__)
