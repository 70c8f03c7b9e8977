"""ingest_otlp through its ASGI app: OTLP/HTTP's requests and answers."""

import gzip
import json
from collections.abc import Callable, Iterator
from time import time_ns
from typing import Any

import pytest
from confluent_kafka import KafkaError
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from starlette.testclient import TestClient

from functions.ingest_otlp import main
from shared import tokens
from shared.telemetry import metrics
from shared.telemetry.metrics import Tenants
from tests.conftest import Customer, add_customer
from tests.edges import Broker, Database
from tests.told import growth

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def client(broker: Broker, database: Database) -> Iterator[TestClient]:
    with TestClient(main.app) as client:
        yield client


def logs(*times: int) -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    scope = resource.scope_logs.add()
    for time in times or (time_ns(),):
        scope.log_records.add(time_unix_nano=time).body.string_value = "hello"
    return request.SerializeToString()


def status_of(response: Any) -> Any:
    """The Status in an error answer, whose media type must be the request's."""
    asked = response.request.headers.get("content-type", "").partition(";")[0]
    if asked == "application/json":
        assert response.headers["content-type"] == "application/json"
        return response.json()
    assert response.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(response.content)


@pytest.mark.parametrize("prefix", ["", "/ingest/otlp"])
@pytest.mark.parametrize(
    ("signal", "topic", "kind"),
    [
        ("logs", "telemetry.logs", "io.obstack.telemetry.logs.v1"),
        ("metrics", "telemetry.metrics", "io.obstack.telemetry.metrics.v1"),
        ("traces", "telemetry.traces", "io.obstack.telemetry.traces.v1"),
    ],
)
def test_batch_lies_in_its_topic_as_it_came(client: TestClient, broker: Broker, acme: Customer, prefix: str, signal: str, topic: str, kind: str) -> None:
    bodies: dict[str, Any] = {
        "logs": {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(time_ns())}]}]}]},
        "metrics": {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [{"asInt": "1"}]}}]}]}]},
        "traces": {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "ab" * 16, "spanId": "cd" * 8}]}]}]},
    }
    answer = client.post(f"{prefix}/v1/{signal}", content=json.dumps(bodies[signal]), headers=acme.headers | JSON)
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, "application/json")
    value = broker.messages[0].value
    answer = client.post(f"{prefix}/v1/{signal}", content=value, headers=acme.headers | PROTOBUF)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", "application/x-protobuf")
    first, second = broker.messages
    assert first.value == second.value == value
    for message in (first, second):
        assert message.topic == topic
        assert message.key.startswith(acme.tenant_id + "/")
        expected = {"ce_type": kind, "ce_tenantid": acme.tenant_id, "ce_tokenid": acme.token_id, "ce_source": "/ingest/otlp", "ce_topic": topic}
        assert expected.items() <= message.headers.items()


@pytest.mark.parametrize(
    ("content_type", "answers"), [("application/json; charset=utf-8", "application/json"), ("Application/X-Protobuf", "application/x-protobuf")]
)
def test_media_type_parameters_and_case_are_tolerated(client: TestClient, acme: Customer, content_type: str, answers: str) -> None:
    answer = client.post("/v1/logs", content=b"{}" if "json" in answers else b"", headers=acme.headers | {"content-type": content_type})
    assert (answer.status_code, answer.headers["content-type"]) == (200, answers)


def test_gzip_and_chunked_bodies_are_taken(client: TestClient, broker: Broker, acme: Customer) -> None:
    value = logs()
    packed = gzip.compress(value)
    headers = acme.headers | PROTOBUF | {"content-encoding": "gzip"}
    assert client.post("/v1/logs", content=packed, headers=headers).status_code == 200
    assert client.post("/v1/logs", content=iter([packed[:10], packed[10:]]), headers=headers).status_code == 200
    assert [message.value for message in broker.messages] == [value, value]


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize("most", [1 << 20, 200])
def test_batch_that_is_sent_again_is_the_same_bytes_in_a_record_of_its_own(
    client: TestClient, broker: Broker, acme: Customer, monkeypatch: pytest.MonkeyPatch, kind: dict[str, str], most: int
) -> None:
    """By which OpenSearch knows it, also when it is cut, re-written without what is ours alone, or read from JSON."""
    monkeypatch.setattr("shared.intake.MAX_RECORD_BYTES", most)
    request = ExportLogsServiceRequest.FromString(logs(*range(time_ns(), time_ns() + 40)))
    request.resource_logs[0].resource.attributes.add(key="tenant_id").value.string_value = "evil"
    body = json_format.MessageToJson(request).encode() if kind is JSON else request.SerializeToString()
    broker.error, broker.persisted = KafkaError(KafkaError._MSG_TIMED_OUT), True
    assert client.post("/v1/logs", content=body, headers=acme.headers | kind).status_code == 503
    first = broker.messages.copy()
    broker.error = None
    assert client.post("/v1/logs", content=body, headers=acme.headers | kind).status_code == 200
    again = broker.messages[len(first) :]
    assert len(first) == len(again) > (most == 200)
    assert {(message.value, message.headers.get("ce_cut")) for message in first} == {(message.value, message.headers.get("ce_cut")) for message in again}
    assert len({message.headers["ce_id"] for message in broker.messages}) == 2 * len(first)


@pytest.mark.parametrize(("headers", "body"), [(PROTOBUF, b""), (JSON, b"{}")])
def test_empty_request_is_success_without_a_record(client: TestClient, broker: Broker, acme: Customer, headers: dict[str, str], body: bytes) -> None:
    assert client.post("/v1/logs", content=body, headers=acme.headers | headers).status_code == 200
    assert broker.messages == []


def test_partial_success_names_count_reason_and_index(client: TestClient, broker: Broker, acme: Customer) -> None:
    answer = client.post("/v1/logs", content=logs(time_ns(), 1, 2), headers=acme.headers | PROTOBUF)
    assert answer.status_code == 200
    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_log_records == 2
    assert "index 1" in partial.error_message
    assert "7 days" in partial.error_message
    assert len(ExportLogsServiceRequest.FromString(broker.messages[0].value).resource_logs[0].scope_logs[0].log_records) == 1


def test_all_rejected_publishes_nothing(client: TestClient, broker: Broker, acme: Customer) -> None:
    answer = client.post("/v1/logs", content=logs(1), headers=acme.headers | PROTOBUF)
    assert ExportLogsServiceResponse.FromString(answer.content).partial_success.rejected_log_records == 1
    assert broker.messages == []


def test_tenant_comes_from_the_token_alone(client: TestClient, broker: Broker, acme: Customer, globex: Customer) -> None:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="tenant_id").value.string_value = globex.tenant_id
    resource.scope_logs.add().log_records.add(time_unix_nano=time_ns()).attributes.add(key="tenant.id").value.string_value = globex.tenant_id
    forged = {"x-scope-orgid": globex.tenant_id, "ce-tenantid": globex.tenant_id}
    client.post("/v1/logs", content=request.SerializeToString(), headers=acme.headers | PROTOBUF | forged)
    (message,) = broker.messages
    assert message.headers["ce_tenantid"] == acme.tenant_id
    assert globex.tenant_id.encode() not in message.value


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize("token", [None, "wrong", tokens.create()])
def test_without_a_valid_token_is_401(client: TestClient, broker: Broker, kind: dict[str, str], token: str | None) -> None:
    answer = client.post("/v1/logs", content=logs(), headers=kind | ({"authorization": f"Bearer {token}"} if token else {}))
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]
    status = status_of(answer)
    assert (status["code"] if kind is JSON else status.code) == 16
    assert broker.messages == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PROTOBUF, b"garbage"),
        (JSON, b"garbage"),
        (JSON, b"[]"),
        (PROTOBUF | {"content-encoding": "gzip"}, b"not gzip"),
        (PROTOBUF | {"content-encoding": "gzip"}, b""),
    ],
    ids=["protobuf", "json", "json list", "gzip", "empty gzip"],
)
def test_undecodable_body_is_400_with_details(client: TestClient, broker: Broker, acme: Customer, headers: dict[str, str], body: bytes) -> None:
    answer = client.post("/v1/logs", content=body, headers=acme.headers | headers)
    assert answer.status_code == 400
    status = status_of(answer)
    details = status["details"] if isinstance(status, dict) else status.details
    assert "BadRequest" in (details[0]["@type"] if isinstance(status, dict) else details[0].type_url)
    assert broker.messages == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/logs", {"content-type": "text/plain"}, 415),
        ("POST", "/v1/logs", {}, 415),
        ("POST", "/v1/logs", PROTOBUF | {"content-encoding": "br"}, 415),
        ("GET", "/v1/logs", PROTOBUF, 405),
        ("POST", "/v1/profiles", PROTOBUF, 404),
        ("POST", "/", PROTOBUF, 404),
    ],
)
def test_wrong_requests_get_their_status(
    client: TestClient, broker: Broker, acme: Customer, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.request(method, path, content=logs() if method == "POST" else None, headers=acme.headers | headers)
    assert answer.status_code == status
    assert status_of(answer).message
    assert broker.messages == []
    assert (answer.headers.get("allow") == "POST") == (status == 405)


@pytest.mark.parametrize(
    ("headers", "name", "taken"),
    [
        (PROTOBUF | {"content-encoding": "br"}, "accept-encoding", "gzip, zstd, deflate"),
        (JSON | {"content-encoding": "gzip, gzip"}, "accept-encoding", "gzip, zstd, deflate"),
        ({"content-type": "text/plain"}, "accept", "application/x-protobuf, application/json"),
        ({}, "accept", "application/x-protobuf, application/json"),
    ],
)
def test_415_names_what_is_taken(client: TestClient, acme: Customer, headers: dict[str, str], name: str, taken: str) -> None:
    answer = client.post("/v1/logs", content=logs(), headers=acme.headers | headers)
    assert answer.status_code == 415
    assert {key: value for key, value in answer.headers.items() if key.startswith("accept")} == {name: taken}


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize("form", ["length", "chunked", "bomb"])
def test_too_large_is_413(client: TestClient, broker: Broker, acme: Customer, monkeypatch: pytest.MonkeyPatch, kind: dict[str, str], form: str) -> None:
    monkeypatch.setattr("shared.intake.MAX_BODY_BYTES", 1000)
    body: Any = {"length": bytes(1001), "chunked": iter([bytes(600), bytes(600)]), "bomb": gzip.compress(bytes(100_000))}[form]
    headers = acme.headers | kind | ({"content-encoding": "gzip"} if form == "bomb" else {})
    answer = client.post("/v1/logs", content=body, headers=headers)
    assert answer.status_code == 413
    status_of(answer)
    assert broker.messages == []


def test_bomb_counts_for_its_senders_plan(client: TestClient, broker: Broker, database: Database) -> None:
    """A few bytes on the wire that were a megabyte of work, though it is refused."""
    customer = add_customer(database, plan=(1000.0, 1000.0, 1.0, 1 << 20))
    for status in (413, 429):
        answer = client.post("/v1/logs", content=gzip.compress(bytes(2 << 20)), headers=customer.headers | PROTOBUF | {"content-encoding": "gzip"})
        assert answer.status_code == status
    assert broker.messages == []


def test_batch_larger_than_a_record_is_published_in_parts(client: TestClient, broker: Broker, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.intake.MAX_RECORD_BYTES", 200)
    now = time_ns()
    answer = client.post("/v1/logs", content=logs(*range(now, now + 40)), headers=acme.headers | PROTOBUF)
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(broker.messages) > 3
    assert {message.key for message in broker.messages} == {broker.messages[0].key}
    assert len({message.headers["ce_id"] for message in broker.messages}) == len(broker.messages)
    assert {message.headers["ce_cut"] for message in broker.messages} == {str(number) for number in range(len(broker.messages))}
    requests = [ExportLogsServiceRequest.FromString(message.value) for message in broker.messages]
    assert all(len(message.value) <= 200 for message in broker.messages)
    assert all(request.resource_logs[0].resource.attributes[0].value.string_value == "checkout" for request in requests)
    records = [record for request in requests for record in request.resource_logs[0].scope_logs[0].log_records]
    assert sorted(record.time_unix_nano for record in records) == list(range(now, now + 40))


def test_record_too_large_by_itself_is_rejected_alone(client: TestClient, broker: Broker, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.intake.MAX_RECORD_BYTES", 200)
    request = ExportLogsServiceRequest.FromString(logs(time_ns(), time_ns()))
    request.resource_logs[0].scope_logs[0].log_records[1].body.string_value = "x" * 300
    answer = client.post("/v1/logs", content=request.SerializeToString(), headers=acme.headers | PROTOBUF)
    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_log_records) == (200, 1)
    assert "index 1" in partial.error_message
    assert len(broker.messages) == 1


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_over_the_plan_is_429_with_retry_after(client: TestClient, broker: Broker, database: Database, kind: dict[str, str]) -> None:
    customer = add_customer(database, plan=(1.0, 1e9, 1.0, 1 << 20))
    body = logs() if kind is PROTOBUF else b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}'
    answers = [client.post("/v1/logs", content=body, headers=customer.headers | kind) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert int(answers[-1].headers["retry-after"]) > 0
    status = status_of(answers[-1])
    assert (status["code"] if kind is JSON else status.code) == 8
    assert len(broker.messages) == [answer.status_code for answer in answers].count(200)


def test_noisy_tenant_does_not_limit_another(client: TestClient, database: Database, acme: Customer) -> None:
    noisy = add_customer(database, plan=(1.0, 1e9, 1.0, 1 << 20))
    for _ in range(5):
        client.post("/v1/logs", content=logs(), headers=noisy.headers | PROTOBUF)
    assert client.post("/v1/logs", content=logs(), headers=acme.headers | PROTOBUF).status_code == 200


def test_plan_limits_the_body(client: TestClient, broker: Broker, database: Database) -> None:
    customer = add_customer(database, plan=(100.0, 1e9, 1.0, 20))
    assert client.post("/v1/logs", content=logs(), headers=customer.headers | PROTOBUF).status_code == 413
    assert broker.messages == []


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_broker_away_is_503_with_retry_after(client: TestClient, broker: Broker, acme: Customer, kind: dict[str, str]) -> None:
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    body = logs() if kind is PROTOBUF else b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}'
    answer = client.post("/v1/logs", content=body, headers=acme.headers | kind)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    status = status_of(answer)
    assert (status["code"] if kind is JSON else status.code) == 14


def test_database_away_is_503_never_401(client: TestClient, database: Database, acme: Customer) -> None:
    database.down = True
    assert client.post("/v1/logs", content=logs(), headers=acme.headers | PROTOBUF).status_code == 503


def test_token_without_the_signals_scope_is_403(client: TestClient, broker: Broker, database: Database) -> None:
    customer = add_customer(database, scopes=["traces"])
    assert client.post("/v1/logs", content=logs(), headers=customer.headers | PROTOBUF).status_code == 403
    assert broker.messages == []


def test_defect_of_ours_is_503_and_tells_nothing(client: TestClient, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("shared.codecs.otlp.check", broken)
    answer = client.post("/v1/logs", content=logs(), headers=acme.headers | PROTOBUF)
    assert answer.status_code == 503
    assert b"secret" not in answer.content


def test_platform_paths_answer_without_a_token(client: TestClient) -> None:
    assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    assert "obstack_ingest_accepted_records" in client.get("/metrics").text


@pytest.mark.parametrize("name", ["ingest", "ingest.otlp"])
@pytest.mark.parametrize("media", ["application/x-protobuf", "application/json"])
def test_switched_off_keeps_the_data_with_the_client(broker: Broker, database: Database, acme: Customer, globex: Customer, name: str, media: str) -> None:
    """503 with Retry-After as trouble of ours, for the tenant that is meant; who has no good token is told that first."""
    database.flags = [(name, acme.tenant_id, "off", None), ("ingest.prometheus", None, "off", None)]
    before, later = metrics.SWITCHED_OFF._value.get(), growth("obstack_ingest_refused_requests_total", reason="switched_off")
    with TestClient(main.app) as client:
        refused = client.post("/v1/logs", content=b"", headers=acme.headers | {"content-type": media})
        assert (refused.status_code, refused.headers["retry-after"], refused.headers["content-type"]) == (503, "5", media)
        assert b"switched off" in refused.content
        assert client.post("/v1/logs", content=b"", headers=globex.headers | {"content-type": "application/x-protobuf"}).status_code == 200
        assert client.post("/v1/logs", content=b"", headers={"content-type": media}).status_code == 401
    assert metrics.SWITCHED_OFF._value.get() == before + 1
    assert later() == 1


def test_off_by_its_setting_until_the_flag_says_on(broker: Broker, database: Database, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST", "off")
    headers = acme.headers | {"content-type": "application/x-protobuf"}
    with TestClient(main.app) as client:
        assert client.post("/v1/logs", content=b"", headers=headers).status_code == 503
    database.flags = [("ingest", None, "on", None)]
    with TestClient(main.app) as client:
        assert client.post("/v1/logs", content=b"", headers=headers).status_code == 200


def test_each_request_is_counted_once_by_tenant_signal_and_outcome(client: TestClient, broker: Broker, acme: Customer, few_tenants: Tenants) -> None:
    def counted(outcome: str, reason: str, tenant: str = acme.tenant_id, signal: str = "logs") -> Callable[[], float]:
        return growth("obstack_ingest_requests_total", tenant=tenant, signal=signal, outcome=outcome, reason=reason)

    accepted, invalid, later = counted("accepted", ""), counted("refused", "undecodable"), counted("later", "unavailable")
    nobodys, nowhere = counted("refused", "unknown_token", ""), counted("refused", "not_found", "", "")
    for body in (logs(), logs(time_ns(), 1), b""):  # all of it, part of it, nothing in it: 200 each time
        assert client.post("/v1/logs", content=body, headers=acme.headers | PROTOBUF).status_code == 200
    assert client.post("/v1/logs", content=b"\xff", headers=acme.headers | PROTOBUF).status_code == 400
    assert client.post("/v1/logs", content=logs(), headers=PROTOBUF | {"authorization": "Bearer wrong"}).status_code == 401
    assert client.post("/v1/nothing", content=logs(), headers=acme.headers | PROTOBUF).status_code == 404
    broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    assert client.post("/v1/logs", content=logs(), headers=acme.headers | PROTOBUF).status_code == 503
    assert [count() for count in (accepted, invalid, later, nobodys, nowhere)] == [3, 1, 1, 1, 1]


def test_a_tenants_hits_of_its_limits_are_counted(client: TestClient, database: Database, few_tenants: Tenants) -> None:
    slow = add_customer(database, plan=(0.1, 50_000_000.0, 10.0, 64 * 1024 * 1024))
    hits = growth("obstack_limit_hits_total", tenant=slow.tenant_id, limit="requests")
    limited = growth("obstack_ingest_requests_total", tenant=slow.tenant_id, signal="logs", outcome="refused", reason="limited")
    answers = [client.post("/v1/logs", content=logs(), headers=slow.headers | PROTOBUF).status_code for _ in range(4)]
    assert set(answers) == {200, 429}
    assert hits() == limited() == answers.count(429)
