"""Waiting on conditions, with a deadline. Nothing else in the tests sleeps, but fakes that are slow on purpose."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition") -> T:
    """The first true value of `condition`. Fails the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        _fail_after(deadline, f"{what} did not come true within {seconds:.0f} s; last: {value!r}")
        time.sleep(0.05)
    return value


async def until_so(condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition") -> T:
    """`until`, while the event loop goes on: for what nobody tells it of."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        _fail_after(deadline, f"{what} did not come true within {seconds:.0f} s; last: {value!r}")
        await asyncio.sleep(0.01)
    return value


def _fail_after(deadline: float, why: str) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(why)
