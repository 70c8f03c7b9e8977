"""The backends, read by HTTP and by WebSocket: answers as streams, encoded as they came, and a deadline for each part of one. Nothing is asked twice."""

from collections.abc import Mapping

import aiohttp
from yarl import URL

from shared import memory
from shared.errors import Trouble
from shared.http1 import CONNECT_SECONDS
from shared.telemetry import tracing

PING_SECONDS = 20.0


class Slow(Trouble):
    """The backend was reached and didn't answer in time."""


class TooLarge(Trouble):
    """The backend's answer is longer than whoever asked takes."""


class Declined(Exception):
    """The backend answered a WebSocket's handshake with something else; what, says asking without one."""


class Upstream:
    """A backend at a base URL. Open it with `async with` in `start`."""

    def __init__(self, url: str, timeout: float, connections: int = 64) -> None:
        """timeout: seconds for each part of an answer (`open`), for a handshake as a whole (`socket`). `connections`: most at a time, 0 for no limit."""
        self.url = url.rstrip("/")
        self._name = str(URL(self.url).with_user(None))  # for messages: a URL may have a password
        # `connect` bounds the wait for one of the pool's connections, too: whoever reads slowly keeps one, and must not keep others waiting for ever.
        self._unread = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=timeout)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS),
            connector=aiohttp.TCPConnector(limit=connections),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> "Upstream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def open(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> aiohttp.ClientResponse:
        """The answer, not yet read and encoded as it came; whoever asked reads and closes it. `path` (with its query string) is sent as it is.

        Raises Trouble when the backend can't be reached, Slow when it is silent for longer than the timeout.
        """
        url = URL(self.url + path, encoded=True)
        with tracing.calling(method, self._name) as traceparent:
            if traceparent:
                headers = {**headers, tracing.HEADER: traceparent}
            try:
                return await self._session.request(method, url, data=body, headers=headers, allow_redirects=False, timeout=self._unread)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _trouble(self._name, error) from error

    async def read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        """The body of an answer that was opened, counted in the request's memory; closes it. Raises Trouble (broken off, over `most` bytes), Slow, Later."""
        body = bytearray()
        try:
            async for chunk in response.content.iter_any():
                memory.add(len(chunk))
                body += chunk
                if len(body) > most:
                    memory.add(-len(body))  # for an answer that is asked for in its place
                    raise TooLarge(f"{self._name}: an answer over {most} bytes")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _trouble(self._name, error) from error
        finally:
            response.close()  # no harm to a connection whose answer was read to its end: that one is kept
        return bytes(body)

    async def socket(self, path: str, headers: Mapping[str, str], max_bytes: int) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket of the backend's, for messages of at most `max_bytes`; whoever asked closes it. A backend that answers no ping ends it.

        Raises Declined when it answers the handshake otherwise, and as `open` does.
        """
        url = URL(self.url + path, encoded=True)
        ending = aiohttp.ClientWSTimeout(ws_close=CONNECT_SECONDS)
        try:
            return await self._session.ws_connect(url, headers=headers, max_msg_size=max_bytes, heartbeat=PING_SECONDS, timeout=ending)
        except aiohttp.WSServerHandshakeError as error:
            raise Declined(f"{self._name}: answered {error.status}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _trouble(self._name, error) from error


def _trouble(url: str, error: Exception) -> Trouble:
    slow = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError)
    return (Slow if slow else Trouble)(f"{url}: {type(error).__name__}")
