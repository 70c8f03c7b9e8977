"""A tenant's usage over the API: who may, what is asked of the database, what comes back."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from functions.query import usage
from tests.conftest import Customer, Stack
from tests.edges import Database
from tests.functions.query.world import User, World

PATH = "/query/api/usage"
HOUR = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def test_rows_are_given_by_time_and_signal(world: World, database: Database, session: dict[str, str], anna: User) -> None:
    database.answers.append([(HOUR, "logs", 2, 30, 400), (HOUR, "read", 7, 0, 0)])
    answer = await world.ask("GET", f"{PATH}?from=2026-01-31T10:30:00Z&to=2026-01-31T13:00:00Z&step=hour", session)
    at = int(HOUR.timestamp()) * 1000
    rows = [
        {"at": at, "signal": "logs", "requests": 2, "records": 30, "bytes": 400},
        {"at": at, "signal": "read", "requests": 7, "records": 0, "bytes": 0},
    ]
    assert (answer.status, answer.json) == (200, {"step": "hour", "usage": rows})
    start, end = datetime(2026, 1, 31, 10, 30, tzinfo=UTC), datetime(2026, 1, 31, 13, tzinfo=UTC)
    assert database.statements[-1][1] == {"tenant": anna.tenant_id, "step": "hour", "from": start, "to": end}


async def test_without_parameters_it_is_the_last_week_by_hour(world: World, database: Database, session: dict[str, str]) -> None:
    assert (await world.ask("GET", PATH, session)).json == {"step": "hour", "usage": []}
    given = database.statements[-1][1]
    assert given["to"] - given["from"] == timedelta(days=7)


async def test_tenant_is_the_sessions_whatever_is_asked(world: World, database: Database, session: dict[str, str], anna: User, gus: User) -> None:
    answer = await world.ask("GET", f"{PATH}?tenant={gus.tenant_id}&tenant_id={gus.tenant_id}", {**session, "x-scope-orgid": gus.tenant_id})
    assert answer.status == 200
    assert database.statements[-1][1]["tenant"] == anna.tenant_id


@pytest.mark.parametrize(
    "query",
    [
        "step=week",
        "step=day%27--",
        "from=yesterday",
        "from=now&to=now-1h",
        "from=now-36d&step=hour",
        "from=now-401d&step=day",
        "step=day&step=hour",
        "from=%00",
    ],
)
async def test_what_cannot_be_read_is_refused(world: World, database: Database, session: dict[str, str], query: str) -> None:
    before = len(database.statements)
    answer = await world.ask("GET", f"{PATH}?{query}", session)
    assert (answer.status, answer.json["status"]) == (400, "error")
    assert len(database.statements) == before


async def test_only_a_session_opens_it(world: World, acme: Customer) -> None:
    assert (await world.ask("GET", PATH)).status == 401
    assert (await world.ask("GET", PATH, {"authorization": f"Bearer {acme.token}"})).status == 401


async def test_it_is_read_only(world: World, session: dict[str, str]) -> None:
    assert (await world.ask("POST", PATH, {**session, "content-type": "application/json"}, b"{}")).status == 405


async def test_database_that_is_away_is_503(world: World, database: Database, session: dict[str, str]) -> None:
    assert (await world.ask("GET", "/query/api/me", session)).status == 200
    database.down = True
    answer = await world.ask("GET", PATH, session)
    assert (answer.status, answer.json["errorType"]) == (503, "unavailable")


@pytest.mark.stack
async def test_statement_adds_up_one_tenants_hours_and_days(stack: Stack) -> None:
    acme, globex = str(uuid4()), str(uuid4())
    sent = [
        (acme, "logs", HOUR, 1),
        (acme, "logs", HOUR, 10),  # by another token
        (acme, "logs", HOUR + timedelta(hours=1), 100),
        (acme, "traces", HOUR, 1000),
        (acme, "logs", HOUR + timedelta(days=1), 10_000),
        (globex, "logs", HOUR, 5),
    ]
    async with await psycopg.AsyncConnection.connect(stack.backends["postgres"]) as connection:  # rolled back at the end
        insert = "INSERT INTO telemetry.usage (tenant_id, token_id, signal, hour, requests, records, bytes) VALUES (%s, %s, %s, %s, %s, %s, %s)"
        for tenant, signal, hour, count in sent:
            await connection.execute(insert, (tenant, str(uuid4()), signal, hour, count, count * 2, count * 3))
        by_hour = await usage.read(connection, acme, "hour", HOUR + timedelta(minutes=30), HOUR + timedelta(hours=1))
        by_day = await usage.read(connection, acme, "day", HOUR, HOUR + timedelta(days=2))
        await connection.rollback()
    at, day = int(HOUR.timestamp()) * 1000, int(HOUR.replace(hour=0).timestamp()) * 1000
    assert by_hour == [
        {"at": at, "signal": "logs", "requests": 11, "records": 22, "bytes": 33},
        {"at": at, "signal": "traces", "requests": 1000, "records": 2000, "bytes": 3000},
    ]
    assert [(row["at"] - day, row["signal"], row["requests"]) for row in by_day] == [(0, "logs", 111), (0, "traces", 1000), (86_400_000, "logs", 10_000)]
