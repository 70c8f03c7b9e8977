"""What the ingest functions share: token → limits → body → … → topic → counts. A client is told yes after `publish` returned, and not before."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

from prometheus_client import Counter
from starlette.requests import Request

from shared import bodies, envelope
from shared.auth import Authenticator
from shared.codecs.otlp import Checked
from shared.codecs.split import split
from shared.contract import MAX_BODY_BYTES, MAX_RECORD_BYTES, EventType, Flag, Reason, Scope, Source, Switch, Topic
from shared.envelope import Record
from shared.errors import Later, Refused
from shared.flags import OFF_SECONDS, Flags
from shared.limits import Limiter
from shared.publish import Publisher
from shared.settings import Ingest
from shared.signals import Signal
from shared.telemetry import metrics, requests, tracing
from shared.tenant import Tenant
from shared.usage import Usage

BIG_BYTES = 1024 * 1024
"""From here on checking takes long enough that other requests would wait for it."""

T = TypeVar("T")


async def off_the_loop(size: int, work: Callable[[], T]) -> T:
    """Do `work` on `size` bytes: here, or on a thread when there are so many that the event loop would stand still."""
    return work() if size < BIG_BYTES else await asyncio.to_thread(work)


@cache
def _accepted(signal: str) -> tuple[Counter, Counter]:
    """Records and bytes of a signal: a look-up by labels costs more than counting."""
    return metrics.ACCEPTED_RECORDS.labels(signal), metrics.ACCEPTED_BYTES.labels(signal)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a request leaves to publish: parts that fit into one record each, in order, and how many records are in all of them."""

    kind: EventType
    source: Source
    topic: Topic
    signal: str
    parts: Sequence[bytes]
    records: int
    spread: bytes | None
    """What tells a sender whose records keep their order; None where order is nothing to anybody."""
    traceparent: str
    """The request's header, unchecked."""
    arrived: int = 0
    """See `Checked.arrived`."""


class Intake:
    """The world as an ingest function needs it."""

    def __init__(self, tokens: Authenticator, flags: Flags, limits: Limiter, usage: Usage, topics: Publisher) -> None:
        self._tokens = tokens
        self._flags = flags
        self._limits = limits
        self._usage = usage
        self._topics = topics

    async def tenant(self, headers: Mapping[str, str], scope: Scope, signal: str = "") -> Tenant:
        """Whose request it is. Raises Refused (401, 403), Later; that also while ingest is switched off: the client keeps what it has."""
        began = tracing.dice()
        requests.begin(signal or scope)
        tenant = await self._tokens.tenant(headers, scope)
        requests.begin(signal or scope, tenant.id)
        tracing.came_in(f"ingest {signal or scope}", tenant.id, headers, began)
        if self._flags.of(tenant.id) is not Switch.ON:
            metrics.SWITCHED_OFF.inc()
            raise Later("ingest is switched off", OFF_SECONDS, Reason.SWITCHED_OFF)
        return tenant

    async def body(self, request: Request, tenant: Tenant, encodings: Collection[str], unnamed: str = "") -> bytes:
        """The request's body, decompressed, if the tenant's plan lets it in. `unnamed`: see `bodies.read`. Raises Refused (400, 413, 415, 429), Later.

        What was decompressed counts for the plan, also of a body that is refused then: else a bomb would cost its sender nothing.
        """
        declared = bodies.declared_length(request) or 0
        await self._limits.check(tenant, declared)
        try:
            body = await bodies.read(request, min(MAX_BODY_BYTES, tenant.limits.max_body_bytes), encodings, unnamed)
        except Refused as refused:
            if refused.unpacked:
                await self._limits.charge(tenant, refused.unpacked)
            raise
        await self._limits.charge(tenant, len(body) - declared)
        return body

    async def admit(self, tenant: Tenant, size: int) -> None:
        """Let a body in that is there already. Raises Refused (413, 429)."""
        if size > tenant.limits.max_body_bytes:
            raise Refused(Reason.TOO_LARGE, f"body over {tenant.limits.max_body_bytes} bytes", 413)
        await self._limits.check(tenant, size)

    async def take(self, tenant: Tenant, signal: Signal, checked: Checked, source: Source, traceparent: str) -> None:
        """Publish what is left of an OTLP request, in parts if it is larger than a record may be. What can't be cut to fit is rejected in `checked`."""
        if checked.stripped:
            metrics.STRIPPED.labels(signal.scope).inc(checked.stripped)
        if not checked.records:
            return
        found = await off_the_loop(len(checked.value), lambda: split(signal.shape.request, checked.value, MAX_RECORD_BYTES))
        if found.rejected:
            checked.reject(found.rejected, found.first_index, f"larger than a record may be, {MAX_RECORD_BYTES} bytes")
        if checked.records:
            batch = Batch(signal.type, source, signal.topic, signal.scope, found.parts, checked.records, checked.spread, traceparent, checked.arrived)
            await self.publish(tenant, batch)

    async def publish(self, tenant: Tenant, batch: Batch) -> None:
        """Return when all in-sync replicas have every part. Raises Later: then the client sends all of it again."""
        key = self._topics.gather(batch.topic, envelope.keys(tenant.id)) if batch.spread is None else envelope.key_of(tenant.id, batch.spread)
        with tracing.sending(batch.topic):
            carried = tracing.carried(batch.traceparent)
            records = [envelope.new(tenant, batch.kind, batch.source, batch.topic, part, key=key, traceparent=carried) for part in batch.parts]
            if batch.arrived:
                records = [_with(record, "arrived", batch.arrived) for record in records]
            if len(records) == 1:
                await self._topics.publish(records[0])
            else:
                # Parts may be equal; by its number each stays a batch of its own to who goes by what is in it (sink_opensearch).
                await asyncio.gather(*(self._topics.publish(_with(record, "cut", number)) for number, record in enumerate(records)))
        size = sum(map(len, batch.parts))
        accepted_records, accepted_bytes = _accepted(batch.signal)
        accepted_records.inc(batch.records)
        accepted_bytes.inc(size)
        self._usage.count(tenant, batch.signal, batch.records, size)


def _with(record: Record, name: str, number: int) -> Record:
    """The record with one more attribute, for who stores it."""
    return replace(record, extensions={**record.extensions, name: str(number)})


@asynccontextmanager
async def open_intake(flag: Flag) -> AsyncIterator[Intake]:
    """Open database pool, flags (`ingest` and the function's own), limits and producer; flush producer and usage at the end."""
    settings = Ingest()
    defaults = {Flag.INGEST: settings.ingest, flag: Switch.ON}
    async with (
        Authenticator(settings) as tokens,
        Flags(defaults, tokens.database, settings.flags_seconds) as flags,
        Usage(settings, tokens.database) as usage,
        Limiter(settings) as limits,
    ):
        topics = Publisher(settings)
        try:
            yield Intake(tokens, flags, limits, usage, topics)
        finally:
            await topics.close()
