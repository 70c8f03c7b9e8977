"""One sink's letters in one tick: one by one until the sink has said yes or no to one of them, then a few at a time.

A letter that gets neither yes nor no is put off: it goes behind the others, and its tenant's other letters wait for the next tick, since it may be that
tenant's limit. When the letters of a few tenants were put off the sink is in trouble, and is left alone until the next tick.
"""

import logging
from collections import Counter
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final

from functions.replay.queue import Queue
from shared import dead_letters
from shared.backend import Backend
from shared.dead_letters import Place
from shared.errors import Later
from shared.object_store import Missing, ObjectStore
from shared.replay import Became, Send, ask, move, read, replay
from shared.settings import Replay
from shared.telemetry import metrics
from shared.turns import turns

AT_ONCE: Final = 4
"""As many as a trigger delivers of a partition."""
TENANTS_PUT_OFF: Final = 3
PUT_OFF: Final = "put off"

log = logging.getLogger(__name__)


class Round:
    """`counts`: letters by what became of them."""

    def __init__(self, store: ObjectStore, queue: Queue, settings: Replay, until: float) -> None:
        """`until`: the moment (monotonic) after which no further letter is sent."""
        self.queue = queue
        self.counts: Counter[str] = Counter()
        self._store = store
        self._settings = settings
        self._until = until
        self._answers = False
        self._put_off: set[str] = set()

    async def run(self) -> None:
        """Send what is due. Raises nothing that a later tick mends."""
        url = self._settings.sink_url(self.queue.sink)
        if not url:
            log.error("%d letters wait for %s, and SINK_URLS doesn't say where it is", len(self.queue.left), self.queue.sink)
            return
        try:
            async with Backend(url, self._settings.replay_timeout_seconds) as sink:
                await self._all(partial(ask, sink))
        except Later as later:
            log.warning("%s: broken off: %s", self.queue.sink, later)
        if self.counts:
            log.info("%s: %s; %d still wait", self.queue.sink, ", ".join(f"{count} {what}" for what, count in self.counts.items()), len(self.queue.left))

    async def _all(self, send: Send) -> None:
        async with turns(AT_ONCE) as start:
            for place in self.queue.due():
                if monotonic() > self._until or len(self._put_off) >= TENANTS_PUT_OFF:
                    return
                if place.tenant_id in self._put_off:
                    continue
                if self._answers:
                    await start(self._one(place, send))
                else:
                    await self._one(place, send)

    async def _one(self, place: Place, send: Send) -> None:
        try:
            became: str = await replay(self._store, place, send)
            self._answers = self._answers or became != Became.GONE
            del self.queue.left[place]
        except Later as later:
            became = PUT_OFF
            self._put_off.add(place.tenant_id)
            log.warning("%s: %s put off: %s", self.queue.sink, place.id, later)
            with suppress(Missing):
                await move(self._store, place, dead_letters.put_off(await read(self._store, place)))
        self.counts[became] += 1
        metrics.REPLAYED.labels(self.queue.sink, became.replace(" ", "_")).inc()
