"""What every sink keeps, whichever its backend: one suite for all, before stand-ins and before the real backends.

2xx only after the backend's yes; a backend that is away is 503; a bad record is alone in the dead letters; a redelivery adds nothing.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import time_ns
from typing import Any

import pytest
from confluent_kafka import KafkaError
from starlette.testclient import TestClient

from shared import breaker
from shared.contract import EventType
from shared.telemetry import metrics
from tests import batches, waiting
from tests.backends import Says
from tests.contract.conftest import Rig
from tests.contract.rigs import Kind, Standin
from tests.edges import Broker, Database


def test_yes_waits_for_the_backends_yes(rig: Rig) -> None:
    """As long as the backend hasn't answered, nor has the sink."""
    assert isinstance(rig.backend, Standin)
    rig.backend.server.open.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(rig.deliver, rig.record(time_ns(), "a"))
        assert rig.backend.server.reached.wait(10)
        assert not answer.done()
        rig.backend.server.open.set()
        assert answer.result(10) == 204
    assert rig.found() == ["a"]


def test_backend_that_is_away_is_later(kind: Kind, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: 503, no dead letter, and the sink starts all the same."""
    monkeypatch.setenv(kind.variable, "127.0.0.1:1" if kind.name == "tempo" else "http://127.0.0.1:1")
    with TestClient(kind.sink.app) as client:
        record = batches.record(kind.type, kind.batch(time_ns(), ["a"]))
        answer = client.post("/", content=record.value, headers=batches.headers(record))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert not broker.messages


def test_dead_letters_have_the_same_parts_on_every_delivery(rig: Rig) -> None:
    """Each its own; and whoever replays one learns by the answer that something died."""
    record = rig.record(time_ns(), "a", "bad1", "b", "bad2", "bad3")
    assert rig.deliver(record) == 204
    answer = rig.client.post("/", content=record.value, headers=batches.headers(record))
    assert (answer.status_code, answer.headers["obstack-dead-letters"]) == (204, "parts")
    parts = [(letter.headers["ce_part"], letter.value) for letter in rig.broker.messages]
    assert len({part for part, _ in parts[:3]}) == 3
    assert sorted(parts[:3]) == sorted(parts[3:])
    assert {(letter.headers["ce_sink"], letter.headers["ce_id"]) for letter in rig.broker.messages} == {(rig.kind.sink.__name__.split(".")[1], record.id)}


def test_dead_letter_that_dies_again_is_the_same_one(rig: Rig) -> None:
    record = rig.record(time_ns(), "bad1", "a")
    assert rig.deliver(record) == 204
    (letter,) = rig.broker.messages
    again = replace(record, value=letter.value, extensions={"part": letter.headers["ce_part"]})
    answer = rig.client.post("/", content=again.value, headers=batches.headers(again))
    assert (answer.status_code, answer.headers["obstack-dead-letters"]) == (204, "whole")
    assert [(one.headers["ce_id"], one.headers["ce_part"]) for one in rig.broker.messages] == [(record.id, letter.headers["ce_part"])] * 2


@pytest.mark.parametrize(("mode", "answered"), [("hold", 503), ("skip", 204)])
def test_switched_off_by_its_setting(kind: Kind, broker: Broker, monkeypatch: pytest.MonkeyPatch, mode: str, answered: int) -> None:
    """`hold`: events wait in the topic; `skip`: they are let go, and counted. The backend isn't asked."""
    before = metrics.SWITCHED.labels(mode)._value.get()
    with Standin(kind) as backend:
        monkeypatch.setenv(kind.variable, backend.address)
        monkeypatch.setenv(f"{kind.variable.partition('_')[0]}_WRITES", mode)
        with TestClient(kind.sink.app) as client:
            record = Rig(kind, client, broker, backend).record(time_ns(), "a")
            answer = client.post("/", content=record.value, headers=batches.headers(record))
            assert (answer.status_code, answer.headers.get("retry-after")) == (answered, "30" if mode == "hold" else None)
            assert client.post("/", content=b"x").status_code == 400, "what is no event is refused all the same"
        assert not backend.server.asked
    assert metrics.SWITCHED.labels(mode)._value.get() == before + 1
    assert not broker.messages


def test_switched_off_for_one_tenant(kind: Kind, broker: Broker, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' events are stored as ever."""
    with Standin(kind) as backend:
        monkeypatch.setenv(kind.variable, backend.address)
        one, other = (Rig(kind, None, broker, backend) for _ in range(2))  # type: ignore[arg-type]
        database.flags = [(kind.sink.__name__.split(".")[1].replace("_", "."), one.tenant_id, "skip", None)]
        with TestClient(kind.sink.app) as client:
            one.client = other.client = client
            assert [rig.deliver(rig.record(time_ns(), "a")) for rig in (one, other)] == [204, 204]
        assert (one.found(), other.found()) == ([], ["a"])


def test_sink_goes_on_once_the_backend_is_back(kind: Kind, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The redelivered event is stored."""
    with Standin(kind) as backend:
        monkeypatch.setenv(kind.variable, backend.address)
        backend.kept["x"] = []
        with TestClient(kind.sink.app) as client:
            rig = Rig(kind, client, broker, backend)
            record = rig.record(time_ns(), "a")
            answer, backend.server.answer = backend.server.answer, _trouble(kind)
            assert rig.deliver(record) == 503
            backend.server.answer = answer
            assert rig.deliver(record) == 204
            assert rig.found() == ["a"]


def test_silent_backend_costs_its_timeout_a_few_times_only(kind: Kind, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the breaker is open: the trigger is told to wait, at once and without asking the backend. It is asked again after a moment."""
    monkeypatch.setenv("BACKEND_TIMEOUT_SECONDS", "0.1")
    monkeypatch.setattr("shared.breaker.SECONDS", 1)
    with Standin(kind) as backend:
        monkeypatch.setenv(kind.variable, backend.address)
        with TestClient(kind.sink.app) as client:
            rig = Rig(kind, client, broker, backend)
            record = rig.record(time_ns(), "a")
            backend.server.open.clear()
            assert [rig.deliver(record) for _ in range(breaker.FAILURES + 1)] == [503] * (breaker.FAILURES + 1)
            asked = len(backend.server.asked)
            answer = client.post("/", content=record.value, headers=batches.headers(record))
            assert (answer.status_code, int(answer.headers["retry-after"]) > 0, len(backend.server.asked)) == (503, True, asked)
            backend.server.open.set()
            waiting.until(lambda: rig.deliver(record) == 204, what="the breaker closes")
            assert rig.found() == ["a"]
    assert not broker.messages


def _trouble(kind: Kind) -> Any:
    return (lambda _: ("UNAVAILABLE", "")) if kind.name == "tempo" else (lambda _: Says(503))


def test_bad_record_is_alone_in_the_dead_letters(rig: Rig) -> None:
    """Its neighbours are stored, and it says why it isn't."""
    record = rig.record(time_ns(), "a", "b", "bad", "c", "d")
    assert rig.deliver(record) == 204
    assert rig.found() == ["a", "b", "c", "d"]
    assert rig.dead() == ["bad"]
    [letter] = rig.broker.messages
    assert letter.topic == "telemetry.dead-letters"
    assert letter.key == record.key
    assert letter.headers["ce_id"] == record.id
    assert letter.headers["ce_tenantid"] == record.tenant_id
    assert letter.headers["ce_sink"] == rig.kind.sink.__name__.split(".")[1]
    assert letter.headers["ce_reason"]
    assert letter.headers["ce_detail"]


def test_batch_of_bad_records_is_buried(rig: Rig) -> None:
    """When the backend names what is wrong, a whole batch may go."""
    assert rig.deliver(rig.record(time_ns(), "bad1", "bad2")) == 204
    assert rig.found() == []
    assert rig.dead() == ["bad1", "bad2"]


def test_redelivery_adds_nothing(rig: Rig) -> None:
    """Twice the same event, with a bad record in it: twice the same answer, everything once."""
    record = rig.record(time_ns(), "a", "bad", "b")
    assert [rig.deliver(record), rig.deliver(record)] == [204, 204]
    assert rig.found() == ["a", "b"]
    assert rig.dead() == ["bad", "bad"]


def test_dead_letter_that_fails_is_later(rig: Rig) -> None:
    """A dead letter is a publish like any other."""
    rig.broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    record = rig.record(time_ns(), "a", "bad")
    assert rig.deliver(record) == 503
    rig.broker.error = None
    assert rig.deliver(record) == 204
    assert rig.dead() == ["bad"]


def test_event_that_is_not_ours_is_refused(rig: Rig) -> None:
    """A 4xx, which redelivery doesn't follow; a wrapped record says that we published it wrongly."""
    record = rig.record(time_ns(), "a")
    headers = batches.headers(record)
    for broken in ({"ce-type": "dev.knative.kafka.event"}, {"ce-tenantid": "acme|globex"}, {"ce-type": "io.obstack.telemetry.logs.v9"}, {"ce-id": ""}):
        sent = {name: value for name, value in {**headers, **broken}.items() if value}
        answer = rig.client.post("/", content=record.value, headers=sent)
        assert answer.status_code == 400
        assert answer.headers["kne-reason"] == "not_an_event"
    assert rig.found() == []
    assert not rig.broker.messages


def test_record_of_another_type_is_refused(rig: Rig) -> None:
    """A trigger that reads the wrong topic."""
    taken = {EventType.METRICS, EventType.REMOTE_WRITE_1, EventType.REMOTE_WRITE_2} if rig.kind.name.startswith("prom") else {rig.kind.type}
    for other in set(EventType) - taken:
        record = batches.record(other, b"")
        assert rig.client.post("/", content=b"", headers=batches.headers(record)).status_code == 400


def test_every_delivery_is_counted(rig: Rig) -> None:
    """By type: delivered, postponed, dead."""
    kind = rig.kind.type
    before = metrics.DELIVERED.labels(kind)._value.get(), metrics.POSTPONED.labels(kind)._value.get()
    rig.broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    rig.deliver(rig.record(time_ns(), "bad"))
    rig.deliver(rig.record(time_ns(), "a"))
    assert (metrics.DELIVERED.labels(kind)._value.get(), metrics.POSTPONED.labels(kind)._value.get()) == (before[0] + 1, before[1] + 1)


def test_defect_of_ours_is_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever we did not think of keeps the data where it is."""
    monkeypatch.setattr("shared.envelope.from_event", lambda *_: 1 / 0)
    assert rig.deliver(rig.record(time_ns(), "a")) == 503


# -- the real backends --------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.stack
def test_real_backend_stores_all_but_the_bad_record(real: Rig) -> None:
    """A batch with a bad record, twice: the good ones are found, once; the bad one is alone in the dead letters; another tenant finds nothing."""
    record = real.record(time_ns(), "alpha", "beta", "bad", "gamma")
    assert real.deliver(record) == 204
    assert real.deliver(record) == 204
    waiting.until(lambda: real.found() == ["alpha", "beta", "gamma"], what=f"the good records, once, in {real.kind.name}")
    assert real.dead() == ["bad", "bad"]
    assert {letter.headers["ce_reason"] for letter in real.broker.messages} <= {"out_of_window", "invalid", "undecodable"}


@pytest.mark.stack
def test_real_backend_takes_a_large_batch(real: Rig) -> None:
    """Several megabytes, more than some backends take in one request."""
    words = [f"w{number:05d}" + "x" * (20_000 if real.kind.name in {"loki", "tempo", "opensearch"} else 0) for number in range(300)]
    assert real.deliver(real.record(time_ns(), *words)) == 204
    assert not real.broker.messages
    waiting.until(lambda: real.found() == words, what=f"every record in {real.kind.name}")


@pytest.mark.stack
def test_real_backend_takes_an_empty_batch(real: Rig) -> None:
    """Nothing is no trouble."""
    record = batches.record(real.kind.type, b"", real.tenant_id)
    assert real.deliver(record) == 204
    assert not real.broker.messages
