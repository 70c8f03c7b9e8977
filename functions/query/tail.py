"""Loki's tail: a WebSocket of the reader's, one of Loki's as his tenant, and Loki's messages from the one to the other.

Whoever may read when it begins is asked for again while it goes on, so that a revoked token or an ended session ends the tail, too. A reader that takes nothing
for a while is let go: Loki counts what it drops for slow readers, and nothing is kept for them here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp
from starlette.requests import Request
from starlette.websockets import WebSocket

from functions.query import relay
from functions.query.reads import Reads
from functions.query.routes import TAIL
from functions.query.upstream import Upstream
from shared.errors import Later, Refused

log = logging.getLogger(__name__)

TAIL_SECONDS = 3600.0
"""A tail's longest; as Loki's own `tail_max_duration`."""
AGAIN_SECONDS = 5.0
"""After which the reader's right is looked at again, by what the database says then."""
SEND_SECONDS = 20.0
"""That a reader may take nothing while something is there for him."""
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of Loki's: at most 100 entries each, held as a whole."""

_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""Close codes that may be sent (RFC 6455, section 7.4)."""
Who = Callable[[], Awaitable[str]]
"""Looks the reader up again. Raises Refused."""
Close = tuple[int, str]
"""Code and reason. None in its place: nobody is left to be told, or Loki broke off without a word and so do we; logcli then connects anew."""


class Tails:
    """Each tenant's, so many at a time in this instance."""

    def __init__(self, loki: Upstream, most: int) -> None:
        self._loki = loki
        self._under_way = Reads(most, "tails")

    async def follow(self, request: Request, socket: WebSocket, path: str, tenant_id: str, who: Who) -> None:
        """Until somebody ends it.

        Raises Refused for parameters that can't be read or too many tails at a time, Declined when Loki has something against the request, Later when it
        doesn't answer. Then the socket isn't accepted yet.
        """
        with self._under_way.one(tenant_id):
            loki = await relay.connect(request, TAIL, path, tenant_id, self._loki, MAX_MESSAGE_BYTES)
            try:
                await socket.accept()
                if end := await _first(_forward(loki, socket), _listen(socket), _ask_again(who)):
                    async with asyncio.timeout(SEND_SECONDS):
                        await socket.close(*end)
            except TimeoutError:
                log.info("tail: the reader takes nothing")
            finally:
                await loki.close()


async def _first(*ends: Awaitable[Close | None]) -> Close | None:
    """What the first of them says; the others are cancelled."""
    tasks = [asyncio.ensure_future(end) for end in ends]
    try:
        done, _ = await asyncio.wait(tasks, timeout=TAIL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result() if done else (1011, "reached tail max duration limit")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(loki: aiohttp.ClientWebSocketResponse, socket: WebSocket) -> Close | None:
    """Loki's messages to the reader. Raises TimeoutError when he takes none."""
    while True:
        message = await loki.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                async with asyncio.timeout(SEND_SECONDS):
                    await socket.send_text(message.data)
            case aiohttp.WSMsgType.CLOSE:
                return message.data if message.data in _CODES else 1000, message.extra or ""
            case aiohttp.WSMsgType.ERROR if loki.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                return aiohttp.WSCloseCode.MESSAGE_TOO_BIG, f"entries over {MAX_MESSAGE_BYTES} bytes at a time: narrow the query"
            case _:
                return None


async def _listen(socket: WebSocket) -> Close | None:
    """Until the reader goes. He has nothing to say; one that does is somebody else's client."""
    message = await socket.receive()
    return None if message["type"] == "websocket.disconnect" else (1008, "this WebSocket takes no messages")


async def _ask_again(who: Who) -> Close | None:
    while True:
        await asyncio.sleep(AGAIN_SECONDS)
        try:
            await who()
        except Refused as error:
            return 1008, error.detail
        except Later:
            log.warning("tail: its reader can't be looked up; it goes on")
