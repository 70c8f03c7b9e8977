"""HTTP to the backends: one pool, one deadline. No retry (the trigger retries; a second layer would multiply) but one: a connection that was kept may be gone
when it is used again, which says nothing about the backend.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from shared.errors import Trouble
from shared.http1 import Answer, Connections, Dropped, Malformed
from shared.telemetry import metrics, tracing

_breaks: Final = re.compile(r"[\r\n\0]").search


class Backend:
    """A backend at a base URL, for requests that are answered as a whole. Open it with `async with` in `start`. A redirection is an answer like others."""

    def __init__(self, url: str, timeout: float, connections: int = 64) -> None:
        """timeout: seconds for an answer as a whole, the wait for one of so many connections included."""
        where = urlsplit(url)
        user, _, host = where.netloc.rpartition("@")
        self._name = f"{where.scheme}://{host}{where.path.rstrip('/')}"  # for messages: a URL may have a password
        self._path = where.path.rstrip("/")
        self._standing = f"host: {host}\r\nuser-agent: obstack"
        if user:
            known_as = unquote(user if ":" in user else f"{user}:")
            self._standing += f"\r\nauthorization: Basic {b64encode(known_as.encode()).decode()}"
        self._timeout = timeout
        self._connections = Connections(where, connections)

    async def __aenter__(self) -> "Backend":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connections.close()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send bytes as they are. Raises Trouble when the backend can't be reached or doesn't answer in time."""
        return await self._ask("POST", path, body, headers)

    async def get(self, path: str) -> Answer:
        """Raises Trouble, as `post` does."""
        return await self._ask("GET", path, b"", {})

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        with tracing.calling(f"{method} {path}", self._name) as traceparent:
            if traceparent:
                headers = {**headers, tracing.HEADER: traceparent}
            answer = await self._exchange(self._head(method, path, len(body), headers), body)
            tracing.note("http.response.status_code", answer.status)
            return answer

    async def _exchange(self, head: bytes, body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    return await self._connections.exchange(head, body)
                except Dropped:
                    metrics.BACKEND_RETRIES.labels("dropped_connection").inc()
                    return await self._connections.exchange(head, body, fresh=True)
        except (OSError, Dropped, Malformed) as error:  # a timeout is an OSError, too
            raise Trouble(f"{self._name}: {type(error).__name__}") from error

    def _head(self, method: str, path: str, size: int, headers: Mapping[str, str]) -> bytes:
        """Raises ValueError for a header of more than one line: whoever made it could add headers, or a request."""
        lines = [f"{method} {self._path}{path} HTTP/1.1", f"content-length: {size}", *(f"{name}: {value}" for name, value in headers.items())]
        if any(map(_breaks, lines)):
            raise ValueError(f"a line break in a header for {self._name}")
        return "\r\n".join([*lines, self._standing, "", ""]).encode()
