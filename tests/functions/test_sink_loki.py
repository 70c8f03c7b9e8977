"""sink_loki through its ASGI app: what it asks of Loki, and each of Loki's answers."""

from collections.abc import Iterator

import pytest
import stamina
from google.rpc.status_pb2 import Status
from starlette.testclient import TestClient

from functions.sink_loki import main
from functions.sink_loki.answers import ANSWERS
from shared import breaker, isolation
from shared.contract import EventType
from tests import batches
from tests.backends import Asked, HttpBackend, Says
from tests.edges import Broker


@pytest.fixture
def client(broker: Broker, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("LOKI_URL", backend.url)
    with TestClient(main.app) as client:
        yield client


def says(status: int, message: str = "") -> Says:
    """An answer in Loki's own form."""
    return Says(status, Status(message=message).SerializeToString(), {"content-type": "application/octet-stream"})


def deliver(client: TestClient, value: bytes, kind: EventType = EventType.LOGS) -> int:
    record = batches.record(kind, value)
    return int(client.post("/", content=value, headers=batches.headers(record)).status_code)


def test_bytes_go_as_they_came(client: TestClient, backend: HttpBackend) -> None:
    """One push with the record's own bytes, under the tenant of the event."""
    record = batches.record(EventType.LOGS, batches.logs("one", "two"))
    answer = client.post("/", content=record.value, headers=batches.headers(record))
    assert answer.status_code == 204
    [asked] = backend.asked
    assert (asked.path, asked.body) == ("/otlp/v1/logs", record.value)
    assert asked.headers["x-scope-orgid"] == record.tenant_id
    assert asked.headers["content-type"] == "application/x-protobuf"


ROWS = [
    (204, "", 204, None),
    (200, "", 204, None),
    (422, "error at least one valid stream is required for ingestion", 204, None),
    (413, "request body too large: 2 bytes, limit: 1 bytes", 204, "too_large"),
    (
        400,
        "entry for stream '{a=\"b\"}' has timestamp too old: 2026-10-25T14:07:25Z, oldest acceptable timestamp is: 2026-11-17T14:07:25Z",
        204,
        "out_of_window",
    ),
    (400, "entry for stream '{a=\"b\"}' has timestamp too new: 2026-11-25T14:07:25Z", 204, "out_of_window"),
    (400, "entry with timestamp 2026-11-24 ignored, reason: 'entry too far behind, entry timestamp is: 2026-11-24T09:07:25Z'", 204, "out_of_window"),
    (400, "entry with timestamp 2026-11-24 ignored, reason: 'entry out of order'", 204, "out_of_order"),
    (400, "max entry size '262144' bytes exceeded for stream '{a=\"b\"}' while adding an entry with length '300002' bytes", 204, "too_large"),
    (400, "stream '{a=\"b\"}' has structured metadata too large: '70001' bytes, limit: '65536' bytes", 204, "too_large"),
    (400, "stream '{a=\"b\"}' has too many structured metadata labels: '200', limit: '128'", 204, "too_large"),
    (400, "entry for stream '{a=\"b\"}' has 20 label names; limit 15", 204, "refused_by_backend"),
    (400, "stream '{a=\"b\"}' has label name too long: 'x'", 204, "refused_by_backend"),
    (400, "stream '{a=\"b\"}' has label value too long: 'x'", 204, "refused_by_backend"),
    (400, "stream '{a=\"b\"}' has duplicate label name: 'x'", 204, "refused_by_backend"),
    (400, "error parsing labels 'x' with error: y", 204, "refused_by_backend"),
    (400, "error at least one label pair is required per stream", 204, "refused_by_backend"),
    (400, 'symbolizer lookup: normalization for label name "é" resulted in invalid name "_"', 204, "invalid"),
    (400, "symbolizer lookup: label name is empty", 204, "invalid"),
    (400, "unmarshal: invalid SpanID length", 204, "invalid"),
    (400, "proto: wrong wireType = 2 for field TimeUnixNano", 204, "undecodable"),
    (400, "something nobody has heard of", 503, None),
    (429, "ingestion rate limit exceeded for user x", 503, None),
    (500, "", 503, None),
    (503, "", 503, None),
    (401, "no org id", 503, None),
    (403, "", 503, None),
    (404, "", 503, None),
    (302, "an answer that is in no row", 503, None),
]


@pytest.mark.parametrize(("status", "message", "answered", "reason"), ROWS)
def test_each_answer_has_its_outcome(
    client: TestClient, backend: HttpBackend, broker: Broker, status: int, message: str, answered: int, reason: str | None
) -> None:
    """A single record, and each answer of the table: done, later, or a dead letter with a reason."""
    backend.answer = lambda _: says(status, message)
    assert deliver(client, batches.logs("one")) == answered
    assert [letter.headers["ce_reason"] for letter in broker.messages] == ([reason] if reason else [])


def test_each_row_is_tried() -> None:
    """The rows above reach every row of the answer table."""
    reached = [next(row for row in ANSWERS if status in row.codes and row.words in message) for status, message, _, _ in ROWS if status != 302]
    assert [row for row in ANSWERS if row not in reached] == []


def test_refused_entry_is_alone_in_the_dead_letters(client: TestClient, backend: HttpBackend, broker: Broker) -> None:
    """Loki keeps the good entries of a push that it answers with 400; the bad one is found by halves."""

    def answer(asked: Asked) -> Says:
        return says(400, "has timestamp too old") if b"bad" in asked.body else says(204)

    backend.answer = answer
    assert deliver(client, batches.logs("a", "b", "bad", "c", "d")) == 204
    [letter] = broker.messages
    assert letter.topic == "telemetry.dead-letters"
    assert batches.words(EventType.LOGS, letter.value) == ["bad"]
    assert (letter.headers["ce_reason"], letter.headers["ce_sink"]) == ("out_of_window", "sink_loki")


def test_neighbour_without_a_fault_proves_an_unnamed_refusal(client: TestClient, backend: HttpBackend, broker: Broker) -> None:
    """An unknown 400 is the record's fault once another record got through."""
    backend.answer = lambda asked: says(400, "never heard of") if b"bad" in asked.body else says(204)
    assert deliver(client, batches.logs("a", "bad")) == 204
    assert [batches.words(EventType.LOGS, letter.value) for letter in broker.messages] == [["bad"]]


def test_backend_that_refuses_everything_is_let_alone(client: TestClient, backend: HttpBackend, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even what is surely good, time and again: the breaker opens."""
    monkeypatch.setattr("shared.breaker.SECONDS", 60)
    monkeypatch.setattr(isolation, "_again", stamina.AsyncRetryingCaller(attempts=1).on(isolation._is_unnamed))
    backend.answer = lambda _: says(400, "never heard of")
    assert [deliver(client, batches.logs("one")) for _ in range(breaker.FAILURES)] == [503] * breaker.FAILURES
    asked = len(backend.asked)
    assert deliver(client, batches.logs("one")) == 503
    assert (len(backend.asked), broker.messages) == (asked, [])


def test_large_batch_goes_in_parts(client: TestClient, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push over the ingestion burst would be answered 429 for ever, so none is."""
    monkeypatch.setattr("functions.sink_loki.request.MOST_BYTES", 300)
    words = [f"{number:02d}" + "x" * 50 for number in range(20)]
    assert deliver(client, batches.logs(*words)) == 204
    assert max(len(asked.body) for asked in backend.asked) <= 300
    assert [word for asked in backend.asked for word in batches.words(EventType.LOGS, asked.body)] == words


def test_time_to_wait_is_passed_on(client: TestClient, backend: HttpBackend) -> None:
    """Loki's Retry-After reaches the trigger."""
    backend.script = [Says(429, b"", {"retry-after": "17"})]
    record = batches.record(EventType.LOGS, batches.logs("one"))
    answer = client.post("/", content=record.value, headers=batches.headers(record))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "17")


def test_event_of_another_kind_is_refused(client: TestClient, backend: HttpBackend) -> None:
    """A trigger on the wrong topic shows at once."""
    assert deliver(client, batches.metrics("m"), EventType.METRICS) == 400
    assert not backend.asked
