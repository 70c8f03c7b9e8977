"""The functions' role in PostgreSQL, with the rights that docs/security.md gives it: all that functions do, and no more."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from functions.query import usage as own_usage
from functions.query.expiry import Expiry
from functions.query.users import Users
from localdev import migrate
from localdev.paths import ROOT
from shared import token_store
from shared import usage as counting
from shared.auth import Authenticator
from shared.contract import Flag, Scope, Switch
from shared.database import Database
from shared.flags import Flags
from shared.settings import Database as Settings
from shared.usage import Usage
from tests.docs import pages
from tests.functions.query.world import HASH, PASSWORD
from tests.localdev.test_migrate import PLATFORM
from tests.postgres import Postgres

EMAIL = "anna@acme.example"
DAY = timedelta(days=1)


@pytest.fixture
def tenant_id(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a platform's database, migrated by its owner; from here on DATABASE_URL is the functions'."""
    url, role = postgres.database(), f"functions_{uuid4().hex}"
    monkeypatch.setenv("DATABASE_URL", url)
    with psycopg.connect(url) as connection:
        connection.execute(PLATFORM.encode())
    migrate.migrate()
    (grants,) = pages.blocks(ROOT / "docs" / "security.md", "sql")
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'".encode())
        connection.execute(grants.replace("TO functions", f"TO {role}").encode())
        connection.execute("UPDATE users SET hashed_password = %s WHERE email = %s", (HASH, EMAIL))
        row = connection.execute("SELECT id FROM telemetry.tenants WHERE name = 'Acme Rockets'").fetchone()
    assert row
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{role}:secret@{url.rpartition('@')[2]}")
    return str(row[0])


async def test_tokens_usage_and_flags_need_no_more(tenant_id: str) -> None:
    """Where a right is missing, Later is raised."""
    async with Authenticator(Settings()) as tokens:
        database = tokens.database
        old, _ = await database.run(lambda connection: token_store.create(connection, tenant_id, "first", [Scope.LOGS], DAY))
        _, secret = await database.run(lambda connection: token_store.rotate(connection, tenant_id, old.id))
        await database.run(lambda connection: token_store.revoke(connection, tenant_id, old.id))
        tenant = await tokens.tenant({"x-obstack-auth-token": secret}, Scope.LOGS)
        usage = Usage(Settings(), database)
        for _ in range(2):
            usage.count(tenant, "logs", 5, 500)
            assert await usage.flush()
        await database.run(counting._tidy)
        now = datetime.now(UTC)
        (row,) = await database.run(lambda connection: own_usage.read(connection, tenant_id, "day", now - DAY, now + DAY))
        assert (row["requests"], row["records"]) == (2, 10)
        assert await database.run(Flags({Flag.SINK_LOKI: Switch.ON})._fetch) == []
        await Expiry(database).count()


async def test_sessions_need_no_more(tenant_id: str) -> None:
    async with Database(Settings().database_url) as database, Users(Settings(), database) as mine, Users(Settings(), database) as other:
        user, session = await mine.log_in(EMAIL, PASSWORD, DAY)
        assert await other.still(session, user.id, tenant_id) == user
        await mine.log_out(session, everywhere=True)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM telemetry.tenants",
        "DELETE FROM tenants",
        "SELECT FROM users",
        "INSERT INTO telemetry.flags (name, value) VALUES ('ingest', 'off')",
        "UPDATE telemetry.plans SET requests_per_second = 1e9",
        "UPDATE telemetry.alembic_version SET version_num = '0000'",
        "DELETE FROM telemetry.usage",
    ],
)
@pytest.mark.usefixtures("tenant_id")
def test_nothing_else_is_granted(statement: str) -> None:
    with psycopg.connect(Settings().database_url.get_secret_value()) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())
