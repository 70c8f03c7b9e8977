"""What tenants sent becomes rows and metrics, whatever the database does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import REGISTRY

from shared import database as shared_database
from shared import tokens, usage
from shared.contract import Scope
from shared.errors import Later
from shared.settings import Database as Settings
from shared.telemetry import metrics
from shared.tenant import Tenant
from shared.usage import Usage
from tests.conftest import Stack
from tests.edges import Database


def tenant() -> Tenant:
    return Tenant(str(uuid4()), str(uuid4()), frozenset(Scope))


@pytest.fixture
async def counter(database: Database) -> AsyncIterator[Usage]:
    async with Usage(Settings()) as made:
        yield made


def added(database: Database) -> list[dict[str, Any]]:
    """The parameters of each flush."""
    return [parameters for statement, parameters in database.statements if "INTO telemetry.usage (" in statement]


def used(database: Database) -> list[str]:
    return [token for statement, parameters in database.statements if "last_used_at" in statement for token in parameters["tokens"]]


def metric(name: str, who: Tenant | str, signal: str = "logs") -> float | None:
    label = who if isinstance(who, str) else who.id
    return REGISTRY.get_sample_value(f"obstack_usage_{name}_total", {"tenant": label, "signal": signal})


async def test_counts_become_rows_by_token_and_signal(counter: Usage, database: Database) -> None:
    acme, globex = tenant(), tenant()
    counter.count(acme, "logs", 10, 1000)
    counter.count(acme, "logs", 5, 500)
    counter.count(acme, "traces", 1, 100)
    counter.count(globex, "logs", 7, 70)
    assert await counter.flush()
    (rows,) = added(database)
    found = set(zip(*(rows[name] for name in ("tenants", "tokens", "signals", "requests", "records", "bytes")), strict=True))
    assert found == {
        (acme.id, acme.token_id, "logs", 2, 15, 1500),
        (acme.id, acme.token_id, "traces", 1, 1, 100),
        (globex.id, globex.token_id, "logs", 1, 7, 70),
    }
    assert all(hour.minute == hour.second == hour.microsecond == 0 and hour.tzinfo for hour in rows["hours"])
    assert (metric("requests", acme), metric("records", acme), metric("bytes", acme)) == (2, 15, 1500)


async def test_nothing_counted_asks_nothing(counter: Usage, database: Database) -> None:
    before = database.asked
    assert await counter.flush()
    assert database.asked == before


async def test_flush_whose_answer_got_lost_is_repeated_as_it_was(counter: Usage, database: Database) -> None:
    acme = tenant()
    counter.count(acme, "logs", 10, 1000)
    database.down = True
    assert not await counter.flush()
    counter.count(acme, "logs", 1, 1)
    assert not await counter.flush()
    database.down = False
    assert await counter.flush()
    first, second = added(database)
    assert (first["flush"] + 1, first["writer"]) == (second["flush"], second["writer"])
    assert (first["records"], second["records"]) == ([10], [1]), "the repeated flush is what it was, later counts come by themselves"


async def test_database_away_one_row_for_each_key(counter: Usage, database: Database) -> None:
    acme = tenant()
    database.down = True
    for _ in range(50):
        counter.count(acme, "logs", 1, 1)
        await counter.flush()
    assert len(counter._rows) + len(counter._sending) <= 3, "one for each hour, and the flush under way"
    database.down = False
    assert await counter.flush()
    assert sum(sum(rows["records"]) for rows in added(database)) == 50


async def test_rows_are_bounded_by_counting_into_the_last_hour(counter: Usage, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 3)
    database.down = True
    many, hours = [tenant() for _ in range(5)], iter(range(1000))
    monkeypatch.setattr(usage, "_hour_of", lambda _: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=next(hours)))
    for _ in range(20):
        for who in many:
            counter.count(who, "logs", 1, 1)
        await counter.flush()
    assert len(counter._rows) <= 10
    database.down = False
    assert await counter.flush()
    assert sum(sum(rows["records"]) for rows in added(database)) == 100


async def test_large_flush_goes_in_parts(counter: Usage, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "BATCH", 10)
    for _ in range(25):
        counter.count(tenant(), "logs", 1, 1)
    assert await counter.flush()
    assert [len(rows["tenants"]) for rows in added(database)] == [10, 10, 5]
    assert len({rows["flush"] for rows in added(database)}) == 3


async def test_last_use_is_written_once_a_minute(counter: Usage, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = tenant()
    for _ in range(5):
        counter.count(acme, "logs", 1, 1)
        await counter.flush()
    assert used(database) == [acme.token_id]
    monkeypatch.setattr(usage, "USED_EVERY", timedelta(0))
    await counter.flush()
    assert used(database) == [acme.token_id] * 2, "the last one isn't forgotten either"


async def test_end_writes_what_is_left(database: Database) -> None:
    acme = tenant()
    async with Usage(Settings()) as counter:
        counter.count(acme, "logs", 3, 30)
    assert [rows["records"] for rows in added(database)] == [[3]]
    assert used(database) == [acme.token_id]


async def test_flusher_writes_by_itself(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    written = asyncio.Event()
    monkeypatch.setattr(usage, "FLUSH_SECONDS", 0.0)

    async def seen(*_: Any) -> None:
        written.set()

    monkeypatch.setattr(usage, "_add", seen)
    async with Usage(Settings()) as counter:
        counter.count(tenant(), "logs", 3, 30)
        async with asyncio.timeout(5):
            await written.wait()


async def test_end_without_a_database_is_quick_and_says_what_is_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "LAST_FLUSH_TIMEOUT", 0.05)
    database.frozen = True
    acme = tenant()
    async with asyncio.timeout(5), Usage(Settings()) as counter:
        counter.count(acme, "logs", 3, 30)
    database.frozen = False
    (lost,) = [vars(record) for record in caplog.records if record.message == "usage not written"]
    assert (lost["tenant"], lost["token"], lost["signal"], lost["requests"], lost["records"], lost["bytes"]) == (acme.id, acme.token_id, "logs", 1, 3, 30)


async def test_defect_doesnt_end_the_flusher(counter: Usage, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(usage, "_add", fail)
        counter.count(tenant(), "logs", 3, 30)
        assert not await counter._flush_safely(5)
    assert await counter.flush()
    assert [rows["records"] for rows in added(database)] == [[3]]


async def test_tenants_beyond_the_first_share_a_label(counter: Usage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "_labels", metrics.Tenants(2))
    many = [tenant() for _ in range(5)]
    before = metric("records", "other") or 0
    for _ in range(2):
        for who in many:
            counter.count(who, "logs", 1, 1)
        await counter.flush()
    assert [metric("records", who) for who in many].count(2) == 2
    assert metric("records", "other") == before + 6


# --- against PostgreSQL ---


@pytest.fixture
def real(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of the stack's database; the settings know it too."""
    monkeypatch.setenv("DATABASE_URL", stack.backends["postgres"])
    return stack.backends["postgres"]


def known(stack: Stack) -> Tenant:
    """A tenant of the stack with a new token."""
    token_id, tenant_id = uuid4(), stack.tenants[0]["id"]
    with psycopg.connect(stack.backends["postgres"]) as connection:
        connection.execute(
            "INSERT INTO telemetry.tokens (id, tenant_id, name, sha256) VALUES (%s, %s, 'usage', %s)", (token_id, tenant_id, tokens.digest(str(token_id)))
        )
    return Tenant(tenant_id, str(token_id), frozenset(Scope))


def rows_of(url: str, who: Tenant) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT signal, requests, records, bytes FROM telemetry.usage WHERE token_id = %s ORDER BY signal", (who.token_id,)
        ).fetchall()


@pytest.mark.stack
async def test_two_processes_add_up_in_postgres(real: str, stack: Stack) -> None:
    who, deleted = known(stack), tenant()
    async with Usage(Settings()) as one, Usage(Settings()) as two:
        for counter in (one, two, one, two):
            counter.count(who, "logs", 10, 1000)
            counter.count(who, "metrics", 1, 1)
            counter.count(deleted, "logs", 1, 1)
            await counter.flush()
    assert rows_of(real, who) == [("logs", 4, 40, 4000), ("metrics", 4, 4, 4)]
    assert rows_of(real, deleted) == [("logs", 4, 4, 4)]
    with psycopg.connect(real) as connection:
        row = connection.execute("SELECT last_used_at > now() - interval '1 minute' FROM telemetry.tokens WHERE id = %s", (who.token_id,)).fetchone()
    assert row == (True,)


@pytest.mark.stack
async def test_repeated_flush_is_added_once_in_postgres(real: str, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    who = known(stack)
    run = shared_database.Database.run

    async def lose_the_answer(self: Any, work: Any, seconds: float | None = None) -> Any:
        await run(self, work, seconds)
        raise Later("the answer got lost")

    async with Usage(Settings()) as counter:
        counter.count(who, "logs", 10, 1000)
        with monkeypatch.context() as patched:
            patched.setattr(shared_database.Database, "run", lose_the_answer)
            assert not await counter.flush()
        counter.count(who, "logs", 1, 1)
        assert await counter.flush()
    assert rows_of(real, who) == [("logs", 2, 11, 1001)]


@pytest.mark.stack
async def test_ten_thousand_tenants_are_flushed_to_postgres(real: str, stack: Stack) -> None:
    many = [tenant() for _ in range(10_000)]
    async with Usage(Settings()) as counter:
        for who in many:
            counter.count(who, "logs", 1, 1)
        assert await counter.flush()
    with psycopg.connect(real) as connection:
        row = connection.execute("SELECT count(*), sum(records) FROM telemetry.usage WHERE tenant_id = ANY(%s::uuid[])", ([who.id for who in many],)).fetchone()
        connection.execute("DELETE FROM telemetry.usage WHERE tenant_id = ANY(%s::uuid[])", ([who.id for who in many],))
    assert row == (10_000, 10_000)
