"""The circuit breaker: what opens it, what it lets through, how it closes."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from shared import breaker
from shared.breaker import Breaker
from shared.contract import Reason
from shared.errors import Later, Never, Trouble


def ask(one: Breaker, error: BaseException | None = None) -> None:
    with one.closed():
        if error:
            raise error


def broken(error: Exception | None = None) -> Breaker:
    one = Breaker("test")
    for _ in range(breaker.FAILURES):
        with pytest.raises((Later, Never)):
            ask(one, error or Trouble("away"))
    return one


def state() -> float | None:
    return REGISTRY.get_sample_value("obstack_sink_breaker_state", {"backend": "test"})


def pass_time(one: Breaker) -> None:
    one._circuit._opened -= breaker.SECONDS


def test_open_breaker_says_later_at_once() -> None:
    """With the seconds to wait; the backend isn't asked."""
    one = broken()
    assert state() == 2
    assert one._circuit.last_failure is None, "its traceback would hold what was sent"
    with pytest.raises(Later) as later, one.closed():
        pytest.fail("let through")
    assert later.value.retry_after >= 1


@pytest.mark.parametrize("error", [Later("this tenant is over its limit"), Never(Reason.INVALID, "bad data")])
def test_only_trouble_counts(error: Exception) -> None:
    """A backend that refuses data or limits a tenant is there."""
    one = broken(error)
    assert state() == 0
    ask(one)


def test_failures_in_a_row_count() -> None:
    """A yes in between begins anew."""
    one = Breaker("test")
    for _ in range(3 * breaker.FAILURES):
        for _ in range(breaker.FAILURES - 1):
            with pytest.raises(Trouble):
                ask(one, Trouble("slow"))
        ask(one)
    assert state() == 0


def test_refusal_without_a_reason_says_neither() -> None:
    """What it means shows only the probe that follows it."""
    one = Breaker("test")
    for _ in range(breaker.FAILURES):
        for error in (Never(Reason.REFUSED_BY_BACKEND, "?", named=False), Trouble("refuses everything")):
            with pytest.raises(type(error)):
                ask(one, error)
    assert state() == 2


NO_ANSWERS = [asyncio.CancelledError(), RuntimeError("a defect")]


@pytest.mark.parametrize("error", NO_ANSWERS)
def test_what_is_no_answer_says_nothing_about_the_backend(error: BaseException) -> None:
    """It neither counts nor begins anew."""
    one = Breaker("test")
    for _ in range(breaker.FAILURES - 1):
        with pytest.raises(Trouble):
            ask(one, Trouble("away"))
        with pytest.raises(type(error)):
            ask(one, error)
    assert state() == 0
    with pytest.raises(Trouble):
        ask(one, Trouble("away"))
    assert state() == 2


@pytest.mark.parametrize("error", NO_ANSWERS)
def test_attempt_that_ends_without_an_answer_leaves_it_to_the_next(error: BaseException) -> None:
    one = broken()
    pass_time(one)
    with pytest.raises(type(error)):
        ask(one, error)
    assert state() == 1
    with pytest.raises(Trouble):
        ask(one, Trouble("still away"))
    assert state() == 2


async def test_half_open_breaker_lets_one_through() -> None:
    """The others wait for what becomes of it; a yes closes the breaker."""
    one = broken()
    pass_time(one)
    assert state() == 1
    trying, over = asyncio.Event(), asyncio.Event()

    async def attempt() -> None:
        with one.closed():
            trying.set()
            await over.wait()

    task = asyncio.create_task(attempt())
    await trying.wait()
    with pytest.raises(Later):
        ask(one)
    over.set()
    await task
    assert state() == 0
    ask(one)


def test_attempt_that_fails_opens_again() -> None:
    """And the next one may be tried only after a while."""
    one = broken()
    pass_time(one)
    with pytest.raises(Trouble):
        ask(one, Trouble("still away"))
    assert state() == 2
    with pytest.raises(Later):
        ask(one)
    pass_time(one)
    ask(one)
    assert state() == 0
