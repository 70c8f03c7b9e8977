"""Whoever asks the database is answered in time, or told Later."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from shared.database import Database as Questions
from shared.errors import Later
from shared.settings import Database as Settings
from tests.edges import Database


@pytest.fixture
async def questions(database: Database) -> AsyncIterator[Questions]:
    async with Questions(Settings().database_url) as made:
        yield made


async def one(connection: Any) -> Any:
    return await (await connection.execute("SELECT 1")).fetchone()


async def test_answer_is_what_the_work_returns(questions: Questions, database: Database) -> None:
    database.answers.append([(1,)])
    assert await questions.run(one) == (1,)


async def test_away_is_later(questions: Questions, database: Database) -> None:
    database.down = True
    with pytest.raises(Later):
        await questions.run(one)


async def test_frozen_is_later_in_time_though_it_cant_be_cancelled(questions: Questions, database: Database) -> None:
    database.frozen = True
    async with asyncio.timeout(5):
        with pytest.raises(Later):
            await questions.run(one, 0.05)
    assert questions._late
    database.frozen = False


async def test_missing_table_is_later(questions: Questions, caplog: pytest.LogCaptureFixture) -> None:
    async def migrated_not_yet(_: Any) -> None:
        raise psycopg.errors.UndefinedTable("relation plans doesn't exist")

    with pytest.raises(Later):
        await questions.run(migrated_not_yet)
    assert "UndefinedTable" in caplog.text


async def test_other_errors_go_through(questions: Questions) -> None:
    async def defect(_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await questions.run(defect)


@pytest.mark.parametrize("url", ["postgresql:/obstack:hush-hush@db/x", "obstack hush-hush", "postgresql://obstack:hush-hush%@db/x"])
def test_url_that_cant_be_read_ends_the_start_untold(url: str) -> None:
    """The pool would try it for ever, and log it each time."""
    with pytest.raises(ValueError, match="DATABASE_URL can't be read") as raised:
        Questions(SecretStr(url))
    assert "hush" not in str(raised.value)
    assert raised.value.__suppress_context__
