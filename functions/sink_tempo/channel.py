"""One gRPC method, bytes in and out: the batch is not parsed on its way. One deadline, no retry of its own (the trigger retries)."""

from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from shared.telemetry import tracing

_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    # The default of two minutes between attempts to connect would hold everything for as long after the backend is back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 60_000),
)


@dataclass(eq=False)
class Failed(Exception):
    """The call ended in an error: name of the code, and the server's message."""

    code: str
    message: str


class Channel:
    """A method of a server at host:port. Open it with `async with` in `start`."""

    def __init__(self, endpoint: str, method: str, timeout: float) -> None:
        self._endpoint, self._name = endpoint, method.strip("/")
        self._channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        # Without serializers, grpc passes bytes through.
        self._method: Any = self._channel.unary_unary(method)
        self._timeout = timeout

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, message: bytes, metadata: tuple[tuple[str, str], ...]) -> bytes:
        """Send bytes as they are and return the answer's. Raises Failed."""
        with tracing.calling(self._name, self._endpoint) as traceparent:
            if traceparent:
                metadata = (*metadata, (tracing.HEADER, traceparent))
            try:
                return bytes(await self._method(message, metadata=metadata, timeout=self._timeout))
            except grpc.aio.AioRpcError as error:
                raise Failed(error.code().name, error.details() or "") from error
