"""Many tasks, a few at a time."""

import asyncio

import pytest

from shared.turns import turns


async def test_no_more_than_allowed_are_under_way() -> None:
    """And all are done at the end."""
    under_way, most, done = 0, 0, 0

    async def work() -> None:
        nonlocal under_way, most, done
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        done += 1

    async with turns(3) as start:
        for _ in range(20):
            await start(work())
    assert (most, done) == (3, 20)


@pytest.mark.parametrize("by", ["task", "block"])
async def test_no_task_outlives_an_error(by: str) -> None:
    """They are waited for, so what they use may be closed."""
    cleaned_up: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(number)

    async def fail() -> None:
        raise ValueError("task")

    async def run() -> None:
        async with turns(3) as start:
            await start(work(1))
            await start(work(2))
            await asyncio.sleep(0)
            if by == "block":
                raise ValueError("block")
            await start(fail())

    with pytest.raises(ValueError, match=by):
        await run()
    assert sorted(cleaned_up) == [1, 2]
