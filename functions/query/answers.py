"""Answers of the query function: errors in the form of the backend whose path was asked for, and the headers that every answer carries.

Loki and Tempo say what is wrong in a line of text. Prometheus has JSON for it (HTTP API, § Format overview), which our own paths use as well. Nothing
that a tenant reads may be kept by a cache or be framed, sniffed or read by another origin.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from functions.query.routes import Backend, backend_of, path_of
from functions.query.upstream import Slow
from shared import memory
from shared.contract import JSON, Reason
from shared.errors import Later, Refused
from shared.telemetry import metrics

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
DATA_HEADERS: Final = {
    **SECURITY_HEADERS,
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cache-control": "no-store",
    "vary": "Cookie, Authorization",
}

SLICE_BYTES: Final = 64 * 1024
"""As much as the server takes before it waits for the client."""

_TYPES: Final = {
    400: "bad_data",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "bad_data",
    409: "bad_data",
    413: "bad_data",
    414: "bad_data",
    415: "bad_data",
    429: "too_many_requests",
}


def data(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(orjson.dumps(value), status, {**DATA_HEADERS, **(headers or {})}, JSON)


def held(body: bytes, until_the_end: ExitStack, status: int = 200) -> "Streamed":
    """JSON that may be large: until its client has it, it counts in the process's memory, and what `until_the_end` holds is kept. Raises Later."""
    until_the_end.enter_context(memory.beyond(len(body)))
    end = until_the_end.pop_all()
    return Streamed(_slices(body, end), status, {**DATA_HEADERS, "content-type": JSON, "content-length": str(len(body))}, end)


async def _slices(body: bytes, end: ExitStack) -> AsyncIterator[bytes]:
    """Given to the server as a whole, it would be kept there for a client that reads slowly, and by nobody's count."""
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]
    end.close()


class Streamed(StreamingResponse):
    """An answer on its way out. `end`: what gives back all that is held for it, whatever happens."""

    def __init__(self, chunks: AsyncIterator[bytes], status: int, headers: Mapping[str, str], end: ExitStack) -> None:
        self._end = end
        super().__init__(chunks, status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end.close()


def refuse(request: Request, error: Refused | Later) -> Response:
    """What went wrong: {"status": "error", "errorType", "error"}, or just the last in a line of text."""
    as_text = backend_of(path_of(request)) in {Backend.LOKI, Backend.TEMPO}
    if isinstance(error, Later):
        metrics.QUERY_REFUSED.labels(Reason.UNAVAILABLE).inc()
        status, kind = (504, "timeout") if isinstance(error, Slow) else (503, "unavailable")
        return _error(as_text, status, kind, error.detail, {"retry-after": str(error.retry_after)})
    metrics.QUERY_REFUSED.labels(error.reason).inc()
    headers = {"www-authenticate": 'Bearer realm="obstack"'} if error.status == 401 else {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return _error(as_text, error.status, _TYPES.get(error.status, "execution"), error.detail, headers)


class TooMany(Refused):
    """Attempts over the limit: when to come back."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(Reason.FORBIDDEN, detail, 429)
        self.retry_after = retry_after


def _error(as_text: bool, status: int, kind: str, detail: str, headers: Mapping[str, str]) -> Response:
    if as_text:
        return Response(f"{detail}\n", status, {**DATA_HEADERS, **headers}, "text/plain; charset=utf-8")
    return data({"status": "error", "errorType": kind, "error": detail}, status, headers)
