"""HTTP/1.1 for requests that go as a whole and are answered as a whole: connections that are kept, one request at a time on each, and nothing else.

aiohttp's client does far more, and took more CPU than all else that a small event costs (docs/decisions/0024-a-client-of-our-own.md). The parser is the
server's: llhttp by httptools. Source: RFC 9112.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final, cast
from urllib.parse import SplitResult

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shared.contract import RETRY_AFTER_SECONDS

CONNECT_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 15.0
"""After which an unused connection is closed: servers do so after longer, and one that closes it just as it is used has cost a request."""


class Dropped(Exception):
    """The connection ended before the answer did."""


class Malformed(Exception):
    """What came is no answer in HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers by their names in lower case (of those that came twice the last), body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body for people: UTF-8, cut at 500 characters."""
        return self.body[:2000].decode(errors="replace").strip()[:500]

    @property
    def retry_after(self) -> int:
        """Seconds that the server asks to wait, at most a minute; our own default when it doesn't say."""
        asked = self.headers.get("retry-after", "")
        return min(int(asked), 60) if asked.isascii() and asked.isdigit() and len(asked) < 10 else RETRY_AFTER_SECONDS


class Connections:
    """To one server: at most `most` at a time. Close it at the end."""

    def __init__(self, url: SplitResult, most: int) -> None:
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._room = asyncio.Semaphore(most)
        self._kept: deque[_Connection] = deque()
        """Unused ones; the one that was used last at the end, and taken first."""
        self._closed = False

    async def exchange(self, head: bytes, body: bytes, *, fresh: bool = False) -> Answer:
        """Send a request, and read its answer; `fresh`: on a new connection. Raises OSError (of connecting, TimeoutError among them), Dropped, Malformed."""
        async with self._room:
            connection = (None if fresh else self._take()) or await self._connect()
            try:
                return await connection.exchange(head, body)
            finally:
                self._give_back(connection)

    def close(self) -> None:
        """Close those that are unused now, and the others when their answer has come."""
        self._closed = True
        while self._kept:
            self._kept.pop().close()

    def _take(self) -> "_Connection | None":
        while self._kept and monotonic() - self._kept[0].kept_since > KEPT_SECONDS:
            self._kept.popleft().close()
        while self._kept:
            if (connection := self._kept.pop()).usable:
                return connection
        return None

    def _give_back(self, connection: "_Connection") -> None:
        if connection.usable and not self._closed:
            connection.kept_since = monotonic()
            self._kept.append(connection)
        else:
            connection.close()

    async def _connect(self) -> "_Connection":
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port, ssl=self._tls)
        return connection


class _Connection(asyncio.Protocol):
    """One connection, and the reader of its answers."""

    def __init__(self) -> None:
        self.kept_since = 0.0
        self.usable = False
        """For a next request: what came before was answered to its end."""
        self._parser = HttpResponseParser(self)
        self._answered: asyncio.Future[Answer] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._to_the_end = False
        """The body ends with the connection: its length isn't told (RFC 9112, § 6.3, case 8)."""

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        """One request and its answer. The connection isn't usable after anything but a whole answer, a cancellation included."""
        self.usable = False
        if self._transport.is_closing():  # it ended before it was used
            raise Dropped("closed")
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.writelines((head, body) if body else (head,))
        return await self._answered

    def close(self) -> None:
        """At once: nobody waits for what may come."""
        self.usable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio's."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Of asyncio's."""
        if self._answered is None:  # something that nobody asked for, such as a 408 before the server closes
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(Malformed(str(error)))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Of asyncio's."""
        if error is None and self._to_the_end:
            self.on_message_complete()
        self._fail(Dropped(type(error).__name__ if error else "closed"))
        self.usable = False
        del self._parser  # it knows this object, and this object it

    def on_message_begin(self) -> None:
        """Of the parser's."""
        if self._answered is None:  # it came in one piece with the answer that was asked for; its end would be taken for the next one's
            self.usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the parser's."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Of the parser's."""
        self._to_the_end = not self._headers.keys() & {"content-length", "transfer-encoding"}

    def on_body(self, part: bytes) -> None:
        """Of the parser's."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Of the parser's."""
        headers, self._headers = self._headers, {}
        body, self._body = self._body, []
        self._to_the_end = False
        status = self._parser.get_status_code()
        if status < 200 or self._answered is None:  # the answer is still to come; or it has, and this is one too many
            self.usable = False
            return
        # With a part of the request unsent the server has answered before it had read all, and what it makes of the rest nobody knows.
        self.usable = self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
        if not self._answered.done():  # else its caller is gone
            self._answered.set_result(Answer(status, headers, b"".join(body)))
        self._answered = None

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
        self._answered = None
