"""How many bytes of bodies one process holds at a time, whatever its clients do: over the limit a request is told Later, before its bytes are kept.

Every request has a hold, opened by the server's side (`shared.runtime`, the gRPC function) and released when the request ends, however it ends. Whoever keeps
bytes for it, as they came or decompressed, adds them; an answer that is kept until its client has taken it counts beyond that (`beyond`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from shared.errors import Later
from shared.telemetry import metrics


class Memory:
    """The budget of one process, in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        metrics.HELD_BYTES.set_function(lambda: self.held)

    def hold(self) -> "Hold":
        """A request's share, for the length of the block; what `add` finds in this context."""
        return Hold(self)


class Hold:
    """What one request keeps. A class and not a generator under `contextmanager`, which costs three times as much."""

    __slots__ = ("_before", "_memory", "bytes")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.bytes = 0

    def __enter__(self) -> "Hold":
        self._before = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)
        self._memory.held -= self.bytes

    def add(self, size: int) -> None:
        """Keep `size` bytes more. Raises Later when the process holds too much already."""
        if self._memory.held + size > self._memory.limit:
            raise Later("too much at the same time")
        self._memory.held += size
        self.bytes += size

    def hand_over(self, size: int) -> Memory:
        """Keep `size` bytes in place of all others, and for somebody else, who takes them from the budget's `held`. Raises Later."""
        self.add(size - self.bytes)
        self.bytes = 0
        return self._memory


_current: ContextVar[Hold | None] = ContextVar("hold", default=None)


def add(size: int) -> None:
    """Keep `size` bytes more for the request of this context, if there is one; less than none gives some back. Raises Later."""
    if hold := _current.get():
        hold.add(size)


@contextmanager
def beyond(size: int) -> Iterator[None]:
    """In place of all that the request of this context keeps, `size` bytes, until the block ends, which may be after the request's end. Raises Later."""
    hold = _current.get()
    memory = hold.hand_over(size) if hold else None
    try:
        yield
    finally:
        if memory:
            memory.held -= size
