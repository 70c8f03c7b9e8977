"""A token's life in PostgreSQL, and what the functions make of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from shared import auth, token_store, tokens
from shared.auth import Authenticator
from shared.contract import Period, Scope
from shared.database import Connection
from shared.errors import Refused
from shared.settings import Database as Settings
from shared.tenant import Limits, Tenant
from tests.conftest import Stack

pytestmark = pytest.mark.stack


@pytest.fixture
async def connection(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connection]:
    monkeypatch.setenv("DATABASE_URL", stack.backends["postgres"])
    async with await psycopg.AsyncConnection.connect(stack.backends["postgres"], autocommit=True) as opened:
        yield opened


@pytest.fixture
async def acme(connection: Connection) -> AsyncIterator[str]:
    async for tenant_id in a_tenant(connection):
        yield tenant_id


@pytest.fixture
async def globex(connection: Connection) -> AsyncIterator[str]:
    async for tenant_id in a_tenant(connection):
        yield tenant_id


async def a_tenant(connection: Connection) -> AsyncIterator[str]:
    tenant_id = str(uuid4())
    await connection.execute("INSERT INTO tenants (id, name, plan) VALUES (%s, %s, 'free')", (tenant_id, f"test {tenant_id}"))
    yield tenant_id
    await connection.execute("DELETE FROM tenants WHERE id = %s", (tenant_id,))


async def tenant_of(secret: str, scope: Scope = Scope.LOGS) -> Tenant:
    """What a function that has just started says of a token."""
    async with Authenticator(Settings()) as authenticator:
        return await authenticator.tenant({"x-obstack-auth-token": secret}, scope)


async def is_refused(secret: str, scope: Scope = Scope.LOGS) -> int:
    with pytest.raises(Refused) as refused:
        await tenant_of(secret, scope)
    return refused.value.status


async def test_new_token_is_good_for_its_scopes_and_shows_the_plan(connection: Connection, acme: str) -> None:
    token, secret = await token_store.create(connection, acme, "agent", [Scope.LOGS, Scope.TRACES], None)
    assert await tenant_of(secret) == Tenant(acme, token.id, frozenset({Scope.LOGS, Scope.TRACES}), Limits(20, 2_000_000, 10, 16 * 1024 * 1024), Period.MONTH)
    assert await is_refused(secret, Scope.READ) == 403
    assert [(shown.name, shown.hint, shown.last_used_at) for shown in await token_store.everything(connection, acme)] == [("agent", secret[:8], None)]


async def test_rotation_leaves_both_good_until_the_old_one_ends(connection: Connection, acme: str) -> None:
    old, old_secret = await token_store.create(connection, acme, "agent", [Scope.LOGS], timedelta(days=90))
    new, secret = await token_store.rotate(connection, acme, old.id, timedelta(hours=1))
    assert (await tenant_of(old_secret)).token_id == old.id
    assert (await tenant_of(secret)).token_id == new.id
    assert (new.name, new.scopes, new.replaces) == (old.name, old.scopes, old.id)
    assert new.expires_at
    assert abs(new.expires_at - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    ended = next(token for token in await token_store.everything(connection, acme) if token.id == old.id)
    assert ended.expires_at
    assert abs(ended.expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    again, _ = await token_store.rotate(connection, acme, new.id)
    assert again.expires_at
    assert again.expires_at - new.expires_at < timedelta(minutes=1), "the lifetime is the first token's, not what the grace left of it"


async def test_rotation_never_prolongs_the_old_one(connection: Connection, acme: str) -> None:
    old, _ = await token_store.create(connection, acme, "agent", [Scope.LOGS], timedelta(minutes=5))
    await token_store.rotate(connection, acme, old.id, timedelta(days=7))
    ended = next(token for token in await token_store.everything(connection, acme) if token.id == old.id)
    assert ended.expires_at == old.expires_at


async def test_revoked_and_expired_tokens_are_refused_and_not_rotated(connection: Connection, acme: str) -> None:
    revoked, revoked_secret = await token_store.create(connection, acme, "r", [Scope.LOGS], None)
    expired, expired_secret = await token_store.create(connection, acme, "e", [Scope.LOGS], timedelta(seconds=1))
    assert (await token_store.revoke(connection, acme, revoked.id)).revoked_at == (await token_store.revoke(connection, acme, revoked.id)).revoked_at
    await connection.execute("UPDATE telemetry.tokens SET expires_at = now() WHERE id = %s", (expired.id,))
    for token, secret in ((revoked, revoked_secret), (expired, expired_secret)):
        assert await is_refused(secret) == 401
        with pytest.raises(Refused) as refused:
            await token_store.rotate(connection, acme, token.id)
        assert refused.value.status == 404


async def test_another_tenants_token_is_out_of_reach(connection: Connection, acme: str, globex: str) -> None:
    token, secret = await token_store.create(connection, acme, "agent", [Scope.LOGS], None)
    for attempt in (token_store.rotate, token_store.revoke):
        with pytest.raises(Refused) as refused:
            await attempt(connection, globex, token.id)
        assert refused.value.status == 404
    assert await token_store.everything(connection, globex) == []
    assert (await tenant_of(secret)).id == acme
    assert [shown.expires_at for shown in await token_store.everything(connection, acme)] == [None]


async def test_tokens_of_a_tenant_are_bounded(connection: Connection, acme: str, globex: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "MOST_LIVE", 3)
    made = [await token_store.create(connection, acme, str(number), [Scope.LOGS], None) for number in range(3)]
    for attempt in (token_store.create(connection, acme, "x", [Scope.LOGS], None), token_store.rotate(connection, acme, made[0][0].id)):
        with pytest.raises(Refused) as refused:
            await attempt
        assert refused.value.status == 409
    await token_store.create(connection, globex, "x", [Scope.LOGS], None)
    await token_store.revoke(connection, acme, made[0][0].id)
    await token_store.create(connection, acme, "x", [Scope.LOGS], None)


async def test_inactive_tenant_is_403(connection: Connection, acme: str) -> None:
    _, secret = await token_store.create(connection, acme, "agent", [Scope.LOGS], None)
    await connection.execute("UPDATE tenants SET is_active = false WHERE id = %s", (acme,))
    assert await is_refused(secret) == 403


async def test_thousand_wrong_expired_revoked_and_foreign_tokens_are_all_refused(connection: Connection, acme: str, globex: str) -> None:
    """Foreign: another tenant's good token never names this tenant."""
    wrong = [tokens.create() for _ in range(400)] + [hashlib.sha256(tokens.create().encode()).hexdigest() for _ in range(100)]
    expired, revoked, foreign = ([tokens.create() for _ in range(count)] for count in (200, 200, 100))
    insert = "INSERT INTO telemetry.tokens (id, tenant_id, name, sha256, expires_at, revoked_at) VALUES (%s, %s, 'x', %s, %s, %s)"
    now = datetime.now(UTC)
    async with connection.cursor() as cursor:
        await cursor.executemany(insert, [(uuid4(), acme, tokens.digest(token), now, None) for token in expired])
        await cursor.executemany(insert, [(uuid4(), acme, tokens.digest(token), None, now) for token in revoked])
        await cursor.executemany(insert, [(uuid4(), globex, tokens.digest(token), None, None) for token in foreign])
    async with Authenticator(Settings()) as authenticator:
        asked = (authenticator.tenant({"x-obstack-auth-token": token}, Scope.LOGS) for token in [*wrong, *expired, *revoked, *foreign])
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert len(results) == 1000
    assert {getattr(result, "status", result) for result in results[:900]} == {401}
    assert {getattr(result, "id", result) for result in results[900:]} == {globex}


async def test_change_in_postgres_reaches_a_running_function(connection: Connection, acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(auth, "monotonic", lambda: now[0])
    token, secret = await token_store.create(connection, acme, "agent", [Scope.LOGS], None)
    headers = {"x-obstack-auth-token": secret}
    async with Authenticator(Settings()) as authenticator:
        await authenticator.tenant(headers, Scope.LOGS)
        await connection.execute("UPDATE tenants SET plan = 'large' WHERE id = %s", (acme,))
        now[0] += 30
        assert (await authenticator.tenant(headers, Scope.LOGS)).limits.requests_per_second == 100_000
        await token_store.revoke(connection, acme, token.id)
        now[0] += 30
        with pytest.raises(Refused):
            await authenticator.tenant(headers, Scope.LOGS)
