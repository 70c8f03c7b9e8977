"""What the servers are sent: requests of so many records, made up like those of a shop's services; the same on every machine, but for times of now."""

import gzip
import random
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from shared.codecs.compression import snappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request

INSTANCE: Final = "00000000-0000-4000-8000-000000000000"
"""Of the service that all of it comes from. Who needs batches that differ puts another of the same length in its place."""
_RESOURCE: Final = {
    "service.name": "checkout",
    "service.namespace": "shop",
    "service.version": "3.14.2",
    "deployment.environment.name": "production",
    "service.instance.id": INSTANCE,
    "host.name": "node-17.eu-central",
    "telemetry.sdk.language": "java",
}
_ROUTES: Final = ("/api/v1/cart", "/api/v1/cart/items", "/api/v1/orders", "/api/v1/payments/intents", "/healthz")
_METHODS: Final = ("GET", "POST", "PUT", "DELETE")
_POINTS_PER_METRIC: Final = 4
_JOB: Final = {"job": "shop/checkout", "instance": "10.4.17.3:9464", "cluster": "eu-central-1", "namespace": "shop", "pod": "checkout-7d9f6c5b8-x2lqp"}


def logs(count: int) -> bytes:
    """Log records of about 300 bytes."""
    made, now = random.Random(count), time_ns()  # noqa: S311 no secret
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    _attributes(resource.resource, _RESOURCE)
    scope = resource.scope_logs.add()
    scope.scope.name = "com.example.shop.AccessLog"
    for number in range(count):
        method, route, status, took = made.choice(_METHODS), made.choice(_ROUTES), made.choice((200, 201, 404)), made.randrange(1, 4000)
        record = scope.log_records.add(time_unix_nano=now + number, observed_time_unix_nano=now + number + 1000, severity_number=9, severity_text="INFO")
        record.body.string_value = f"{method} {route} answered {status} in {took} ms for cart {made.randbytes(8).hex()}"
        record.trace_id, record.span_id = made.randbytes(16), made.randbytes(8)
        _attributes(record, {"http.request.method": method, "http.route": route, "http.response.status_code": status})
        _attributes(record, {"user.id": made.randbytes(6).hex(), "event.duration": took, "thread.name": f"http-nio-8080-exec-{number % 10}"})
    return request.SerializeToString()


def traces(count: int) -> bytes:
    """Spans, every fourth with an event."""
    made, now = random.Random(count), time_ns()  # noqa: S311 no secret
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _attributes(resource.resource, _RESOURCE)
    scope = resource.scope_spans.add()
    scope.scope.name = "io.opentelemetry.tomcat"
    for number in range(count):
        route, method, took = made.choice(_ROUTES), made.choice(_METHODS), made.randrange(10**6, 10**9)
        span = scope.spans.add(trace_id=made.randbytes(16), span_id=made.randbytes(8), parent_span_id=made.randbytes(8), name=f"{method} {route}", kind=2)
        span.start_time_unix_nano, span.end_time_unix_nano = now - took, now
        _attributes(span, {"http.request.method": method, "url.path": route, "http.response.status_code": 200, "client.address": "192.0.2.17"})
        if number % 4 == 0:
            event = span.events.add(time_unix_nano=now, name="cache.miss")
            _attributes(event, {"key": made.randbytes(8).hex()})
    return request.SerializeToString()


def metrics(count: int) -> bytes:
    """Data points, four of each metric: counters, gauges and histograms in turn, cumulative."""
    made, now = random.Random(count), time_ns()  # noqa: S311 no secret
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    _attributes(resource.resource, _RESOURCE)
    scope = resource.scope_metrics.add()
    scope.scope.name = "io.opentelemetry.runtime"
    for first in range(0, count, _POINTS_PER_METRIC):
        metric = scope.metrics.add(name=f"shop.metric.{first}", unit="1", description="A metric of the shop.")
        for number in range(min(_POINTS_PER_METRIC, count - first)):
            point = _point(metric, first // _POINTS_PER_METRIC % 3, made)
            point.start_time_unix_nano, point.time_unix_nano = now - 60 * 10**9, now
            _attributes(point, {"http.request.method": _METHODS[number], "http.route": made.choice(_ROUTES), "http.response.status_code": 200})
    return request.SerializeToString()


def _point(metric: Any, kind: int, made: random.Random) -> Any:
    if kind == 0:
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = AGGREGATION_TEMPORALITY_CUMULATIVE, True
        return metric.sum.data_points.add(as_int=made.randrange(10**6))
    if kind == 1:
        return metric.gauge.data_points.add(as_double=made.random())
    metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    counts = [made.randrange(100) for _ in range(11)]
    return metric.histogram.data_points.add(count=sum(counts), sum=made.random(), bucket_counts=counts, explicit_bounds=list(range(10)))


def _attributes(holder: Any, values: Mapping[str, str | int]) -> None:
    for key, value in values.items():
        attribute = holder.attributes.add(key=key)
        if isinstance(value, int):
            attribute.value.int_value = value
        else:
            attribute.value.string_value = value


def series_1(count: int) -> bytes:
    """remote_write 1.0: series with one sample each, as Prometheus sends them; 2.0: `series_2`."""
    request, now = WriteRequest(), time_ns() // 10**6
    for labels, value in _series(count):
        series = request.timeseries.add()
        for name, text in labels.items():
            series.labels.add(name=name, value=text)
        series.samples.add(value=value, timestamp=now)
    return request.SerializeToString()


def series_2(count: int) -> bytes:
    """remote_write 2.0: the same series, with their texts in the symbol table and metadata."""
    request, now, symbols = Request(), time_ns() // 10**6, {"": 0}
    for labels, value in _series(count):
        refs = [symbols.setdefault(text, len(symbols)) for pair in labels.items() for text in pair]
        series = request.timeseries.add(labels_refs=refs)
        series.samples.add(value=value, timestamp=now)
        series.metadata.type = 1
        series.metadata.help_ref = symbols.setdefault("A metric of the shop.", len(symbols))
    request.symbols.extend(symbols)
    return request.SerializeToString()


def _series(count: int) -> list[tuple[dict[str, str], float]]:
    made = random.Random(count)  # noqa: S311 no secret
    names = [{"__name__": f"shop_requests_{number // 20}_total", "route": _ROUTES[number % 5], "code": f"{200 + number % 20 // 5}"} for number in range(count)]
    return [(dict(sorted({**_JOB, **name}.items())), made.random()) for name in names]


SIGNALS: Final[Mapping[str, Callable[[int], bytes]]] = {"logs": logs, "metrics": metrics, "traces": traces}
ENCODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {"identity": bytes, "gzip": gzip.compress, "snappy": snappy}
