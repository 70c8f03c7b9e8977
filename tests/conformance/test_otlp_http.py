"""OTLP/HTTP, row by row: each names the section of the OTLP specification (1.x, docs/specification.md) that asks for it.

Every answer is held to two rules besides its row: the media type is the request's, bare; and the body parses as what the status says.
"""

import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import time_ns
from typing import Any

import pytest
from confluent_kafka import KafkaError
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.testclient import TestClient

from functions.ingest_otlp import main
from shared import tokens
from tests import batches
from tests.conftest import Customer
from tests.edges import Broker, Database

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 20_000
"""In place of 64 MiB."""

REQUEST = "OTLP/HTTP Request"
SUCCESS = "Full Success"
PARTIAL = "Partial Success"
FAILURES = "Failures"
BAD_DATA = "Bad Data"
RETRYABLE = "Retryable Response Codes"
RESPONSE = "OTLP/HTTP Response"
JSON_ENCODING = "JSON Protobuf Encoding"

PROTOBUF, JSON = "application/x-protobuf", "application/json"
RESPONSES: dict[str, Any] = {"/v1/logs": ExportLogsServiceResponse, "/v1/metrics": ExportMetricsServiceResponse, "/v1/traces": ExportTraceServiceResponse}

LOGS = batches.logs("one", "two")
OLD = batches.logs("good", "old", at=[time_ns(), 1])
METRICS = batches.metrics("one")
TRACES = batches.traces("one")
BAD_SPAN = batches.traces("good", "bad", trace_id=[b"t" * 16, b"t" * 15])
NOW = str(time_ns())
ID = "5b8efff798038103d269b633813fc60c"


def log(**fields: Any) -> bytes:
    """JSON with one log record."""
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": NOW} | fields]}]}]}).encode()


def twin(**fields: Any) -> bytes:
    """The same as protobuf."""
    record = {"time_unix_nano": int(NOW)} | fields
    return ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}]).SerializeToString()  # type: ignore[list-item]


@dataclass(frozen=True)
class Row:
    """A request and what has to come of it."""

    section: str
    what: str
    status: int
    body: bytes | list[bytes] = b""
    """A list is sent in chunks."""
    type: str | None = PROTOBUF
    path: str = "/v1/logs"
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    answer: str | None = None
    """The answer's media type, if it isn't the request's."""
    rejected: int = 0
    published: list[bytes] | None = None
    """Values of the records in the topic; None: not looked at."""
    world: str = ""
    """What is wrong with it: token, broker, database."""


ROWS = [
    # -- requests --------------------------------------------------------------------------------------------------------------------------------------------
    Row(REQUEST, "binary logs", 200, LOGS, published=[LOGS]),
    Row(REQUEST, "binary metrics", 200, METRICS, path="/v1/metrics", published=[METRICS]),
    Row(REQUEST, "binary traces", 200, TRACES, path="/v1/traces", published=[TRACES]),
    Row(REQUEST, "JSON", 200, log(), JSON, published=[twin()]),
    Row(REQUEST, "media type with a parameter", 200, log(), "application/json; charset=utf-8", answer=JSON, published=[twin()]),
    Row(REQUEST, "media type in capitals", 200, LOGS, "Application/X-Protobuf", answer=PROTOBUF, published=[LOGS]),
    Row(REQUEST, "gzip", 200, gzip.compress(LOGS), headers={"content-encoding": "gzip"}, published=[LOGS]),
    Row(REQUEST, "gzip of JSON", 200, gzip.compress(log()), JSON, headers={"content-encoding": "gzip"}, published=[twin()]),
    Row(REQUEST, "gzip in capitals", 200, gzip.compress(LOGS), headers={"content-encoding": "GZIP"}, published=[LOGS]),
    Row(REQUEST, "gzip of several members", 200, gzip.compress(LOGS[:9]) + gzip.compress(LOGS[9:]), headers={"content-encoding": "gzip"}, published=[LOGS]),
    Row(REQUEST, "zstd, which the Collector can send", 200, zstd.compress(LOGS), headers={"content-encoding": "zstd"}, published=[LOGS]),
    Row(REQUEST, "deflate, which Python's SDK can send", 200, zlib.compress(LOGS), headers={"content-encoding": "deflate"}, published=[LOGS]),
    Row(REQUEST, "identity", 200, LOGS, headers={"content-encoding": "identity"}, published=[LOGS]),
    Row(REQUEST, "chunked", 200, [LOGS[:5], LOGS[5:]], published=[LOGS]),
    Row(REQUEST, "chunked gzip", 200, [gzip.compress(LOGS)[:5], gzip.compress(LOGS)[5:]], headers={"content-encoding": "gzip"}, published=[LOGS]),
    Row(REQUEST, "over the limit by Content-Length", 413, bytes(LIMIT + 1), published=[]),
    Row(REQUEST, "over the limit, chunked", 413, [bytes(LIMIT), b"\0"], published=[]),
    Row(REQUEST, "over the limit, JSON", 413, b" " * (LIMIT + 1), JSON, published=[]),
    *[
        Row(REQUEST, f"over the limit after {name}", 413, pack(bytes(100 * LIMIT)), headers={"content-encoding": name}, published=[])
        for name, pack in (("gzip", gzip.compress), ("zstd", zstd.compress), ("deflate", zlib.compress))
    ],
    # -- success ---------------------------------------------------------------------------------------------------------------------------------------------
    Row(SUCCESS, "without telemetry", 200, b"", published=[]),
    Row(SUCCESS, "without telemetry, JSON", 200, b"{}", JSON, published=[]),
    Row(SUCCESS, "envelopes without telemetry", 200, b'{"resourceLogs":[{"scopeLogs":[{}]}]}', JSON, published=[]),
    Row(PARTIAL, "a log record outside the window", 200, OLD, rejected=1),
    Row(PARTIAL, "JSON", 200, log(timeUnixNano="1"), JSON, rejected=1, published=[]),
    Row(PARTIAL, "a span id of wrong length", 200, BAD_SPAN, path="/v1/traces", rejected=1),
    # -- failures --------------------------------------------------------------------------------------------------------------------------------------------
    Row(BAD_DATA, "not protobuf", 400, b"garbage", published=[]),
    Row(BAD_DATA, "not JSON", 400, b"garbage", JSON, published=[]),
    Row(BAD_DATA, "nothing for JSON", 400, b"", JSON, published=[]),
    Row(BAD_DATA, "JSON that is no object", 400, b"[]", JSON, published=[]),
    Row(BAD_DATA, "not UTF-8", 400, b'{"resourceLogs":"\xff"}', JSON, published=[]),
    Row(BAD_DATA, "JSON nested without end", 400, b"[" * LIMIT, JSON, published=[]),
    *[
        Row(BAD_DATA, f"{what} {name}", 400, body, headers={"content-encoding": name}, published=[])
        for name, packed in (("gzip", gzip.compress(LOGS)), ("zstd", zstd.compress(LOGS)), ("deflate", zlib.compress(LOGS)))
        for what, body in (("not", b"plain text"), ("empty", b""), ("cut short", packed[:-1]), ("more than", packed + b"garbage"))
    ],
    Row(FAILURES, "another path", 404, LOGS, path="/v1/profiles", published=[]),
    Row(FAILURES, "GET", 405, method="GET", published=[]),
    Row(FAILURES, "PUT", 405, LOGS, method="PUT", published=[]),
    Row(FAILURES, "a method that HTTP does not list", 405, LOGS, method="QUERY", published=[]),
    Row(FAILURES, "another media type", 415, LOGS, "text/plain", answer=PROTOBUF, published=[]),
    Row(FAILURES, "no media type", 415, LOGS, None, answer=PROTOBUF, published=[]),
    Row(FAILURES, "another encoding", 415, LOGS, headers={"content-encoding": "br"}, published=[]),
    Row(FAILURES, "two encodings", 415, LOGS, headers={"content-encoding": "gzip, gzip"}, published=[]),
    Row(FAILURES, "no token", 401, LOGS, world="no token", published=[]),
    Row(FAILURES, "false token, JSON", 401, log(), JSON, world="false token", published=[]),
    Row(RETRYABLE, "broker away", 503, LOGS, world="broker"),
    Row(RETRYABLE, "broker away, JSON", 503, log(), JSON, world="broker"),
    Row(RETRYABLE, "database away, which is no reason for 401", 503, LOGS, world="database", published=[]),
    # -- JSON ------------------------------------------------------------------------------------------------------------------------------------------------
    Row(JSON_ENCODING, "hex id", 200, log(traceId=ID), JSON, published=[twin(trace_id=bytes.fromhex(ID))]),
    Row(JSON_ENCODING, "hex id in capitals", 200, log(traceId=ID.upper()), JSON, published=[twin(trace_id=bytes.fromhex(ID))]),
    Row(JSON_ENCODING, "id in base64", 400, log(traceId="W47/95gDgQPSabYzgT/GDA=="), JSON, published=[]),
    Row(JSON_ENCODING, "enum as integer", 200, log(severityNumber=9), JSON, published=[twin(severity_number=9)]),
    Row(JSON_ENCODING, "enum by name, as the Collector takes it", 200, log(severityNumber="SEVERITY_NUMBER_INFO"), JSON, published=[twin(severity_number=9)]),
    Row(JSON_ENCODING, "enum by a name that isn't one", 400, log(severityNumber="INFO"), JSON, published=[]),
    Row(JSON_ENCODING, "64-bit integer as text", 200, log(timeUnixNano=NOW), JSON, published=[twin()]),
    Row(JSON_ENCODING, "64-bit integer as number", 200, log(timeUnixNano=int(NOW)), JSON, published=[twin()]),
    Row(JSON_ENCODING, "integer out of range", 400, log(body={"intValue": str(2**63)}), JSON, published=[]),
    Row(JSON_ENCODING, "unknown fields", 200, log(futureField={"traceId": [1, {"x": None}]}), JSON, published=[twin()]),
    Row(JSON_ENCODING, "not a number", 200, log(body={"doubleValue": "NaN"}), JSON, published=[twin(body={"double_value": float("nan")})]),
    Row(JSON_ENCODING, "infinity", 200, log(body={"doubleValue": "-Infinity"}), JSON, published=[twin(body={"double_value": float("-inf")})]),
    Row(JSON_ENCODING, "bytes in base64", 200, log(body={"bytesValue": "+/8="}), JSON, published=[twin(body={"bytes_value": b"\xfb\xff"})]),
    Row(JSON_ENCODING, "null", 200, log(body=None, attributes=None), JSON, published=[twin()]),
    Row(JSON_ENCODING, "empty value", 200, log(body={}), JSON, published=[twin(body={})]),
    Row(JSON_ENCODING, "name in snake_case, as the Collector takes it", 200, log(severity_text="x"), JSON, published=[twin(severity_text="x")]),
    Row(JSON_ENCODING, "two values of one", 400, log(body={"intValue": 1, "stringValue": "x"}), JSON, published=[]),
]


@pytest.fixture
def client(broker: Broker, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr("shared.intake.MAX_BODY_BYTES", LIMIT)
    with TestClient(main.app) as client:
        yield client


def send(client: TestClient, row: Row, token: str) -> Any:
    headers = row.headers | ({"content-type": row.type} if row.type else {}) | ({"authorization": f"Bearer {token}"} if token else {})
    return client.request(row.method, row.path, content=iter(row.body) if isinstance(row.body, list) else row.body, headers=headers)


def read(response: Any, message: Any) -> Any:
    """The answer's body as `message`, whichever encoding it has."""
    if response.headers["content-type"] == JSON:
        return json_format.Parse(response.text, message())
    return message.FromString(response.content)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.section}: {row.what}") for row in ROWS])
def test_row(client: TestClient, broker: Broker, database: Database, acme: Customer, row: Row) -> None:
    if row.world == "broker":
        broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    database.down = row.world == "database"
    answer = send(client, row, {"no token": "", "false token": tokens.create()}.get(row.world, acme.token))
    assert answer.status_code == row.status, answer.text
    assert answer.headers["content-type"] == (row.answer or row.type)
    if row.status == 200:
        partial = read(answer, RESPONSES[row.path]).partial_success
        rejected = {name.name: value for name, value in partial.ListFields()}
        assert sum(value for value in rejected.values() if isinstance(value, int)) == row.rejected
        assert bool(partial.error_message) == bool(row.rejected)
        if not row.rejected:
            assert answer.content == (b"{}" if answer.headers["content-type"] == JSON else b"")
    else:
        assert read(answer, Status).message
    if row.published is not None:
        assert [message.value for message in broker.messages] == row.published


@pytest.mark.parametrize(("status", "header"), [(401, "www-authenticate"), (405, "allow"), (503, "retry-after")])
def test_headers_that_go_with_a_status(client: TestClient, broker: Broker, acme: Customer, status: int, header: str) -> None:
    row = next(row for row in ROWS if row.status == status and row.world != "database")
    if row.world:
        broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    assert send(client, row, "" if status == 401 else acme.token).headers[header]


def test_bad_data_carries_details(client: TestClient, acme: Customer) -> None:
    """Section Bad Data: `details` should hold a `google.rpc.BadRequest`."""
    for row in (row for row in ROWS if row.section == BAD_DATA):
        (detail,) = read(send(client, row, acme.token), Status).details
        assert detail.type_url.endswith("google.rpc.BadRequest")


def test_record_comes_once_after_the_broker_is_back(client: TestClient, broker: Broker, acme: Customer) -> None:
    """Section Retryable Response Codes: what was answered 503 and is sent again lies in the topic."""
    row = ROWS[0]
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    assert send(client, row, acme.token).status_code == 503
    broker.error = None
    assert send(client, row, acme.token).status_code == 200
    assert [message.value for message in broker.messages] == [LOGS]
