"""Every sink, and dead_letter, before the bytes that KafkaSource's dispatcher sends: the function's real application behind its real server and HTTP parser.

Its requests: eventing-kafka-broker (WebClientCloudEventSender, RecordDispatcherImpl), CloudEvents' Java SDK over Vert.x. Values are written raw.
"""

import base64
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time_ns
from typing import Any
from uuid import uuid4

import pytest
import uvicorn

from functions.dead_letter import main as dead_letter
from shared import envelope
from shared.contract import EventType
from shared.envelope import Record
from tests import batches, waiting
from tests.backends import HttpBackend, Says
from tests.contract import rigs
from tests.edges import Broker

_CORE = ("specversion", "id", "source", "type")


@contextmanager
def served(app: Any) -> Iterator[int]:
    """The port of the image's server, in this process."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="httptools", ws="none", log_level="warning", access_log=False, server_header=False, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        waiting.until(lambda: server.started or not thread.is_alive(), what="the server is up")
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)


def dispatched(record: Record, **more: str) -> dict[str, str]:
    """Attributes of a record that is a CloudEvent, as they leave the dispatcher."""
    return {**envelope.attributes(record), "knativekafkapartition": "3", "knativekafkaoffset": "4711", **more}


def wrapped(record: Record) -> dict[str, str]:
    """The same of a record that has lost its `ce_type`, and so is none."""
    lost = {f"kafkaheaderce{name}": value for name, value in envelope.attributes(record).items() if name != "type"}
    return {
        "specversion": "1.0",
        "id": "partition:3/offset:4711",
        "source": "/apis/v1/namespaces/telemetry/kafkasources/sink-loki#telemetry.logs",
        "type": "dev.knative.kafka.event",
        "subject": "partition:3#4711",
        "time": "2026-11-24T10:00:00.123Z",
        "key": record.key,
        "partitionkey": record.key,
        **lost,
        "knativekafkapartition": "3",
        "knativekafkaoffset": "4711",
    }


def request(port: int, attributes: Mapping[str, str], body: bytes) -> bytes:
    """The request, byte for byte: the required attributes first, then the media type, then the others."""
    lines = ["POST / HTTP/1.1", "Prefer: reply", "Kn-Namespace: telemetry"]
    lines += [f"ce-{name}: {attributes[name]}" for name in _CORE]
    lines += ["content-type: application/x-protobuf"]
    lines += [f"ce-{name}: {value}" for name, value in attributes.items() if name not in _CORE]
    lines += [f"host: 127.0.0.1:{port}", "user-agent: Vert.x-WebClient/4.5.14", f"content-length: {len(body)}"]
    lines += ["traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def sent(port: int, attributes: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers in lower case, body."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request(port, attributes, body))
        answer = http.client.HTTPResponse(connection, method="POST")
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@pytest.fixture(params=rigs.KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> rigs.Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def sink(kind: rigs.Kind, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[rigs.Standin, int]]:
    """A stand-in backend and the sink's port."""
    with rigs.Standin(kind) as backend:
        monkeypatch.setenv(kind.variable, backend.address)
        with served(kind.sink.app) as port:
            yield backend, port


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpBackend]:
    """What dead_letter writes to."""
    with HttpBackend(lambda _: Says(200)) as backend:
        for name, value in {"S3_BUCKET": "obstack", "S3_ENDPOINT_URL": backend.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(name, value)
        yield backend


def a_record(kind: rigs.Kind, backend: rigs.Standin, *words: str) -> Record:
    tenant = str(uuid4())
    backend.kept.setdefault(tenant, [])
    return batches.record(kind.type, kind.batch(time_ns(), words), tenant)


def test_event_is_stored_once_however_often_it_comes(kind: rigs.Kind, sink: tuple[rigs.Standin, int], broker: Broker) -> None:
    backend, port = sink
    record = a_record(kind, backend, "a", "b")
    assert [sent(port, dispatched(record), record.value)[0] for _ in range(2)] == [204, 204]
    assert backend.found(record.tenant_id) == ["a", "b"]
    assert not broker.messages


def test_dead_letter_of_a_sink_keeps_what_the_dispatcher_said(kind: rigs.Kind, sink: tuple[rigs.Standin, int], broker: Broker) -> None:
    backend, port = sink
    record = a_record(kind, backend, "a", "bad")
    assert sent(port, dispatched(record), record.value)[0] == 204
    (letter,) = broker.messages
    assert (letter.headers["ce_id"], letter.headers["ce_knativekafkaoffset"]) == (record.id, "4711")
    assert all(name == "content-type" or name.removeprefix("ce_").isalnum() for name in letter.headers)


def test_wrapped_record_is_refused_with_a_reason(kind: rigs.Kind, sink: tuple[rigs.Standin, int]) -> None:
    """A defect of the publisher: a 4xx, which isn't tried again."""
    backend, port = sink
    record = a_record(kind, backend, "a")
    status, headers, _ = sent(port, wrapped(record), record.value)
    assert (status, headers["kne-reason"]) == (400, "not_an_event")
    assert backend.found(record.tenant_id) == []


@pytest.mark.parametrize("code", ["503", "404", "429", ""])
def test_event_whose_retries_ran_out_waits_for_its_sink(code: str, s3: HttpBackend) -> None:
    """Without a code nothing answered at all."""
    record = batches.record(EventType.LOGS, batches.logs("late"))
    death = {"knativeerrordest": "http://sink-loki.telemetry.svc.cluster.local"}
    if code:
        death |= {"knativeerrorcode": code, "knativeerrordata": base64.b64encode(b"loki is away\n" * 100)[:1368].decode()}
    with served(dead_letter.app) as port:
        assert sent(port, dispatched(record, **death), record.value)[0] == 204
    (put,) = s3.asked
    assert put.path == f"/obstack/waiting-letters/sink_loki/000000/{record.time[:10]}/{record.id}/{record.tenant_id}"
    assert put.headers["x-amz-meta-reason"] == "retries_ran_out"


def test_event_that_a_sink_refused_is_a_letter_with_the_sinks_reason(s3: HttpBackend) -> None:
    """`Kne-` headers of the answer are attributes of the letter."""
    record = batches.record(EventType.TRACES, batches.traces("a"))
    data = base64.b64encode(b"not an event of this pipeline").decode()
    death = {"knativeerrordest": "http://sink-loki.telemetry.svc.cluster.local", "knativeerrorcode": "400", "knativeerrordata": data, "reason": "not_an_event"}
    with served(dead_letter.app) as port:
        assert sent(port, dispatched(record, **death), record.value)[0] == 204
    (put,) = s3.asked
    assert put.path == f"/obstack/dead-letters/{record.tenant_id}/sink_loki/{record.time[:10]}/{record.id}"
    told = {name.removeprefix("x-amz-meta-"): value for name, value in put.headers.items()}
    assert (told["reason"], told["status"], told["detail"]) == ("not_an_event", "400", "not an event of this pipeline")


def test_wrapped_record_is_kept_as_a_letter_of_nobody(s3: HttpBackend) -> None:
    record = batches.record(EventType.LOGS, batches.logs("a"))
    death = {"knativeerrordest": "http://sink-loki.telemetry.svc.cluster.local", "knativeerrorcode": "400", "reason": "not_an_event"}
    with served(dead_letter.app) as port:
        assert sent(port, wrapped(record) | death, record.value)[0] == 204
    (put,) = s3.asked
    assert put.path.startswith("/obstack/dead-letters/unknown/sink_loki/")
