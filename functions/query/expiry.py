"""Tokens that end soon, or ended lately, as metrics: whoever sends with one is refused from then on, and seldom knows it beforehand.

Tokens that somebody has put a successor beside, and those made for less than a week, which machines renew, are no news.
"""

import asyncio
import logging
from time import time

from shared.database import Connection, Database
from shared.errors import Later
from shared.telemetry import metrics

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0

_COUNT = """
SELECT
    count(*) FILTER (WHERE k.expires_at > now() AND k.expires_at <= now() + interval '1 day'),
    count(*) FILTER (WHERE k.expires_at > now()),
    count(*) FILTER (WHERE k.expires_at <= now())
FROM telemetry.tokens k JOIN telemetry.tenants t ON t.id = k.tenant_id
WHERE k.expires_at BETWEEN now() - interval '7 days' AND now() + interval '7 days' AND k.expires_at - k.created_at >= interval '7 days'
    AND k.revoked_at IS NULL AND t.is_active
    AND NOT EXISTS (SELECT FROM telemetry.tokens s WHERE s.replaces = k.id AND s.revoked_at IS NULL)
"""


class Expiry:
    """Counts them once a minute. Open it in `start` (`async with`); while the database is away the last counts stay."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counter: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Expiry":
        self._counter = asyncio.create_task(self._count_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._counter:
            self._counter.cancel()
            await asyncio.wait({self._counter})

    async def count(self) -> None:
        """Count now. Raises Later."""
        day, week, over = await self._database.run(_count)
        metrics.TOKENS_EXPIRING.labels("1d").set(day)
        metrics.TOKENS_EXPIRING.labels("7d").set(week)
        metrics.TOKENS_EXPIRED.set(over)
        metrics.TOKENS_CHECKED.set(time())

    async def _count_for_ever(self) -> None:
        while True:
            try:
                await self.count()
            except Later:
                pass  # the database has said so
            except Exception:  # a defect of ours must not end it unseen
                log.exception("tokens' ends can't be counted")
            await asyncio.sleep(EVERY_SECONDS)


async def _count(connection: Connection) -> tuple[int, int, int]:
    [(day, week, over)] = await (await connection.execute(_COUNT)).fetchall()
    return day, week, over
