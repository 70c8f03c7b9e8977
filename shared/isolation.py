"""A batch that the backend refuses → those of its records that were refused, each alone. Nothing becomes a dead letter that wasn't itself refused.

A refused batch is cut in two until the culprits are alone: a bad record never blocks a partition and never sinks its neighbours. That takes a while where bad
records are many. A delivery works on it for so long at most, then says Later and remembers how far it came; the redelivered record goes on from there, and so
comes to an end. What is remembered is only a short cut: without it (another instance, a restart) the work begins again, and every repetition is harmless.

A refusal that names no record proves nothing about the data: the backend may be at fault. So it must stand a few tries, and a probe, a record of our own that
is surely good, must get through right after it. Else it is Later: lag grows and somebody looks, instead of the topic being emptied into dead letters.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import stamina

from shared.envelope import Dead, Record
from shared.errors import Later, Never

log = logging.getLogger(__name__)

Send = Callable[[bytes], Awaitable[None]]
"""Sends a batch: returns on the backend's yes, raises Never when it is refused, Later."""
Halves = Callable[[bytes], tuple[bytes, bytes] | None]
"""Cuts a batch in two of the same message type; None when there is nothing to cut (`shared.codecs.halves`)."""
Probe = Callable[[], Awaitable[None]]
"""Sends a good record of ours in nobody's name, as `Send` does."""

AT_ONCE: Final = 4
"""Parts under way at a time once something was refused; before that one after the other, in order."""
MOST_SECONDS: Final = 15.0
"""How long one delivery works on a batch; a trigger waits for 30 s and more."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of all batches that are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a batch is sent. `first`: the whole batch, if otherwise than its parts; `limit`: what is larger, in bytes, is cut before it is sent."""

    send: Send
    halves: Halves
    probe: Probe
    first: Send | None = None
    limit: int | None = None


@dataclass(slots=True)
class _Progress:
    """What is left of a batch: parts by their path from it ("0" the first half, "01" the second half of that), the next one last."""

    waiting: list[tuple[str, bytes]]
    dead: list[tuple[str, bytes, Never]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(part) for _, part in self.waiting) + sum(len(part) for _, part, _ in self.dead)


class Isolation:
    """One per sink."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str], _Progress] = OrderedDict()

    async def run(self, record: Record, way: Way) -> list[Dead]:
        """Send a record's batch; the parts of it that were refused and can't be cut any more. Raises Later."""
        key = (record.id, record.extensions.get("part", ""))
        progress = self._remembered.pop(key, None) or _Progress([("", record.value)])
        try:
            await _Run(way, progress).finish()
        except Later:
            self._remember(key, progress)
            raise
        return [Dead(part, never.reason, never.detail, never.status, path) for path, part, never in sorted(progress.dead, key=lambda one: one[0])]

    def _remember(self, key: tuple[str, str], progress: _Progress) -> None:
        if not progress.waiting[0][0]:
            return  # nothing was cut yet
        self._remembered[key] = progress
        while len(self._remembered) > 1 and sum(one.size for one in self._remembered.values()) > MOST_BYTES:
            self._remembered.popitem(last=False)


class _Run:
    """One delivery's work on a batch."""

    def __init__(self, way: Way, progress: _Progress) -> None:
        self._way = way
        self._progress = progress
        self._at_once = 1
        self._proved = False
        """The backend took a probe after it had refused something without naming why."""

    async def finish(self) -> None:
        """Raises Later when time is over, or the backend is in trouble; what is left to do is then in the progress."""
        until = monotonic() + MOST_SECONDS
        while parts := self._next():
            if len(parts) == 1:  # the usual case, without a task of its own
                outcomes = [await self._outcome(*parts[0])]
            else:
                outcomes = await asyncio.gather(*(self._outcome(path, part) for path, part in parts))
            self._sort(parts, outcomes)
            if self._progress.waiting and monotonic() > until:
                raise Later(f"{len(self._progress.dead)} bad records found so far; to be continued")
        await self._confirm()

    def _next(self) -> list[tuple[str, bytes]]:
        """The next parts to send, none of them larger than the limit unless it can't be cut."""
        parts: list[tuple[str, bytes]] = []
        waiting, halves, limit = self._progress.waiting, self._way.halves, self._way.limit
        while waiting and len(parts) < self._at_once:
            path, part = waiting.pop()
            if limit is not None and len(part) > limit and (split := halves(part)):
                waiting += [(path + "1", split[1]), (path + "0", split[0])]
            else:
                parts.append((path, part))
        return parts

    async def _outcome(self, path: str, part: bytes) -> Never | Later | None:
        """How the backend answers; None is yes."""
        send = self._way.send if path or not self._way.first else self._way.first
        try:
            try:
                await send(part)
            except Never as never:
                if never.named or self._proved:
                    return never
                await _again(self._way.send, part)
        except Later as later:
            return later
        except Never as never:
            return never if never.named else await self._doubted(never)
        return None

    async def _doubted(self, never: Never) -> Never | Later:
        """A refusal for no named reason, when the backend is well; else Later."""
        try:
            await self._prove()
        except Later as later:
            return later
        self._proved = True
        return never

    def _sort(self, parts: list[tuple[str, bytes]], outcomes: list[Never | Later | None]) -> None:
        """What was refused is cut, or dead if it can't be. Raises the Later among the outcomes."""
        left: list[tuple[str, bytes]] = []
        for (path, part), outcome in zip(parts, outcomes, strict=True):
            if isinstance(outcome, Later):
                left.append((path, part))
            elif isinstance(outcome, Never):
                self._at_once = AT_ONCE
                if split := self._way.halves(part):
                    left += [(path + "0", split[0]), (path + "1", split[1])]
                else:
                    self._progress.dead.append((path, part, outcome))
        self._progress.waiting.extend(reversed(left))
        if later := next((outcome for outcome in outcomes if isinstance(outcome, Later)), None):
            raise later

    async def _confirm(self) -> None:
        """The backend was well to the end: else those that it refused without a reason are to be sent once more. Raises Later."""
        unnamed = [one for one in self._progress.dead if not one[2].named]
        if not unnamed:
            return
        try:
            await self._prove()
        except Later:
            self._progress.dead = [one for one in self._progress.dead if one[2].named]
            self._progress.waiting += [(path, part) for path, part, _ in reversed(unnamed)]
            raise

    async def _prove(self) -> None:
        """Return when the backend takes a probe. Raises Later."""
        try:
            await self._way.probe()
        except Never as never:
            log.error("held, since the backend refuses even a record that is surely good: %s", never)  # noqa: TRY400 an answer, no defect
            raise Later(f"the backend refuses everything: {never}") from never


def _is_unnamed(error: Exception) -> bool:
    return isinstance(error, Never) and not error.named


_again: Final = stamina.AsyncRetryingCaller(attempts=3, wait_initial=0.1, wait_max=0.5, wait_jitter=0.1).on(_is_unnamed)
