"""One confined request to a backend, and its answer streamed back.

To the backend go the tenant (set here, never taken over), Accept and Accept-Encoding, and Loki's one switch for the form of its answer; nothing else of the
caller's: no cookie, no token, no header of his own. Back come status, body as encoded, and the few headers that describe it.

An answer counts in no memory budget: of each one no more is held than the HTTP client's buffer (at most 128 KiB) and one chunk of it on its way out, since the
backend isn't read from while the caller doesn't read; how many there are at a time is bounded (`reads`).
"""

import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
from starlette.requests import Request

from functions.query import bounds, parameters
from functions.query.answers import DATA_HEADERS, Streamed
from functions.query.reads import RETRY_SECONDS, Reads
from functions.query.routes import CONFINED_BY, Backend, Route
from functions.query.upstream import Slow, Upstream
from shared.contract import JSON, Reason
from shared.errors import Later, Refused, Trouble
from shared.telemetry import metrics

log = logging.getLogger(__name__)

SECONDS = 50.0
"""Of a backend's silence. Below the gateway's 120 s (`read_timeout` in stack/kong/kong.yml), so that the caller gets our 504 and not a cut connection."""

MAX_WHOLE = 4 * 1024 * 1024
"""Of an answer that one of ours is made of."""
_FLAGS = ("x-loki-response-encoding-flags", "categorize-labels")
"""By which Grafana is told a record's structured metadata and parsed labels apart from its stream's labels."""
_ABOUT_THE_QUERY = {(Backend.LOKI, 504), (Backend.TEMPO, 504), (Backend.PROMETHEUS, 503), (Backend.PROMETHEUS, 504)}
"""The 5xx that say something against a query: it took too long (Prometheus HTTP API, § Format overview). Any other is about the backend, and names its parts,
files and addresses: Prometheus' 500 is its storage that failed, 502 the proxy before it that found it away."""
_RETURNED = ("content-type", "content-encoding", "content-length", "retry-after")


def tenant_uuid(tenant_id: str) -> str:
    """The id, if it is a UUID in canonical form. `|` would join tenants and `*` match others' indices, so this is asked once more at each edge."""
    if str(UUID(tenant_id)) != tenant_id:
        raise ValueError("tenant id is not a canonical UUID")
    return tenant_id


async def relay(request: Request, route: Route, path: str, tenant_id: str, upstream: Upstream, reads: Reads) -> Streamed:
    """Ask the backend as this tenant.

    Raises Refused for parameters that can't be read or too many reads at a time, Later (or Slow) when the backend doesn't answer.
    """
    pairs = await parameters.wanted(request, route)
    given = dict(pairs)
    if route.ranged:
        bounds.check(given, reads.days, nanoseconds=route.backend is Backend.TEMPO)
    if route.endless and not given.get("start"):
        pairs = [pair for pair in pairs if pair[0] != "start"] + [("start", bounds.earliest(given.get("end", ""), reads.days))]
    if route.backend is Backend.LOKI:
        bounds.check_loki(given)
    if route.most:
        bounds.check_limit(given.get("limit", ""), route.most)
    headers = _headers(request, route, tenant_id)
    with ExitStack() as until_the_end:
        until_the_end.enter_context(reads.one(tenant_id))
        response = await _open(upstream, route.backend, request.method, path, headers, urlencode(pairs))
        metrics.QUERIES.labels(route.backend, f"{response.status // 100}xx").inc()
        returned = {name: response.headers[name] for name in _RETURNED if name in response.headers}
        if response.status in {429, 503}:
            returned.setdefault("retry-after", str(RETRY_SECONDS))
        until_the_end.callback(response.close)
        end = until_the_end.pop_all()
        return Streamed(_chunks(response, end), response.status, {**returned, **DATA_HEADERS}, end)


async def connect(request: Request, route: Route, path: str, tenant_id: str, upstream: Upstream, most_bytes: int) -> aiohttp.ClientWebSocketResponse:
    """A WebSocket of Loki's as this tenant, with messages of at most `most_bytes`. Raises as `relay`, and Declined."""
    pairs = await parameters.wanted(request, route)
    bounds.check_loki(dict(pairs))
    try:
        socket = await upstream.socket(f"{path}?{urlencode(pairs)}", _headers(request, route, tenant_id), most_bytes)
    except Trouble as error:
        raise _away(route.backend, error) from error
    metrics.QUERIES.labels(route.backend, "1xx").inc()
    return socket


async def whole(backend: Backend, target: str, tenant_id: str, upstream: Upstream) -> tuple[int, bytes]:
    """Status and body of a GET as this tenant, for an answer of our own to be made of it. Raises Later, Slow."""
    headers = {"accept": JSON, "accept-encoding": "identity", CONFINED_BY[backend]: tenant_uuid(tenant_id)}
    response = await _open(upstream, backend, "GET", target, headers, "")
    metrics.QUERIES.labels(backend, f"{response.status // 100}xx").inc()
    try:
        return response.status, await upstream.read(response, MAX_WHOLE)
    except Trouble as error:
        raise _away(backend, error) from error


def _headers(request: Request, route: Route, tenant_id: str) -> dict[str, str]:
    # Without an Accept-Encoding the HTTP client would ask for gzip on its own, and a caller who can't read it would get it.
    headers = {"accept": request.headers.get("accept", "*/*"), "accept-encoding": request.headers.get("accept-encoding", "identity")}
    name, value = _FLAGS
    if route.backend is Backend.LOKI and request.headers.get(name) == value:
        headers[name] = value
    return {**headers, CONFINED_BY[route.backend]: tenant_uuid(tenant_id)}


async def _open(upstream: Upstream, backend: Backend, method: str, path: str, headers: dict[str, str], encoded: str) -> aiohttp.ClientResponse:
    try:
        if method == "POST":
            response = await upstream.open("POST", path, {**headers, "content-type": parameters.FORM}, encoded.encode())
        else:
            response = await upstream.open("GET", f"{path}?{encoded}" if encoded else path, headers)
        # None of the backends redirects a path that is right.
        if 300 <= response.status < 400 or (response.status >= 500 and (backend, response.status) not in _ABOUT_THE_QUERY):
            raise _its_own(backend, response.status, (await upstream.read(response, MAX_WHOLE)).decode(errors="replace"))
    except Trouble as error:
        raise _away(backend, error) from error
    return response


def _its_own(backend: Backend, status: int, said: str) -> Refused | Trouble:
    """What an answer about the backend itself means. Loki's volumes say 500 to a query that can't be read, too."""
    unread = said.find("parse error") if (backend, status) == (Backend.LOKI, 500) else -1
    return Trouble(f"answered {status}: {said[:200]}") if unread < 0 else Refused(Reason.INVALID, said[unread:].strip())


def _away(backend: Backend, error: Trouble) -> Later:
    """What the caller is told: which backend, not where it is."""
    log.warning("%s: %s", backend, error)
    slow = isinstance(error, Slow)
    metrics.QUERIES.labels(backend, "timeout" if slow else "unavailable").inc()
    return Slow(f"{backend} didn't answer in {SECONDS:.0f} s: ask for a shorter time range") if slow else Later(f"{backend} is not available")


async def _chunks(response: aiohttp.ClientResponse, end: ExitStack) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
            # At once, as the caller has all of it now and may ask for the next.
            if response.content.at_eof():
                end.close()
                break
    except (aiohttp.ClientError, TimeoutError) as error:
        # The status has gone out: only a connection cut short still tells the caller that there is more to the answer.
        log.warning("backend's answer broke off: %s", type(error).__name__)
        raise
