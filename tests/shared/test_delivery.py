"""A trigger's request: how much of it is read, what of it is buried at once, and that nothing after the backend's yes is a no."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.requests import Request

from shared import delivery
from shared.contract import MAX_RECORD_BYTES, EventType, Flag, Reason, Switch
from shared.delivery import DEAD_HEADER, SKIPPED_HEADER, Delivery, Died
from shared.envelope import Dead, Record
from shared.errors import Later, Refused
from shared.flags import Flags
from shared.memory import Memory
from tests import batches


@dataclass
class Graveyard:
    """In place of a publisher. Every `bad`th publish fails, at once; the others take their time."""

    bad: int = 0
    asked: int = 0
    under_way: int = 0
    most: int = 0

    async def publish(self, _letter: Record, _topic: str) -> None:
        self.asked += 1
        if self.bad and self.asked % self.bad == 0:
            raise Later("no broker")
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        self.under_way -= 1


def request(record: Record, chunks: Iterable[bytes] = ()) -> Request:
    """As the server hands it over."""
    headers = [(name.encode(), value.encode()) for name, value in batches.headers(record).items()]
    messages = iter(chunks or [record.value])

    async def receive() -> dict[str, Any]:
        chunk = next(messages, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def letters(count: int, size: int = 1) -> list[Dead]:
    return [Dead(bytes(size), Reason.INVALID, "bad", part=str(number)) for number in range(count)]


async def store(_: Record) -> Died:
    return Died.NOTHING


def handle(graveyard: Graveyard, record: Record, store: delivery.Store = store, chunks: Iterable[bytes] = ()) -> Any:
    return Delivery("sink_test", graveyard, Flags({})).handle(request(record, chunks), store)  # type: ignore[arg-type]


@pytest.fixture
def record() -> Record:
    return batches.record(EventType.LOGS, b"batch")


def test_dead_letters_are_told_before_there_are_any() -> None:
    """Prometheus sees no increase in a counter that appears with its first letters, and the alert on them would be silent."""
    Delivery("sink_test", Graveyard(), Flags({}))  # type: ignore[arg-type]
    told = {reason: REGISTRY.get_sample_value("obstack_sink_dead_letters_total", {"reason": reason}) for reason in Reason}
    assert None not in told.values()


async def test_body_larger_than_any_record_is_refused_before_it_is_held(record: Record) -> None:
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield bytes(1_000_000)

    with pytest.raises(Refused) as refused:
        await handle(Graveyard(), record, chunks=chunks())
    assert refused.value.status == 413
    assert sent == 11
    largest = bytes(MAX_RECORD_BYTES)
    assert (await handle(Graveyard(), record, chunks=[largest])).status_code == 204


async def test_body_counts_against_the_budget(record: Record) -> None:
    budget = Memory(1000)
    with budget.hold(), pytest.raises(Later):
        await handle(Graveyard(), record, chunks=[bytes(600), bytes(600)])
    held = list[int]()

    async def look(_: Record) -> Died:
        held.append(budget.held)
        return Died.NOTHING

    with budget.hold():
        await handle(Graveyard(), record, look, chunks=[bytes(600)])
    assert held == [600]


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00+23:59", "9998-12-31T23:59:59.999999-23:59", "20261124T10Z"])
async def test_no_time_is_a_no_after_the_backends_yes(time: str) -> None:
    """Whatever time an event may have, its age is reckoned; else it would come again for ever."""
    assert (await handle(Graveyard(), batches.record(EventType.LOGS, b"batch", time=time))).status_code == 204


@pytest.mark.parametrize(("dead", "most"), [(letters(1234), delivery.LETTERS), (letters(30, 1_000_000), 4), (letters(3, 9_000_000), 1)])
async def test_many_letters_are_buried_a_few_at_a_time(dead: list[Dead], most: int, record: Record) -> None:
    """All at once they would fill the client's queue, at every delivery."""

    graveyard = Graveyard()
    bury = Delivery("sink_test", graveyard, Flags({})).bury  # type: ignore[arg-type]
    chunks = list(delivery.chunks(dead))
    assert [one for chunk in chunks for one in chunk] == dead
    for chunk in chunks:
        await bury(record, chunk)
    assert (graveyard.asked, graveyard.most) == (len(dead), most)


async def test_no_letter_is_left_under_way_when_one_fails(record: Record) -> None:
    graveyard = Graveyard(bad=50)
    with pytest.raises(Later):
        await Delivery("sink_test", graveyard, Flags({})).bury(record, letters(100))  # type: ignore[arg-type]
    assert (graveyard.asked, graveyard.under_way) == (100, 0)


@pytest.mark.parametrize(("died", "header"), [(Died.NOTHING, None), (Died.PARTS, "parts"), (Died.WHOLE, "whole")])
async def test_sink_that_buried_itself_says_how_much(died: Died, header: str | None, record: Record) -> None:
    async def stored(_: Record) -> Died:
        return died

    assert (await handle(Graveyard(), record, stored)).headers.get(DEAD_HEADER) == header


@pytest.mark.parametrize(("switch", "header"), [(Switch.ON, None), (Switch.SKIP, "1")])
async def test_yes_that_stores_nothing_says_so(switch: Switch, header: str | None, record: Record) -> None:
    """To a trigger it is a yes like others; a letter must not be deleted for it."""
    switched = Delivery("sink_loki", Graveyard(), Flags({Flag.SINK_LOKI: switch}))  # type: ignore[arg-type]
    answer = await switched.handle(request(record), store)
    assert (answer.status_code, answer.headers.get(SKIPPED_HEADER)) == (204, header)
