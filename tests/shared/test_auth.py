"""Token → Tenant, with and without a database."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared import auth, tokens
from shared.auth import Authenticator, token_of
from shared.contract import Period, Reason, Scope
from shared.errors import Later, Refused
from shared.settings import Database as DatabaseSettings
from shared.tenant import Limits
from tests.conftest import Customer, add_customer
from tests.edges import Database
from tests.told import growth, told


@pytest.fixture
async def authenticator(database: Database) -> AsyncIterator[Authenticator]:
    async with Authenticator(DatabaseSettings()) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(auth, "monotonic", lambda: now[0])
    return now


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"x-obstack-auth-token": "t"}, "t"),
        ({"authorization": "Bearer t"}, "t"),
        ({"authorization": "bearer  t "}, "t"),
        (basic("anyone", "t"), "t"),
        (basic("", "a:b"), "a:b"),
        ({}, None),
        ({"authorization": "Bearer "}, None),
        ({"authorization": "Basic !!!"}, None),
        (basic("user", ""), None),
        ({"authorization": "Digest t"}, None),
    ],
)
def test_token_is_found_in_its_three_places(headers: dict[str, str], token: str | None) -> None:
    assert token_of(headers) == token


async def test_good_token_names_its_tenant(authenticator: Authenticator, acme: Customer, globex: Customer) -> None:
    for customer in (acme, globex):
        tenant = await authenticator.tenant(customer.headers, Scope.LOGS)
        assert (tenant.id, tenant.token_id) == (customer.tenant_id, customer.token_id)


async def test_typo_is_refused_without_a_look_up(authenticator: Authenticator, database: Database, acme: Customer) -> None:
    with pytest.raises(Refused) as refused:
        await authenticator.tenant({"x-obstack-auth-token": acme.token[:-1] + "!"}, Scope.LOGS)
    assert (refused.value.status, database.asked) == (401, 0)


@pytest.mark.parametrize("headers", [{}, {"x-obstack-auth-token": tokens.create()}])
async def test_missing_and_unknown_tokens_are_401(authenticator: Authenticator, headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        await authenticator.tenant(headers, Scope.LOGS)
    assert refused.value.status == 401


async def test_expired_token_is_401(authenticator: Authenticator, database: Database) -> None:
    customer = add_customer(database, expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(Refused) as refused:
        await authenticator.tenant(customer.headers, Scope.LOGS)
    assert refused.value.status == 401


@pytest.mark.parametrize("change", [{"active": False}, {"scopes": ["metrics"]}])
async def test_inactive_tenant_and_missing_scope_are_403(authenticator: Authenticator, database: Database, change: Any) -> None:
    customer = add_customer(database, **change)
    with pytest.raises(Refused) as refused:
        await authenticator.tenant(customer.headers, Scope.LOGS)
    assert (refused.value.status, refused.value.reason) == (403, Reason.FORBIDDEN)


async def test_answers_are_cached_for_their_time(authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]) -> None:
    for _ in range(3):
        await authenticator.tenant(acme.headers, Scope.LOGS)
    assert database.asked == 1
    clock[0] += 31
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert database.asked == 2


async def test_unknown_tokens_are_cached_too_and_drive_no_known_one_out(
    authenticator: Authenticator, database: Database, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "CACHED_UNKNOWN", 5)
    await authenticator.tenant(acme.headers, Scope.LOGS)
    unknown = [{"x-obstack-auth-token": tokens.create()} for _ in range(20)]
    for headers in [*unknown, unknown[-1]]:
        with pytest.raises(Refused):
            await authenticator.tenant(headers, Scope.LOGS)
    assert database.asked == 21
    assert len(authenticator._unknown) == 5
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert database.asked == 21


async def test_known_tokens_are_bounded(authenticator: Authenticator, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "CACHED_TOKENS", 5)
    for _ in range(20):
        await authenticator.tenant(add_customer(database).headers, Scope.LOGS)
    assert len(authenticator._known) == 5


async def test_no_token_stays_in_memory(authenticator: Authenticator, acme: Customer) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert acme.token not in repr(vars(authenticator))


async def test_revoked_token_stops_after_the_cache_time(authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.tokens.clear()
    clock[0] += 31
    with pytest.raises(Refused):
        await authenticator.tenant(acme.headers, Scope.LOGS)


async def test_revoked_token_stops_at_once_for_whoever_asks_anew(authenticator: Authenticator, database: Database, acme: Customer) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert (await authenticator.tenant(acme.headers, Scope.LOGS, anew=True)).id == acme.tenant_id
    assert database.asked == 2
    database.tokens.clear()
    with pytest.raises(Refused):
        await authenticator.tenant(acme.headers, Scope.LOGS, anew=True)


async def test_database_away_whoever_asks_anew_goes_on_by_the_answer_before(authenticator: Authenticator, database: Database, acme: Customer) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.down = True
    for _ in range(3):
        assert (await authenticator.tenant(acme.headers, Scope.LOGS, anew=True)).id == acme.tenant_id


async def refreshed(authenticator: Authenticator) -> None:
    """Ask for what is due now, without waiting for the timer."""
    if authenticator._due_timer:
        authenticator._due_timer.cancel()
    authenticator._enqueue_due()
    if authenticator._asking:
        await authenticator._asking


async def test_token_in_use_is_asked_about_before_its_time_is_over(
    authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]
) -> None:
    for _ in range(10):
        await authenticator.tenant(acme.headers, Scope.LOGS)
        clock[0] += 16
        await authenticator.tenant(acme.headers, Scope.LOGS)
        await refreshed(authenticator)
    assert database.asked == 11, "one at the start, then one for each time it was half over"
    database.tokens.clear()
    clock[0] += 16
    await authenticator.tenant(acme.headers, Scope.LOGS)
    await refreshed(authenticator)
    with pytest.raises(Refused):
        await authenticator.tenant(acme.headers, Scope.LOGS)


async def test_timer_asks_in_the_background(authenticator: Authenticator, database: Database, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REFRESH_SECONDS", 0.0)
    await authenticator.tenant(acme.headers, Scope.LOGS)
    authenticator._fresh = 0.0
    await authenticator.tenant(acme.headers, Scope.LOGS)
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)  # a turn of the loop, in which the timer fires
    if authenticator._asking:
        await authenticator._asking
    assert database.asked == 2


async def test_ten_thousand_tokens_are_asked_about_together(authenticator: Authenticator, database: Database, clock: list[float]) -> None:
    customers = [add_customer(database) for _ in range(10_000)]
    for start in range(0, 10_000, 1000):
        await asyncio.gather(*(authenticator.tenant(customer.headers, Scope.LOGS) for customer in customers[start : start + 1000]))
    clock[0] += 16
    before = database.asked
    for customer in customers:
        await authenticator.tenant(customer.headers, Scope.LOGS)
    await refreshed(authenticator)
    assert database.asked - before == 10_000 / auth.BATCH
    assert len({id(known.tenant.limits) for known in authenticator._known.values()}) == 1, "plans are held once, not once a token"


async def test_database_away_known_tokens_go_on(authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.down = True
    clock[0] += 600
    assert (await authenticator.tenant(acme.headers, Scope.LOGS)).id == acme.tenant_id
    clock[0] += 3600
    with pytest.raises(Later):
        await authenticator.tenant(acme.headers, Scope.LOGS)


async def test_database_away_unknown_tokens_are_told_to_wait(authenticator: Authenticator, database: Database, globex: Customer, clock: list[float]) -> None:
    database.down = True
    for _ in range(3):
        with pytest.raises(Later):
            await authenticator.tenant(globex.headers, Scope.LOGS)
    assert database.asked == 1, "a database that just failed is left alone for some seconds"
    database.down = False
    clock[0] += auth.AWAY_SECONDS / 2
    assert (await authenticator.tenant(globex.headers, Scope.LOGS)).id == globex.tenant_id


async def test_frozen_database_delays_no_known_token(
    authenticator: Authenticator, database: Database, acme: Customer, globex: Customer, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.SECONDS", 0.05)
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.frozen = True
    clock[0] += 16
    await authenticator.tenant(acme.headers, Scope.LOGS)
    await refreshed(authenticator)
    monkeypatch.setattr("shared.database.SECONDS", 3600.0)
    async with asyncio.timeout(10):
        for _ in range(100):
            clock[0] += 4
            assert (await authenticator.tenant(acme.headers, Scope.LOGS)).id == acme.tenant_id
            authenticator._away_since = clock[0]
            with pytest.raises(Later):
                await authenticator.tenant(globex.headers, Scope.LOGS)
    database.frozen = False


async def test_known_token_waits_for_a_frozen_database_a_moment_only(
    authenticator: Authenticator, database: Database, acme: Customer, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KNOWN_SECONDS", 0.01)
    monkeypatch.setattr("shared.database.SECONDS", 3600.0)
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.frozen = True
    clock[0] += 31
    async with asyncio.timeout(5):
        assert (await authenticator.tenant(acme.headers, Scope.LOGS)).id == acme.tenant_id
    database.frozen = False


async def test_only_one_tries_whether_the_database_is_back(authenticator: Authenticator, database: Database, clock: list[float]) -> None:
    database.down = True
    with pytest.raises(Later):
        await authenticator.tenant(add_customer(database).headers, Scope.LOGS)
    clock[0] += auth.AWAY_SECONDS / 2
    results = await asyncio.gather(*(authenticator.tenant(add_customer(database).headers, Scope.LOGS) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(result, Later) for result in results)
    assert database.asked == 2


async def test_flood_of_unknown_tokens_is_bounded(authenticator: Authenticator, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "WAITING", 10)
    flood = (authenticator.tenant({"x-obstack-auth-token": tokens.create()}, Scope.LOGS) for _ in range(100))
    results = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(result, Later) for result in results) == 90
    assert database.asked <= 10


async def test_flood_of_unknown_tokens_keeps_no_revoked_one_alive(
    authenticator: Authenticator, database: Database, acme: Customer, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "WAITING", 10)
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.tokens.clear()
    clock[0] += 31
    flood = [authenticator.tenant({"x-obstack-auth-token": tokens.create()}, Scope.LOGS) for _ in range(100)]
    *_, revoked = await asyncio.gather(*flood, authenticator.tenant(acme.headers, Scope.LOGS), return_exceptions=True)
    assert isinstance(revoked, Refused)


async def test_defect_in_the_look_up_is_told_and_stops_nobody(authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    good = dict(database.tokens)
    database.tokens = {digest: row[:3] for digest, row in good.items()}
    clock[0] += 31
    assert (await authenticator.tenant(acme.headers, Scope.LOGS)).id == acme.tenant_id
    database.tokens = good
    clock[0] += 31
    assert (await authenticator.tenant(acme.headers, Scope.LOGS)).id == acme.tenant_id


async def test_plan_comes_with_the_token(authenticator: Authenticator, database: Database) -> None:
    token = tokens.create()
    database.add(token, (uuid4(), uuid4(), ["logs", "a-later-version's"], None, True), (5.0, 1000.0, 2.0, 4096), "week")
    tenant = await authenticator.tenant({"x-obstack-auth-token": token}, Scope.LOGS)
    assert (tenant.limits, tenant.scopes, tenant.index_period) == (Limits(5.0, 1000.0, 2.0, 4096), frozenset({Scope.LOGS}), Period.WEEK)


async def test_thousand_bad_tokens_are_all_refused(authenticator: Authenticator, database: Database, acme: Customer) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    bad = [tokens.create() for _ in range(250)]
    bad += [add_customer(database, expires=past).token for _ in range(250)]
    bad += [acme.token[:position] + ("x" if acme.token[position] != "x" else "y") + acme.token[position + 1 :] for position in range(53)]
    bad += ["obs_" + "0" * 49, "Bearer", "x" * 5000, "\xff" * 53, acme.token.upper(), acme.token + "0", acme.token[:-1], acme.token_id, acme.tenant_id]
    bad += [hashlib.sha256(tokens.create().encode()).hexdigest() for _ in range(500 - 62)]
    assert len(bad) == 1000
    results = await asyncio.gather(*(authenticator.tenant({"x-obstack-auth-token": token}, Scope.LOGS) for token in bad), return_exceptions=True)
    assert {(type(result), getattr(result, "status", None)) for result in results} == {(Refused, 401)}


async def test_many_requests_ask_once(authenticator: Authenticator, database: Database, acme: Customer) -> None:
    await asyncio.gather(*(authenticator.tenant(acme.headers, Scope.LOGS) for _ in range(50)))
    assert database.asked == 1


class Lookups:
    """How many look-ups ended how since it was made."""

    def __init__(self) -> None:
        self._counts = {outcome: growth("obstack_token_lookups_total", outcome=outcome) for outcome in ("hit", "miss", "unknown", "stale", "failed")}

    @property
    def now(self) -> dict[str, float]:
        return {outcome: count for outcome, growth in self._counts.items() if (count := growth())}


async def test_look_ups_are_counted_by_where_the_answer_came_from(authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]) -> None:
    lookups, unknown = Lookups(), {"x-obstack-auth-token": tokens.create()}
    for _ in range(3):
        await authenticator.tenant(acme.headers, Scope.LOGS)
    assert lookups.now == {"miss": 1, "hit": 2}
    clock[0] += 20  # older than half its time: asked about again, and believed all the same
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert lookups.now == {"miss": 1, "hit": 3}
    for headers in (unknown, unknown, {"x-obstack-auth-token": "no token"}):
        with pytest.raises(Refused):
            await authenticator.tenant(headers, Scope.LOGS)
    assert lookups.now == {"miss": 2, "hit": 3, "unknown": 2}


async def test_look_ups_without_a_database_are_stale_or_failed_and_its_absence_has_an_age(
    authenticator: Authenticator, database: Database, acme: Customer, globex: Customer, clock: list[float]
) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert told("obstack_tokens_away_seconds") == 0
    lookups, database.down = Lookups(), True
    clock[0] += 40
    for _ in range(2):  # the first one asks, the second one knows that it needn't
        await authenticator.tenant(acme.headers, Scope.LOGS)
    with pytest.raises(Later):
        await authenticator.tenant(globex.headers, Scope.LOGS)
    assert lookups.now == {"stale": 2, "failed": 1}
    clock[0] += 60
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert told("obstack_tokens_away_seconds") == 60, "since the first question that failed, not since the last"
    database.down = False
    clock[0] += 60
    await authenticator.tenant(acme.headers, Scope.LOGS)
    assert told("obstack_tokens_away_seconds") == 0
    assert lookups.now == {"stale": 3, "failed": 1, "miss": 1}


async def test_cached_tokens_are_counted(authenticator: Authenticator, acme: Customer, globex: Customer) -> None:
    for customer in (acme, globex):
        await authenticator.tenant(customer.headers, Scope.LOGS)
    with pytest.raises(Refused):
        await authenticator.tenant({"x-obstack-auth-token": tokens.create()}, Scope.LOGS)
    assert (told("obstack_tokens_cached", kind="known"), told("obstack_tokens_cached", kind="unknown")) == (2, 1)
