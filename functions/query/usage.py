"""What a tenant sent and read, over time, for its logged-in users: `GET /query/api/usage?from=&to=&step=hour|day`.

→ {"step", "usage": [{"at": ms of the hour's or day's (UTC) start, "signal", "requests", "records", "bytes"}, …]}, by time and signal. Only a session opens
it. Source: the table `telemetry.usage`, which functions write at most some seconds late.
"""

from datetime import UTC, datetime
from time import time_ns
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from functions.query import answers, parameters, times
from functions.query.session import Sessions
from shared.contract import QUERY_PREFIX, Reason
from shared.database import Connection, Database
from shared.errors import Refused
from shared.telemetry import logs

PATH = f"{QUERY_PREFIX}/api/usage"
KNOWN = frozenset({"from", "to", "step"})
DEFAULT_FROM, DEFAULT_TO, DEFAULT_STEP = "now-7d", "now", "hour"
MOST_DAYS = {"hour": 35, "day": 400}
"""Of one answer, by step: at most some 3,400 rows."""

# Rows are whole hours, so the first step counts from its beginning.
_USAGE = """
SELECT date_trunc(%(step)s, hour, 'UTC') AS at, signal, sum(requests)::bigint, sum(records)::bigint, sum(bytes)::bigint
FROM telemetry.usage
WHERE tenant_id = %(tenant)s AND hour >= date_trunc(%(step)s, %(from)s::timestamptz, 'UTC') AND hour < %(to)s::timestamptz
GROUP BY at, signal ORDER BY at, signal
"""


class OwnUsage:
    """The table, read one tenant at a time."""

    def __init__(self, sessions: Sessions, database: Database) -> None:
        self._sessions = sessions
        self._database = database

    async def answer(self, request: Request, path: str) -> Response | None:
        """The answer, if the path is ours. Raises Refused (400, 401, 403, 405), Later."""
        if path != PATH:
            return None
        if request.method != "GET":
            raise Refused(Reason.METHOD, "usage is read by GET", 405)
        tenant_id = (await self._sessions.user(request)).tenant_id
        logs.tenant_id.set(tenant_id)
        given = dict(parameters.select(await parameters.read(request), KNOWN, (), ""))
        step, start, end = _asked(given, time_ns())
        return answers.data({"step": step, "usage": await self._database.run(lambda connection: read(connection, tenant_id, step, start, end))})


async def read(connection: Connection, tenant_id: str, step: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """One tenant's rows of the answer, from the step that has `start` in it to before `end`."""
    found = await connection.execute(_USAGE, {"tenant": tenant_id, "step": step, "from": start, "to": end})
    return [
        {"at": int(at.timestamp()) * 1000, "signal": signal, "requests": requests, "records": records, "bytes": bytes_}
        for at, signal, requests, records, bytes_ in await found.fetchall()
    ]


def _asked(given: dict[str, str], now: int) -> tuple[str, datetime, datetime]:
    step = given.get("step") or DEFAULT_STEP
    if step not in MOST_DAYS:
        raise Refused(Reason.INVALID, f"step must be one of {', '.join(MOST_DAYS)}")
    start, end = (_moment(times.parse(given.get(name) or default, now)) for name, default in (("from", DEFAULT_FROM), ("to", DEFAULT_TO)))
    if start > end:
        raise Refused(Reason.INVALID, "from lies after to")
    if (end - start).days > MOST_DAYS[step]:
        raise Refused(Reason.INVALID, f"by {step}, at most {MOST_DAYS[step]} days can be asked for")
    return step, start, end


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC)
