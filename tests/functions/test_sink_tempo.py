"""sink_tempo through its ASGI app: what it asks of Tempo, and each of Tempo's answers."""

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.testclient import TestClient

from functions.sink_tempo import main
from functions.sink_tempo.answers import ANSWERS
from functions.sink_tempo.wal import Log
from shared.backend import Backend
from shared.breaker import FAILURES
from shared.contract import EventType
from shared.settings import TempoSink
from tests import batches, waiting
from tests.backends import GrpcBackend, HttpBackend, Says
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


@pytest.fixture
def http(backend: HttpBackend) -> HttpBackend:
    """Tempo's HTTP: a process that started at 1."""
    backend.answer = lambda _: started(1)
    return backend


@pytest.fixture
def waits(broker: Broker, tempo: GrpcBackend, http: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A sink that waits for Tempo's log."""
    monkeypatch.setenv("TEMPO_OTLP_ENDPOINT", tempo.endpoint)
    monkeypatch.setenv("TEMPO_URL", http.url)
    monkeypatch.setenv("TEMPO_WAL_SECONDS", "0.2")
    with TestClient(main.app) as client:
        yield client


def started(moment: int) -> Says:
    """Tempo's metrics, of a process that started then."""
    return Says(200, f"# HELP process_start_time_seconds Start time.\nprocess_start_time_seconds {moment}e+09\nprocess_threads 1\n")


def test_yes_waits_for_a_check_after_the_push(waits: TestClient, tempo: GrpcBackend, http: HttpBackend) -> None:
    """And another one was before it, of the same page."""
    checks: list[int] = []

    def answer(_: object) -> bytes:
        checks.append(len(http.asked))
        return b""

    tempo.answer = answer
    assert deliver(waits, batches.traces("one")) == 204
    assert checks == [1]
    assert [asked.path for asked in http.asked] == ["/metrics"] * 2


def test_tempo_that_was_started_again_is_later(waits: TestClient, tempo: GrpcBackend, http: HttpBackend) -> None:
    """The new process may not have the spans; it gets them with the next delivery."""
    http.script = [started(1), started(2)]
    http.answer = lambda _: started(2)
    assert deliver(waits, batches.traces("one")) == 503
    assert deliver(waits, batches.traces("one")) == 204
    assert len(tempo.asked) == 2


@pytest.mark.parametrize("says", [Says(500), Says(200, "another page"), Says(302, headers={"location": "/"})], ids=["error", "another page", "redirect"])
def test_tempo_that_cannot_be_asked_is_later(waits: TestClient, http: HttpBackend, says: Says) -> None:
    """Before the first push, or after one; and then it is the process that it was."""
    http.script = [says, started(1), started(1), says]
    assert [deliver(waits, batches.traces("one")) for _ in range(4)] == [503, 204, 503, 204]


@pytest.mark.parametrize(("seen", "pushed"), [([1, 2], ["a", "a", "b"]), ([1, 1, 2], ["a", "b", "b"])], ids=["first", "second"])
def test_redelivery_begins_where_spans_may_be_lost(waits: TestClient, tempo: GrpcBackend, http: HttpBackend, seen: list[int], pushed: list[str]) -> None:
    """Of a batch that goes in two parts: at the one after which Tempo was started again."""
    http.script = [started(moment) for moment in seen]
    http.answer = lambda _: started(2)
    record = batches.record(EventType.TRACES, batches.traces("a" * 2_000_000, "b" * 2_000_000))
    assert [waits.post("/", content=record.value, headers=batches.headers(record)).status_code for _ in range(2)] == [503, 204]
    assert [word[0] for asked in tempo.asked for word in batches.words(EventType.TRACES, asked.body)] == pushed


def test_bad_span_is_alone_while_the_log_is_waited_for(waits: TestClient, tempo: GrpcBackend, broker: Broker) -> None:
    """A refusal is no yes, and doesn't wait."""
    tempo.answer = lambda asked: ("INVALID_ARGUMENT", "no") if "bad" in batches.words(EventType.TRACES, asked.body) else b""
    assert deliver(waits, batches.traces("a", "bad", "b")) == 204
    assert [batches.words(EventType.TRACES, letter.value) for letter in broker.messages] == [["bad"]]


def test_breaker_opens_though_tempo_cannot_be_asked(waits: TestClient, tempo: GrpcBackend, http: HttpBackend) -> None:
    """Pushes go on until it does: a check is no answer to one."""
    http.answer = lambda _: Says(500)
    tempo.answer = lambda _: ("UNAVAILABLE", "")
    assert {deliver(waits, batches.traces("one")) for _ in range(FAILURES + 1)} == {503}
    assert len(tempo.asked) == FAILURES


async def test_many_share_a_check(http: HttpBackend) -> None:
    """Two before the pushes, since the first of them began too early for the others, and then one for each moment at which some are due."""
    async with Backend(http.url, 5.0) as backend:
        log = Log(backend, 0.4)
        await asyncio.gather(*(log.through(push, b"") for _ in range(200)))
    assert len(http.asked) < 10


async def test_who_is_gone_leaves_the_check_to_the_others(http: HttpBackend) -> None:
    """Cancelled while it asks for all."""
    async with Backend(http.url, 5.0) as backend:
        log = Log(backend, 0.1)
        await log.through(push, b"")
        http.open.clear()
        gone = asyncio.create_task(log.through(push, b""))
        await asyncio.to_thread(waiting.until, lambda: len(http.asked) == 3)
        stays = asyncio.create_task(log.through(push, b""))
        gone.cancel()
        http.open.set()
        await asyncio.wait_for(stays, 10)
    assert gone.cancelled()


async def push(_: bytes) -> None:
    """Tempo's yes."""


def test_waiting_needs_somebody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting ends the start, not the first event."""
    for name, value in {"KAFKA_BOOTSTRAP_SERVERS": "broker:9092", "TEMPO_OTLP_ENDPOINT": "tempo:4317", "TEMPO_WAL_SECONDS": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="TEMPO_WAL_SECONDS needs TEMPO_URL"):
        TempoSink()
