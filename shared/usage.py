"""What tenants sent, by token and signal: counted in memory on the way of a batch, written for billing and shown as metrics from behind it.

Every few seconds the counts become rows of the table `usage` (tenant, token, signal, hour) and the tokens' `last_used_at`. While the database is away they
stay in memory, one row for each of these keys; a flush whose answer got lost is repeated with its number and added once. `kill -9` loses what was counted
since the last flush, and nothing that a client was told depends on it.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from uuid import uuid4

from shared.database import Connection, Database
from shared.errors import Later
from shared.settings import Database as Settings
from shared.telemetry import metrics
from shared.tenant import Tenant

log = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0
FLUSH_TIMEOUT, LAST_FLUSH_TIMEOUT = 30.0, 4.0
"""How long a flush may take: while running, and at the end, when the platform waits for the process."""
USED_EVERY = timedelta(seconds=60)
"""How often a token's last use is written."""
MOST_ROWS = 200_000
"""From here on, with the database away, later hours are counted into the last hour that has rows: the memory is bounded by tokens and signals alone."""
BATCH, SLICE = 500, 200
"""Rows in one statement; with SLICE, sealed in one go, it keeps 10,000 tenants' flush from holding up the loop for longer than a few milliseconds."""
LABELLED_TENANTS = 1_000
"""Tenants with a metric series of their own in each process; bills come from the table."""

_ADD = """
WITH fresh AS (
    INSERT INTO telemetry.usage_writers (id, flush) VALUES (%(writer)s, %(flush)s)
    ON CONFLICT (id) DO UPDATE SET flush = excluded.flush, at = now() WHERE usage_writers.flush < excluded.flush
    RETURNING id
)
INSERT INTO telemetry.usage (tenant_id, token_id, signal, hour, requests, records, bytes)
SELECT u.* FROM fresh,
    unnest(
        %(tenants)s::uuid[], %(tokens)s::uuid[], %(signals)s::text[], %(hours)s::timestamptz[],
        %(requests)s::bigint[], %(records)s::bigint[], %(bytes)s::bigint[]
    ) u
ON CONFLICT (tenant_id, hour, token_id, signal) DO UPDATE
SET requests = usage.requests + excluded.requests, records = usage.records + excluded.records, bytes = usage.bytes + excluded.bytes
"""

# Locked in order and only if nobody else is at it, who would write the same: other processes flush at the same time.
_USED = """
WITH mine AS (SELECT id FROM telemetry.tokens WHERE id = ANY(%(tokens)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
UPDATE telemetry.tokens k SET last_used_at = u.at FROM unnest(%(tokens)s::uuid[], %(at)s::timestamptz[]) AS u (id, at) JOIN mine USING (id)
WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
"""

_TIDY = "DELETE FROM telemetry.usage_writers WHERE at < now() - interval '30 days'"

_Key = tuple[str, str, str, datetime]


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    records: int = 0
    bytes: int = 0

    def add(self, other: "_Counts") -> None:
        self.requests += other.requests
        self.records += other.records
        self.bytes += other.bytes


@dataclass(slots=True)
class _Live(_Counts):
    tenant: str = ""


class Usage:
    """Open it in `start` (`async with`); `count` never waits for anything."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._database = Database(settings.database_url) if database is None else database
        self._own = self._database if database is None else None
        self._live: dict[tuple[str, str], _Live] = {}
        self._hour = _hour_of(datetime.now(UTC))
        self._sealing: dict[tuple[str, str], _Live] = {}
        self._rows: dict[_Key, _Counts] = {}
        self._sending: dict[_Key, _Counts] = {}
        self._used: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}
        self._labels = metrics.Tenants(LABELLED_TENANTS)
        self._writer, self._flush_number = uuid4(), 0
        self._flusher: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._tidied = False

    async def __aenter__(self) -> "Usage":
        if self._own:
            await self._own.__aenter__()
        self._flusher = asyncio.create_task(self._flush_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        if self._flusher:
            await asyncio.wait({self._flusher}, timeout=LAST_FLUSH_TIMEOUT)
            self._flusher.cancel()
            await asyncio.wait({self._flusher})
        await self._report_lost()
        if self._own:
            await self._own.__aexit__()

    def count(self, tenant: Tenant, signal: str, records: int, bytes_: int) -> None:
        """One request of so many records and bytes. Called for what was taken over, after the broker's yes; for reads with 0, 0."""
        key = tenant.token_id, signal
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = _Live(tenant=tenant.id)
        live.requests += 1
        live.records += records
        live.bytes += bytes_

    async def flush(self, seconds: float = FLUSH_TIMEOUT) -> bool:
        """Write what was counted; whether all of it is written. What couldn't be stays for the next flush."""
        await self._seal()
        try:
            while self._sending or self._rows:
                if not self._sending:
                    # Numbered, and left as it is until it is known to be written.
                    self._sending = {key: self._rows.pop(key) for key in list(islice(self._rows, BATCH))}
                    self._flush_number += 1
                await self._database.run(partial(_add, str(self._writer), self._flush_number, self._sending), seconds)
                self._sending = {}
            await self._write_used(seconds)
        except Later:
            return False
        return True

    async def _seal(self) -> None:
        """Give what was counted since the last time the hour it was counted in; metrics and last uses follow."""
        hour, now = self._hour, datetime.now(UTC)
        if len(self._rows) < MOST_ROWS:
            self._hour = _hour_of(now)
        self._sealing, self._live = self._live, {}
        while self._sealing:
            (token, signal), counts = self._sealing.popitem()
            self._rows.setdefault((counts.tenant, token, signal, hour), _Counts()).add(counts)
            self._used[token] = now
            label = self._labels.label(counts.tenant)
            metrics.USAGE_REQUESTS.labels(label, signal).inc(counts.requests)
            metrics.USAGE_RECORDS.labels(label, signal).inc(counts.records)
            metrics.USAGE_BYTES.labels(label, signal).inc(counts.bytes)
            if len(self._sealing) % SLICE == 0:
                await asyncio.sleep(0)

    async def _write_used(self, seconds: float) -> None:
        now = datetime.now(UTC)
        self._written = {token: at for token, at in self._written.items() if now - at < USED_EVERY}
        due = [token for token in self._used if token not in self._written or self._ending.is_set()]
        for start in range(0, len(due), BATCH):
            part = {token: self._used[token] for token in due[start : start + BATCH]}
            await self._database.run(partial(_use, part), seconds)
            for token in part:
                self._written[token] = now
                del self._used[token]

    async def _flush_for_ever(self) -> None:
        await self._wait()
        while not self._ending.is_set():
            if await self._flush_safely(FLUSH_TIMEOUT) and not self._tidied:
                with contextlib.suppress(Later):
                    await self._database.run(_tidy)
                self._tidied = True
            await self._wait()
        await self._flush_safely(LAST_FLUSH_TIMEOUT)

    async def _wait(self) -> None:
        now = datetime.now(UTC)
        # Not beyond the hour's end, so that each row's hour is right.
        wait = min(FLUSH_SECONDS, (_hour_of(now) + timedelta(hours=1) - now).total_seconds())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), wait)

    async def _flush_safely(self, seconds: float) -> bool:
        try:
            return await self.flush(seconds)
        except Exception:  # a defect of ours must not end the flusher: the counts would pile up unseen
            log.exception("usage can't be written")
            return False

    async def _report_lost(self) -> None:
        """What stays unwritten at the end, row by row: whoever bills can add it by hand."""
        await self._seal()
        for rows, flush in ((self._sending, {"writer": str(self._writer), "flush": self._flush_number}), (self._rows, {})):
            # With a flush's number: its answer is missing, and the table usage_writers tells whether it was written all the same.
            for (tenant, token, signal, hour), counts in rows.items():
                lost = {"tenant": tenant, "token": token, "signal": signal, "hour": hour.isoformat()}
                log.error("usage not written", extra={**lost, "requests": counts.requests, "records": counts.records, "bytes": counts.bytes, **flush})


async def _add(writer: str, number: int, rows: dict[_Key, _Counts], connection: Connection) -> None:
    ordered = sorted(rows.items())  # two processes that lock the same rows must do it in the same order
    tenants, tokens, signals, hours = zip(*(key for key, _ in ordered), strict=True)
    await connection.execute(
        _ADD,
        {
            "writer": writer,
            "flush": number,
            "tenants": list(tenants),
            "tokens": list(tokens),
            "signals": list(signals),
            "hours": list(hours),
            "requests": [counts.requests for _, counts in ordered],
            "records": [counts.records for _, counts in ordered],
            "bytes": [counts.bytes for _, counts in ordered],
        },
    )


async def _use(used: dict[str, datetime], connection: Connection) -> None:
    await connection.execute(_USED, {"tokens": list(used), "at": list(used.values())})


async def _tidy(connection: Connection) -> None:
    await connection.execute(_TIDY)


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
