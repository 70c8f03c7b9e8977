"""Log in and read. Route row → session or token → confine to that tenant → the backend's answer.

The only way to read: whoever asks is one tenant, which the session or the token names, never the request.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from functions.query import answers, metadata, opensearch, relay, routes, timing
from functions.query.expiry import Expiry
from functions.query.operations import Operations
from functions.query.reads import Reads
from functions.query.routes import Backend
from functions.query.session import Sessions, require_own_origin
from functions.query.static import Page
from functions.query.tail import Tails
from functions.query.throttle import Throttle
from functions.query.tokens import Tokens
from functions.query.upstream import Declined, Upstream
from functions.query.usage import OwnUsage
from functions.query.users import Users
from shared.auth import Authenticator, token_of
from shared.contract import Reason, Scope
from shared.errors import Refused
from shared.runtime import Function
from shared.settings import Sessions as Settings
from shared.telemetry import logs, tracing
from shared.usage import Usage


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs of the world."""

    page: Page
    tokens: Authenticator
    usage: Usage
    sessions: Sessions
    own_tokens: Tokens
    own_usage: OwnUsage
    operations: Operations
    reads: Reads
    tails: Tails
    backends: Mapping[Backend, Upstream]
    opensearch: Upstream


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open the database pool and the backends' connection pools."""
    settings = Settings()
    urls = {Backend.LOKI: settings.loki_url, Backend.PROMETHEUS: settings.prom_label_proxy_url, Backend.TEMPO: settings.tempo_url}
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(Authenticator(settings))
        await stack.enter_async_context(Expiry(tokens.database))
        usage = await stack.enter_async_context(Usage(settings, tokens.database))
        users = await stack.enter_async_context(Users(settings, tokens.database))
        backends = {name: await stack.enter_async_context(Upstream(url, relay.SECONDS, connections=0)) for name, url in urls.items()}
        search = await stack.enter_async_context(Upstream(settings.opensearch_url, opensearch.SECONDS, connections=0))
        sessions = Sessions(settings, users, await stack.enter_async_context(Throttle(settings)))
        yield Needs(
            Page(),
            tokens,
            usage,
            sessions,
            Tokens(sessions, tokens.database),
            OwnUsage(sessions, tokens.database),
            await stack.enter_async_context(Operations(settings, sessions)),
            Reads(settings.reads_per_tenant, days=settings.read_days),
            Tails(backends[Backend.LOKI], settings.tails_per_tenant),
            backends,
            search,
        )


function = Function(start, answers.refuse)


@function.handler
async def handle(request: Request, needs: Needs) -> Response:
    """Answer one request, and note how long it took."""
    return await timing.timed(request, answer(request, needs))


async def answer(request: Request, needs: Needs) -> Response:
    """Answer one request. Raises Refused and Later."""
    path = routes.path_of(request)
    if (
        own := await needs.sessions.answer(request, path)
        or await needs.own_tokens.answer(request, path)
        or await needs.own_usage.answer(request, path)
        or await needs.operations.answer(request, path)
        or needs.page.answer(request, path)
    ):
        return own
    if (request.method, path) == ("GET", opensearch.PATH):
        return await opensearch.search(request, await reader(request, needs), needs.opensearch, needs.reads)
    route, below = routes.find(request.method, path)
    if route is routes.METADATA:
        return await metadata.metadata(request, await reader(request, needs), needs.backends[route.backend], needs.reads)
    return await relay.relay(request, route, below, await reader(request, needs), needs.backends[route.backend], needs.reads)


@function.socket
async def follow(request: Request, socket: WebSocket, needs: Needs) -> None:
    """Answer one WebSocket. A browser lets any site open one and sends the cookie along, so a session's must come from our own page."""
    route, below = routes.find("GET", routes.path_of(request))
    if route is not routes.TAIL:
        raise Refused(Reason.NOT_FOUND, "there is no such WebSocket", 404)
    tenant_id, who = await reader(request, needs), partial(reader, request, needs, again=True)
    tracing.end(200)  # a tail may last for days, and a trace is read when it has ended
    if not _has_token(request):
        require_own_origin(request)
    try:
        await needs.tails.follow(request, socket, below, tenant_id, who)
    except Declined:  # what Loki has against the query it says without a WebSocket, too
        await socket.send_denial_response(await relay.relay(request, route, below, tenant_id, needs.backends[route.backend], needs.reads))


async def reader(request: Request, needs: Needs, *, again: bool = False) -> str:
    """The tenant that asks. A token decides when there is one, good or not; it never falls back to the cookie. `again`: a read that was counted goes on.

    Raises Refused (401, 403), Later.
    """
    began = tracing.dice()
    if _has_token(request):
        tenant = await needs.tokens.tenant(request.headers, Scope.READ, anew=again)
        if not again:
            needs.usage.count(tenant, Scope.READ, 0, 0)
        tenant_id = tenant.id
    else:
        tenant_id = (await needs.sessions.user(request)).tenant_id
    logs.tenant_id.set(tenant_id)
    if not again:
        tracing.came_in("query", tenant_id, request.headers, began)
    return tenant_id


def _has_token(request: Request) -> bool:
    return bool(token_of(request.headers)) or "authorization" in request.headers


app = function.app(__name__)
