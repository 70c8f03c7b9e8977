"""PostgreSQL with a deadline: a few pooled connections, and Later for whoever can't be answered in time.

Nothing on the way of a batch waits for it: tokens are cached, usage is counted in memory.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

from shared.errors import Later

log = logging.getLogger(__name__)

SECONDS = 3.0
"""How long a question may take, waiting for a connection included."""
UNREADABLE = "DATABASE_URL can't be read; it should be like postgresql://role:password@host/database"
"""All that is said of such a URL: PostgreSQL's client library quotes it, and a password may be in it."""

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]


class Database:
    """Open it with `async with`; it starts without a server and says Later until there is one."""

    def __init__(self, url: SecretStr) -> None:
        """Raises ValueError for a URL that can't be read: the pool would log it over and over, with the password."""
        try:
            conninfo_to_dict(url.get_secret_value())
        except psycopg.ProgrammingError:
            raise ValueError(UNREADABLE) from None
        self._pool = AsyncConnectionPool(
            url.get_secret_value(),
            min_size=1,
            max_size=4,
            open=False,
            timeout=SECONDS,
            check=AsyncConnectionPool.check_connection,
            kwargs={"connect_timeout": 3},
        )
        self._late: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> "Database":
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def run(self, work: Callable[[Connection], Awaitable[T]], seconds: float | None = None) -> T:
        """What `work` makes of a connection, in one transaction. Raises Later: then it may have happened all the same."""
        # A task of its own, left behind when it's late: psycopg answers a cancellation only after it has tried for 10 s to tell a silent server of it.
        task = asyncio.create_task(self._work(work))
        self._late.add(task)
        task.add_done_callback(self._forget)
        if task not in (await asyncio.wait({task}, timeout=SECONDS if seconds is None else seconds))[0]:
            task.cancel()
            raise _away("timeout")
        try:
            return task.result()
        except psycopg.Error as error:  # PoolTimeout is one of them
            raise _away(type(error).__name__) from error

    async def _work(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            return await work(connection)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a late one isn't reported as never retrieved


def _away(why: str) -> Later:
    log.warning("the database can't be asked: %s", why)
    return Later("the database can't be asked at the moment")
