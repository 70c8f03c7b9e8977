"""Group commit: what comes while a request to the backend is under way goes along in the next one, each caller answered by its own result.

Nobody waits for company: whoever finds nothing of its key under way goes at once and alone, so requests grow with the load and with nothing else. What has
one key may share a request, what must not has another: the key is the tenant where a request names one, and something else where each item says whose it is.
Of what is shared one request per key is under way at a time; large things gain nothing by company and go beside it, as does what is sent again alone.
Stateless towards the outside: a caller gets its answer only from the request that held its own data.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeVar

from shared.errors import Later, Never
from shared.telemetry import metrics, tracing

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

Waiting = tuple[Item, asyncio.Future[Result], Any]
"""A thing, where its result goes, and the span that it came with, if it has one."""

MOST_BYTES: Final = 512 * 1024
"""Of one shared request; what is larger than half of it goes by itself."""


class Group(Generic[Key, Item, Result]):
    """`work(key, items)` sends items in one request and gives one result each, in order; an exception instead of a result is raised to that item's caller,
    one that `work` raises to all callers, each its own copy. Work for several is nobody's request: it runs in an empty context, but for the trace that it is
    part of. `size`: an item's bytes.
    """

    def __init__(self, work: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result | Exception]]], size: Callable[[Item], int]) -> None:
        self._work = work
        self._size = size
        self._waiting: dict[Key, deque[Waiting[Item, Result]]] = {}
        """Of keys with a request under way: what goes into the next ones."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def do(self, key: Key, item: Item) -> Result:
        """The item's own result, or its own exception."""
        if self._size(item) > MOST_BYTES // 2:
            return _result(*await self._results(key, [item]))
        if (queue := self._waiting.get(key)) is not None:
            future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            queue.append((item, future, tracing.at_hand()))
            return await future
        self._waiting[key] = deque()
        try:
            return _result(*await self._results(key, [item]))
        finally:
            self._go_on(key)

    def load(self, key: Key) -> int:
        """Things of that key that wait or are under way, those that go by themselves not counted; 0: the next one goes at once."""
        return 1 + len(self._waiting[key]) if key in self._waiting else 0

    async def _results(self, key: Key, items: Sequence[Item]) -> Sequence[Result | Exception]:
        results = await self._work(key, items)
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for {len(items)} items: nobody knows whose they are")
        return results

    def _go_on(self, key: Key) -> None:
        """Send what has gathered; with nothing there, the key is free."""
        queue = self._waiting[key]
        if not queue:
            del self._waiting[key]
            return
        items = [queue.popleft()]
        size = self._size(items[0][0])
        while queue and size + self._size(queue[0][0]) <= MOST_BYTES:
            items.append(queue.popleft())
            size += self._size(items[-1][0])
        task = asyncio.get_running_loop().create_task(self._run(key, items), context=tracing.together([span for _, _, span in items]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: Key, items: Sequence[Waiting[Item, Result]]) -> None:
        # Whatever becomes of the work, a cancellation too, nobody is left waiting.
        results: Sequence[Result | Exception] = [Later("the request that this was part of was broken off") for _ in items]
        try:
            results = await self._results(key, [item for item, _, _ in items])
        except Exception as error:  # noqa: BLE001 whatever it is, it is the callers'
            results = [_copy(error) for _ in items]
        finally:
            self._go_on(key)
            for (_, future, _), result in zip(items, results, strict=True):
                if future.done():  # its caller is gone
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)


def _copy(error: Exception) -> Exception:
    """The same, for one caller. An instance raised to several would gather the frames of all of them, and keep those alive."""
    copy: Exception = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__, copy.__suppress_context__ = error.__cause__, error.__suppress_context__
    return copy.with_traceback(error.__traceback__)


def _result(result: Result | Exception) -> Result:
    if isinstance(result, Exception):
        raise result
    return result


Send = Callable[[Key, bytes], Awaitable[None]]


def messages(send: Send[Key]) -> Group[Key, bytes, None]:
    """A group for protobuf messages of one type with repeated fields only: joined they are one message. When it is refused, each is sent alone.

    `send(key, message)` raises Never when the backend refuses it, Later when all shall come again.
    """

    async def work(key: Key, parts: Sequence[bytes]) -> Sequence[Exception | None]:
        if len(parts) == 1:
            await send(key, parts[0])
            return [None]
        metrics.GROUPED.inc(len(parts))
        try:
            await send(key, b"".join(parts))
        except Never:
            metrics.BACKEND_RETRIES.labels("shared_refusal").inc()
            outcomes = await asyncio.gather(*(send(key, part) for part in parts), return_exceptions=True)
            return [outcome if outcome is None or isinstance(outcome, Exception) else RuntimeError(repr(outcome)) for outcome in outcomes]
        return [None] * len(parts)

    return Group(work, len)
