"""Through the gateway to the topic: what is accepted lies there soon, what is refused never does."""

import gzip
import os
import signal
import time
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import grpc
import httpx2
import pytest
from confluent_kafka import Consumer, Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from localdev.supervisor import state
from shared import envelope, tokens
from shared.contract import MAX_BODY_BYTES, Topic
from shared.signals import SIGNALS
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

PROTOBUF = {"content-type": "application/x-protobuf"}


class Tail:
    """What comes into a topic from now on."""

    def __init__(self, servers: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": f"test-{token_hex(5)}", "auto.offset.reset": "latest", "fetch.wait.max.ms": 20})
        assigned: list[Any] = []
        self._consumer.subscribe([topic], on_assign=lambda _, partitions: assigned.extend(partitions))
        until(lambda: self._consumer.poll(0.1) or assigned, what="the consumer has its partitions")
        for partition in assigned:  # the end of now, not of the first fetch
            partition.offset = self._consumer.get_watermark_offsets(partition)[1]
        self._consumer.assign(assigned)

    def values_until(self, marker: bytes, seconds: float) -> list[bytes]:
        """Values up to the one with the marker in it; all there were, if it doesn't come."""
        values: list[bytes] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self._consumer.poll(0.05)
            value = message.value() if message is not None and not message.error() else None
            if value is not None:
                values.append(value)
                if marker in value:
                    break
        return values

    def message_with(self, marker: bytes, seconds: float) -> Message:
        """The message with the marker in its value."""
        (message,) = until(lambda: self._with(marker), seconds, what="the message is in the topic")
        return message

    def _with(self, marker: bytes) -> list[Message]:
        message = self._consumer.poll(0.05)
        return [message] if message is not None and not message.error() and marker in (message.value() or b"") else []

    def partitions(self) -> int:
        """How many the topic has."""
        return len(self._consumer.assignment())

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def tail(stack: Stack) -> Iterator[Tail]:
    made = Tail(stack.backends["kafka"], Topic.LOGS)
    yield made
    made.close()


def logs(marker: str) -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=time.time_ns()).body.string_value = marker
    return request.SerializeToString()


def post(stack: Stack, body: Any, headers: dict[str, str], timeout: float = 30) -> httpx2.Response:
    return httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", content=body, headers=headers, timeout=timeout)


def token(stack: Stack) -> dict[str, str]:
    return {"x-obstack-auth-token": stack.tenants[0]["token"]}


def test_accepted_batch_is_readable_in_the_topic(stack: Stack, tail: Tail) -> None:
    body = logs(token_hex(8))
    answer = post(stack, gzip.compress(body), token(stack) | PROTOBUF | {"content-encoding": "gzip"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert tail.values_until(body, 2)[-1:] == [body]


def test_record_lies_in_the_partition_that_its_keys_hash_names(stack: Stack, tail: Tail) -> None:
    """Else what ingest gathers would be spread all the same."""
    for _ in range(5):
        marker = token_hex(8)
        assert post(stack, logs(marker), token(stack) | PROTOBUF).status_code == 200
        message = tail.message_with(marker.encode(), 5)
        keys = {key.text: key.hash for key in envelope.keys(stack.tenants[0]["id"])}
        assert message.partition() == keys[(message.key() or b"").decode()] % tail.partitions()


def test_nothing_of_refused_requests_reaches_the_topic(stack: Stack, tail: Tail) -> None:
    bad = token_hex(8)
    body = logs(bad)
    for headers, content, status in [
        (PROTOBUF, body, 401),
        (PROTOBUF | {"authorization": f"Bearer {tokens.create()}"}, body, 401),
        (PROTOBUF | token(stack), body + b"\xff", 400),
        (PROTOBUF | token(stack) | {"content-encoding": "gzip"}, body, 400),
        (token(stack) | {"content-type": "text/plain"}, body, 415),
        (PROTOBUF | token(stack) | {"content-encoding": "gzip"}, gzip.compress(body + bytes(MAX_BODY_BYTES)), 413),
        (PROTOBUF | token(stack), iter([body] + [bytes(1 << 20)] * 65), 413),
    ]:
        answer = post(stack, content, headers)
        assert answer.status_code == status
        if headers.get("content-type") == PROTOBUF["content-type"]:
            assert answer.headers["content-type"] == PROTOBUF["content-type"]
            assert Status.FromString(answer.content).message
        assert ("www-authenticate" in answer.headers) == (status == 401)
    good = token_hex(8)
    assert post(stack, logs(good), token(stack) | PROTOBUF).status_code == 200
    values = tail.values_until(good.encode(), 5)
    assert good.encode() in values[-1]
    assert not any(bad.encode() in value for value in values)


def test_broker_away_is_503_with_retry_after_and_the_retry_is_taken(stack: Stack, tail: Tail) -> None:
    marker = token_hex(8)
    now = state.snapshot()
    assert now is not None
    broker = now.services["kafka"].pid
    assert broker
    os.killpg(broker, signal.SIGSTOP)
    try:
        answer = post(stack, logs(marker), token(stack) | PROTOBUF)
    finally:
        os.killpg(broker, signal.SIGCONT)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert Status.FromString(answer.content).code == 14
    until(lambda: post(stack, logs(marker), token(stack) | PROTOBUF).status_code == 200, what="the retry is taken")
    assert marker.encode() in tail.values_until(marker.encode(), 10)[-1]


def test_functions_own_paths_are_out_of_reach(stack: Stack) -> None:
    for path in ("/metrics", "/healthz", "/ingest/otlp/metrics", "/ingest/prometheus/healthz", "/query/../metrics"):
        assert httpx2.get(f"{stack.gateway}{path}").status_code == 404


def test_grpc_reaches_the_same_topic(stack: Stack, tail: Tail) -> None:
    marker = token_hex(8)
    connect: Any = grpc.insecure_channel
    with connect(stack.functions["ingest_otlp_grpc"].removeprefix("http://")) as channel:
        export = channel.unary_unary(SIGNALS[0].method)
        assert export(logs(marker), metadata=(("x-obstack-auth-token", stack.tenants[0]["token"]),), timeout=10) == b""
    assert marker.encode() in tail.values_until(marker.encode(), 2)[-1]
