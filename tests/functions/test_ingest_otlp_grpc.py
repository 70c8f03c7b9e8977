"""ingest_otlp_grpc through a real channel: OTLP/gRPC's requests and answers."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import time_ns
from typing import Any

import grpc
import grpc.aio
import pytest
from confluent_kafka import KafkaError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from functions.ingest_otlp_grpc.main import Export, TokenFirst
from shared import tokens
from shared.contract import MAX_BODY_BYTES, Flag
from shared.intake import open_intake
from shared.memory import Memory
from shared.signals import SIGNALS
from shared.telemetry.metrics import Tenants
from tests.conftest import Customer, add_customer
from tests.edges import Broker, Database
from tests.told import growth

LOGS = SIGNALS[0].method


@pytest.fixture
async def channel(broker: Broker, database: Database) -> AsyncIterator[grpc.aio.Channel]:
    async with served() as channel:
        yield channel


@asynccontextmanager
async def served() -> AsyncIterator[grpc.aio.Channel]:
    async with open_intake(Flag.INGEST_OTLP) as intake:
        options = (("grpc.max_receive_message_length", MAX_BODY_BYTES),)
        server = grpc.aio.server(interceptors=(TokenFirst(intake),), options=options)
        server.add_generic_rpc_handlers((Export(intake, Memory(1 << 30)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.max_send_message_length", -1),)) as channel:
            yield channel
        await server.stop(0)


def logs(*times: int) -> bytes:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for time in times or (time_ns(),):
        scope.log_records.add(time_unix_nano=time).body.string_value = "hello"
    return request.SerializeToString()


async def call(channel: grpc.aio.Channel, body: bytes, metadata: Any, method: str = LOGS, **options: Any) -> bytes:
    export: Any = channel.unary_unary(method)
    return bytes(await export(body, metadata=tuple(metadata.items()), **options))


async def failure(channel: grpc.aio.Channel, body: bytes, metadata: Any, method: str = LOGS) -> tuple[grpc.StatusCode, Status, RetryInfo | None]:
    """Code, status details and how long to wait."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(channel, body, metadata, method)
    trailers: dict[str, Any] = dict(raised.value.trailing_metadata() or ())
    status = Status.FromString(trailers.get("grpc-status-details-bin", b""))
    retry = RetryInfo()
    return raised.value.code(), status, retry if any(detail.Unpack(retry) for detail in status.details) else None


@pytest.mark.parametrize("row", SIGNALS, ids=[row.scope for row in SIGNALS])
async def test_batch_lies_in_its_topic_as_it_came(channel: grpc.aio.Channel, broker: Broker, acme: Customer, row: Any) -> None:
    request = row.shape.request()
    records = getattr(getattr(getattr(request, row.shape.resources).add(), row.shape.scopes).add(), row.shape.records)
    if row.scope == "metrics":
        records.add(name="m").gauge.data_points.add()
    elif row.scope == "traces":
        records.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    else:
        records.add(time_unix_nano=time_ns())
    body = request.SerializeToString()
    assert await call(channel, body, acme.headers, row.method) == b""
    (message,) = broker.messages
    assert (message.topic, message.value, message.headers["ce_tenantid"]) == (row.topic, body, acme.tenant_id)


async def test_gzip_is_taken(channel: grpc.aio.Channel, broker: Broker, acme: Customer) -> None:
    body = logs()
    await call(channel, body, acme.headers, compression=grpc.Compression.Gzip)
    assert broker.messages[0].value == body


async def test_partial_success_names_the_count(channel: grpc.aio.Channel, acme: Customer) -> None:
    answer = ExportLogsServiceResponse.FromString(await call(channel, logs(time_ns(), 1), acme.headers))
    assert answer.partial_success.rejected_log_records == 1


@pytest.mark.parametrize("metadata", [{}, {"authorization": "Bearer wrong"}, {"x-obstack-auth-token": tokens.create()}])
async def test_without_a_valid_token_is_unauthenticated(channel: grpc.aio.Channel, broker: Broker, metadata: dict[str, str]) -> None:
    code, status, retry = await failure(channel, logs(), metadata)
    assert (code, status.code, retry) == (grpc.StatusCode.UNAUTHENTICATED, 16, None)
    assert broker.messages == []


async def test_who_has_no_token_is_told_so_before_the_message_is_read(channel: grpc.aio.Channel, acme: Customer) -> None:
    """gRPC keeps a message as a whole before a handler is called; of somebody unknown it would keep as many as he begins."""

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    export: Any = channel.stream_unary(LOGS)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await export(never(), metadata=(("authorization", "Bearer wrong"),), timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    known = export(never(), metadata=tuple(acme.headers.items()))
    await known.wait_for_connection()
    assert not known.done()
    known.cancel()


async def test_token_without_the_signals_scope_is_denied(channel: grpc.aio.Channel, database: Database) -> None:
    code, _, retry = await failure(channel, logs(), add_customer(database, scopes=["traces"]).headers)
    assert (code, retry) == (grpc.StatusCode.PERMISSION_DENIED, None)


async def test_undecodable_body_is_an_invalid_argument(channel: grpc.aio.Channel, broker: Broker, acme: Customer) -> None:
    code, status, retry = await failure(channel, b"garbage", acme.headers)
    assert (code, retry) == (grpc.StatusCode.INVALID_ARGUMENT, None)
    assert "protobuf" in status.message
    assert broker.messages == []


async def test_broker_away_is_unavailable_and_says_how_long(channel: grpc.aio.Channel, broker: Broker, acme: Customer) -> None:
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    code, _, retry = await failure(channel, logs(), acme.headers)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert retry is not None
    assert retry.retry_delay.seconds > 0


async def test_over_the_plan_is_exhausted_and_says_how_long(channel: grpc.aio.Channel, database: Database) -> None:
    customer = add_customer(database, plan=(1.0, 1e9, 1.0, 1 << 20))
    for _ in range(2):  # what a second of the plan and its burst let in
        await call(channel, logs(), customer.headers)
    code, _, retry = await failure(channel, logs(), customer.headers)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry is not None


async def test_too_large_is_exhausted_without_a_time_to_retry(channel: grpc.aio.Channel, broker: Broker, acme: Customer) -> None:
    code, _, retry = await failure(channel, bytes(MAX_BODY_BYTES + 1), acme.headers)
    assert (code, retry) == (grpc.StatusCode.RESOURCE_EXHAUSTED, None)
    assert broker.messages == []


async def test_compressed_bomb_is_refused(channel: grpc.aio.Channel, broker: Broker, acme: Customer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(channel, bytes(2 * MAX_BODY_BYTES), acme.headers, compression=grpc.Compression.Gzip)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(gzip.compress(bytes(2 * MAX_BODY_BYTES))) < MAX_BODY_BYTES
    assert broker.messages == []


async def test_unknown_method_is_unimplemented(channel: grpc.aio.Channel, acme: Customer) -> None:
    code, _, _ = await failure(channel, logs(), acme.headers, "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export")
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_switched_off_is_unavailable_with_a_time_to_wait(broker: Broker, database: Database, acme: Customer) -> None:
    """The one form in which clients keep their data (§ OTLP/gRPC Throttling)."""
    database.flags = [("ingest.otlp", None, "off", None)]
    async with served() as channel:
        code, status, retry = await failure(channel, logs(), acme.headers)
    assert (code, status.message) == (grpc.StatusCode.UNAVAILABLE, "ingest is switched off")
    assert retry is not None
    assert retry.retry_delay.seconds == 5
    assert not broker.messages


async def test_each_request_is_counted_once_by_tenant_signal_and_outcome(
    channel: grpc.aio.Channel, broker: Broker, acme: Customer, few_tenants: Tenants
) -> None:
    def counted(outcome: str, reason: str, tenant: str = acme.tenant_id) -> Callable[[], float]:
        return growth("obstack_ingest_requests_total", tenant=tenant, signal="logs", outcome=outcome, reason=reason)

    accepted, invalid, later, nobodys = (
        counted("accepted", ""),
        counted("refused", "undecodable"),
        counted("later", "unavailable"),
        counted("refused", "no_token", ""),
    )
    await call(channel, logs(), acme.headers)
    await failure(channel, b"\xff", acme.headers)
    await failure(channel, logs(), {})
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    await failure(channel, logs(), acme.headers)
    assert [count() for count in (accepted, invalid, later, nobodys)] == [1, 1, 1, 1]
