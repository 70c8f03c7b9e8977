"""Batches of each type of record, the events that carry them, and what they say: every record in them is known by a word."""

from collections.abc import Sequence
from dataclasses import replace
from time import time_ns
from typing import Any
from uuid import uuid4

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared import envelope
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import EventType, Source, Topic
from shared.envelope import Record
from shared.tenant import Tenant

TOPICS = {
    EventType.LOGS: Topic.LOGS,
    EventType.METRICS: Topic.METRICS,
    EventType.TRACES: Topic.TRACES,
    EventType.REMOTE_WRITE_1: Topic.REMOTE_WRITE,
    EventType.REMOTE_WRITE_2: Topic.REMOTE_WRITE,
}


def record(kind: EventType, value: bytes, tenant_id: str | None = None, **changes: Any) -> Record:
    """A record received now, of a new tenant if none is given."""
    tenant = Tenant(tenant_id or str(uuid4()), str(uuid4()), frozenset())
    return replace(envelope.new(tenant, kind, Source.OTLP, TOPICS[kind], value, key=envelope.key_of(tenant.id, b"")), **changes)


def headers(record: Record) -> dict[str, str]:
    """Headers of the request that a trigger makes of a record (CloudEvents HTTP binding, binary mode)."""
    found = {}
    for name, value in envelope.kafka_headers(record):
        assert isinstance(value, bytes)
        found[name.replace("ce_", "ce-")] = value.decode("ascii")
    return found


def logs(*words: str, at: int | Sequence[int] | None = None, service: str = "checkout") -> bytes:
    """A log record per word, `at` a moment in ns (one for all, or one each)."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_logs.add()
    scope.scope.name = "tests"
    for word, moment in zip(words, _moments(at, len(words)), strict=True):
        scope.log_records.add(time_unix_nano=moment).body.string_value = word
    return request.SerializeToString()


def metrics(*words: str, at: int | Sequence[int] | None = None, value: float = 1.0) -> bytes:
    """A gauge with one point per word."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    scope = resource.scope_metrics.add()
    for word, moment in zip(words, _moments(at, len(words)), strict=True):
        scope.metrics.add(name=word).gauge.data_points.add(time_unix_nano=moment, as_double=value)
    return request.SerializeToString()


def traces(*words: str, trace_id: bytes | Sequence[bytes] | None = None) -> bytes:
    """A span per word."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    scope = resource.scope_spans.add()
    now = time_ns()
    ids = [trace_id or uuid4().bytes] * len(words) if trace_id is None or isinstance(trace_id, bytes) else trace_id
    for number, (word, one) in enumerate(zip(words, ids, strict=True), 1):
        scope.spans.add(trace_id=one, span_id=number.to_bytes(8, "big"), name=word, start_time_unix_nano=now, end_time_unix_nano=now + 1_000_000)
    return request.SerializeToString()


def series_1(*words: str, at: int | Sequence[int] | None = None, value: float = 1.0) -> bytes:
    """remote_write 1.0: a series with one sample per word."""
    request = WriteRequest()
    for word, moment in zip(words, _moments(at, len(words)), strict=True):
        series = request.timeseries.add()
        series.labels.add(name="__name__", value=word)
        series.labels.add(name="zone", value="z1")
        series.samples.add(value=value, timestamp=moment // 1_000_000)
    return request.SerializeToString()


def series_2(*words: str, at: int | Sequence[int] | None = None, value: float = 1.0) -> bytes:
    """remote_write 2.0: a series with one sample per word."""
    request = Request(symbols=["", "__name__", "zone", "z1"])
    for word, moment in zip(words, _moments(at, len(words)), strict=True):
        request.symbols.append(word)
        series = request.timeseries.add(labels_refs=[1, len(request.symbols) - 1, 2, 3])
        series.samples.add(value=value, timestamp=moment // 1_000_000)
    return request.SerializeToString()


def words(kind: EventType, value: bytes) -> list[str]:
    """The words in a batch."""
    match kind:
        case EventType.LOGS:
            return [log.body.string_value for r in ExportLogsServiceRequest.FromString(value).resource_logs for s in r.scope_logs for log in s.log_records]
        case EventType.METRICS:
            return [metric.name for r in ExportMetricsServiceRequest.FromString(value).resource_metrics for s in r.scope_metrics for metric in s.metrics]
        case EventType.TRACES:
            return [span.name for r in ExportTraceServiceRequest.FromString(value).resource_spans for s in r.scope_spans for span in s.spans]
        case EventType.REMOTE_WRITE_1:
            return [label.value for series in WriteRequest.FromString(value).timeseries for label in series.labels if label.name == "__name__"]
        case EventType.REMOTE_WRITE_2:
            return [labels["__name__"] for labels in labels_2(value)]


def labels_2(value: bytes) -> list[dict[str, str]]:
    """Labels of each series of a 2.0 request."""
    request = Request.FromString(value)
    pairs = [zip(series.labels_refs[::2], series.labels_refs[1::2], strict=True) for series in request.timeseries]
    return [{request.symbols[name]: request.symbols[text] for name, text in pair} for pair in pairs]


def _moments(at: int | Sequence[int] | None, count: int) -> Sequence[int]:
    if at is None or isinstance(at, int):
        return [at or time_ns()] * count
    return at
