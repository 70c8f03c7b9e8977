"""The sinks' network edge, replaced: small servers on loopback that answer as a test says, and keep what they were asked."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc


@dataclass(frozen=True)
class Asked:
    """A request that a backend got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Says:
    """An answer."""

    status: int = 204
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpBackend(AbstractContextManager["HttpBackend"]):
    """An HTTP server. `answer`: what it says, by request; `script`: answers to be given first, in order."""

    def __init__(self, answer: Callable[[Asked], Says] = lambda _: Says()) -> None:
        self.answer = answer
        self.script: list[Says] = []
        self.asked: list[Asked] = []
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HttpBackend":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                backend.asked.append(asked)
                backend.reached.set()
                backend.open.wait(10)
                says = backend.script.pop(0) if backend.script else backend.answer(asked)
                content = says.body.encode() if isinstance(says.body, str) else says.body
                self.send_response(says.status)
                for name, value in says.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 the base class looks for them

            def log_message(self, *_: Any) -> None: ...

        return Handler


class GrpcBackend(AbstractContextManager["GrpcBackend"]):
    """A gRPC server that takes bytes at any method. `answer` returns the answer's bytes, or a code and a message."""

    def __init__(self, answer: Callable[[Asked], bytes | tuple[str, str]] = lambda _: b"") -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handlers(self)])  # type: ignore[no-untyped-call]
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> "GrpcBackend":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._server.stop(None).wait()


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, backend: GrpcBackend) -> None:
        self._backend = backend

    def service(self, handler_call_details: Any) -> Any:
        def call(body: bytes, context: Any) -> bytes:
            backend = self._backend
            backend.asked.append(Asked("POST", handler_call_details.method, dict(handler_call_details.invocation_metadata), body))
            backend.reached.set()
            backend.open.wait(10)
            says = backend.answer(backend.asked[-1])
            if isinstance(says, bytes):
                return says
            context.abort(getattr(grpc.StatusCode, says[0]), says[1])
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(call)  # type: ignore[no-untyped-call]


def bulk_items(asked: Asked, status: Callable[[str, dict[str, Any]], tuple[int, str]]) -> Says:
    """OpenSearch's answer to a bulk request: `status(id, document)` gives each item's status and "type: reason"."""
    lines = asked.body.splitlines()
    items = []
    for action, source in zip(lines[::2], lines[1::2], strict=True):
        code, error = status(json.loads(action)["create"]["_id"], json.loads(source))
        kind, _, reason = error.partition(": ")
        items.append({"create": {"status": code, **({"error": {"type": kind, "reason": reason}} if error else {})}})
    return Says(200, json.dumps({"items": items}), {"content-type": "application/json"})


def bulk_actions(asked: Sequence[Asked]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Every `create` with its document, of all bulk requests."""
    lines = [line for one in asked if one.path.startswith("/_bulk") for line in one.body.splitlines()]
    return [(json.loads(action)["create"], json.loads(source)) for action, source in zip(lines[::2], lines[1::2], strict=True)]
