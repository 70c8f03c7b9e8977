"""A batch that the backend refuses → those of its records that were refused, each alone. Nothing becomes a dead letter that wasn't itself refused.

A refused batch is cut in two until the culprits are alone: a bad record never blocks a partition and never sinks its neighbours. That takes a while where bad
records are many. A delivery works on it for so long at most, then says Later and remembers how far it came; the redelivered record goes on from there, and so
comes to an end. What is remembered is only a short cut: without it (another instance, a restart) the work begins again, and every repetition is harmless.
Each part that is refused repeats what it has in common with its neighbours, such as a resource, so the dead are buried while the work goes on; and when they
come to many times the batch, what is refused is buried without being cut further. Whoever replays such a letter goes on where this stopped.

A refusal that names no record proves nothing about the data: the backend may be at fault. So it must stand a few tries, and a probe, a record of our own that
is surely good, must get through right after it. Else it is Later: lag grows and somebody looks, instead of the topic being emptied into dead letters.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import stamina

from shared import delivery
from shared.breaker import Breaker
from shared.delivery import Died
from shared.envelope import Dead, Record
from shared.errors import Later, Never, Trouble
from shared.telemetry import metrics

log = logging.getLogger(__name__)

Send = Callable[[bytes], Awaitable[None]]
"""Sends a batch: returns on the backend's yes, raises Never when it is refused, Later."""
Halves = Callable[[bytes], tuple[bytes, bytes] | None]
"""Cuts a batch in two of the same message type; None when there is nothing to cut (`shared.codecs.halves`)."""
Probe = Callable[[], Awaitable[None]]
"""Sends a good record of ours in nobody's name, as `Send` does."""
Bury = Callable[[Sequence[Dead]], Awaitable[None]]
"""Returns when the dead letters are acknowledged (`shared.delivery`), raises Later."""

AT_ONCE: Final = 4
"""Parts under way at a time once something was refused; before that one after the other, in order."""
MOST_SECONDS: Final = 15.0
"""After which a delivery begins nothing new; a trigger waits for 30 s and more."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of all batches that are remembered; the oldest are forgotten first."""
DEAD_BYTES: Final = 1024 * 1024
"""Of a batch's dead; when there are more they are buried."""
DEAD_TIMES: Final = 4
MOST_DEAD_BYTES: Final = 16 * 1024 * 1024
"""Of all letters that a batch becomes, and so many times its own size on top. Alone, its records may have a thousand times that: 5 MB of resource each."""
ENTRY_BYTES: Final = 1024
"""What a part takes besides its bytes: its path, the backend's words, the objects."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a batch is sent. `first`: the whole batch, if otherwise than its parts; `limit`: what is larger, in bytes, is cut before it is sent."""

    send: Send
    halves: Halves
    probe: Probe
    breaker: Breaker
    """Before the backend; told when it takes no probe."""
    bury: Bury
    first: Send | None = None
    limit: int | None = None


@dataclass(slots=True)
class _Progress:
    """What is left to do of a batch. What was stored, or buried, isn't in it any more."""

    waiting: list[tuple[str, bytes]]
    """Parts by their path from the batch ("0" the first half, "01" the second half of that), the next one last."""
    room: int
    """Bytes of letters that it may still become with its parts cut to the end."""
    dead: list[tuple[Dead, bool]] = field(default_factory=list)
    """To be buried; whether that is certain: the backend named a reason, or took a probe since."""
    died: Died = Died.NOTHING
    """How much is buried."""

    @property
    def dead_size(self) -> int:
        """In bytes."""
        return _size_of([dead for dead, _ in self.dead])

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(part) + ENTRY_BYTES for _, part in self.waiting) + self.dead_size


def _size_of(dead: Sequence[Dead]) -> int:
    return sum(len(one.value) + ENTRY_BYTES for one in dead)


class Isolation:
    """One per sink."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str], _Progress] = OrderedDict()
        """By record id and part: a replayed dead letter has its record's id."""

    async def run(self, record: Record, way: Way) -> Died:
        """Send a record's batch, and bury the parts of it that were refused and can't be cut any more; how much that was. Raises Later."""
        key = (record.id, record.extensions.get("part", ""))
        progress = self._remembered.pop(key, None) or _Progress([("", record.value)], MOST_DEAD_BYTES + DEAD_TIMES * len(record.value))
        try:
            await _Run(way, progress).finish()
        except Later:
            self._remember(key, progress)
            raise
        return progress.died

    def _remember(self, key: tuple[str, str], progress: _Progress) -> None:
        if progress.waiting and not progress.waiting[0][0]:
            return  # nothing was cut yet
        self._remembered[key] = progress
        while len(self._remembered) > 1 and sum(one.size for one in self._remembered.values()) > MOST_BYTES:
            self._remembered.popitem(last=False)


class _Run:
    """One delivery's work on a batch."""

    def __init__(self, way: Way, progress: _Progress) -> None:
        self._way = way
        self._progress = progress
        self._until = monotonic() + MOST_SECONDS
        self._at_once = 1
        self._proved = False
        """The backend took a probe after it had refused something without naming why."""

    async def finish(self) -> None:
        """Raises Later when time is over, or the backend is in trouble; what is left to do is then in the progress."""
        while parts := self._next():
            if len(parts) == 1:  # the usual case, without a task of its own
                outcomes = [await self._outcome(*parts[0])]
            else:
                outcomes = await asyncio.gather(*(self._outcome(path, part) for path, part in parts))
            self._sort(parts, outcomes)
            if self._progress.dead_size > DEAD_BYTES:
                await self._bury()
            if self._progress.waiting:
                self._in_time()
        if self._progress.dead:
            await self._bury()

    def _next(self) -> list[tuple[str, bytes]]:
        """The next parts to send, none of them larger than the limit unless it can't be cut."""
        parts: list[tuple[str, bytes]] = []
        waiting, halves, limit = self._progress.waiting, self._way.halves, self._way.limit
        while waiting and len(parts) < self._at_once:
            path, part = waiting.pop()
            if limit is not None and len(part) > limit and (split := halves(part)):
                metrics.BISECTIONS.labels("size").inc()
                waiting += [(path + "1", split[1]), (path + "0", split[0])]
            else:
                parts.append((path, part))
        return parts

    async def _outcome(self, path: str, part: bytes) -> Never | Later | None:
        """How the backend answers; None is yes. A refusal for no named reason is one only when the backend is well; else Later."""
        outcome = await _tried((self._way.send if path or not self._way.first else self._way.first)(part))
        if self._doubts(outcome):
            outcome = await _tried(self._repeat(part))
        if self._doubts(outcome):
            outcome = await _tried(self._prove()) or outcome
        return outcome

    def _doubts(self, outcome: Never | Later | None) -> bool:
        return isinstance(outcome, Never) and not outcome.named and not self._proved

    async def _repeat(self, part: bytes) -> None:
        """Send a part again, a few times. Raises Never and Later."""
        self._in_time()
        await _again(self._send_again, part)

    async def _send_again(self, part: bytes) -> None:
        metrics.BACKEND_RETRIES.labels("unnamed_refusal").inc()
        await self._way.send(part)

    def _sort(self, parts: list[tuple[str, bytes]], outcomes: list[Never | Later | None]) -> None:
        """What was refused is cut, or dead if it can't be. Raises Later like that among the outcomes."""
        left: list[tuple[str, bytes]] = []
        for (path, part), outcome in zip(parts, outcomes, strict=True):
            if isinstance(outcome, Later):
                left.append((path, part))
            elif isinstance(outcome, Never):
                self._at_once = AT_ONCE
                if self._progress.dead_size < self._progress.room and (split := self._way.halves(part)):
                    metrics.BISECTIONS.labels("refused").inc()
                    left += [(path + "0", split[0]), (path + "1", split[1])]
                else:
                    self._progress.dead.append((Dead(part, outcome.reason, outcome.detail, outcome.status, path), outcome.named))
        self._progress.waiting.extend(reversed(left))
        for outcome in outcomes:
            if isinstance(outcome, Later):  # not itself: its traceback would hold this frame, and this frame it, and the parts, until cycles are looked for
                raise type(outcome)(outcome.detail, outcome.retry_after)

    async def _bury(self) -> None:
        """Bury the dead. Raises Later, and forgets none that isn't buried."""
        await self._confirm()
        dead = self._progress.dead
        for chunk in delivery.chunks([one for one, _ in dead]):
            await self._way.bury(chunk)
            del dead[: len(chunk)]
            self._progress.room -= _size_of(chunk)
            self._progress.died = delivery.how_much(chunk)

    async def _confirm(self) -> None:
        """The backend was well to the end: else those that it refused without a reason are to be sent once more. Raises Later."""
        progress = self._progress
        if all(certain for _, certain in progress.dead):
            return
        self._in_time()
        try:
            await self._prove()
        except Later:
            progress.waiting += [(one.part, one.value) for one, certain in reversed(progress.dead) if not certain]
            progress.dead = [(one, True) for one, certain in progress.dead if certain]
            raise
        progress.dead = [(one, True) for one, _ in progress.dead]

    async def _prove(self) -> None:
        """Return when the backend takes a probe. Raises Later."""
        self._in_time()
        try:
            await self._way.probe()
        except Never as never:
            log.error("held, since the backend refuses even a record that is surely good: %s", str(never))  # noqa: TRY400 an answer, no defect
            with self._way.breaker.closed():
                raise Trouble(f"the backend refuses everything: {never}") from None
        self._proved = True

    def _in_time(self) -> None:
        """Raises Later when this delivery should begin nothing new."""
        if monotonic() > self._until:
            raise Later("this batch takes long; to be continued")


async def _tried(work: Awaitable[None]) -> Never | Later | None:
    """How it ends, without what else hangs on an exception: tracebacks hold frames and these the batch, and whoever keeps the exception would keep it all."""
    try:
        await work
    except (Never, Later) as error:
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error
    return None


def _is_unnamed(error: Exception) -> bool:
    return isinstance(error, Never) and not error.named


# A backend that takes long to refuse is asked less often.
_again: Final = stamina.AsyncRetryingCaller(attempts=3, timeout=3.0, wait_initial=0.1, wait_max=0.5, wait_jitter=0.1).on(_is_unnamed)
