"""Prometheus' `metadata`, made of names that the tenant has.

Prometheus keeps metadata by name of metric and not by tenant: its own answer would show one customer's names, and his help text for another's metric.
The names come from the tenant's series, through the proxy; the type is what the name says by OpenMetrics' rules, else unknown.
Source: Prometheus HTTP API, § Querying metric metadata.
"""

from contextlib import ExitStack
from urllib.parse import urlencode

import orjson
from starlette.requests import Request

from functions.query import answers, parameters, relay
from functions.query.reads import Reads
from functions.query.routes import METADATA
from functions.query.upstream import Upstream
from shared.contract import Reason
from shared.errors import Refused

MOST_NAMES = 10_000
_NAMES = "/api/v1/label/__name__/values"
_COUNTER, _HISTOGRAM = ("_total", "_sum", "_count"), "_bucket"


async def metadata(request: Request, tenant_id: str, upstream: Upstream, reads: Reads) -> answers.Streamed:
    """{"status": "success", "data": {name: [{"type", "help", "unit"}]}}, for `metric` or for at most `limit` names. Raises as `relay.relay`."""
    given = dict(await parameters.wanted(request, METADATA))
    pairs = [("limit", str(min(_limit(given.get("limit") or "-1"), MOST_NAMES)))]
    if metric := given.get("metric"):
        pairs.append(("match[]", f"{{__name__={orjson.dumps(metric).decode()}}}"))
    with ExitStack() as until_the_end:
        until_the_end.enter_context(reads.one(tenant_id))
        status, body = await relay.whole(METADATA.backend, f"{_NAMES}?{urlencode(pairs)}", tenant_id, upstream)
        if status == 200:
            told = {name: [{"type": _type(name), "help": "", "unit": ""}] for name in orjson.loads(body)["data"]}
            body = orjson.dumps({"status": "success", "data": told})
        return answers.held(body, until_the_end, status)


def _limit(text: str) -> int:
    if not (text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 10):
        raise Refused(Reason.INVALID, "limit must be a number")
    # Less than one means no limit, as in Prometheus.
    return int(text) if int(text) > 0 else MOST_NAMES


def _type(name: str) -> str:
    return "histogram" if name.endswith(_HISTOGRAM) else "counter" if name.endswith(_COUNTER) else "unknown"
