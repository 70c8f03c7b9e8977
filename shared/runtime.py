"""The one ASGI wrapper around `functions_framework.aio`: start and stop, health, /metrics, exceptions → responses.

A function hands over what it needs (`start`) and how it says no (`refuse`); the runtime never looks a function up. `/healthz`, `/readyz` and `/metrics`
are answered here and are not reachable through the gateway, which forwards the public prefixes only. The framework has no lifespan: under its own
command line (`functions-framework --target handle`) what `start` opens is opened with the first request.
"""

import asyncio
import functools
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeVar, cast

import functions_framework.aio as framework
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from shared import garbage
from shared.contract import Reason
from shared.errors import Later, Refused
from shared.memory import Memory
from shared.settings import Settings, faults
from shared.telemetry import logs, metrics, tracing

log = logging.getLogger(__name__)

Needs = TypeVar("Needs")
Start = Callable[[], AbstractAsyncContextManager[Needs]]
Refuse = Callable[[Request, Refused | Later], Response]
Handler = Callable[[Request], Awaitable[Response]]
SocketHandler = Callable[[Request, WebSocket, Needs], Awaitable[None]]


class Function(Generic[Needs]):
    """One function: `start` opens what it needs and closes it again, `refuse` writes its protocol's error answers."""

    def __init__(self, start: Start[Needs], refuse: Refuse) -> None:
        self._start = start
        self._refuse = refuse
        self._opened: AbstractAsyncContextManager[Needs] | None = None
        self._needs: Needs | None = None
        self._opening = asyncio.Lock()
        self._socket: SocketHandler[Needs] = _no_socket
        self._memory = Memory(_settings().memory_bytes)
        self._in_flight = 0
        metrics.IN_FLIGHT.set_function(lambda: self._in_flight)

    def handler(self, handle: Callable[[Request, Needs], Awaitable[Response]]) -> Handler:
        """Make `handle(request, needs)` the framework's `handle(request)`. Whatever it raises becomes an answer here and nowhere else."""

        @framework.http
        @functools.wraps(handle)
        async def guarded(request: Request) -> Response:
            self._in_flight += 1
            try:
                with self._memory.hold():
                    response = await handle(request, self._needs if self._needs is not None else await self.open())
            except (Refused, Later) as error:
                response = self._refuse(request, error)
            except ClientDisconnect:
                response = Response(status_code=400)
            except Exception:  # a defect of ours: "later" keeps the data with whoever holds it
                metrics.UNHANDLED.inc()
                log.exception("unhandled error")
                response = self._refuse(request, Later("internal error"))
            finally:
                self._in_flight -= 1
            tracing.end(response.status_code)
            return response

        return cast(Handler, guarded)

    def socket(self, handle: SocketHandler[Needs]) -> SocketHandler[Needs]:
        """Let `handle(handshake, socket, needs)` answer WebSockets. What it raises before it accepts answers the handshake, a GET like any other."""
        self._socket = handle
        return handle

    async def open(self) -> Needs:
        """What `start` made; opened once."""
        async with self._opening:
            if self._needs is None:
                settings = Settings()
                logs.configure(settings.function_name, settings.log_level)
                tracing.configure(settings)
                metrics.tell_build(settings.function_name, settings.obstack_version)
                self._opened = self._start()
                self._needs = await self._opened.__aenter__()
                garbage.collect_less()
            return self._needs

    async def close(self) -> None:
        """Flush and close what `start` opened."""
        opened, self._opened, self._needs = self._opened, None, None
        if opened is not None:
            await opened.__aexit__(None, None, None)
            await asyncio.to_thread(tracing.close)

    def app(self, module: str) -> ASGIApp:
        """The server's target: `module` is the caller's `__name__`, whose `handle` the framework serves."""
        source = sys.modules[module]
        inner = framework.create_asgi_app_from_module("handle", source.__file__, "http", source, source.__spec__)  # type: ignore[no-untyped-call]
        # Its router and middlewares do again what is done here and cost as much as the rest of a small request; a method that they don't list would get a
        # 405 as text. What the framework makes of the function is the endpoint of the route for every path.
        endpoint = inner.routes[-1].endpoint

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await self._lifespan(receive, send)
            elif scope["type"] == "websocket":
                await self._answer_socket(scope, receive, send)
            elif scope["type"] == "http" and (answer := self._own(scope)):
                await answer(scope, receive, send)
            else:
                await serve(endpoint, scope, receive, send)

        return app

    async def _answer_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        scheme = "https" if scope["scheme"] == "wss" else "http"
        socket, handshake = WebSocket(scope, receive, send), Request({**scope, "type": "http", "method": "GET", "scheme": scheme})
        try:
            await self._socket(handshake, socket, self._needs if self._needs is not None else await self.open())
        except (Refused, Later) as error:
            await socket.send_denial_response(self._refuse(handshake, error))
        except WebSocketDisconnect:
            pass
        except Exception:  # a defect of ours
            metrics.UNHANDLED.inc()
            log.exception("unhandled error")
            if socket.application_state is WebSocketState.CONNECTING:
                await socket.send_denial_response(self._refuse(handshake, Later("internal error")))
            elif socket.application_state is WebSocketState.CONNECTED:
                await socket.close(1011)

    def _own(self, scope: Scope) -> Response | None:
        """Answer of the platform's own paths."""
        match scope["path"]:
            case "/healthz" | "/_/health":  # the second are OpenFaaS' (reference: workloads)
                return Response("ok\n", media_type="text/plain")
            case "/readyz" | "/_/ready":
                ready = self._needs is not None
                return Response("ready\n" if ready else "starting\n", 200 if ready else 503, media_type="text/plain")
            case "/metrics":
                return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
        return None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message: dict[str, Any] = dict(await receive())
            if message["type"] == "lifespan.startup":
                try:
                    await self.open()
                except ValidationError as error:
                    log.error("start failed: %s", told := faults(error))  # noqa: TRY400 the trace is of the settings' library
                    await send({"type": "lifespan.startup.failed", "message": told})
                    return
                except Exception as error:  # a failed start must end the process, not the first request
                    log.exception("start failed")
                    await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _settings() -> Settings:
    """Those that every function has. Ends the process when they are wrong: no server runs yet that could say so."""
    try:
        return Settings()
    except ValidationError as error:
        sys.exit(f"start failed: {faults(error)}")


async def _no_socket(_: Request, __: WebSocket, ___: Any) -> None:
    raise Refused(Reason.NOT_FOUND, "there is no WebSocket here", 404)


REST_BYTES = 1024 * 1024
REST_SECONDS = 5.0
"""What is taken of a body that nobody wants any more, so that its sender gets to read why."""


async def serve(endpoint: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one HTTP request. An answer while the client still sends would cut the connection, and the client would see that in place of the answer."""
    request = LeanRequest(scope, receive)
    response = await endpoint(request)
    if request.sender.sends:
        await request.sender.finish()
    await response(scope, receive, send)


class LeanRequest(Request):
    """A request whose headers are looked up in a dict, and which knows whether its client still sends."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = LeanHeaders(scope=scope)
        # A request that announces no body has none to wait for; one that asks before it sends (Expect) would be invited by waiting.
        announced = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self.sender = Sender(receive, announced and "expect" not in headers)
        super().__init__(scope, self.sender)
        self._headers = headers


class Sender:
    """The client's side of a request's body. An object of its own: a request that held a method of itself would wait for the garbage collector."""

    __slots__ = ("_receive", "_taken", "sends")

    def __init__(self, receive: Receive, sends: bool) -> None:
        self._receive = receive
        self._taken = 0
        self.sends = sends

    async def __call__(self) -> Message:
        """The next message from the server."""
        message = await self._receive()
        self.sends = bool(message.get("more_body"))
        self._taken += len(message.get("body", b""))
        return message

    async def finish(self) -> None:
        """Let the client finish, within limits."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_SECONDS):
                while self.sends and self._taken < REST_BYTES:
                    await self()


class LeanHeaders(Headers):
    """Starlette's go through all headers at each look-up, and an ingest request has a dozen of these: a sixth of what a small batch costs."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(self._list)}

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    def get(self, name: str, default: Any = None) -> Any:
        """The first header of this name."""
        return self._first.get(name.lower(), default)

    def getlist(self, name: str) -> list[str]:
        """All headers of this name."""
        return super().getlist(name) if name.lower() in self._first else []

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]  # Starlette's is a list, too
        """Each name once, with its first value."""
        return list(self._first.items())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first
