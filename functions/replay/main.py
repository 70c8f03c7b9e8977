"""Tick → the dead letters whose retries ran out, to their sinks again. 200 with what became of them, by sink; 503 when S3 is away.

A schedule calls it, whatever the request says (Knative: PingSource, OpenFaaS: cron-connector; docs/decisions/0016). One tick has bounded time, and goes on
where the last one ended, since what was taken is no longer there; nothing is remembered in between, so it may be killed, and there may be two of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from functions.replay import queue
from functions.replay.round import Round
from shared import delivery
from shared.object_store import ObjectStore
from shared.runtime import Function
from shared.settings import Replay


@dataclass(frozen=True, slots=True)
class Needs:
    """What a tick needs of the world."""

    settings: Replay
    store: ObjectStore
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open the bucket."""
    settings = Replay()
    store = ObjectStore(settings)
    try:
        yield Needs(settings, store)
    finally:
        await store.close()


function = Function(start, delivery.refuse)


@function.handler
async def handle(_: Request, needs: Needs) -> Response:
    """One tick, unless the last one is still at it. Raises Later."""
    if needs.turn.locked():
        return Response(status_code=204)
    async with needs.turn:
        until = monotonic() + needs.settings.replay_seconds
        queues = await queue.find(needs.store)
        rounds = [Round(needs.store, waiting, needs.settings, until) for waiting in queues]
        async with asyncio.TaskGroup() as group:  # a sink that is away keeps no other waiting
            for one in rounds:
                group.create_task(one.run())
        queue.tell(queues)
        return JSONResponse({one.queue.sink: one.counts for one in rounds})


app = function.app(__name__)
