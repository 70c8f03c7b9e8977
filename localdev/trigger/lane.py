"""The records of one partition on their way to a function: waiting, in flight, done. Lives on the event loop; one lane per assignment of the partition.

In flight are at most as many as the function's row says, which for one keeps their order. A closed lane takes note of nothing more, so what completes after
the partition was revoked is never committed: whoever has the partition now delivers it again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from localdev.trigger.events import Event
from localdev.trigger.offsets import OffsetTracker

Deliver = Callable[[Event, asyncio.Event], Awaitable[bool]]

MAX_RECORDS = 256
MAX_BYTES = 8 * 1024 * 1024
"""A lane with more than either is full; it wants more again below half of both."""


class Lane:
    """Delivers a partition's records."""

    def __init__(self, in_flight: int, deliver: Deliver, done: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        """`done` is called after each record that was delivered, `failed` when delivering broke down by a defect of ours."""
        self._in_flight = in_flight
        self._deliver = deliver
        self._done = done
        self._failed = failed
        self._waiting: deque[tuple[int, Event]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._offsets = OffsetTracker()
        self._closing = asyncio.Event()
        self._bytes = 0

    def add(self, offset: int, event: Event) -> None:
        """Take a record over; it is delivered when its turn comes."""
        self._offsets.received(offset)
        self._bytes += len(event.body)
        self._waiting.append((offset, event))
        self._pump()

    @property
    def committable(self) -> int | None:
        """Where to go on after a restart; None while nothing is done."""
        return self._offsets.committable

    @property
    def in_flight(self) -> int:
        """Records being delivered."""
        return len(self._tasks)

    @property
    def full(self) -> bool:
        """Whether the partition should not be read for now."""
        return self._records > MAX_RECORDS or self._bytes > MAX_BYTES

    @property
    def wants_more(self) -> bool:
        """Whether a partition that isn't read should be read again."""
        return self._records < MAX_RECORDS / 2 and self._bytes < MAX_BYTES / 2

    async def close(self, seconds: float) -> int | None:
        """Dispatch nothing more, wait so long for those under way, give up the rest; what may be committed."""
        self._closing.set()
        self._waiting.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
        return self.committable

    @property
    def _records(self) -> int:
        return len(self._waiting) + len(self._tasks)

    def _pump(self) -> None:
        while self._waiting and len(self._tasks) < self._in_flight and not self._closing.is_set():
            offset, event = self._waiting.popleft()
            task = asyncio.get_running_loop().create_task(self._run(offset, event))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _run(self, offset: int, event: Event) -> None:
        if await self._deliver(event, self._closing):
            self._offsets.done(offset)
            self._bytes -= len(event.body)
            self._done()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failed(error)
        self._pump()
