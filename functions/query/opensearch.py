"""Full text: the search is built from the user's words and numbers; a body or an index name of his is never passed on.

`GET /query/api/logs/search` with `search_request.KNOWN` → `search_answer.page`. The index pattern names the tenant's own indices of any period (UUID, so no
prefix of another) and a filter on `tenant_id` says it once more.
"""

import asyncio
import logging
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic
from typing import Any

import aiohttp
import orjson
from starlette.requests import Request

from functions.query import answers, parameters, search_answer, search_request
from functions.query.reads import Reads
from functions.query.relay import tenant_uuid
from functions.query.search_request import Search
from functions.query.upstream import Slow, TooLarge, Upstream
from shared.contract import JSON, LOGS_INDEX, QUERY_PREFIX, Reason
from shared.errors import Later, Refused, Trouble
from shared.telemetry import metrics

log = logging.getLogger(__name__)

PATH = f"{QUERY_PREFIX}/api/logs/search"
SECONDS = 30.0
"""For an answer as a whole."""
STARTING_SECONDS, AGAIN_SECONDS = 5.0, 0.1
"""How long a search is put again while a part of an index isn't there, as in the first moments of a new one; and how often."""
MAX_BYTES = 16 * 1024 * 1024
"""Of OpenSearch's answer, which is held as a whole."""

# A tenant without a record has no index yet: an empty list, no error. An index of which a part is missing is an error, though, and not fewer records in
# silence. The timeout is OpenSearch's own, so that it doesn't go on for nobody.
_SWITCHES = "ignore_unavailable=true&allow_no_indices=true&expand_wildcards=open&allow_partial_search_results=false&cancel_after_time_interval=30s"


async def search(request: Request, tenant_id: str, upstream: Upstream, reads: Reads) -> answers.Streamed:
    """One page of log records of this tenant. Raises Refused (400, 429), Later (OpenSearch away, too much at the same time), Slow (no answer in time)."""
    with ExitStack() as until_the_end:
        until_the_end.enter_context(reads.one(tenant_id))
        wanted = search_request.read(await parameters.read(request), reads.days)
        return answers.held(orjson.dumps(await _page(wanted, tenant_id, upstream)), until_the_end)


async def _page(wanted: Search, tenant_id: str, upstream: Upstream) -> dict[str, Any]:
    index = f"{LOGS_INDEX}{tenant_uuid(tenant_id)}-*"
    try:
        async with asyncio.timeout(SECONDS):
            # Of records too large to be held so many at a time, fewer; `next` goes on after them.
            while (found := await _ask(upstream, index, search_request.body(wanted, tenant_id))) is None:
                if wanted.size == 1:
                    raise Refused(Reason.INVALID, f"the next record is over {MAX_BYTES} bytes")
                wanted = replace(wanted, size=max(1, wanted.size // 8))
    except (TimeoutError, Slow) as error:
        raise _away("timeout", Slow(f"opensearch didn't answer in {SECONDS:.0f} s: ask for a shorter time range")) from error
    return search_answer.page(found, wanted)


async def _ask(upstream: Upstream, index: str, body: dict[str, Any]) -> Any:
    """The answer; None when it is over MAX_BYTES."""
    try:
        response, found = await _once_it_is_there(upstream, f"/{index}/_search?{_SWITCHES}", orjson.dumps(body))
    except TooLarge:
        return None
    except Slow:
        raise
    except Trouble as error:
        raise _away(str(error), Later("opensearch is not available")) from error
    metrics.QUERIES.labels("opensearch", f"{response.status // 100}xx").inc()
    if response.status == 400:
        raise Refused(Reason.INVALID, "the search has too many words, or a cursor that is not from this search")
    if response.status != 200:
        raise _away(f"answered {response.status}", Later("opensearch is not available"))
    return orjson.loads(found)


async def _once_it_is_there(upstream: Upstream, target: str, body: bytes) -> tuple[aiohttp.ClientResponse, bytes]:
    """The answer that isn't 503, or the last. A shard that hasn't started holds nothing that could have been found before, so waiting for it loses nothing."""
    headers = {"content-type": JSON, "accept": JSON, "accept-encoding": "identity"}
    end = monotonic() + STARTING_SECONDS
    while True:
        response = await upstream.open("POST", target, headers, body)
        found = await upstream.read(response, MAX_BYTES)
        if response.status != 503 or monotonic() >= end:
            return response, found
        await asyncio.sleep(AGAIN_SECONDS)


def _away(why: str, error: Later) -> Later:
    log.warning("opensearch: %s", why)
    metrics.QUERIES.labels("opensearch", "timeout" if isinstance(error, Slow) else "unavailable").inc()
    return error
