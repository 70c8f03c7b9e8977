"""Log-ins and sessions in the real database: as `./task migrate` makes one, and as a platform has it with numbers for keys."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from functions.query import users
from functions.query.users import User, Users
from localdev import migrate
from shared.contract import Role
from shared.database import Database
from shared.errors import Refused
from shared.settings import Database as Settings
from tests.functions.query.world import HASH, PASSWORD
from tests.localdev.test_migrate import PLATFORM
from tests.postgres import Postgres

HOUR = timedelta(hours=1)
EMAIL = "anna@acme.example"
OURS = """
INSERT INTO tenants (name) VALUES ('Acme Rockets');
INSERT INTO users (tenant_id, email, hashed_password, roles) SELECT id, 'anna@acme.example', '', '["admin"]' FROM tenants
"""


class Accounts:
    """The function's side of a database, and the platform's."""

    def __init__(self, url: str, mine: Users, other: Users) -> None:
        self.url, self.mine, self.other = url, mine, other

    def change(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    async def log_in(self) -> tuple[User, str]:
        return await self.mine.log_in(EMAIL, PASSWORD, HOUR)

    async def stands(self, user: User, session: str) -> bool:
        """As an instance that doesn't know the session sees it."""
        self.other._known.clear()
        try:
            return await self.other.still(session, user.id, user.tenant_id) == user
        except Refused:
            return False


@pytest.fixture(params=["ours", "platform"])
async def accounts(request: pytest.FixtureRequest, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Accounts]:
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    with psycopg.connect(url) as connection:
        if request.param == "platform":
            connection.execute(PLATFORM)
    migrate.migrate()
    with psycopg.connect(url) as connection:
        if request.param == "ours":
            connection.execute(OURS)
        connection.execute("UPDATE users SET hashed_password = %s", (HASH,))
    async with Database(Settings().database_url) as database, Users(Settings(), database) as mine, Users(Settings(), database) as other:
        yield Accounts(url, mine, other)


async def test_login_opens_a_session_that_another_instance_knows(accounts: Accounts) -> None:
    user, session = await accounts.log_in()
    assert (user.email, user.tenant_name, user.role) == (EMAIL, "Acme Rockets", Role.ADMIN)
    assert UUID(user.tenant_id)
    assert await accounts.stands(user, session)
    assert not await accounts.stands(user, str(uuid4()))


@pytest.mark.parametrize(("stored", "given", "found"), [("änna@x", "Änna@X", True), ("ida@x", "İDA@x", False)])
async def test_email_is_made_small_as_attempts_are_counted(accounts: Accounts, stored: str, given: str, found: bool) -> None:
    """Whatever the database's own lower() does: else one user could be tried by e-mails that are counted apart."""
    accounts.change("UPDATE users SET email = %s WHERE email = %s", stored, EMAIL)
    try:
        user, _ = await accounts.mine.log_in(given, PASSWORD, HOUR)
    except Refused:
        assert not found
    else:
        assert (found, user.email) == (True, stored)


async def test_session_ends_by_logout_alone_or_with_all_others(accounts: Accounts) -> None:
    user, first = await accounts.log_in()
    (_, second), (_, third) = await accounts.log_in(), await accounts.log_in()
    await accounts.mine.log_out(first, everywhere=False)
    assert [await accounts.stands(user, session) for session in (first, second, third)] == [False, True, True]
    await accounts.mine.log_out(first, everywhere=True)
    assert await accounts.stands(user, second), "an ended session ends no others"
    await accounts.mine.log_out(second, everywhere=True)
    assert not await accounts.stands(user, third)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET hashed_password = 'another' WHERE email = %s",
        "UPDATE users SET is_active = false WHERE email = %s",
        "DELETE FROM users WHERE email = %s",
        "UPDATE tenants SET is_active = false WHERE id IN (SELECT tenant_id FROM users WHERE email = %s)",
        "UPDATE telemetry.sessions SET expires_at = now() WHERE %s <> ''",
    ],
)
async def test_session_ends_with_the_password_the_user_the_tenant_and_the_time(accounts: Accounts, statement: str) -> None:
    user, session = await accounts.log_in()
    accounts.change(statement, EMAIL)
    assert not await accounts.stands(user, session)


async def test_rows_of_sessions_are_bounded_and_expired_ones_go(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "MOST_SESSIONS", 3)
    user, first = await accounts.log_in()
    later = [(await accounts.log_in())[1] for _ in range(3)]
    assert not await accounts.stands(user, first)
    assert [await accounts.stands(user, session) for session in later] == [True] * 3
    accounts.change("UPDATE telemetry.sessions SET expires_at = now() - interval '1 second'")
    _, last = await accounts.log_in()
    assert accounts.change("SELECT id::text FROM telemetry.sessions") == [(last,)]


async def test_wrong_password_and_inactive_user_open_none(accounts: Accounts) -> None:
    with pytest.raises(Refused):
        await accounts.mine.log_in(EMAIL, "wrong", HOUR)
    accounts.change("UPDATE users SET is_active = false")
    with pytest.raises(Refused):
        await accounts.log_in()
    assert accounts.change("SELECT * FROM telemetry.sessions") == []
