"""Event with metrics, by OTLP or remote_write → Prometheus. 204 means that it has every sample, or the dead letters have it with a reason.

Sources: OTLP/HTTP; remote_write 1.0 and 2.0. Equal samples are one sample, within the out-of-order window, so a redelivery adds nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from functions.sink_prom import answers, request
from shared import delivery
from shared.delivery import Delivery
from shared.envelope import Dead, Record
from shared.publish import Publisher
from shared.runtime import Function
from shared.settings import PrometheusSink
from shared.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Needs:
    """What an event needs of the world."""

    delivery: Delivery
    prometheus: Upstream


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open Prometheus' pool and the way to the dead letters; flush at the end."""
    settings = PrometheusSink()
    publisher = Publisher(settings)
    try:
        async with Upstream(settings.prometheus_url) as prometheus:
            yield Needs(Delivery("sink_prom", publisher), prometheus)
    finally:
        await publisher.close()


function = Function(start, delivery.refuse)


@function.handler
async def handle(event: Request, needs: Needs) -> Response:
    """Answer one event."""
    return await needs.delivery.handle(event, partial(store, needs))


async def store(needs: Needs, record: Record) -> list[Dead]:
    """Write a batch; what can never be stored is returned, alone and without our label."""
    kind = request.kind_of(record)

    async def write(part: bytes) -> None:
        answer = await needs.prometheus.post(kind.path, kind.body(part, record.tenant_id), kind.headers)
        answers.check(answer, counted=kind.counted)

    return await delivery.isolate(record.value, write, kind.halves)


app = function.app(__name__)
