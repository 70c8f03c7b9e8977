"""OTLP/gRPC logs, metrics and traces → topic, for the clients that default to it. The same checks and the same promise as OTLP/HTTP.

A server of its own, since the functions framework speaks no HTTP/2 trailers: h2c on `PORT`, gRPC's health service beside it, /metrics on `METRICS_PORT`.
Source: OTLP specification 1.x, § OTLP/gRPC.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from time import time_ns
from typing import Any

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server
from pydantic import ValidationError

from functions.ingest_otlp_grpc import answers
from shared import garbage
from shared.codecs import otlp
from shared.contract import MAX_BODY_BYTES, Flag, Source
from shared.errors import Later, Refused
from shared.intake import Intake, off_the_loop, open_intake
from shared.memory import Memory
from shared.settings import GrpcServer, faults
from shared.signals import SIGNALS, Signal
from shared.telemetry import logs, metrics, requests, tracing
from shared.tenant import Tenant

log = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0
_OPTIONS = (("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 256))


_tenant: ContextVar[Tenant] = ContextVar("tenant")
"""Whose call it is; set before its message is read."""


class TokenFirst(grpc.aio.ServerInterceptor):
    """Asks for the token before the message is read, which gRPC keeps as a whole: of who has none nothing is kept."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._scopes = {row.method: row.scope for row in SIGNALS}

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        """The call's handler; for who isn't let in one that says so."""
        handler, scope = await continuation(handler_call_details), self._scopes.get(handler_call_details.method)
        if scope is None:
            return handler
        try:
            _tenant.set(await self._intake.tenant(_texts(handler_call_details.invocation_metadata), scope))
        except Exception as error:  # noqa: BLE001 told as what it is
            failure = _failure(error)

            async def refuse(_: Any, context: Any) -> None:
                await _abort(context, failure)

            streamed: Any = grpc.stream_unary_rpc_method_handler
            return streamed(refuse)  # a handler of messages in a stream is called before any is read
        return handler


class Export(grpc.GenericRpcHandler):
    """The three Export methods, bytes in and out. Behind `TokenFirst`."""

    def __init__(self, intake: Intake, memory: Memory) -> None:
        self._memory = memory
        handler: Any = grpc.unary_unary_rpc_method_handler
        self._methods = {row.method: handler(self._handler(intake, row)) for row in SIGNALS}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a method; None is answered UNIMPLEMENTED."""
        return self._methods.get(handler_call_details.method)

    def _handler(self, intake: Intake, row: Signal) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def export(body: bytes, context: Any) -> bytes:
            with self._memory.hold() as hold:
                try:
                    hold.add(len(body))
                    return await take(intake, row, body, _texts(context.invocation_metadata()))
                except Exception as error:  # noqa: BLE001 told as what it is
                    failure = _failure(error)
            await _abort(context, failure)
            raise AssertionError("abort raises")

        return export


def _texts(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """Metadata without its binary values."""
    return {name: value for name, value in metadata or () if isinstance(value, str)}


def _failure(error: Exception) -> Refused | Later:
    """What the client is told."""
    if isinstance(error, Refused | Later):
        return error
    metrics.UNHANDLED.inc()
    log.error("unhandled error", exc_info=error)
    return Later("internal error")  # a defect of ours: "later" keeps the data with the client


async def _abort(context: Any, failure: Refused | Later) -> None:
    tracing.end(failure.status if isinstance(failure, Refused) else 503)
    requests.refused(failure)
    await context.abort(*answers.failure(failure))


async def take(intake: Intake, row: Signal, body: bytes, metadata: dict[str, str]) -> bytes:
    """Answer one export request."""
    tenant = _tenant.get()
    await intake.admit(tenant, len(body))
    checked = await off_the_loop(len(body), lambda: otlp.check(row.shape, otlp.parse(row.shape, body), body, time_ns()))
    await intake.take(tenant, row, checked, Source.OTLP, metadata.get("traceparent", ""))
    tracing.end(200)
    requests.accepted()
    return row.answer(checked).SerializeToString()


async def serve() -> None:
    """Serve until SIGTERM; then take nothing new, finish what is under way, flush."""
    settings = GrpcServer()
    logs.configure(settings.function_name, settings.log_level)
    tracing.configure(settings)
    metrics.tell_build(settings.function_name, settings.obstack_version)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_intake(Flag.INGEST_OTLP) as intake:
        server = grpc.aio.server(interceptors=(TokenFirst(intake),), options=_OPTIONS)
        server.add_generic_rpc_handlers((Export(intake, Memory(settings.memory_bytes)),))
        checks = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(f"{settings.host}:{settings.port}")
        await server.start()
        start_http_server(settings.metrics_port, settings.host)
        await checks.set("", health_pb2.HealthCheckResponse.SERVING)
        garbage.collect_less()
        log.info("serving on %s:%d", settings.host, settings.port)
        await stopped.wait()
        await checks.enter_graceful_shutdown()
        await server.stop(DRAIN_SECONDS)
    await asyncio.to_thread(tracing.close)


if __name__ == "__main__":
    try:
        uvloop.run(serve())
    except ValidationError as error:
        sys.exit(f"start failed: {faults(error)}")
