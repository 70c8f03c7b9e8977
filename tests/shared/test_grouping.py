"""Group commit: who goes with whom, and whose result is whose."""

import asyncio
import traceback
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared import grouping
from shared.contract import Reason
from shared.errors import Later, Never
from tests.told import growth


@dataclass
class Backend:
    """Answers once `open` is set; refuses what has an x, in whole."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    away: bool = False

    async def send(self, key: str, message: bytes) -> None:
        self.asked.append((key, message))
        await self.open.wait()
        if self.away:
            raise Later("away")
        if b"x" in message:
            raise Never(Reason.INVALID, message.decode())


async def start(group: grouping.Group[str, bytes, Any], key: str, *values: bytes) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(group.do(key, value)) for value in values]
    await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list[asyncio.Task[None]]) -> list[str | None]:
    return [str(error) if error else None for error in await asyncio.gather(*tasks, return_exceptions=True)]


async def test_who_comes_first_goes_alone_and_the_others_together() -> None:
    """In the order in which they came."""
    backend = Backend()
    tasks = await start(grouping.messages(backend.send), "acme", b"a", b"b", b"c", b"d")
    assert backend.asked == [("acme", b"a")]
    backend.open.set()
    assert await outcomes(tasks) == [None] * 4
    assert backend.asked == [("acme", b"a"), ("acme", b"bcd")]


async def test_who_is_alone_waits_for_nobody() -> None:
    """One after the other, one request each."""
    backend = Backend()
    backend.open.set()
    group = grouping.messages(backend.send)
    for value in (b"a", b"b"):
        await group.do("acme", value)
    assert backend.asked == [("acme", b"a"), ("acme", b"b")]
    assert not group._waiting


async def test_tenants_never_share_a_request() -> None:
    """Nor wait for each other."""
    backend = Backend()
    group = grouping.messages(backend.send)
    tasks = [*await start(group, "acme", b"a", b"b"), *await start(group, "globex", b"g", b"h")]
    assert backend.asked == [("acme", b"a"), ("globex", b"g")]
    backend.open.set()
    await outcomes(tasks)
    assert sorted(backend.asked) == [("acme", b"a"), ("acme", b"b"), ("globex", b"g"), ("globex", b"h")]


async def test_each_is_answered_by_its_own_result() -> None:
    """A refused request is sent again in its parts."""
    backend, retries = Backend(), growth("obstack_backend_retries_total", reason="shared_refusal")
    tasks = await start(grouping.messages(backend.send), "acme", b"a", b"b", b"x1", b"d", b"x2")
    backend.open.set()
    assert await outcomes(tasks) == [None, None, "invalid: x1", None, "invalid: x2"]
    assert retries() == 1


async def test_later_is_for_all_in_the_request() -> None:
    """And what comes after it is tried anew."""
    backend = Backend(away=True)
    group = grouping.messages(backend.send)
    tasks = await start(group, "acme", b"a", b"b", b"c")
    backend.open.set()
    assert await outcomes(tasks) == ["away"] * 3
    backend.away = False
    await group.do("acme", b"d")


async def test_requests_have_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large goes by itself and at once; the others as far as they fit."""
    monkeypatch.setattr(grouping, "MOST_BYTES", 4)
    backend = Backend()
    tasks = await start(grouping.messages(backend.send), "acme", b"a", b"bb", b"cc", b"dd", b"eeee")
    assert backend.asked == [("acme", b"a"), ("acme", b"eeee")]
    backend.open.set()
    assert await outcomes(tasks) == [None] * 5
    assert [message for _, message in backend.asked[2:]] == [b"bbcc", b"dd"]


async def test_caller_that_is_gone_hurts_nobody() -> None:
    """Neither the first nor one that waits."""
    backend = Backend()
    first, second, third = await start(grouping.messages(backend.send), "acme", b"a", b"b", b"c")
    first.cancel()
    second.cancel()
    backend.open.set()
    await third
    assert (first.cancelled(), second.cancelled()) == (True, True)


async def three(work: Any) -> list[Any]:
    """How `work` ends for a first caller, alone, and two who share a request; nobody may wait for ever."""
    async with asyncio.timeout(5):
        return await asyncio.gather(*await start(grouping.Group(work, len), "acme", b"a", b"b", b"c"), return_exceptions=True)


async def test_cancelled_work_leaves_nobody_waiting() -> None:
    async def work(_: str, items: Sequence[bytes]) -> list[int]:
        await asyncio.sleep(0)
        if len(items) > 1:
            raise asyncio.CancelledError
        return [1]

    first, *rest = await three(work)
    assert first == 1
    assert [type(error) for error in rest] == [Later, Later]


async def test_wrong_number_of_results_is_an_error_for_all() -> None:
    """And what comes after it is tried anew."""
    numbers = iter([1, 1, 1])

    async def work(_: str, __: Sequence[bytes]) -> list[int]:
        await asyncio.sleep(0)
        return [7] * next(numbers)

    first, *rest = await three(work)
    assert first == 7
    assert [str(error) for error in rest] == ["1 results for 2 items: nobody knows whose they are"] * 2


async def test_each_caller_has_an_exception_of_its_own() -> None:
    """The same in all it says, and none has the others' frames in its traceback."""
    failures = 0

    async def work(_: str, items: Sequence[bytes]) -> list[None]:
        nonlocal failures
        await asyncio.sleep(0)
        if len(items) == 1:
            return [None]
        failures += 1
        raise Later("away", retry_after=17)

    _, second, third = await three(work)
    assert failures == 1
    assert second is not third
    assert [(type(error), str(error), error.retry_after) for error in (second, third)] == [(Later, "away", 17)] * 2
    assert [[frame.name for frame in traceback.extract_tb(error.__traceback__)] for error in (second, third)] == [["do", "_run", "_results", "work"]] * 2


async def test_shared_work_is_in_nobodys_context() -> None:
    """Neither its log lines nor what it holds in memory are the first caller's."""
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    seen: list[tuple[int, str]] = []

    async def work(_: str, items: Sequence[bytes]) -> list[None]:
        seen.append((len(items), whose.get()))
        await asyncio.sleep(0)
        return [None] * len(items)

    whose.set("a caller's")
    await three(work)
    assert seen == [(1, "a caller's"), (2, "nobody's")]


async def test_load_counts_what_waits_and_is_under_way() -> None:
    backend = Backend()
    group = grouping.messages(backend.send)
    tasks = await start(group, "acme", b"a", b"b", b"c")
    assert (group.load("acme"), group.load("globex")) == (3, 0)
    backend.open.set()
    await outcomes(tasks)
    await asyncio.sleep(0)
    assert group.load("acme") == 0
