"""A process holds no more than its budget."""

from contextlib import ExitStack

import pytest

from shared import memory
from shared.errors import Later
from shared.memory import Memory


def test_over_the_limit_is_later_and_nothing_is_kept() -> None:
    budget = Memory(100)
    with budget.hold():
        memory.add(60)
        with budget.hold() as other, pytest.raises(Later):
            other.add(41)
        memory.add(40)
        assert budget.held == 100
    assert budget.held == 0


def test_ended_request_gives_its_share_back_however_it_ends() -> None:
    budget = Memory(100)

    def fail() -> None:
        with budget.hold() as hold:
            hold.add(100)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    with budget.hold() as hold:
        hold.add(100)


def test_outside_of_a_request_nothing_is_counted() -> None:
    memory.add(10**12)


def test_answer_counts_beyond_its_request() -> None:
    budget = Memory(100)
    with ExitStack() as until_it_is_sent:
        with budget.hold():
            memory.add(80)
            until_it_is_sent.enter_context(memory.beyond(30))
            assert budget.held == 30
        assert budget.held == 30
    assert budget.held == 0


def test_answer_that_is_too_much_is_later_and_nothing_is_kept_for_it() -> None:
    budget = Memory(100)
    with budget.hold():
        memory.add(80)
        with pytest.raises(Later), memory.beyond(101):
            pass
        assert budget.held == 80
    assert budget.held == 0
