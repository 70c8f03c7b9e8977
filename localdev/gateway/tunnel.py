"""A connection that was upgraded (WebSocket): bytes in both directions, unread, until one side ends. As Kong does; its read_timeout ends a silent one."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


def asks(headers: Mapping[str, str]) -> bool:
    """Whether the request wants to become a WebSocket. Other protocols aren't passed on."""
    return headers.get("Upgrade", "").lower() == "websocket" and "upgrade" in headers.get("Connection", "").lower()


async def tunnel(request: web.BaseRequest, upstream: aiohttp.ClientResponse, response: web.StreamResponse) -> int:
    """Answer 101 as the upstream did, then pass bytes on. Returns how many went to the client; its connection is of no further use."""
    connection = upstream.connection
    if connection is None or connection.protocol is None or connection.transport is None or request.transport is None:
        raise aiohttp.ServerDisconnectedError
    response.headers.update(UPGRADE)
    response.force_close()
    await response.prepare(request)
    downwards, upwards = _Bytes(connection.transport), _Bytes(request.transport)
    connection.protocol.set_parser(downwards, downwards.reader)
    request.protocol.set_parser(upwards)  # type: ignore[arg-type]  # it takes what has WebSocketReader's methods
    pumps = [
        asyncio.create_task(_pump(downwards.reader, request.writer)),
        asyncio.create_task(_pump(upwards.reader, StreamWriter(connection.protocol, asyncio.get_running_loop()))),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        upstream.close()
    return downwards.taken


class _Bytes:
    """Takes the place of the WebSocket parser in aiohttp's connections; the reader stops its connection while nobody reads."""

    def __init__(self, transport: asyncio.Transport | asyncio.BaseTransport) -> None:
        self.reader = asyncio.StreamReader()
        self.reader.set_transport(transport)
        self.taken = 0

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by the connection."""
        self.taken += len(data)
        self.reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """Called by the connection."""
        self.reader.feed_eof()


async def _pump(source: asyncio.StreamReader, sink: AbstractStreamWriter) -> None:
    with suppress(OSError, aiohttp.ClientError):
        while chunk := await source.read(64 * 1024):
            await sink.write(chunk)
            await sink.drain()
