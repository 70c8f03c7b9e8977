"""OTLP/gRPC: what is sent, and whether the status is one that a client can act on.

Judged: never INTERNAL or UNKNOWN, UNAVAILABLE only with a RetryInfo, OK with a message of the method, and each refusal of ours with its `google.rpc.Status`.
The bytes between message and socket are grpcio's own: a damaged HTTP/2 frame can't be sent this way.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from localdev.fuzz.mutations import CREDENTIALS, TRACE_PARENTS, damaged
from localdev.fuzz.otlp import RESPONSES, protobuf_body

SERVICES = {
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}
SECONDS = 30.0
REFUSALS = {"INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"}
NOISE: dict[str, list[str | bytes]] = {
    "authorization": list(CREDENTIALS),
    "traceparent": list(TRACE_PARENTS),
    "x-obstack-auth-token": ["", "obs_", "x" * 4000],
    "x-scope-orgid": ["other"],
    "x-noise-bin": [b"", b"\0\xff", b"x" * 1000],
    "content-type": ["text/plain", "application/grpc+json"],
    "grpc-previous-rpc-attempts": ["-1"],
}

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Attempt:
    """A call."""

    method: str
    metadata: Metadata
    body: bytes
    gzip: bool = False
    seconds: float = SECONDS
    """The client's deadline."""


@dataclass(frozen=True)
class Answer:
    """What came back; `status`: the code's name, `details`: what the trailers say of it."""

    status: str
    body: bytes = b""
    details: bytes = b""


def attempt(source: random.Random, token: str) -> Attempt:
    """The next call: mostly nearly right, so that it gets far."""
    signal = source.choice(list(SERVICES))
    body, method = protobuf_body(source, signal), SERVICES[signal]
    metadata: Metadata = (("authorization", f"Bearer {token}"),)
    if source.random() < 0.5:
        body = damaged(source, body)
    match source.randrange(20):
        case 0:
            method = source.choice(
                [method.lower(), method + "/", "/", "/x/y", "/grpc.health.v1.Health/Nothing", "/" + "x" * 2000, method.replace("Export", "")]
            )
        case 1 | 2 | 3:
            name = source.choice(list(NOISE))
            kept = tuple(pair for pair in metadata if pair[0] != name or source.random() < 0.2)
            metadata = kept if source.random() < 0.2 else (*kept, (name, source.choice(NOISE[name])))
    return Attempt(method, metadata, body, source.random() < 0.3, source.uniform(0.0001, 0.02) if source.random() < 0.02 else SECONDS)


def judge(attempt: Attempt, answer: Answer) -> str | None:
    """What is wrong with the answer; None: nothing."""
    signal = next((signal for signal, method in SERVICES.items() if method == attempt.method), None)
    if answer.status == "DEADLINE_EXCEEDED":
        return None if attempt.seconds < SECONDS else f"no answer in {SECONDS:.0f} s"
    if answer.status == "UNIMPLEMENTED":
        return f"UNIMPLEMENTED: {attempt.method}" if signal else None
    if answer.status == "OK":
        return _unreadable(RESPONSES[signal], answer.body) if signal else f"OK from {attempt.method}"
    return _judge_failure(answer)


def _judge_failure(answer: Answer) -> str | None:
    if answer.status not in {*REFUSALS, "UNAVAILABLE"}:
        return f"a client drops its data for good at {answer.status}"
    if complaint := _unreadable(Status, answer.details):
        return complaint
    status = Status.FromString(answer.details)
    if not status.message or getattr(grpc.StatusCode, answer.status).value[0] != status.code:
        return f"{answer.status} with the details of {status.code} {status.message!r}"
    if answer.status == "UNAVAILABLE" and not any(detail.Unpack(RetryInfo()) for detail in status.details):
        return "UNAVAILABLE without RetryInfo"
    return None


def _unreadable(message: Any, value: bytes) -> str | None:
    try:
        message.FromString(value)
    except DecodeError as error:
        return f"no {message.__name__}: {error}"
    return None


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Callable[[Attempt], Awaitable[Answer]]]:
    """What calls the server at `url`."""
    async with grpc.aio.insecure_channel(urlsplit(url).netloc) as channel:
        yield lambda attempt: call(channel, attempt)


async def call(channel: grpc.aio.Channel, attempt: Attempt) -> Answer:
    """What came of the attempt."""
    method: Any = channel.unary_unary(attempt.method)
    compression = grpc.Compression.Gzip if attempt.gzip else None
    try:
        return Answer("OK", await method(attempt.body, metadata=attempt.metadata, compression=compression, timeout=attempt.seconds))
    except grpc.aio.AioRpcError as error:
        trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
        return Answer(error.code().name, details=trailers.get("grpc-status-details-bin", b""))
