"""The stand-in's proxy: finds the route, passes request and response through as streams, answers Kong's own errors in Kong's form.

Bodies are never held whole nor decompressed, WebSockets never read. A response that breaks off upstream breaks off here too, so that no client takes half an
answer for a whole one.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from localdev.gateway.config import Config, Route
from localdev.gateway.headers import end_to_end, normalize, towards_upstream
from localdev.gateway.tunnel import UPGRADE, asks, tunnel

log = logging.getLogger("gateway")

NO_ROUTE = "no Route matched with those values"
TOO_LARGE = "Request size limit exceeded"
BAD_GATEWAY = "An invalid response was received from the upstream server"
TIMEOUT = "The upstream server is timing out"
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


class Proxy:
    """Forwards requests by `config` to the functions' `addresses` (host → http://127.0.0.1:port)."""

    def __init__(self, config: Config, addresses: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self._config = config
        self._addresses = addresses
        self._session = session

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
            fields = {"method": request.method, "path": exchange.path, "status": status, "ms": round((monotonic() - began) * 1000, 2)}
            log.info("%s %s %s", fields["method"], fields["path"], fields["status"], extra={**fields, "bytes_in": exchange.received, "bytes": exchange.sent})
        return response

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        route = next((route for route in self._config.routes if exchange.path.startswith(route.prefix)), None)
        if route is None:
            return _error(exchange, 404, NO_ROUTE)
        limit = self._config.plugins.max_body_bytes
        expects = exchange.request.headers.get("Expect", "").lower() == "100-continue"
        if limit is not None and (exchange.request.content_length or 0) > limit:
            return _error(exchange, 417 if expects else 413, TOO_LARGE)
        if expects:
            await exchange.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            exchange.request.writer.output_size = 0
        return await self._forward(exchange, route)

    async def _forward(self, exchange: Exchange, route: Route) -> web.StreamResponse:
        headers = towards_upstream(exchange.request.headers, self._config.plugins, _forwarded(exchange, route))
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
            return await self._return(exchange, upstream, headers)

    async def _send(self, exchange: Exchange, route: Route, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        """The upstream's answer, its body still to come. Tried again only where no connection came about, so nothing is sent twice."""
        target = route.upstream
        query = f"?{exchange.query}" if exchange.query else ""
        url = URL(f"{self._addresses[target.host]}{exchange.path}{query}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=target.connect_timeout, sock_read=target.read_timeout)
        asks_first = (exchange.request.content_length or 0) > ASK_FIRST_BYTES
        for retries_left in range(target.retries, -1, -1):
            body = self._body(exchange) if exchange.request.can_read_body else None
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

    async def _body(self, exchange: Exchange) -> AsyncIterator[bytes]:
        """The request's body as it comes, counted: a chunked one says its size only at its end."""
        limit = self._config.plugins.max_body_bytes
        async for chunk in exchange.request.content.iter_any():
            exchange.received += len(chunk)
            if limit is not None and exchange.received > limit:
                exchange.too_large = True
                raise TooLarge
            yield chunk

    async def _return(self, exchange: Exchange, upstream: aiohttp.ClientResponse, headers: CIMultiDict[str]) -> web.StreamResponse:
        """Pass the answer on as it comes."""
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=end_to_end(upstream.headers))
        correlation = self._config.plugins.correlation_id
        if correlation and correlation.echo:
            response.headers[correlation.header] = headers[correlation.header]
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
        "X-Forwarded-Prefix": route.prefix,
    }


def _error(exchange: Exchange, status: int, message: str) -> web.Response:
    """Kong's own answer."""
    response = web.json_response({"message": message}, status=status)
    exchange.sent = response.content_length or 0
    return response
