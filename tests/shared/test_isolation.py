"""Isolation of bad records: what is sent, what becomes a dead letter, what is held, and that it comes to an end."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

import pytest
import stamina

from shared import breaker, delivery, grouping, isolation
from shared.breaker import Breaker
from shared.contract import EventType, Reason
from shared.delivery import Died
from shared.envelope import Dead, Record
from shared.errors import Later, Never, Trouble
from shared.isolation import Isolation, Way
from tests import batches
from tests.told import growth


def halves(value: bytes) -> tuple[bytes, bytes] | None:
    """A batch is a text, a record a letter."""
    middle = len(value) // 2
    return (value[:middle], value[middle:]) if middle else None


@dataclass
class Backend:
    """Refuses x. `named`: it says why; `well`: it takes a probe; `patience`: so many requests, then it is away; `graves`: so many dead letters, then the
    broker is away.
    """

    named: bool = True
    well: bool = True
    patience: int = 10_000
    graves: int = 10_000
    stored: list[bytes] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    probes: int = 0
    buried: list[Dead] = field(default_factory=list)
    breaker: Breaker = field(default_factory=lambda: Breaker("test"))

    @property
    def way(self) -> Way:
        return Way(self.send, halves, self.probe, self.breaker, self.bury)

    @property
    def dead(self) -> list[bytes]:
        return [one.value for one in self.buried]

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

    async def bury(self, dead: Sequence[Dead]) -> None:
        if len(self.buried) + len(dead) > self.graves:
            raise Later("no broker")
        self.buried += dead


async def run(backend: Backend, value: bytes, change: Callable[[Way], Way] = lambda way: way, work: Isolation | None = None) -> list[bytes]:
    """What is buried."""
    await (work or Isolation()).run(batches.record(EventType.LOGS, value), change(backend.way))
    return backend.dead


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries without pauses."""
    monkeypatch.setattr(isolation, "_again", stamina.AsyncRetryingCaller(attempts=3, timeout=3.0, wait_initial=0, wait_jitter=0).on(isolation._is_unnamed))


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
    assert not backend.buried
    await work.run(record, backend.way)
    assert backend.dead == [b"x"]
    assert sorted(b"".join(backend.stored)) == sorted(b"abd")


async def test_work_goes_on_where_trouble_interrupted_it() -> None:
    """What was stored or refused before isn't sent again."""
    value = b"xabcdefghijklmnx"
    straight = Backend()
    await run(straight, value)
    record, work, backend = batches.record(EventType.LOGS, value), Isolation(), Backend(patience=3)
    for _ in range(50):
        try:
            await work.run(record, backend.way)
        except Trouble:
            backend.patience += 3
        else:
            break
    assert backend.dead == [b"x", b"x"]
    assert sorted(backend.asked) == sorted(straight.asked)


async def test_time_over_is_later_and_nothing_is_buried_with_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little one delivery gets done, the deliveries together come to the end, and each dead letter was itself refused."""
    monkeypatch.setattr(isolation, "MOST_SECONDS", -1.0)
    record, work, backend, deliveries = batches.record(EventType.LOGS, b"xxaxxxxbxxxxxxxc" * 8), Isolation(), Backend(), 0
    while True:
        deliveries += 1
        try:
            await work.run(record, backend.way)
        except Later:
            continue
        break
    assert deliveries > 10
    assert backend.dead == [b"x"] * record.value.count(b"x")
    assert sorted(b"".join(backend.stored)) == sorted(b"abc" * 8)
    assert len(backend.asked) < 2 * len(record.value), "nothing is sent twice"


@pytest.mark.parametrize(("most", "kept"), [(20, 1), (5 * isolation.ENTRY_BYTES, 2)])
async def test_what_is_remembered_is_bounded(most: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten and begin again; the newest is always kept, or it would never end. Small parts take more than their bytes."""
    monkeypatch.setattr(isolation, "MOST_SECONDS", -1.0)
    monkeypatch.setattr(isolation, "MOST_BYTES", most)
    work = Isolation()
    for _ in range(5):
        with pytest.raises(Later):
            await run(Backend(), b"x" * 15, work=work)
    assert len(work._remembered) == kept


async def test_large_parts_are_cut_before_they_are_sent() -> None:
    """In order; what can't be cut any more is sent all the same: the backend decides."""
    backend = Backend()
    await run(backend, b"abcdefg", lambda way: replace(way, limit=2))
    assert max(map(len, backend.stored)) <= 2
    assert b"".join(backend.stored) == b"abcdefg"
    await run(backend, b"h", lambda way: replace(way, limit=0))
    assert backend.stored[-1] == b"h"


async def test_letters_of_a_batch_are_not_many_times_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each repeats the resource, which may be half of it: then parts are buried whole. A replay goes on with those."""
    monkeypatch.setattr(isolation, "MOST_DEAD_BYTES", 0)
    monkeypatch.setattr(isolation, "ENTRY_BYTES", 0)
    resource = b"r" * 100

    def cut(value: bytes) -> tuple[bytes, bytes] | None:
        split = halves(value.removeprefix(resource))
        return split and (resource + split[0], resource + split[1])

    backend, value = Backend(), resource + b"ax" * 64
    await run(backend, value, lambda way: replace(way, halves=cut))
    assert sum(letter.count(b"x") for letter in backend.dead) == 64
    assert sum(map(len, backend.dead)) < 3 * isolation.DEAD_TIMES * len(value)
    assert any(len(letter) > len(resource) + 2 for letter in backend.dead)
    assert len({one.part for one in backend.buried}) == len(backend.buried)
    again = Backend()
    for letter in backend.dead:
        await run(again, letter, lambda way: replace(way, halves=cut))
    assert sum(map(len, again.dead)) > sum(map(len, backend.dead))
    assert sum(part.count(b"a") for part in (*backend.stored, *again.stored, *again.dead)) == 64


async def test_parts_are_not_sent_as_the_batch_is() -> None:
    """A batch may share a request with others; its parts never do."""
    backend, first = Backend(), list[bytes]()

    async def together(value: bytes) -> None:
        first.append(value)
        await backend.send(value)

    assert await run(backend, b"abxc", lambda way: replace(way, first=together)) == [b"x"]
    assert first == [b"abxc"]


async def test_what_died_is_known_to_the_delivery_that_ends_it() -> None:
    """Also if an earlier one buried it."""
    record, work, backend = batches.record(EventType.LOGS, b"xabcx"), Isolation(), Backend(graves=0)
    with pytest.raises(Later):
        await work.run(record, backend.way)
    backend.graves = 2
    assert await work.run(record, backend.way) is Died.PARTS
    assert await work.run(batches.record(EventType.LOGS, b"ab"), backend.way) is Died.NOTHING
    backend.graves = 3
    assert await work.run(batches.record(EventType.LOGS, b"x"), backend.way) is Died.WHOLE


@pytest.mark.parametrize(("named", "value"), [(True, b"xaxbxxcxxdx" * 4), (False, b"xaxbxxcxxdx" * 4), (True, b"x"), (False, b"x")])
async def test_broker_that_is_away_costs_no_work(named: bool, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent isn't sent again, what was buried isn't buried again."""
    monkeypatch.setattr(isolation, "DEAD_BYTES", 3 * isolation.ENTRY_BYTES)
    monkeypatch.setattr(delivery, "LETTERS", 2)
    straight = Backend(named)
    await run(straight, value)
    record, work, backend = batches.record(EventType.LOGS, value), Isolation(), Backend(named, graves=0)
    for _ in range(100):
        try:
            await work.run(record, backend.way)
        except Later:
            backend.graves += 1
        else:
            break
    assert sorted(one.part for one in backend.buried) == sorted(one.part for one in straight.buried)
    assert len(backend.buried) == value.count(b"x")
    assert sorted(b"".join(backend.stored)) == sorted(value.replace(b"x", b""))
    if named:
        assert sorted(backend.asked) == sorted(straight.asked)


class Part(bytes):
    """Bytes that are counted as long as they live."""

    alive = 0

    def __new__(cls, value: bytes) -> "Part":
        cls.alive += len(value)
        return super().__new__(cls, value)

    def __del__(self) -> None:
        Part.alive -= len(self)


COMMON = b" " * 100_000
"""What each part of a batch repeats."""


def large_halves(value: bytes) -> tuple[bytes, bytes] | None:
    split = halves(value[len(COMMON) :])
    return (Part(COMMON + split[0]), Part(COMMON + split[1])) if split else None


@pytest.fixture
def no_gc() -> Iterator[None]:
    """The garbage collector finds nothing in time."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.usefixtures("no_gc")
async def test_what_is_held_of_a_batch_is_bounded(named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dead part repeats what all have in common, and there are many; those without a reason are no more, for they are proved and buried meanwhile."""
    monkeypatch.setattr(isolation, "MOST_DEAD_BYTES", sys.maxsize)
    backend, most = Backend(named), 0

    async def send(part: bytes) -> None:
        nonlocal most
        most = max(most, Part.alive)
        if b"x" in part:
            raise Never(Reason.INVALID, "an x", named)

    async def bury(dead: Sequence[Dead]) -> None:
        backend.buried += [replace(one, value=b"") for one in dead]

    way = replace(backend.way, send=send, bury=bury, halves=large_halves)
    await Isolation().run(batches.record(EventType.LOGS, COMMON + b"x" * 300), way)
    assert len(backend.buried) == len({one.part for one in backend.buried}) == 300
    assert most < 6_000_000
    assert Part.alive == 0
    assert backend.probes == 0 if named else 2 < backend.probes < 50


async def is_postponed(work: Isolation, record: Record, way: Way) -> bool:
    """Not by `pytest.raises`, which keeps what was raised."""
    try:
        await work.run(record, way)
    except Later:
        return True
    return False


async def fail(_: bytes) -> None:
    await asyncio.sleep(0)
    raise Trouble("away")


async def refuse(_: bytes) -> None:
    await asyncio.sleep(0)
    raise Never(Reason.INVALID, "?", named=False)


@pytest.mark.parametrize("send", [fail, refuse])
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.usefixtures("no_gc")
async def test_postponed_batch_is_let_go(grouped: bool, send: isolation.Send) -> None:
    """At once: it comes again, and while the backend is away many do."""

    async def push(_: str, part: bytes) -> None:
        await send(part)

    group, backend, record = grouping.messages(push), Backend(well=False), batches.record(EventType.LOGS, b"ab" * 1000)

    async def first(part: bytes) -> None:
        with backend.breaker.closed():
            await group.do("", part)

    way = replace(backend.way, send=send, first=first if grouped else None)
    before = sys.getrefcount(record.value)
    assert await asyncio.gather(*(is_postponed(Isolation(), record, way) for _ in range(3))) == [True] * 3
    after = sys.getrefcount(record.value)
    assert after == before


@pytest.mark.usefixtures("no_gc")
async def test_postponed_parts_are_held_by_what_is_remembered_alone() -> None:
    backend, work = Backend(), Isolation()

    async def send(part: bytes) -> None:
        if b"x" not in part:
            raise Trouble("away")
        raise Never(Reason.INVALID, "an x")

    record = batches.record(EventType.LOGS, COMMON + b"xabcdxef")
    assert [await is_postponed(work, record, replace(backend.way, send=send, halves=large_halves)) for _ in range(5)] == [True] * 5
    [progress] = work._remembered.values()
    assert Part.alive == sum(len(part) for _, part in progress.waiting) + sum(len(one.value) for one, _ in progress.dead) > 0
    work._remembered.clear()
    del progress
    assert Part.alive == 0


async def test_backend_that_takes_no_probe_is_in_trouble() -> None:
    """The breaker opens: nobody is asked for a while."""
    backend = Backend(named=False, well=False)

    async def send(part: bytes) -> None:
        with backend.breaker.closed():
            await backend.send(part)

    async def probe() -> None:
        with backend.breaker.closed():
            await backend.probe()

    for _ in range(breaker.FAILURES):
        with pytest.raises(Trouble):
            await run(backend, b"ab", lambda way: replace(way, send=send, probe=probe))
    asked = len(backend.asked)
    with pytest.raises(Later):
        await run(backend, b"ab", lambda way: replace(way, send=send, probe=probe))
    assert len(backend.asked) == asked


@pytest.mark.parametrize(("slow", "probes"), [(1, 0), (4, 0), (5, 1)])
async def test_delivery_whose_time_is_over_begins_nothing_new(slow: int, probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither tries, nor a probe, nor another part. `slow`: which request takes too long: the first, the last try, one of the two halves."""
    now, backend = monotonic(), Backend(named=False)
    monkeypatch.setattr(isolation, "monotonic", lambda: now)

    async def send(part: bytes) -> None:
        nonlocal now
        now += (isolation.MOST_SECONDS + 1) * (len(backend.asked) + 1 == slow)
        await backend.send(part)

    with pytest.raises(Later):
        await run(backend, b"abx", lambda way: replace(way, send=send))
    assert (len(backend.asked), backend.probes) == (slow + probes, probes)
    assert not backend.buried


async def test_cuts_are_counted() -> None:
    """abxd → ab, xd → x, d: two."""
    refused, size = growth("obstack_sink_bisections_total", reason="refused"), growth("obstack_sink_bisections_total", reason="size")
    await run(Backend(), b"abxd")
    assert (refused(), size()) == (2, 0)
    await run(Backend(), b"abcd", lambda way: replace(way, limit=1))
    assert (refused(), size()) == (2, 3)


async def test_tries_before_an_unnamed_refusal_is_believed_are_counted() -> None:
    tries = growth("obstack_backend_retries_total", reason="unnamed_refusal")
    await run(Backend(), b"x")
    assert tries() == 0
    backend = Backend(named=False)
    await run(backend, b"x")
    assert tries() == len(backend.asked) - 1 == 3
