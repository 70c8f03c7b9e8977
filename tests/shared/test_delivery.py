"""Isolation of bad records: what is sent, what becomes a dead letter, what is held."""

from collections.abc import Awaitable, Callable

import pytest

from shared import delivery
from shared.contract import Reason
from shared.errors import Later, Never

Send = Callable[[bytes], Awaitable[None]]


def halves(value: bytes) -> tuple[bytes, bytes] | None:
    """A batch is a text, a record a letter."""
    middle = len(value) // 2
    return (value[:middle], value[middle:]) if middle else None


def backend(stored: list[bytes], *, named: bool, bad: bytes = b"x") -> Send:
    async def send(part: bytes) -> None:
        if any(letter in bad for letter in part):
            raise Never(Reason.INVALID, "an x", named)
        stored.append(part)

    return send


@pytest.mark.parametrize("named", [True, False])
async def test_bad_records_are_alone(named: bool) -> None:
    """Everything else is stored once, in order."""
    stored: list[bytes] = []
    dead = await delivery.isolate(b"abcxdefxg", backend(stored, named=named), halves)
    assert [one.value for one in dead] == [b"x", b"x"]
    assert b"".join(stored) == b"abcdefg"


async def test_named_refusal_of_everything_is_believed() -> None:
    """The backend said what is wrong with each record."""
    dead = await delivery.isolate(b"xx", backend([], named=True), halves)
    assert [one.value for one in dead] == [b"x", b"x"]


async def test_unnamed_refusal_of_everything_is_held() -> None:
    """Then the fault is ours or the backend's, and nothing may be emptied into the dead letters."""
    with pytest.raises(Later):
        await delivery.isolate(b"xx", backend([], named=False), halves)


async def test_later_ends_isolation() -> None:
    """A backend that goes away midway is asked again with the whole batch."""

    async def send(part: bytes) -> None:
        if len(part) > 1:
            raise Never(Reason.INVALID, "", named=True)
        raise Later("gone")

    with pytest.raises(Later):
        await delivery.isolate(b"ab", send, halves)


async def test_large_parts_are_cut_before_they_are_sent() -> None:
    """What can't be cut any more is sent all the same: the backend decides."""
    stored: list[bytes] = []
    await delivery.isolate(b"abcdefg", backend(stored, named=True), halves, 2)
    assert max(map(len, stored)) <= 2
    assert b"".join(stored) == b"abcdefg"
    await delivery.isolate(b"h", backend(stored, named=True), halves, 0)
    assert stored[-1] == b"h"


async def test_isolation_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad records by the thousand must not outlast the trigger: from some moment on parts go as they are, and the rest is still sent."""
    moments = iter(range(100))
    monkeypatch.setattr(delivery, "monotonic", lambda: next(moments))
    monkeypatch.setattr(delivery, "MOST_SECONDS", 2.5)
    stored: list[bytes] = []
    dead = await delivery.isolate(b"xxxxabcd", backend(stored, named=True), halves)
    assert [one.value for one in dead] == [b"xx", b"xx"]
    assert stored == [b"abcd"]
