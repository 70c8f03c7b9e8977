"""SIGTERM: what was begun is finished and flushed, then the process ends."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from localdev import functions, paths
from localdev.ports import free_port
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack


@contextmanager
def served(name: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A second instance of a function, as the catalogue starts it, on a port of its own."""
    (service,) = (service for service in functions.services() if service.name == name)
    port = free_port()
    command = service.command()
    command[command.index("--port") + 1] = str(port)
    process = subprocess.Popen(command, env=dict(service.env()), cwd=paths.ROOT)
    try:
        until(lambda: ready(port), what=f"{name} is ready")
        yield process, port
    finally:
        process.kill()
        process.wait()


def ready(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def test_request_in_flight_is_finished_and_the_process_ends(stack: Stack) -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=time.time_ns()).body.string_value = "last words"
    body = request.SerializeToString()
    head = f"POST /v1/logs HTTP/1.1\r\nhost: x\r\nx-obstack-auth-token: {stack.tenants[0]['token']}\r\ncontent-type: application/x-protobuf\r\n"
    with served("ingest_otlp") as (process, port), socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:5])
        until(lambda: b"obstack_requests_in_flight 1.0" in httpx2.get(f"http://127.0.0.1:{port}/metrics").content, what="the request is under way")
        process.send_signal(signal.SIGTERM)
        until(lambda: not ready(port), what="nothing new is taken")
        client.sendall(body[5:])
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert process.wait(15) == -signal.SIGTERM  # uvicorn ends by the signal that it was sent, after its shutdown
