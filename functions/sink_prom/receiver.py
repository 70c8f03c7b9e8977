"""Prometheus, or any other receiver of OTLP metrics and remote_write, as far as a sink writes to it.

A receiver that doesn't know remote_write 2.0 answers 415, or reads the request as an empty one of 1.0 and says yes without the counts that 2.0 owes: then the
same goes as 1.0, and so does everything until it is worth another try. Source: remote_write specification 2.0, § Backward Compatibility.
"""

from time import monotonic
from typing import Final

from functions.sink_prom import answers, version
from functions.sink_prom.request import KINDS
from shared.breaker import Breaker
from shared.contract import EventType
from shared.upstream import Answer, Upstream

OLD_SECONDS: Final = 600.0
"""How long a receiver is taken for one that speaks 1.0 only; it may be updated meanwhile."""


class Receiver:
    """Owns the knowledge of what the receiver speaks, and the breaker before it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._breaker = Breaker("prometheus")
        self._old_until = 0.0

    async def write(self, key: tuple[EventType, str], part: bytes) -> None:
        """Send a batch of this type of this tenant. Raises Never and Later."""
        kind, tenant_id = key
        with self._breaker.closed():
            if kind is EventType.REMOTE_WRITE_2 and monotonic() > self._old_until:
                answer = await self._post(kind, tenant_id, part)
                if answers.knows_2(answer):
                    return answers.check(answer)
                self._old_until = monotonic() + OLD_SECONDS
            if kind is EventType.REMOTE_WRITE_2:
                kind, part = EventType.REMOTE_WRITE_1, version.as_1(part)
            return answers.check(await self._post(kind, tenant_id, part))

    async def _post(self, kind: EventType, tenant_id: str, part: bytes) -> Answer:
        way = KINDS[kind]
        return await self._upstream.post(way.path, way.body(part, tenant_id), way.headers)
