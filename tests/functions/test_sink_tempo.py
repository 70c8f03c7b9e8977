"""sink_tempo through its ASGI app: what it asks of Tempo, and each of Tempo's answers."""

from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.testclient import TestClient

from functions.sink_tempo import main
from functions.sink_tempo.answers import ANSWERS
from shared.contract import EventType
from tests import batches
from tests.backends import GrpcBackend
from tests.edges import Broker


@pytest.fixture
def client(broker: Broker, tempo: GrpcBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("TEMPO_OTLP_ENDPOINT", tempo.endpoint)
    with TestClient(main.app) as client:
        yield client


def deliver(client: TestClient, value: bytes, kind: EventType = EventType.TRACES) -> int:
    record = batches.record(kind, value)
    return int(client.post("/", content=value, headers=batches.headers(record)).status_code)


def test_bytes_go_as_they_came(client: TestClient, tempo: GrpcBackend) -> None:
    """One export call with the record's own bytes, under the tenant of the event."""
    record = batches.record(EventType.TRACES, batches.traces("one", "two"))
    assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 204
    [asked] = tempo.asked
    assert (asked.path, asked.body) == ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", record.value)
    assert asked.headers["x-scope-orgid"] == record.tenant_id


ROWS = [
    ("INVALID_ARGUMENT", "trace ids must be 128 bit", 204, "invalid"),
    ("INTERNAL", "grpc: error unmarshalling request: invalid length for SpanID", 204, "undecodable"),
    ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5000091 vs. 4194304)", 204, "too_large"),
    ("FAILED_PRECONDITION", "TRACE_TOO_LARGE: max size of trace (5000000) exceeded", 204, "too_large"),
    ("FAILED_PRECONDITION", "LIVE_TRACES_EXCEEDED: max live traces exceeded for tenant x", 503, None),
    ("FAILED_PRECONDITION", "something nobody has heard of", 503, None),
    ("UNKNOWN", "no org id", 503, None),
    ("RESOURCE_EXHAUSTED", "RATE_LIMITED: ingestion rate limit (1 bytes) exceeded while adding 2 bytes", 503, None),
    *((code, "", 503, None) for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "OUT_OF_RANGE", "DATA_LOSS", "INTERNAL", "UNKNOWN")),
    *((code, "", 503, None) for code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND")),
    ("ALREADY_EXISTS", "a code that is in no row", 503, None),
]


@pytest.mark.parametrize(("code", "message", "answered", "reason"), ROWS)
def test_each_answer_has_its_outcome(
    client: TestClient, tempo: GrpcBackend, broker: Broker, code: str, message: str, answered: int, reason: str | None
) -> None:
    """A single span, and each answer of the table: later, or a dead letter with a reason."""
    tempo.answer = lambda _: (code, message)
    assert deliver(client, batches.traces("one")) == answered
    assert [letter.headers["ce_reason"] for letter in broker.messages] == ([reason] if reason else [])


def test_each_row_is_tried() -> None:
    """The rows above reach every row of the answer table."""
    reached = [next(row for row in ANSWERS if code in row.codes and row.words in message) for code, message, _, _ in ROWS if code != "ALREADY_EXISTS"]
    assert [row for row in ANSWERS if row not in reached] == []


def test_bad_span_is_alone_in_the_dead_letters(client: TestClient, tempo: GrpcBackend, broker: Broker) -> None:
    """Tempo refuses a whole export for one span; its neighbours get through."""
    kept: list[str] = []

    def answer(asked: object) -> bytes | tuple[str, str]:
        words = batches.words(EventType.TRACES, tempo.asked[-1].body)
        if "bad" in words:
            return "INVALID_ARGUMENT", "trace ids must be 128 bit"
        kept.extend(words)
        return b""

    tempo.answer = answer
    assert deliver(client, batches.traces("a", "b", "bad", "c", "d")) == 204
    assert kept == ["a", "b", "c", "d"]
    assert [batches.words(EventType.TRACES, letter.value) for letter in broker.messages] == [["bad"]]


def test_partial_success_is_a_refusal(client: TestClient, tempo: GrpcBackend, broker: Broker) -> None:
    """An OK that says it left spans out is no yes for them."""
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 1
    tempo.answer = lambda _: answer.SerializeToString()
    assert deliver(client, batches.traces("one")) == 204
    assert [letter.headers["ce_reason"] for letter in broker.messages] == ["refused_by_backend"]


def test_large_batch_goes_in_parts(client: TestClient, tempo: GrpcBackend) -> None:
    """A gRPC server takes 4 MiB by default; a record may hold 10 MB."""
    words = [f"{number:02d}" + "x" * 300_000 for number in range(15)]
    assert deliver(client, batches.traces(*words)) == 204
    assert max(len(asked.body) for asked in tempo.asked) <= 3 * 1024 * 1024
    assert [word for asked in tempo.asked for word in batches.words(EventType.TRACES, asked.body)] == words


def test_event_of_another_kind_is_refused(client: TestClient, tempo: GrpcBackend) -> None:
    """A trigger on the wrong topic shows at once."""
    assert deliver(client, batches.logs("one"), EventType.LOGS) == 400
    assert not tempo.asked
