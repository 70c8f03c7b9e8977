"""Requests of numbered records, as OpenTelemetry's and Prometheus' clients encode them: protobuf with gzip or snappy.

The records are the bench's, with what `localdev.chaos.seen` counts in them: number, run and time are put into a ready-made message, which costs little.
"""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localdev.bench import bodies
from localdev.chaos.load import METRIC, SERIES, SPANS_PER_TRACE, Run
from localdev.load.profiles import LOGS, SAMPLES, SPANS
from localdev.load.schedule import RECORD_NS
from shared.codecs.compression import snappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.contract import OTLP_PREFIX, PROMETHEUS_PREFIX, PROTOBUF, Topic

_OTLP: Final = {"content-type": PROTOBUF, "content-encoding": "gzip", "user-agent": "obstack-load/1 (OTLP)"}
_REMOTE_WRITE: Final = {
    "content-type": PROTOBUF,
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
    "user-agent": "obstack-load/1 (remote_write)",
}
_LABELS: Final = {"cluster": "eu-central-1", "instance": "10.4.17.3:9464", "job": "shop/checkout"}
TOPICS: Final[Mapping[str, Topic]] = {LOGS: Topic.LOGS, SAMPLES: Topic.REMOTE_WRITE, SPANS: Topic.TRACES}


@dataclass(frozen=True)
class Request:
    """Path, headers without a token, body."""

    path: str
    headers: Mapping[str, str]
    body: bytes


def encode(signal: str, run: Run, first: int, size: int, happened_ns: int) -> Request:
    """The batch of `size` records from number `first` on, which happened at that time and right after it."""
    return _ENCODERS[signal](run, first, size, happened_ns)


def _logs(run: Run, first: int, size: int, happened_ns: int) -> Request:
    message, service, records = _logs_template(size)
    service.string_value = run.service
    for number, record in enumerate(records):
        record.time_unix_nano = record.observed_time_unix_nano = happened_ns + number * RECORD_NS
        record.body.string_value = f"{run.name} {first + number}"
    return Request(f"{OTLP_PREFIX}/v1/logs", _OTLP, gzip.compress(message.SerializeToString(), 1))


def _spans(run: Run, first: int, size: int, happened_ns: int) -> Request:
    message, service, spans = _spans_template(size)
    service.string_value = run.service
    for number, span in enumerate(spans, first):
        span.trace_id, span.span_id, span.name = run.trace_id(number // SPANS_PER_TRACE), (number + 1).to_bytes(8, "big"), str(number)
        span.start_time_unix_nano = happened_ns + (number - first) * RECORD_NS
        span.end_time_unix_nano = span.start_time_unix_nano + RECORD_NS
    return Request(f"{OTLP_PREFIX}/v1/traces", _OTLP, gzip.compress(message.SerializeToString(), 1))


def _samples(run: Run, first: int, size: int, happened_ns: int) -> Request:
    message, places = _samples_template(size)
    series = max(SERIES, size)
    for number, (name, place, sample) in enumerate(places, first):
        name.value, place.value = run.name, str(number % series)
        sample.value, sample.timestamp = number, happened_ns // 10**6
    return Request(f"{PROMETHEUS_PREFIX}/v1/write", _REMOTE_WRITE, snappy(message.SerializeToString()))


@cache
def _logs_template(size: int) -> tuple[Any, Any, list[Any]]:
    message = ExportLogsServiceRequest.FromString(bodies.logs(size))
    resource = message.resource_logs[0]
    return message, _service(resource.resource), list(resource.scope_logs[0].log_records)


@cache
def _spans_template(size: int) -> tuple[Any, Any, list[Any]]:
    message = ExportTraceServiceRequest.FromString(bodies.traces(size))
    resource = message.resource_spans[0]
    return message, _service(resource.resource), list(resource.scope_spans[0].spans)


@cache
def _samples_template(size: int) -> tuple[Any, list[Any]]:
    """The message, and of each sample the labels `run` and `series` and itself."""
    message, places = WriteRequest(), []
    for _ in range(size):
        one = message.timeseries.add()
        for name, value in (("__name__", METRIC), *_LABELS.items(), ("run", ""), ("series", "")):
            one.labels.add(name=name, value=value)
        places.append((one.labels[-2], one.labels[-1], one.samples.add()))
    return message, places


def _service(resource: Any) -> Any:
    """The value of `service.name`."""
    return next(attribute.value for attribute in resource.attributes if attribute.key == "service.name")


_ENCODERS: Final[Mapping[str, Callable[[Run, int, int, int], Request]]] = {LOGS: _logs, SAMPLES: _samples, SPANS: _spans}
