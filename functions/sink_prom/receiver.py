"""Prometheus, or any other receiver of OTLP metrics and remote_write, as far as a sink writes to it.

A receiver that doesn't know remote_write 2.0 answers 415, or reads the request as an empty one of 1.0 and says yes without the counts that 2.0 owes: then the
same goes as 1.0, and so does everything until it is worth another try. Source: remote_write specification 2.0, § Backward Compatibility.
"""

from time import monotonic
from typing import Final

from functions.sink_prom import answers, version
from functions.sink_prom.request import KINDS
from shared.backend import Backend
from shared.breaker import Breaker
from shared.contract import EventType

OLD_SECONDS: Final = 600.0
"""How long a receiver is taken for one that speaks 1.0 only; it may be updated meanwhile."""


class Receiver:
    """Owns the knowledge of what the receiver speaks, and the breaker before it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.breaker = Breaker("prometheus")
        self._old_until = 0.0

    async def write(self, key: tuple[EventType, str], part: bytes) -> None:
        """Send a batch of this type of this tenant. Raises Never and Later."""
        kind, tenant_id = key
        if kind is EventType.REMOTE_WRITE_2:
            if monotonic() > self._old_until:
                if await self._post(kind, tenant_id, part):
                    return
                self._old_until = monotonic() + OLD_SECONDS
            kind, part = EventType.REMOTE_WRITE_1, version.as_1(part)
        await self._post(kind, tenant_id, part)

    async def _post(self, kind: EventType, tenant_id: str, part: bytes) -> bool:
        """False when the receiver doesn't know 2.0. Raises Never and Later."""
        way = KINDS[kind]
        body = way.body(part, tenant_id)  # raises Never, which is no answer of the receiver's
        with self.breaker.closed():
            answer = await self._backend.post(way.path, body, way.headers)
            if kind is EventType.REMOTE_WRITE_2 and not answers.knows_2(answer):
                return False
            answers.check(answer)
        return True
