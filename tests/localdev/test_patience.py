"""Events that wait for a function: alone each keeps its time, many wait longer, and all are tried when the function is back. No time is asserted."""

import asyncio

import pytest

from localdev.trigger import policy
from localdev.trigger.patience import CROWD, Patience

FOR_EVER = 1e6


@pytest.fixture(autouse=True)
def for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's time comes by itself."""
    monkeypatch.setattr(policy, "delay", lambda _, __: FOR_EVER)


async def start(patience: Patience, count: int, closing: asyncio.Event) -> list[asyncio.Task[None]]:
    """So many that wait."""
    tasks = [asyncio.create_task(patience.wait(0, closing)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_many_wait_longer_for_a_function_that_is_away_and_all_are_tried_when_it_is_back() -> None:
    """Together they try it as often, however many there are."""
    patience, closing = Patience(), asyncio.Event()
    tasks = await start(patience, CROWD, closing)
    assert patience.seconds(0) == FOR_EVER
    tasks += await start(patience, 19 * CROWD, closing)
    assert patience.seconds(0) == 20 * FOR_EVER
    patience.taken()
    assert patience.seconds(0) == FOR_EVER
    await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def test_an_event_that_is_taken_says_nothing_about_those_that_wait_for_something_else() -> None:
    """A tenant's own limit, while others' events are taken: each keeps its time, and isn't tried whenever another's is taken."""
    patience, closing = Patience(), asyncio.Event()
    patience.taken()
    tasks = await start(patience, 4 * CROWD, closing)
    assert patience.seconds(0) == FOR_EVER
    patience.taken()
    assert (await asyncio.wait(tasks, timeout=0.05))[0] == set()
    closing.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def test_nothing_stays_behind_when_the_trigger_ends() -> None:
    """However an event stops waiting."""
    patience, closing = Patience(), asyncio.Event()
    tasks = await start(patience, 2 * CROWD, closing)
    tasks[0].cancel()
    closing.set()
    await asyncio.wait_for(asyncio.wait(tasks), 10)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert patience.seconds(0) == FOR_EVER, "nobody waits any more"
