"""What the ingest functions share: token → limits → check → topic → counts. A client is told yes after `publish` returned, and not before."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared import envelope
from shared.auth import Authenticator
from shared.codecs.otlp import Checked
from shared.contract import EventType, Scope, Source, Topic
from shared.publish import Publisher
from shared.settings import Ingest
from shared.signals import Signal
from shared.telemetry import metrics
from shared.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Batch:
    """What a request leaves to publish: parts that fit into one record each, in order, and how many records are in all of them."""

    kind: EventType
    source: Source
    topic: Topic
    signal: str
    parts: Sequence[bytes]
    records: int
    spread: bytes
    traceparent: str


class Intake:
    """The world as an ingest function needs it."""

    def __init__(self, tokens: Authenticator, topics: Publisher) -> None:
        self._tokens = tokens
        self._topics = topics

    async def tenant(self, headers: Mapping[str, str], scope: Scope) -> Tenant:
        """Whose request it is. Raises Refused (401, 403), Later."""
        return await self._tokens.tenant(headers, scope)

    async def take(self, tenant: Tenant, signal: Signal, checked: Checked, source: Source, traceparent: str) -> None:
        """Publish what is left of an OTLP request. Raises Later."""
        metrics.STRIPPED.labels(signal.scope).inc(checked.stripped)
        if checked.records:
            parts = [checked.value]
            await self.publish(tenant, Batch(signal.type, source, signal.topic, signal.scope, parts, checked.records, checked.spread, traceparent))

    async def publish(self, tenant: Tenant, batch: Batch) -> None:
        """Return when all in-sync replicas have every part. Raises Later: then the client sends all of it again."""
        records = [
            envelope.new(tenant, batch.kind, batch.source, batch.topic, part, spread=batch.spread, traceparent=batch.traceparent) for part in batch.parts
        ]
        if len(records) == 1:
            await self._topics.publish(records[0])
        else:
            await asyncio.gather(*map(self._topics.publish, records))
        metrics.ACCEPTED_RECORDS.labels(batch.signal).inc(batch.records)
        metrics.ACCEPTED_BYTES.labels(batch.signal).inc(sum(map(len, batch.parts)))


@asynccontextmanager
async def open_intake() -> AsyncIterator[Intake]:
    """Open database pool and producer; flush the producer at the end."""
    settings = Ingest()
    async with Authenticator(settings) as tokens:
        topics = Publisher(settings)
        try:
            yield Intake(tokens, topics)
        finally:
            await topics.close()
