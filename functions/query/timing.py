"""How long reads take, by endpoint: the row of the allow-list, or the path of our own."""

from collections.abc import Awaitable
from functools import lru_cache
from time import monotonic
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from functions.query import routes
from shared.contract import QUERY_PREFIX
from shared.errors import Refused
from shared.telemetry import metrics

OWN: Final = frozenset({"login", "logout", "me", "tokens", "usage", "operations", "logs"})
"""What our own paths begin with, below `/query/api/`."""
NONE: Final = "none"
"""For paths that are nowhere: what callers write must not become labels."""


async def timed(request: Request, answering: Awaitable[Response]) -> Response:
    """The answer, its time noted. Whatever is raised is what the answer would raise."""
    began, status = monotonic(), 503
    try:
        response = await answering
        status = response.status_code
    except Refused as refused:
        status = refused.status
        raise
    except ClientDisconnect:
        status = 400
        raise
    else:
        return response
    finally:
        metrics.QUERY_SECONDS.labels(endpoint(request.method, routes.path_of(request)), f"{status // 100}xx").observe(monotonic() - began)


@lru_cache(1000)
def endpoint(method: str, path: str) -> str:
    """`loki/api/v1/query_range`, `api/tokens`, `page` or NONE; as many as there are rows."""
    if routes.backend_of(path):
        try:
            route, _ = routes.find(method, path)
        except Refused:
            return NONE
        return f"{route.backend}{route.path}"
    first, _, rest = path.removeprefix(QUERY_PREFIX).removeprefix("/").partition("/")
    if first != "api":
        return "page" if first in {"", "page"} else NONE
    own = rest.partition("/")[0]
    return f"api/{own}" if own in OWN else NONE
