"""sink_tempo before a real Tempo that is killed: what it said yes to is there afterwards."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from starlette.testclient import TestClient

from functions.sink_tempo import main, request
from shared.contract import EventType
from shared.envelope import Record
from tests import batches, waiting
from tests.contract import rigs
from tests.edges import Broker
from tests.tempo import Tempo

pytestmark = pytest.mark.stack

TENANT = str(uuid4())
EVENTS = 20


@pytest.fixture
def tempo(tmp_path: Path) -> Iterator[Tempo]:
    with Tempo(tmp_path) as tempo:
        yield tempo


@pytest.fixture
def client(tempo: Tempo, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for name, value in tempo.environment.items():
        monkeypatch.setenv(name, value)
    with TestClient(main.app) as client:
        yield client


def spans(*names: str, trace_id: bytes) -> Record:
    return batches.record(EventType.TRACES, batches.traces(*names, trace_id=trace_id), TENANT)


def deliver(client: TestClient, record: Record) -> int:
    return int(client.post("/", content=record.value, headers=batches.headers(record)).status_code)


def found(tempo: Tempo, trace_id: bytes) -> list[str]:
    """Names of the trace's spans, once for each time they are there."""
    answer = rigs.get(f"{tempo.url}/api/traces/{trace_id.hex()}", {"X-Scope-OrgID": TENANT})
    return sorted(span["name"] for batch in answer.get("batches", []) for scope in batch["instrumentationLibrarySpans"] for span in scope["spans"])


def test_kill_right_after_the_yes_loses_nothing(client: TestClient, tempo: Tempo) -> None:
    """Of many events, whose answers come at about the same time."""
    sent = {uuid4().bytes: f"span {number}" for number in range(EVENTS)}
    with ThreadPoolExecutor(EVENTS) as pool:
        answers = list(pool.map(lambda one: deliver(client, spans(one[1], trace_id=one[0])), sent.items()))
    tempo.kill()
    tempo.start()
    assert answers == [204] * EVENTS
    assert {trace_id: found(tempo, trace_id) for trace_id in sent} == {trace_id: [name] for trace_id, name in sent.items()}


def test_trace_that_keeps_growing_loses_nothing(client: TestClient, tempo: Tempo) -> None:
    """Others of its spans come all the time, from before its push until the kill, so that it never is idle."""
    trace_id, growing = uuid4().bytes, threading.Event()
    more = batches.traces("one of the others", trace_id=trace_id)

    def grow() -> None:
        with grpc.insecure_channel(tempo.environment["TEMPO_OTLP_ENDPOINT"]) as channel:  # type: ignore[no-untyped-call]
            push = channel.unary_unary(request.METHOD)
            while growing.is_set():
                push(more, metadata=request.metadata(TENANT), timeout=5)

    growing.set()
    with ThreadPoolExecutor(1) as pool:
        grower = pool.submit(grow)
        try:
            waiting.until(lambda: found(tempo, trace_id), what="the trace's beginning")
            assert deliver(client, spans("one of the others", "ours", trace_id=trace_id)) == 204
            assert not grower.done()
        finally:
            growing.clear()
            tempo.kill()
    tempo.start()
    assert found(tempo, trace_id) == ["one of the others", "ours"]


def test_kill_before_the_yes_is_later(client: TestClient, tempo: Tempo) -> None:
    """Killed while the event waits for the log: 503, and the redelivery adds what is missing and doubles nothing."""
    trace_id = uuid4().bytes
    record = spans("first", "second", trace_id=trace_id)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(deliver, client, record)
        waiting.until(lambda: found(tempo, trace_id), what="the push")
        tempo.kill()
        tempo.start()
        assert answer.result(30) == 503
    waiting.until(lambda: deliver(client, record) == 204, what="the redelivery's yes")
    assert found(tempo, trace_id) == ["first", "second"]
