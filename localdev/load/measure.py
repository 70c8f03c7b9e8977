"""One load from its first batch to the last record found: what was sent, how long everything took, what it cost, and what is missing."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from secrets import token_hex
from typing import Any, Final

from rich.console import Console

from localdev import functions
from localdev.chaos import harm, judge
from localdev.chaos.harm import DeadLetters, Letter, NotBack
from localdev.chaos.load import Run
from localdev.chaos.seen import Reader
from localdev.chaos.watch import Moment, Watch
from localdev.load import generator, schedule, world
from localdev.load.generator import Plan, Push, Tick
from localdev.load.probes import Probes
from localdev.load.profiles import LOGS, SAMPLES, SPANS, Profile
from localdev.load.requests import TOPICS
from localdev.load.schedule import Client
from localdev.load.sightings import Sightings

START_SECONDS: Final = 5.0
"""Until the generator's process is there and has encoded the first batches."""
WATCH_SECONDS: Final = 1.0
LETTERS_SECONDS: Final = 5.0
NEWS_SECONDS: Final = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What to measure: a profile by its name, for so many seconds. `patience`: seconds without progress until something counts as lost."""

    name: str
    profile: Profile
    seconds: float
    patience: float = 120.0


@dataclass(frozen=True)
class Found:
    """Of one backend: records that were sent to it, and how many of them are missing or there twice."""

    sent: int = 0
    missing: int = 0
    doubled: int = 0


@dataclass
class Measured:
    """What came of it. Moments in time are seconds from the first batch's."""

    order: Order
    pushes: list[Push] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)
    generator_cpu: float = 0.0
    """Seconds."""
    moments: list[Moment] = field(default_factory=list)
    """While batches were sent, and until all was caught up with."""
    caught_up: float | None = None
    """When nothing was left in any topic; None if that didn't come."""
    topic: list[tuple[float, float]] = field(default_factory=list)
    """Of sampled batches: when it was due, and how long after the 2xx a reader of its topic had it; less than 0 when that was before."""
    unseen: int = 0
    """Of the sampled batches, those that no reader got."""
    queryable: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By backend: when a probe happened, and how long after that it was found."""
    never: dict[str, int] = field(default_factory=dict)
    """By backend: probes that weren't found."""
    found: dict[str, Found] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)


def measure(order: Order, demo: dict[str, Any], console: Console) -> Measured:
    """Do it, on the stack that `demo` (`demo.json`) describes. Raises NotBack, control.Failure, httpx2.HTTPError, KafkaException."""
    profile, name = order.profile, f"load{token_hex(4)}"
    clients = schedule.clients(profile, order.seconds)
    measured = Measured(order)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with world.tenants(profile.tenants + 1) as people, ExitStack() as running:
        *senders, (_, probe_token) = people
        tokens = [token for _, token in senders]
        watch = running.enter_context(Watch(_sinks(), harm.services(), WATCH_SECONDS))
        say(f"{order.name}: {profile.what}; first a batch of each of {len(clients)} clients, so that nothing is new")
        _warm_up(order, demo["gateway"], tokens, watch)

        letters = running.enter_context(closing(DeadLetters(demo["backends"]["kafka"])))
        sightings = running.enter_context(Sightings(demo["backends"]["kafka"], TOPICS.values()))
        began = time.time() + START_SECONDS
        zero, first = time.monotonic() + START_SECONDS, len(watch.moments)
        runs = _runs(name, profile, clients, began, order.seconds)
        probes = running.enter_context(Probes(demo["gateway"], probe_token, Run(f"{name}probe", 0, 0, 0, int(began * 1e9)), order.patience))
        with _generating(Plan(demo["gateway"], began, tokens, runs, clients, order.patience)) as ticks:
            _follow(ticks, measured, watch, zero, say)
        probes.stop()
        measured.caught_up = _caught_up(watch, zero, order.patience)
        measured.moments = [replace(moment, at=moment.at - zero) for moment in watch.moments[first:]]
        _wait_for(probes, order.patience)
        measured.queryable = {backend: [(happened - began, took) for happened, took in found] for backend, found in probes.found.items()}
        measured.never = probes.missing()
        measured.given_up += probes.given_up
        _compare(measured, sightings.seen, began)
        say("all sent; looking for every record in every backend")
        for (tenant, _), run in zip(senders, runs, strict=True):
            with Reader(demo["backends"], tenant, run) as reader:
                for sight in judge.look(console, reader, order.patience / 4):
                    sum_ = measured.found.get(sight.backend, Found())
                    measured.found[sight.backend] = Found(sum_.sent + sight.expected, sum_.missing + len(sight.missing), sum_.doubled + len(sight.doubled))
        measured.letters = list(letters.read(LETTERS_SECONDS))
    return measured


def _sinks() -> list[str]:
    return [row.name for row in functions.catalogue() if row.trigger and row.name.startswith("sink_")]


def _runs(name: str, profile: Profile, clients: Sequence[Client], began: float, seconds: float) -> list[Run]:
    """Of each tenant: how many records of each signal, by which a reader of the backends knows what must be there."""
    records = {(client.tenant, client.signal): client.records for client in clients}
    began_ns = int(began * 1e9)
    return [
        Run(f"{name}t{tenant}", records[tenant, LOGS], records[tenant, SAMPLES], records[tenant, SPANS], began_ns, seconds + 10)
        for tenant in range(profile.tenants)
    ]


@contextmanager
def _generating(plan: Plan) -> Iterator[Iterator[Tick]]:
    """What the generator tells, until it is done. Raises NotBack when its process dies."""
    context = get_context("spawn")  # nothing of this process (threads, sockets) is in it
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=generator.work, args=(theirs, plan), name="load-generator", daemon=True)
    process.start()
    theirs.close()

    def ticks() -> Iterator[Tick]:
        while True:
            try:
                tick: Tick = ours.recv()
            except EOFError:
                raise NotBack("the load generator died") from None
            yield tick
            if tick.done:
                return

    try:
        yield ticks()
    finally:
        process.terminate()
        process.join()
        ours.close()


def _warm_up(order: Order, gateway: str, tokens: Sequence[str], watch: Watch) -> None:
    began, clients = time.time() + START_SECONDS, schedule.first_batches(order.profile)
    runs = _runs(f"warm{token_hex(4)}", order.profile, clients, began, order.seconds)
    with _generating(Plan(gateway, began, tokens, runs, clients, order.patience)) as ticks:
        for tick in ticks:
            if tick.given_up:
                raise NotBack(f"the gateway doesn't take what it must take: {tick.given_up[0]}")
    if _caught_up(watch, time.monotonic(), order.patience) is None:
        raise NotBack("the sinks don't catch up with what was there before the load; ./task status tells more")


def _follow(ticks: Iterator[Tick], measured: Measured, watch: Watch, zero: float, say: Say) -> None:
    """Gather what the generator tells, and say now and then how it goes."""
    said, pushes = 0.0, 0
    for tick in ticks:
        measured.pushes += tick.pushes
        measured.again += tick.again
        measured.given_up += tick.given_up
        measured.generator_cpu = tick.cpu
        now = time.monotonic() - zero
        if now - said >= NEWS_SECONDS:
            lag = watch.moments[-1].lag if watch.moments else {}
            latest = sorted(push.latency for push in measured.pushes[pushes:])
            slow = f"p99 {latest[len(latest) * 99 // 100] * 1000:.0f} ms" if latest else "none taken"
            behind = ", ".join(f"{name} {records:,}" for name, records in lag.items())
            say(f"{now:5.0f} of {measured.order.seconds:.0f} s: {len(latest):,} pushes, {slow}, {tick.waiting:,} waiting; lag: {behind}")
            said, pushes = now, len(measured.pushes)


def _caught_up(watch: Watch, zero: float, patience: float) -> float | None:
    """When nothing was left; None when there is no progress for so long."""
    least: float = float("inf")
    while least:
        better = watch.wait_for(lambda moment, most=least: sum(moment.lag.values()) < most, patience)  # type: ignore[misc]
        if better is None:
            return None
        least, at = sum(better.lag.values()), better.at
    return at - zero


def _wait_for(probes: Probes, patience: float) -> None:
    deadline = time.monotonic() + patience
    while any(probes.missing().values()) and time.monotonic() < deadline:
        time.sleep(0.1)


def _compare(measured: Measured, seen: dict[str, float], began: float) -> None:
    """When the clients had their 2xx, and when the reader of the topics had the records."""
    for push in measured.pushes:
        if push.trace and push.trace in seen:
            measured.topic.append((push.due, seen[push.trace] - began - push.answered))
        elif push.trace:
            measured.unseen += 1
