"""Token → Tenant, with and without a database."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import auth, tokens
from shared.auth import Authenticator, token_of
from shared.contract import Reason, Scope
from shared.errors import Later, Refused
from shared.settings import Database as DatabaseSettings
from tests.conftest import Customer, add_customer
from tests.edges import Database


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


async def test_unknown_tokens_are_cached_too_and_bounded(authenticator: Authenticator, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "CACHED_TOKENS", 5)
    unknown = [{"x-obstack-auth-token": tokens.create()} for _ in range(20)]
    for headers in [*unknown, unknown[-1]]:
        with pytest.raises(Refused):
            await authenticator.tenant(headers, Scope.LOGS)
    assert database.asked == 20
    assert len(authenticator._cache) == 5


async def test_revoked_token_stops_after_the_cache_time(authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.tokens.clear()
    clock[0] += 31
    with pytest.raises(Refused):
        await authenticator.tenant(acme.headers, Scope.LOGS)


async def test_database_away_known_tokens_go_on(authenticator: Authenticator, database: Database, acme: Customer, clock: list[float]) -> None:
    await authenticator.tenant(acme.headers, Scope.LOGS)
    database.down = True
    clock[0] += 600
    assert (await authenticator.tenant(acme.headers, Scope.LOGS)).id == acme.tenant_id
    clock[0] += 3600
    with pytest.raises(Later):
        await authenticator.tenant(acme.headers, Scope.LOGS)


async def test_database_away_unknown_tokens_are_told_to_wait(authenticator: Authenticator, database: Database, globex: Customer) -> None:
    database.down = True
    with pytest.raises(Later):
        await authenticator.tenant(globex.headers, Scope.LOGS)
    database.down = False
    assert (await authenticator.tenant(globex.headers, Scope.LOGS)).id == globex.tenant_id


async def test_many_requests_ask_once(authenticator: Authenticator, database: Database, acme: Customer) -> None:
    await asyncio.gather(*(authenticator.tenant(acme.headers, Scope.LOGS) for _ in range(50)))
    assert database.asked == 1
