"""The operators' own view of the pipeline: `GET /query/api/operations`, for admins of the platform's tenant alone; for anybody else it isn't there (404).

→ {"configured": false} without OPERATIONS_PROMETHEUS_URL, else {"configured": true, "at": ms, "step": ms, "now": {question: [{"labels", "value"}, …]},
"hour": {question: [{"labels", "points": [[ms, value], …]}, …]}, "alerts": [{"name", "severity", "state", "since", "summary", "runbook"}, …]}.

The questions are those below and no others: nothing of a caller's becomes PromQL. A value that is no number is null.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import time
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response

from functions.query import answers
from functions.query.session import Sessions
from functions.query.upstream import Upstream
from shared.contract import JSON, QUERY_PREFIX, Reason
from shared.errors import Later, Refused
from shared.settings import Sessions as Settings

log = logging.getLogger(__name__)

PATH = f"{QUERY_PREFIX}/api/operations"
SECONDS = 5.0
"""For an answer of the operators' Prometheus."""
STEP, SPAN = 60, 3600
MAX_BYTES = 4 * 1024 * 1024

_LETTERS = "obstack_dead_letter_stored_letters_total"
NOW = {
    "up": "min by (job, function) (up)",
    "lag_records": "sum by (group) (obstack_group_lag_records)",
    "lag_seconds": "max by (group) (obstack_group_lag_seconds)",
    "taken": "sum by (signal) (rate(obstack_ingest_accepted_records_total[1m]))",
    "answers": 'sum by (code) (rate(kong_http_requests_total{service=~"telemetry-.*"}[1m]))',
    "refused": "sum by (reason) (rate(obstack_ingest_refused_requests_total[5m])) > 0",
    "stored": "sum by (function) (rate(obstack_sink_delivered_records_total[1m]))",
    "postponed": "sum by (function) (rate(obstack_sink_postponed_records_total[1m]))",
    "breaker": "max by (function) (obstack_sink_breaker_state)",
    # A counter's first letter is no increase to Prometheus: it has never seen the series without it.
    "dead": f"sum by (sink) ({_LETTERS} unless {_LETTERS} offset 1h or increase({_LETTERS}[1h]))",
    "waiting": "sum by (sink) (obstack_replay_waiting_letters)",
    "switched": 'max by (flag, value) (obstack_flag{value!="on"}) > 0',
    "defects": "sum by (function) (increase(obstack_unhandled_errors_total[1h])) > 0",
    "restarts": "sum by (service) (increase(obstack_service_restarts_total[1h])) > 0",
}
HOUR = {name: NOW[name] for name in ("lag_seconds", "taken")}


class Operations:
    """Asks the operators' Prometheus. Open it in `start` (`async with`)."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._url = settings.operations_prometheus_url
        self._sessions = sessions
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Operations":
        if self._url:
            self._prometheus = await self._open.enter_async_context(Upstream(self._url, SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def answer(self, request: Request, path: str) -> Response | None:
        """The answer, if the path is ours. Raises Refused (401, 403, 404), Later."""
        if path != PATH:
            return None
        user = await self._sessions.user(request)
        if request.method != "GET" or not self._sessions.is_operator(user):
            raise Refused(Reason.NOT_FOUND, "there is no such read", 404)
        return answers.data(await self._picture() if self._url else {"configured": False})

    async def _picture(self) -> dict[str, Any]:
        end = int(time()) // STEP * STEP
        span = {"start": end - SPAN, "end": end, "step": STEP}
        now = [self._ask("query", {"query": question}) for question in NOW.values()]
        hour = [self._ask("query_range", {"query": question, **span}) for question in HOUR.values()]
        alerts, *found = await asyncio.gather(self._ask("alerts", {}), *now, *hour)
        instants, ranges = found[: len(now)], found[len(now) :]
        return {
            "configured": True,
            "at": int(time() * 1000),
            "step": STEP * 1000,
            "now": {name: [_instant(series) for series in data["result"]] for name, data in zip(NOW, instants, strict=True)},
            "hour": {name: [_range(series) for series in data["result"]] for name, data in zip(HOUR, ranges, strict=True)},
            "alerts": sorted(map(_alert, alerts["alerts"]), key=lambda alert: (alert["state"] != "firing", alert["since"])),
        }

    async def _ask(self, endpoint: str, parameters: Mapping[str, Any]) -> Any:
        """`data` of the answer. Raises Later for whatever isn't a success: the questions are right."""
        try:
            response = await self._prometheus.open("GET", f"/api/v1/{endpoint}?{urlencode(parameters)}", {"accept": JSON, "accept-encoding": "identity"})
            body = await self._prometheus.read(response, MAX_BYTES)
        except Later as error:
            log.warning("operators' prometheus: %s", error)
            raise Later("the operators' Prometheus is not available") from error
        if response.status != 200:
            log.warning("operators' prometheus: %s answered %d", parameters.get("query", endpoint), response.status)
            raise Later("the operators' Prometheus is not available")
        return orjson.loads(body)["data"]


def _instant(series: Mapping[str, Any]) -> dict[str, Any]:
    return {"labels": series["metric"], "value": _number(series["value"][1])}


def _range(series: Mapping[str, Any]) -> dict[str, Any]:
    return {"labels": series["metric"], "points": [[int(at * 1000), _number(value)] for at, value in series["values"]]}


def _number(text: str) -> float | None:
    return value if math.isfinite(value := float(text)) else None


def _alert(alert: Mapping[str, Any]) -> dict[str, Any]:
    labels, notes = alert["labels"], alert["annotations"]
    return {
        "name": labels.get("alertname", ""),
        "severity": labels.get("severity", ""),
        "state": alert["state"],
        "since": alert.get("activeAt", ""),
        "summary": notes.get("summary", ""),
        "runbook": notes.get("runbook_url", ""),
    }
