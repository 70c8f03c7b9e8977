"""Isolation of bad records: what is sent, what becomes a dead letter, what is held, and that it comes to an end."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import stamina

from shared import isolation
from shared.contract import EventType, Reason
from shared.errors import Later, Never, Trouble
from shared.isolation import Isolation, Way
from tests import batches


def halves(value: bytes) -> tuple[bytes, bytes] | None:
    """A batch is a text, a record a letter."""
    middle = len(value) // 2
    return (value[:middle], value[middle:]) if middle else None


@dataclass
class Backend:
    """Refuses x. `named`: it says why; `well`: it takes a probe; `patience`: so many requests, then it is away."""

    named: bool = True
    well: bool = True
    patience: int = 10_000
    stored: list[bytes] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    probes: int = 0

    @property
    def way(self) -> Way:
        return Way(self.send, halves, self.probe)

    async def send(self, part: bytes) -> None:
        if len(self.asked) == self.patience:
            raise Trouble("away")
        self.asked.append(part)
        if b"x" in part or not self.well:
            raise Never(Reason.INVALID, "an x", self.named)
        self.stored.append(part)

    async def probe(self) -> None:
        self.probes += 1
        await Backend(named=False, well=self.well).send(b"probe")


async def run(backend: Backend, value: bytes, change: Callable[[Way], Way] = lambda way: way, work: Isolation | None = None) -> list[bytes]:
    return [one.value for one in await (work or Isolation()).run(batches.record(EventType.LOGS, value), change(backend.way))]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries without pauses."""
    monkeypatch.setattr(isolation, "_again", stamina.AsyncRetryingCaller(attempts=3, wait_initial=0, wait_jitter=0).on(isolation._is_unnamed))


@pytest.mark.parametrize("named", [True, False])
async def test_bad_records_are_alone(named: bool) -> None:
    """Everything else is stored once."""
    backend = Backend(named)
    assert await run(backend, b"abcxdefxg") == [b"x", b"x"]
    assert sorted(b"".join(backend.stored)) == sorted(b"abcdefg")


async def test_good_batch_is_sent_once() -> None:
    """And nothing else is asked."""
    backend = Backend()
    assert await run(backend, b"abcd") == []
    assert (backend.asked, backend.probes) == ([b"abcd"], 0)


async def test_named_refusal_of_everything_is_believed() -> None:
    """The backend said what is wrong with each record."""
    backend = Backend()
    assert await run(backend, b"xx") == [b"x", b"x"]
    assert backend.probes == 0


async def test_unnamed_refusal_is_the_datas_fault_when_a_probe_is_taken() -> None:
    """A single record without neighbours as well: it must not hold its partition for ever."""
    assert await run(Backend(named=False), b"x") == [b"x"]
    assert await run(Backend(named=False), b"xx") == [b"x", b"x"]


async def test_unnamed_refusal_is_held_when_a_probe_is_refused() -> None:
    """Then the fault is ours or the backend's: nothing is emptied into the dead letters, and the batch isn't cut to pieces at each redelivery."""
    backend = Backend(named=False, well=False)
    with pytest.raises(Later):
        await run(backend, b"abcdefgh")
    assert set(backend.asked) == {b"abcdefgh"}


async def test_backend_that_breaks_midway_buries_nothing_unnamed() -> None:
    """It took a probe at first; what it refused after that is doubtful until it takes another."""
    backend, record, work = Backend(named=False), batches.record(EventType.LOGS, b"abxd"), Isolation()

    async def send(part: bytes) -> None:
        if backend.probes:
            backend.well = False
        await backend.send(part)

    with pytest.raises(Later):
        await work.run(record, replace(backend.way, send=send))
    backend.well = True
    assert [one.value for one in await work.run(record, backend.way)] == [b"x"]
    assert sorted(b"".join(backend.stored)) == sorted(b"abd")


async def test_work_goes_on_where_trouble_interrupted_it() -> None:
    """What was stored or refused before isn't sent again."""
    value = b"xabcdefghijklmnx"
    straight = Backend()
    await run(straight, value)
    record, work, backend = batches.record(EventType.LOGS, value), Isolation(), Backend(patience=3)
    for _ in range(50):
        try:
            dead = await work.run(record, backend.way)
        except Trouble:
            backend.patience += 3
        else:
            break
    assert [one.value for one in dead] == [b"x", b"x"]
    assert sorted(backend.asked) == sorted(straight.asked)


async def test_time_over_is_later_and_nothing_is_buried_with_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little one delivery gets done, the deliveries together come to the end, and each dead letter was itself refused."""
    monkeypatch.setattr(isolation, "MOST_SECONDS", -1.0)
    record, work, backend, deliveries = batches.record(EventType.LOGS, b"xxaxxxxbxxxxxxxc" * 8), Isolation(), Backend(), 0
    while True:
        deliveries += 1
        try:
            dead = await work.run(record, backend.way)
        except Later:
            continue
        break
    assert deliveries > 10
    assert [one.value for one in dead] == [b"x"] * record.value.count(b"x")
    assert sorted(b"".join(backend.stored)) == sorted(b"abc" * 8)
    assert len(backend.asked) < 2 * len(record.value), "nothing is sent twice"


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten and begin again; the newest is always kept, or it would never end."""
    monkeypatch.setattr(isolation, "MOST_SECONDS", -1.0)
    monkeypatch.setattr(isolation, "MOST_BYTES", 20)
    work = Isolation()
    for _ in range(5):
        with pytest.raises(Later):
            await run(Backend(), b"x" * 15, work=work)
    assert len(work._remembered) == 1


async def test_large_parts_are_cut_before_they_are_sent() -> None:
    """In order; what can't be cut any more is sent all the same: the backend decides."""
    backend = Backend()
    await run(backend, b"abcdefg", lambda way: replace(way, limit=2))
    assert max(map(len, backend.stored)) <= 2
    assert b"".join(backend.stored) == b"abcdefg"
    await run(backend, b"h", lambda way: replace(way, limit=0))
    assert backend.stored[-1] == b"h"


async def test_parts_are_not_sent_as_the_batch_is() -> None:
    """A batch may share a request with others; its parts never do."""
    backend, first = Backend(), list[bytes]()

    async def together(value: bytes) -> None:
        first.append(value)
        await backend.send(value)

    assert await run(backend, b"abxc", lambda way: replace(way, first=together)) == [b"x"]
    assert first == [b"abxc"]
