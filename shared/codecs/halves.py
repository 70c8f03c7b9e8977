"""A batch cut into two batches of the same message type, down to single log records, data points, spans and samples. Pure.

Both halves keep resource, scope, metric and series of what is in them, and unknown fields; numbers keep their bits. None when there is nothing to cut: a single
record, or bytes that can't be read. A 1.0 request's metadata stay with the first half, a series' exemplars with the half that holds its newest samples.
"""

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request

_ONEOF: Final = "data"
"""The level of a metric at which its kind is chosen; the points lie one level below."""


def logs(value: bytes) -> tuple[bytes, bytes] | None:
    """Halves of an ExportLogsServiceRequest."""
    return _halves(ExportLogsServiceRequest, value, lambda request: _cut(request, ("resource_logs", "scope_logs", "log_records")))


def metrics(value: bytes) -> tuple[bytes, bytes] | None:
    """Halves of an ExportMetricsServiceRequest."""
    return _halves(ExportMetricsServiceRequest, value, lambda request: _cut(request, ("resource_metrics", "scope_metrics", "metrics", _ONEOF, "data_points")))


def traces(value: bytes) -> tuple[bytes, bytes] | None:
    """Halves of an ExportTraceServiceRequest."""
    return _halves(ExportTraceServiceRequest, value, lambda request: _cut(request, ("resource_spans", "scope_spans", "spans")))


def remote_write_1(value: bytes) -> tuple[bytes, bytes] | None:
    """Halves of a remote_write 1.0 WriteRequest."""
    return _halves(WriteRequest, value, _cut_series)


def remote_write_2(value: bytes) -> tuple[bytes, bytes] | None:
    """Halves of a remote_write 2.0 Request, each with the symbols that it uses."""
    return _halves(Request, value, _cut_series_2)


def _halves(kind: type[Message], value: bytes, cut: Callable[[Any], Any]) -> tuple[bytes, bytes] | None:
    try:
        first = kind.FromString(value)
    except DecodeError:
        return None
    second = cut(first)
    return None if second is None else (first.SerializeToString(), second.SerializeToString())


def _cut(message: Any, levels: tuple[str, ...]) -> Any:
    """Take the second half out of the message: at this level if it has several items, else inside its only one."""
    if not levels:
        return None
    level, below = levels[0], levels[1:]
    if level == _ONEOF:
        return _cut_kind(message, below)
    items = getattr(message, level)
    if len(items) > 1:
        second, middle = _copy(message), len(items) // 2
        del items[middle:], getattr(second, level)[:middle]
        return second
    inner = _cut(items[0], below) if items else None
    if inner is None:
        return None
    first = items.pop()
    second = _copy(message)
    items.append(first)
    getattr(second, level).append(inner)
    return second


def _cut_kind(metric: Any, below: tuple[str, ...]) -> Any:
    kind = metric.WhichOneof(_ONEOF)
    inner = _cut(getattr(metric, kind), below) if kind else None
    if inner is None:
        return None
    second = _copy(metric)
    getattr(second, kind).CopyFrom(inner)
    return second


def _cut_series(request: Any) -> Any:
    second = _cut(request, ("timeseries",))
    if second is None and len(request.timeseries) == 1:
        second = _cut_samples(request)
    if second is not None and isinstance(second, WriteRequest):
        second.ClearField("metadata")
    return second


def _cut_series_2(request: Any) -> Any:
    second = _cut_series(request)
    if second is not None:
        _drop_symbols(request)
        _drop_symbols(second)
    return second


def _drop_symbols(request: Any) -> None:
    """Leave out the symbols that nothing refers to: single records that each had the whole table would be many times their batch."""
    old = list(request.symbols)
    labels = [refs for series in request.timeseries for refs in (series.labels_refs, *(exemplar.labels_refs for exemplar in series.exemplars))]
    metadata = [series.metadata for series in request.timeseries if series.HasField("metadata")]
    used = [0, *(ref for refs in labels for ref in refs), *(ref for one in metadata for ref in (one.help_ref, one.unit_ref))]
    if max(used) >= len(old):
        return  # a reference to nothing has to go on being one
    places = {ref: place for place, ref in enumerate(dict.fromkeys(used))}
    for refs in labels:
        refs[:] = [places[ref] for ref in refs]
    for one in metadata:
        one.help_ref, one.unit_ref = places[one.help_ref], places[one.unit_ref]
    request.symbols[:] = [old[ref] for ref in places]


def _cut_samples(request: Any) -> Any:
    one = request.timeseries[0]
    samples = len(one.samples)
    half = (samples + len(one.histograms)) // 2
    if not half:
        return None
    second = _copy(request)
    other = second.timeseries[0]
    del one.samples[half:], one.histograms[max(half - samples, 0) :], one.exemplars[:]
    del other.samples[:half], other.histograms[: max(half - samples, 0)]
    return second


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
