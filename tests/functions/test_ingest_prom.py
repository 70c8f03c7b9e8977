"""ingest_prom through its ASGI app: remote_write's requests and answers."""

from collections.abc import Callable, Iterator
from time import time_ns
from typing import Any

import pytest
from confluent_kafka import KafkaError
from starlette.testclient import TestClient

from functions.ingest_prom import main
from shared.codecs.compression import snappy
from shared.codecs.prompb import remote1_pb2, remote2_pb2
from shared.telemetry.metrics import Tenants
from tests.conftest import Customer
from tests.edges import Broker, Database
from tests.told import growth

ONE = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
TWO = {"content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "content-encoding": "snappy"}
WRITTEN = "x-prometheus-remote-write-"
NOW = time_ns() // 1_000_000


@pytest.fixture
def client(broker: Broker, database: Database) -> Iterator[TestClient]:
    with TestClient(main.app) as client:
        yield client


def request1() -> bytes:
    request = remote1_pb2.WriteRequest()
    series = request.timeseries.add()
    series.labels.add(name="__name__", value="up")
    series.samples.add(value=1, timestamp=NOW)
    return request.SerializeToString()


def request2() -> bytes:
    request = remote2_pb2.Request(symbols=["", "__name__", "up"])
    series = request.timeseries.add(labels_refs=[1, 2])
    series.samples.add(value=1, timestamp=NOW)
    series.exemplars.add(value=1, timestamp=NOW)
    request.timeseries.add(labels_refs=[1, 2]).histograms.add(timestamp=NOW)
    return request.SerializeToString()


def written(answer: Any) -> dict[str, str]:
    return {name.removeprefix(WRITTEN): value for name, value in answer.headers.items() if name.startswith(WRITTEN)}


@pytest.mark.parametrize("path", ["/v1/write", "/ingest/prometheus/v1/write"])
@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest", None])
def test_version_1_lies_in_the_topic_without_its_snappy(client: TestClient, broker: Broker, acme: Customer, path: str, content_type: str | None) -> None:
    headers = acme.headers | {"content-encoding": "snappy"} | ({"content-type": content_type} if content_type else {})
    answer = client.post(path, content=snappy(request1()), headers=headers)
    assert (answer.status_code, answer.content, written(answer)) == (204, b"", {})
    (message,) = broker.messages
    assert (message.topic, message.value) == ("telemetry.remote-write", request1())
    assert (message.headers["ce_type"], message.headers["ce_tenantid"]) == ("io.obstack.telemetry.remote-write.v1", acme.tenant_id)


@pytest.mark.parametrize("encoding", [{}, {"content-encoding": ""}, {"content-encoding": "Snappy"}])
def test_what_names_no_encoding_is_snappy(client: TestClient, broker: Broker, acme: Customer, encoding: dict[str, str]) -> None:
    """As Prometheus' own receiver takes it."""
    for headers, request in ((ONE, request1()), (TWO, request2())):
        named = {"content-type": headers["content-type"], **encoding}
        assert client.post("/v1/write", content=snappy(request), headers=acme.headers | named).status_code == 204
    assert [message.value for message in broker.messages] == [request1(), request2()]


@pytest.mark.parametrize(
    ("headers", "name", "taken"),
    [
        ({"content-encoding": "gzip"}, "accept-encoding", "snappy"),
        ({"content-type": "application/json"}, "accept", "application/x-protobuf;proto=prometheus.WriteRequest"),
        ({"content-type": "application/x-protobuf;proto=other"}, "accept", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ],
)
def test_415_names_what_is_taken(client: TestClient, acme: Customer, headers: dict[str, str], name: str, taken: str) -> None:
    """RFC 9110, § 15.5.16."""
    answer = client.post("/v1/write", content=b"", headers=acme.headers | ONE | headers)
    assert answer.status_code == 415
    assert taken in answer.headers[name].split(", ")
    assert ({"accept", "accept-encoding"} - {name}).isdisjoint(answer.headers)


def test_version_2_reports_what_was_written(client: TestClient, broker: Broker, acme: Customer) -> None:
    answer = client.post("/v1/write", content=snappy(request2()), headers=acme.headers | TWO)
    assert (answer.status_code, written(answer)) == (204, {"samples-written": "1", "histograms-written": "1", "exemplars-written": "1"})
    (message,) = broker.messages
    assert (message.headers["ce_type"], message.value) == ("io.obstack.telemetry.remote-write.v2", request2())


def test_one_senders_requests_keep_to_one_key(client: TestClient, broker: Broker, acme: Customer, globex: Customer) -> None:
    for customer in (acme, acme, globex):
        client.post("/v1/write", content=snappy(request1()), headers=customer.headers | ONE)
    assert broker.messages[0].key == broker.messages[1].key != broker.messages[2].key


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (ONE, b"not snappy", 400),
        (ONE, b"", 400),
        (ONE, snappy(b"not protobuf"), 400),
        (TWO, snappy(request1()), 400),
        (ONE, snappy(request2()), 400),
        (ONE, b"\xff\xff\xff\xff\x0f", 413),
        ({"content-type": "application/json", "content-encoding": "snappy"}, snappy(request1()), 415),
        ({"content-type": "application/x-protobuf;proto=other", "content-encoding": "snappy"}, snappy(request1()), 415),
        ({"content-type": "application/x-protobuf", "content-encoding": "gzip"}, snappy(request1()), 415),
        ({"content-type": "application/x-protobuf", "content-encoding": "identity"}, request1(), 415),
        ({"content-type": "application/x-protobuf", "content-encoding": "snappy, gzip"}, snappy(request1()), 415),
        ({"content-type": "application/x-protobuf"}, request1(), 400),
        ({}, b"\xff\xff\xff\xff\x0f", 413),
    ],
    ids=[
        *("snappy", "empty", "protobuf", "1.0 called 2.0", "2.0 called 1.0", "too large", "media type", "message", "encoding", "identity", "two encodings"),
        *("no encoding, not snappy", "no encoding, too large"),
    ],
)
def test_wrong_bodies_get_a_short_text(client: TestClient, broker: Broker, acme: Customer, headers: dict[str, str], body: bytes, status: int) -> None:
    answer = client.post("/v1/write", content=body, headers=acme.headers | headers)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert 0 < len(answer.text) < 300
    assert broker.messages == []


def test_version_2_refusals_say_nothing_was_written(client: TestClient, acme: Customer) -> None:
    answer = client.post("/v1/write", content=b"not snappy", headers=acme.headers | TWO)
    assert (answer.status_code, set(written(answer).values())) == (400, {"0"})


@pytest.mark.parametrize("headers", [ONE, TWO])
def test_without_token_is_401(client: TestClient, broker: Broker, headers: dict[str, str]) -> None:
    answer = client.post("/v1/write", content=snappy(request1()), headers=headers)
    assert answer.status_code == 401
    assert "Basic" in answer.headers["www-authenticate"]
    assert broker.messages == []


def test_broker_away_is_503_with_retry_after(client: TestClient, broker: Broker, acme: Customer) -> None:
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    answer = client.post("/v1/write", content=snappy(request1()), headers=acme.headers | ONE)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_wrong_method_and_path(client: TestClient, acme: Customer) -> None:
    answer = client.get("/v1/write", headers=acme.headers | ONE)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert client.post("/v1/read", headers=acme.headers | ONE).status_code == 404


def test_good_series_of_a_partly_wrong_request_are_taken(client: TestClient, broker: Broker, acme: Customer) -> None:
    request = remote1_pb2.WriteRequest.FromString(request1() + request1())
    request.timeseries[1].labels.add(name="__name__", value="again")
    answer = client.post("/v1/write", content=snappy(request.SerializeToString()), headers=acme.headers | ONE)
    assert (answer.status_code, written(answer)) == (400, {})
    for word in ("1 not taken", "series 1", "'__name__' is there twice"):
        assert word in answer.text
    assert [message.value for message in broker.messages] == [request1()]


def test_true_counts_go_with_a_partial_write(client: TestClient, broker: Broker, acme: Customer) -> None:
    request = remote2_pb2.Request.FromString(request2())
    request.timeseries.add(labels_refs=[1, 2]).samples.add(timestamp=1)
    request.timeseries.add(labels_refs=[1, 2]).samples.add(timestamp=1)
    answer = client.post("/v1/write", content=snappy(request.SerializeToString()), headers=acme.headers | TWO)
    assert (answer.status_code, written(answer)) == (400, {"samples-written": "1", "histograms-written": "1", "exemplars-written": "1"})
    assert "out_of_window: 2 not taken" in answer.text
    assert [message.value for message in broker.messages] == [request2()]


def test_nothing_was_written_when_the_broker_is_away(client: TestClient, broker: Broker, acme: Customer) -> None:
    """Of a partly wrong request too: the whole of it shall come again."""
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    request = remote2_pb2.Request.FromString(request2())
    request.timeseries.add(labels_refs=[1, 2]).samples.add(timestamp=1)
    answer = client.post("/v1/write", content=snappy(request.SerializeToString()), headers=acme.headers | TWO)
    assert (answer.status_code, set(written(answer).values())) == (503, {"0"})


@pytest.mark.parametrize(("headers", "make"), [(ONE, remote1_pb2.WriteRequest), (TWO, remote2_pb2.Request)])
def test_request_larger_than_a_record_is_cut(
    client: TestClient, broker: Broker, acme: Customer, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], make: Any
) -> None:
    monkeypatch.setattr(main, "MAX_RECORD_BYTES", 1000)
    request = make()
    for place in range(100):
        if make is remote1_pb2.WriteRequest:
            series = request.timeseries.add()
            series.labels.add(name="__name__", value="up")
        else:
            request.symbols[:] = ["", "__name__", "up"]
            series = request.timeseries.add(labels_refs=[1, 2])
        series.samples.add(value=place, timestamp=NOW + place)
    answer = client.post("/v1/write", content=snappy(request.SerializeToString()), headers=acme.headers | headers)
    assert answer.status_code == 204
    assert len(broker.messages) > 2
    assert all(len(message.value) <= 1000 for message in broker.messages)
    assert len({message.key for message in broker.messages}) == 1
    found = [series.samples[0].timestamp for message in broker.messages for series in make.FromString(message.value).timeseries]
    assert found == [NOW + place for place in range(100)]


def test_series_too_large_for_a_record_is_refused_alone(client: TestClient, broker: Broker, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "MAX_RECORD_BYTES", 1000)
    request = remote2_pb2.Request.FromString(request2())
    request.symbols.append("x" * 2000)
    request.timeseries.add(labels_refs=[1, 3]).samples.add(timestamp=NOW)
    answer = client.post("/v1/write", content=snappy(request.SerializeToString()), headers=acme.headers | TWO)
    assert (answer.status_code, written(answer)["samples-written"]) == (400, "1")
    assert answer.text.startswith("too_large: 1 ")
    assert "series 2" in answer.text
    assert len(broker.messages) == 1


def test_switched_off_keeps_the_data_with_the_client(broker: Broker, database: Database, acme: Customer) -> None:
    """503 with Retry-After, and that nothing was written: a sender tries again for ever."""
    database.flags = [("ingest.prometheus", None, "off", None)]
    with TestClient(main.app) as client:
        answer = client.post("/v1/write", content=snappy(request2()), headers=acme.headers | TWO)
    assert (answer.status_code, answer.headers["retry-after"], answer.text) == (503, "5", "ingest is switched off\n")
    assert set(written(answer).values()) == {"0"}
    assert not broker.messages


def test_each_request_is_counted_once_by_tenant_and_outcome(client: TestClient, broker: Broker, acme: Customer, few_tenants: Tenants) -> None:
    def counted(outcome: str, reason: str, tenant: str = acme.tenant_id) -> Callable[[], float]:
        return growth("obstack_ingest_requests_total", tenant=tenant, signal="remote-write", outcome=outcome, reason=reason)

    accepted, invalid, later, nobodys = (
        counted("accepted", ""),
        counted("refused", "invalid"),
        counted("later", "unavailable"),
        counted("refused", "no_token", ""),
    )
    in_part = remote1_pb2.WriteRequest.FromString(request1())
    in_part.timeseries.add().samples.add(value=1, timestamp=NOW)  # without a name
    assert client.post("/v1/write", content=snappy(request1()), headers=acme.headers | ONE).status_code == 204
    assert client.post("/v1/write", content=snappy(in_part.SerializeToString()), headers=acme.headers | ONE).status_code == 400
    assert len(broker.messages) == 2, "what is good of it was taken all the same"
    assert client.post("/v1/write", content=snappy(request1()), headers=ONE).status_code == 401
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    assert client.post("/v1/write", content=snappy(request1()), headers=acme.headers | ONE).status_code == 503
    assert [count() for count in (accepted, invalid, later, nobodys)] == [1, 1, 1, 1]
