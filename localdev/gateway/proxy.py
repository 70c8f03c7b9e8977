"""The stand-in's proxy: finds the route, passes request and response through as streams, answers Kong's own errors in Kong's form.

Bodies are never held whole nor decompressed, WebSockets never read. A response that breaks off upstream breaks off here too, so that no client takes half an
answer for a whole one.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from localdev.gateway.config import Config, Route
from localdev.gateway.headers import end_to_end, normalize, towards_upstream
from localdev.gateway.limits import Limiter
from localdev.gateway.status import Status
from localdev.gateway.tunnel import UPGRADE, asks, tunnel

log = logging.getLogger("gateway")

NO_ROUTE = "no Route matched with those values"
TOO_LARGE = "Request size limit exceeded"
BAD_GATEWAY = "An invalid response was received from the upstream server"
TIMEOUT = "The upstream server is timing out"
UNHEALTHY = "failure to get a peer from the ring-balancer"
NOT_GRPC = "Non-gRPC request matched gRPC route"
NOT_HTTP2 = "Please use HTTP2 protocol"
IDLE_SECONDS = 15.0
"""An unused upstream connection is closed after this; shorter than the functions' server waits, so that it never closes one just as we use it."""
ASK_FIRST_BYTES = 1 << 20
"""A larger body is announced by `Expect: 100-continue` and sent when the function asks for it: one that refuses it by its length closes the connection, and
what is being written at that moment would tear down its answer, before it was read."""
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that the HTTP client would invent."""


class TooLarge(Exception):
    """More body came than the size limit allows."""


@dataclass
class Exchange:
    """One request and what became of it, for the access log."""

    request: web.BaseRequest
    path: str
    query: str
    received: int = 0
    sent: int = 0
    too_large: bool = False
    route: Route | None = None
    added: dict[str, str] = field(default_factory=dict)
    """What plugins add to the answer, whoever gives it."""


class Proxy:
    """Forwards requests by `config` to the functions' `addresses` (host → http://127.0.0.1:port), while they are `healthy`."""

    def __init__(self, config: Config, addresses: Mapping[str, str], session: aiohttp.ClientSession, status: Status, healthy: Mapping[str, bool]) -> None:
        self._config = config
        self._addresses = addresses
        self._session = session
        self._status = status
        self._healthy = healthy
        self._limiter = Limiter()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request and log it: one line, without query string and headers, since tokens may be in both."""
        began = monotonic()
        raw_path, _, query = request.raw_path.partition("?")
        exchange = Exchange(request, normalize(raw_path) if raw_path.startswith("/") else raw_path, query)
        status = 499  # nginx's number for a client that went away
        try:
            response = await self._answer(exchange)
            status = response.status
        finally:
            milliseconds = (monotonic() - began) * 1000
            if exchange.route:
                self._status.saw(exchange.route, status, milliseconds, exchange.received, exchange.sent)
            fields = {"method": request.method, "path": exchange.path, "status": status, "ms": round(milliseconds, 2)}
            log.info("%s %s %s", fields["method"], fields["path"], fields["status"], extra={**fields, "bytes_in": exchange.received, "bytes": exchange.sent})
        return response

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        route = exchange.route = next((route for route in self._config.routes if route.matches(exchange.path, request.headers)), None)
        if route is None:
            return _error(exchange, 404, NO_ROUTE)
        if route.grpc:  # on this machine the function's own port serves it: this gateway speaks HTTP/1.1
            return (
                _error(exchange, 426, NOT_HTTP2) if request.headers.get("Content-Type", "").startswith("application/grpc") else _error(exchange, 415, NOT_GRPC)
            )
        headers = towards_upstream(request.headers, route.plugins, _forwarded(exchange, route))
        if refusal := self._plugins(exchange, route, headers):
            return refusal
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        return await self._forward(exchange, route, headers)

    def _plugins(self, exchange: Exchange, route: Route, headers: Mapping[str, str]) -> web.Response | None:
        """The answer of a plugin that keeps the request from going on; in Kong's order."""
        request, plugins = exchange.request, route.plugins
        exchange.added.update(plugins.added)
        if plugins.correlation_id and plugins.correlation_id.echo:
            exchange.added[plugins.correlation_id.header] = headers[plugins.correlation_id.header]
        if plugins.max_body_bytes is not None and (request.content_length or 0) > plugins.max_body_bytes:
            return _error(exchange, 417 if request.headers.get("Expect", "").lower() == "100-continue" else 413, TOO_LARGE)
        if rule := plugins.rate_limit:
            passes, told = self._limiter.take(rule, request.headers.get(rule.header or "") or request.remote or "")
            exchange.added.update(told)
            if not passes:
                return _error(exchange, rule.status, rule.message)
        if plugins.closed:
            return _error(exchange, plugins.closed.status, plugins.closed.message)
        return None if self._healthy[route.upstream.host] else _error(exchange, 503, UNHEALTHY)

    async def _forward(self, exchange: Exchange, route: Route, headers: CIMultiDict[str]) -> web.StreamResponse:
        if asks(exchange.request.headers):
            headers.update(UPGRADE)
        try:
            upstream = await self._send(exchange, route, headers)
        except TimeoutError:
            return _error(exchange, 504, TIMEOUT)
        except aiohttp.ClientError as error:
            if exchange.too_large:
                return _error(exchange, 413, TOO_LARGE)
            log.warning("upstream %s: %s", route.upstream.host, error)
            return _error(exchange, 502, BAD_GATEWAY)
        async with upstream:
            return await self._return(exchange, upstream)

    async def _send(self, exchange: Exchange, route: Route, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        """The upstream's answer, its body still to come. Tried again only where no connection came about, so nothing is sent twice."""
        target = route.upstream
        query = f"?{exchange.query}" if exchange.query else ""
        url = URL(f"{self._addresses[target.host]}{exchange.path}{query}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=target.connect_timeout, sock_read=target.read_timeout)
        asks_first = (exchange.request.content_length or 0) > ASK_FIRST_BYTES
        for retries_left in range(target.retries, -1, -1):
            body = self._body(exchange, route.plugins.max_body_bytes) if exchange.request.can_read_body else None
            try:
                return await self._session.request(
                    exchange.request.method,
                    url,
                    headers=headers,
                    data=body,
                    expect100=asks_first,
                    timeout=timeout,
                    allow_redirects=False,
                    skip_auto_headers=_AUTOMATIC,
                )
            except aiohttp.ClientConnectorError:
                if not retries_left:
                    raise
        raise AssertionError("unreachable")

    async def _body(self, exchange: Exchange, limit: int | None) -> AsyncIterator[bytes]:
        """The request's body as it comes, counted: a chunked one says its size only at its end."""
        async for chunk in exchange.request.content.iter_any():
            exchange.received += len(chunk)
            if limit is not None and exchange.received > limit:
                exchange.too_large = True
                raise TooLarge
            yield chunk

    async def _return(self, exchange: Exchange, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass the answer on as it comes."""
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=end_to_end(upstream.headers))
        _add(response, exchange)
        if upstream.status == HTTPStatus.SWITCHING_PROTOCOLS:
            exchange.sent = await tunnel(exchange.request, upstream, response)
            return response
        await response.prepare(exchange.request)
        try:
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
                exchange.sent += len(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("upstream broke off: %s", error)
            if exchange.request.transport:
                exchange.request.transport.abort()
            return response
        await response.write_eof()
        return response


def _forwarded(exchange: Exchange, route: Route) -> dict[str, str]:
    """What a function is told about the original request, and the Host by which a cluster's ingress finds it."""
    request = exchange.request
    name, _, port = request.host.partition(":")
    return {
        "Host": route.upstream.authority,
        "X-Real-IP": request.remote or "",
        "X-Forwarded-Proto": request.scheme,
        "X-Forwarded-Host": name,
        "X-Forwarded-Port": port or "80",
        "X-Forwarded-Path": exchange.path,
        "X-Forwarded-Prefix": route.path,
    }


def _error(exchange: Exchange, status: int, message: str) -> web.Response:
    """Kong's own answer."""
    response = web.json_response({"message": message}, status=status)
    _add(response, exchange)
    exchange.sent = response.content_length or 0
    return response


def _add(response: web.StreamResponse, exchange: Exchange) -> None:
    """What plugins add. A header that the answer has is its own to say, but for the correlation id."""
    correlation = exchange.route.plugins.correlation_id if exchange.route else None
    for name, value in exchange.added.items():
        if name not in response.headers or (correlation and name == correlation.header):
            response.headers[name] = value
