"""Group commit: who goes with whom, and whose result is whose."""

import asyncio
from dataclasses import dataclass, field

import pytest

from shared import grouping
from shared.contract import Reason
from shared.errors import Later, Never


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


async def start(group: grouping.Group[str, bytes, None], key: str, *values: bytes) -> list[asyncio.Task[None]]:
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
    backend = Backend()
    tasks = await start(grouping.messages(backend.send), "acme", b"a", b"b", b"x1", b"d", b"x2")
    backend.open.set()
    assert await outcomes(tasks) == [None, None, "invalid: x1", None, "invalid: x2"]


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
