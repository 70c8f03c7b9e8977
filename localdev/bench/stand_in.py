"""`python -m localdev.bench.stand_in PORT`: a backend that takes everything at once, and next to no CPU, where a real one would be the limit.

HTTP/1.1 with Content-Length, as aiohttp sends what the sinks give it; every request is answered 204 once its body has come.
"""

import asyncio
import sys

import uvloop

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_HEAD_END = b"\r\n\r\n"


class StandIn(asyncio.Protocol):
    """One connection. Bodies are counted, not kept."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head, end, body = (self._head + data).partition(_HEAD_END)
            if not end:
                return
            self._missing = _length(self._head) - len(body)
            self._head = b""
        if not self._missing and self._transport:
            self._transport.write(_ANSWER)


def _length(head: bytes) -> int:
    """Raises ValueError for a request without one."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError(f"no Content-Length: {head!r}")
    return int(rest.partition(b"\r\n")[0])


async def serve(port: int) -> None:
    """Until the process ends."""
    server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
