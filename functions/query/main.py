"""Log in and read. Route row → session or token → confine to that tenant → the backend's answer.

The only way to read: whoever asks is one tenant, which the session or the token names, never the request.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from opensearchpy import AsyncOpenSearch
from starlette.requests import Request
from starlette.responses import Response

from functions.query import answers, opensearch, relay, routes
from functions.query.reads import Reads
from functions.query.routes import Backend
from functions.query.session import Sessions
from functions.query.static import Page
from functions.query.tokens import Tokens
from functions.query.users import Users
from shared.auth import Authenticator, token_of
from shared.contract import Scope
from shared.runtime import Function
from shared.settings import Sessions as Settings
from shared.telemetry import logs
from shared.upstream import Upstream
from shared.usage import Usage


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs of the world."""

    page: Page
    tokens: Authenticator
    usage: Usage
    sessions: Sessions
    own_tokens: Tokens
    reads: Reads
    backends: Mapping[Backend, Upstream]
    opensearch: AsyncOpenSearch


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open the database pool and the backends' connection pools."""
    settings = Settings()
    urls = {Backend.LOKI: settings.loki_url, Backend.PROMETHEUS: settings.prom_label_proxy_url, Backend.TEMPO: settings.tempo_url}
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(Authenticator(settings))
        usage = await stack.enter_async_context(Usage(settings, tokens.database))
        users = await stack.enter_async_context(Users(settings, tokens.database))
        backends = {name: await stack.enter_async_context(Upstream(url, relay.SECONDS, connections=0)) for name, url in urls.items()}
        client = opensearch.connect(settings.opensearch_url)
        stack.push_async_callback(client.close)
        sessions = Sessions(settings, users)
        yield Needs(Page(), tokens, usage, sessions, Tokens(sessions, tokens.database), Reads(settings.reads_per_tenant), backends, client)


function = Function(start, answers.refuse)


@function.handler
async def handle(request: Request, needs: Needs) -> Response:
    """Answer one request."""
    path = routes.path_of(request)
    if own := await needs.sessions.answer(request, path) or await needs.own_tokens.answer(request, path) or needs.page.answer(request, path):
        return own
    if (request.method, path) == ("GET", opensearch.PATH):
        tenant_id = await reader(request, needs)
        with needs.reads.one(tenant_id):
            return await opensearch.search(request, needs.opensearch, tenant_id)
    route, below = routes.find(request.method, path)
    return await relay.relay(request, route, below, await reader(request, needs), needs.backends[route.backend], needs.reads)


async def reader(request: Request, needs: Needs) -> str:
    """The tenant that asks. A token decides when there is one, good or not; it never falls back to the cookie."""
    if token_of(request.headers) or "authorization" in request.headers:
        tenant = await needs.tokens.tenant(request.headers, Scope.READ)
        needs.usage.count(tenant, Scope.READ, 0, 0)
        tenant_id = tenant.id
    else:
        tenant_id = (await needs.sessions.user(request)).tenant_id
    logs.tenant_id.set(tenant_id)
    return tenant_id


app = function.app(__name__)
