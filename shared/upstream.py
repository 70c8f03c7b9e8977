"""HTTP to the backends: one pool, one deadline. No retry (the trigger retries; a second layer would multiply) but one: a connection that was kept may be gone
when it is used again, which says nothing about the backend.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import aiohttp
from yarl import URL

from shared import memory
from shared.contract import RETRY_AFTER_SECONDS
from shared.errors import Trouble
from shared.telemetry import metrics, tracing

_ONE_GO = 1024 * 1024
CONNECT_SECONDS = 2.0
PING_SECONDS = 20.0


class Slow(Trouble):
    """The backend was reached and didn't answer in time."""


class TooLarge(Trouble):
    """The backend's answer is longer than whoever asked takes."""


class Declined(Exception):
    """The backend answered a WebSocket's handshake with something else; what, says asking without one."""


class _Dropped(Trouble):
    """The connection ended under a request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A backend's answer: status, headers (case-insensitive), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body for people: UTF-8, cut at 500 characters."""
        return self.body[:2000].decode(errors="replace").strip()[:500]

    @property
    def retry_after(self) -> int:
        """Seconds that the backend asks to wait, at most a minute; our own default when it doesn't say."""
        asked = self.headers.get("Retry-After", "")
        return min(int(asked), 60) if asked.isascii() and asked.isdigit() and len(asked) < 10 else RETRY_AFTER_SECONDS


class Upstream:
    """A backend at a base URL. Open it with `async with` in `start`."""

    def __init__(self, url: str, timeout: float, connections: int = 64) -> None:
        """timeout: seconds for an answer as a whole (`post`), or for each part of one (`open`). `connections`: most at a time, 0 for no limit."""
        self.url = url.rstrip("/")
        self._name = str(URL(self.url).with_user(None))  # for messages: a URL may have a password
        # `connect` bounds the wait for one of the pool's connections, too: whoever reads slowly keeps one, and must not keep others waiting for ever.
        self._unread = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=timeout)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS),
            connector=aiohttp.TCPConnector(limit=connections),
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> "Upstream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send bytes as they are. Raises Trouble when the backend can't be reached or doesn't answer in time."""
        with tracing.calling(f"POST {path}", self._name) as traceparent:
            if traceparent:
                headers = {**headers, tracing.HEADER: traceparent}
            try:
                answer = await self._post(path, body, headers)
            except _Dropped:
                metrics.BACKEND_RETRIES.labels("dropped_connection").inc()
                answer = await self._post(path, body, headers)
            tracing.note("http.response.status_code", answer.status)
            return answer

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            # aiohttp writes bytes in one go and warns when they are many; a stream it writes bit by bit, with Content-Length all the same.
            data = BytesIO(body) if len(body) > _ONE_GO else body
            # A redirect is an answer: followed, the POST would become a GET, and the yes to that be taken for the backend's.
            response = await self._session.post(self.url + path, data=data, headers=headers, allow_redirects=False)
            # Read it lets its connection go, and closes it when that fails; a context manager would only cost.
            return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            dropped = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not isinstance(error, aiohttp.ClientConnectorError)
            raise (_Dropped if dropped else Trouble)(f"{self._name}: {type(error).__name__}") from error

    async def open(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> aiohttp.ClientResponse:
        """The answer, not yet read and encoded as it came; whoever asked reads and closes it. `path` (with its query string) is sent as it is.

        Raises Trouble when the backend can't be reached, Slow when it is silent for longer than the timeout.
        """
        url = URL(self.url + path, encoded=True)
        with tracing.calling(method, self._name) as traceparent:
            if traceparent:
                headers = {**headers, tracing.HEADER: traceparent}
            try:
                return await self._session.request(method, url, data=body, headers=headers, allow_redirects=False, auto_decompress=False, timeout=self._unread)
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
