"""Tempo's yes → spans that outlive it. Tempo says yes when the spans are in its memory, and writes them to its write-ahead log at its next flush check.

Nothing in Tempo says when that is done. So a yes counts only once it is as old as the log needs, and Tempo still is the process that it was before the push.
Else it is Later: the redelivery adds nothing, since equal spans are combined on read. Why, what this assumes and what it leaves open:
docs/decisions/0015-a-killed-tempo.md.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from math import ceil
from time import monotonic
from typing import Final

from shared.backend import Backend
from shared.errors import Later, Trouble
from shared.settings import TempoSink

Send = Callable[[bytes], Awaitable[None]]
Through = Callable[[Send, bytes], Awaitable[None]]
"""Sends a batch, and returns when its yes counts. Raises what sending raises, and Later when the spans may be lost."""

CHECKS: Final = 2
"""In the time that a yes has to wait: what was stored between two of them waits for the same one."""
ASK_SECONDS: Final = 1.0
"""Until Tempo must have answered a check: a process that stands still meanwhile has written nothing either."""

_process: Final = re.compile(rb"^process_start_time_seconds (.+)$", re.MULTILINE).search


@asynccontextmanager
async def opened(settings: TempoSink) -> AsyncIterator[Through]:
    """By the settings, at once or when the log has it."""
    if not settings.tempo_wal_seconds:
        yield _at_once
        return
    async with Backend(settings.tempo_url, ASK_SECONDS) as tempo:
        yield Log(tempo, settings.tempo_wal_seconds).through


async def _at_once(send: Send, batch: bytes) -> None:
    await send(batch)


class Log:
    """Tempo's write-ahead log, seen from outside. `seconds`: the age at which a yes counts."""

    def __init__(self, tempo: Backend, seconds: float) -> None:
        self._tempo = tempo
        self._seconds = seconds
        self._one_asks = asyncio.Lock()
        self._asked = 0.0
        """When the last check was due (monotonic)."""
        self._answer: bytes | None = None
        """What it was told."""
        self._known: bytes | None = None
        """The last process that answered, by its start time. If it is gone since, a check after the push shows that as well."""

    async def through(self, send: Send, batch: bytes) -> None:
        """See `Through`."""
        before = self._known or await self._check(monotonic())
        await send(batch)
        # Rounded up to a common moment, so that one check answers many.
        step = self._seconds / CHECKS
        due = ceil((monotonic() + self._seconds) / step) * step
        await asyncio.sleep(due - monotonic())
        if not before or await self._check(due) != before:
            raise Later("tempo said yes, but was started again or can't be asked: its log may not have the spans")

    async def _check(self, due: float) -> bytes | None:
        """The process that answers a check begun at `due` or later; None when none does. One of those who wait asks, for all of them."""
        async with self._one_asks:
            if self._asked < due:
                began = monotonic()
                self._answer = await self._ask()
                self._known = self._answer or self._known
                self._asked = max(began, due)  # a timer may ring a moment early
            return self._answer

    async def _ask(self) -> bytes | None:
        with suppress(Trouble):
            found = _process((await self._tempo.get("/metrics")).body)
            return found and found[1]
        return None
