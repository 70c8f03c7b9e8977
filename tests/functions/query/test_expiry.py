"""Tokens that end soon, counted in a real database."""

import asyncio
from collections.abc import Callable
from time import time
from uuid import uuid4

import psycopg
import pytest

from functions.query import expiry
from functions.query.expiry import Expiry
from localdev import migrate
from shared.database import Database
from shared.errors import Later
from shared.settings import Database as Settings
from tests import edges, waiting
from tests.functions.query.world import World
from tests.localdev.test_migrate import PLATFORM
from tests.postgres import Postgres
from tests.told import told

Add = Callable[..., str]


@pytest.fixture(params=["ours", "platform"])
def add(request: pytest.FixtureRequest, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Add:
    """Adds a token of a tenant of its own, made so many days ago and ending in so many (by default after half a year)."""
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    if request.param == "platform":
        with psycopg.connect(url) as connection:
            connection.execute(PLATFORM)
    migrate.migrate()

    def run(ends: float | None, made: float = 180.0, *, revoked: bool = False, replaces: str | None = None, active: bool = True) -> str:
        token = str(uuid4())
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO tenants (name, is_active) VALUES (%s, %s)", (token, active))
            connection.execute(
                """INSERT INTO telemetry.tokens (id, tenant_id, name, sha256, created_at, expires_at, revoked_at, replaces)
                SELECT %(id)s::uuid, t.id, 'x', sha256(%(id)s::text::bytea), now() - make_interval(secs => 86400 * %(made)s),
                    now() + make_interval(secs => 86400 * %(ends)s::float8), CASE WHEN %(revoked)s THEN now() END, %(replaces)s::uuid
                FROM telemetry.tenants t WHERE t.name = %(id)s::text""",
                {"id": token, "made": made, "ends": ends, "revoked": revoked, "replaces": replaces},
            )
            assert connection.execute("SELECT count(*) FROM telemetry.tokens WHERE id = %s", (token,)).fetchone() == (1,)
        return token

    return run


async def counted() -> tuple[float, float, float]:
    """Ending within a day, within a week; ended."""
    async with Database(Settings().database_url) as database:
        await Expiry(database).count()
    return told("obstack_tokens_expiring", within="1d"), told("obstack_tokens_expiring", within="7d"), told("obstack_tokens_expired")


async def test_tokens_are_counted_by_when_they_end(add: Add) -> None:
    for ends in (0.1, 0.9, 3, 6.9, 8, 300, None, -0.1, -6.9, -8):
        add(ends)
    before = time()
    assert await counted() == (2, 4, 2)
    assert before <= told("obstack_tokens_checked_timestamp_seconds") <= time()


async def test_what_is_no_news_is_not_counted(add: Add) -> None:
    """Revoked, replaced, of a tenant that isn't active, made for a day; a successor that was revoked is none."""
    add(0.5, revoked=True)
    add(0.5, active=False)
    add(0.5, 0.5)
    add(None, replaces=add(0.5))
    assert await counted() == (0, 0, 0)
    add(None, replaces=add(0.5), revoked=True)
    assert await counted() == (1, 1, 0)


async def test_the_function_counts_again_and_again_and_outlives_an_absent_database(
    world: World, database: edges.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "EVERY_SECONDS", 0.01)
    async with Database(Settings().database_url) as own, Expiry(own):
        database.ending = (1, 2, 3)
        await asyncio.to_thread(waiting.until, lambda: told("obstack_tokens_expired") == 3, 5)
        database.down, asked = True, database.asked
        await asyncio.to_thread(waiting.until, lambda: database.asked > asked + 1, 5)
        assert told("obstack_tokens_expired") == 3
        database.down, database.ending = False, (0, 0, 4)
        await asyncio.to_thread(waiting.until, lambda: told("obstack_tokens_expired") == 4, 5)


async def test_count_without_a_database_is_later_and_changes_nothing(world: World, database: edges.Database) -> None:
    async with Database(Settings().database_url) as own:
        database.ending = (5, 6, 7)
        await Expiry(own).count()
        database.down, database.ending = True, (0, 0, 0)
        with pytest.raises(Later):
            await Expiry(own).count()
    assert (told("obstack_tokens_expiring", within="1d"), told("obstack_tokens_expiring", within="7d"), told("obstack_tokens_expired")) == (5, 6, 7)
