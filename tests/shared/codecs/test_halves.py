"""Batches cut in two: nothing lost, nothing added, everything around a record kept."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.codecs import halves
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request

Cut = Callable[[bytes], tuple[bytes, bytes] | None]


def leaves(value: bytes, cut: Cut) -> list[bytes]:
    """Single records."""
    split = cut(value)
    return [value] if split is None else leaves(split[0], cut) + leaves(split[1], cut)


def tree(request: Any, resources: str, scopes: str) -> Any:
    """Three resources of two scopes."""
    for r in range(3):
        resource = getattr(request, resources).add(schema_url=f"r{r}")
        resource.resource.attributes.add(key="r").value.int_value = r
        for s in range(2):
            scope = getattr(resource, scopes).add(schema_url=f"s{s}")
            scope.scope.name = f"{r}{s}"
            yield scope


def around(resource: Any, scope: Any) -> tuple[str, int, str, str]:
    return resource.schema_url, resource.resource.attributes[0].value.int_value, scope.schema_url, scope.scope.name


def test_logs_down_to_single_records() -> None:
    """Each with its resource and scope, in order."""
    request = ExportLogsServiceRequest()
    for scope in tree(request, "resource_logs", "scope_logs"):
        for name in "abc":
            scope.log_records.add().body.string_value = scope.scope.name + name
    found = []
    for leaf in leaves(request.SerializeToString(), halves.logs):
        [resource] = ExportLogsServiceRequest.FromString(leaf).resource_logs
        [scope] = resource.scope_logs
        [log] = scope.log_records
        found.append((*around(resource, scope), log.body.string_value))
    assert found == [(f"r{r}", r, f"s{s}", f"{r}{s}", f"{r}{s}{name}") for r in range(3) for s in range(2) for name in "abc"]


def test_spans_down_to_single_records() -> None:
    """Each with its resource and scope, in order."""
    request = ExportTraceServiceRequest()
    for scope in tree(request, "resource_spans", "scope_spans"):
        for name in "ab":
            scope.spans.add(name=scope.scope.name + name)
    found = []
    for leaf in leaves(request.SerializeToString(), halves.traces):
        [resource] = ExportTraceServiceRequest.FromString(leaf).resource_spans
        [scope] = resource.scope_spans
        [span] = scope.spans
        found.append((*around(resource, scope), span.name))
    assert found == [(f"r{r}", r, f"s{s}", f"{r}{s}", f"{r}{s}{name}") for r in range(3) for s in range(2) for name in "ab"]


@pytest.mark.parametrize("kind", ["gauge", "sum", "histogram", "exponential_histogram", "summary"])
def test_metrics_down_to_single_points(kind: str) -> None:
    """Each with name, unit, temporality and all that is around it."""
    request = ExportMetricsServiceRequest()
    for scope in tree(request, "resource_metrics", "scope_metrics"):
        for name in "ab":
            metric = scope.metrics.add(name=name, unit="s")
            data = getattr(metric, kind)
            if kind in {"sum", "histogram", "exponential_histogram"}:
                data.aggregation_temporality = 2
            for time in (1, 2, 3):
                data.data_points.add(time_unix_nano=time)
    found = []
    for leaf in leaves(request.SerializeToString(), halves.metrics):
        [resource] = ExportMetricsServiceRequest.FromString(leaf).resource_metrics
        [scope] = resource.scope_metrics
        [metric] = scope.metrics
        data = getattr(metric, kind)
        [point] = data.data_points
        found.append((*around(resource, scope), metric.name, metric.unit, getattr(data, "aggregation_temporality", 2), point.time_unix_nano))
    wanted = [(f"r{r}", r, f"s{s}", f"{r}{s}", name, "s", 2, time) for r in range(3) for s in range(2) for name in "ab" for time in (1, 2, 3)]
    assert found == wanted


def test_remote_write_1_down_to_single_samples() -> None:
    """A series keeps its labels; metadata go once, exemplars with the newest sample; numbers keep their bits."""
    stale = struct.unpack("<d", bytes.fromhex("020000000000f07f"))[0]
    request = WriteRequest()
    for name in "ab":
        series = request.timeseries.add()
        series.labels.add(name="__name__", value=name)
        for time in (1, 2, 3):
            series.samples.add(timestamp=time, value=stale)
        series.histograms.add(timestamp=4)
        series.exemplars.add(timestamp=4)
    request.metadata.add(metric_family_name="a")
    parts: list[Any] = [WriteRequest.FromString(leaf) for leaf in leaves(request.SerializeToString(), halves.remote_write_1)]
    found = [(one.timeseries[0].labels[0].value, *(s.timestamp for s in (*one.timeseries[0].samples, *one.timeseries[0].histograms))) for one in parts]
    assert found == [(name, time) for name in "ab" for time in (1, 2, 3, 4)]
    assert [len(one.metadata) for one in parts] == [1, 0, 0, 0, 0, 0, 0, 0]
    assert [len(one.timeseries[0].exemplars) for one in parts] == [0, 0, 0, 1, 0, 0, 0, 1]
    assert all(struct.pack("<d", s.value).hex() == "020000000000f07f" for one in parts for s in one.timeseries[0].samples)


def test_remote_write_2_keeps_the_symbols_it_uses() -> None:
    """References stay true, and no part has the names of others."""
    request = Request(symbols=["", "__name__", "a", "b"])
    for ref in (2, 3):
        series = request.timeseries.add(labels_refs=[1, ref])
        series.metadata.type, series.metadata.help_ref = 1, ref
        series.exemplars.add(labels_refs=[1, ref], timestamp=2)
        for time in (1, 2):
            series.samples.add(timestamp=time)
    parts = [Request.FromString(leaf) for leaf in leaves(request.SerializeToString(), halves.remote_write_2)]
    assert [(list(one.symbols), one.timeseries[0].samples[0].timestamp) for one in parts] == [
        (["", "__name__", name], time) for name in ("a", "b") for time in (1, 2)
    ]
    for one in parts:
        series = one.timeseries[0]
        assert (list(series.labels_refs), series.metadata.type, series.metadata.help_ref) == ([1, 2], 1, 2)
        assert all(list(exemplar.labels_refs) == [1, 2] for exemplar in series.exemplars)


def test_reference_to_nothing_stays_one() -> None:
    """Such a series has to be refused as it was."""
    request = Request(symbols=["", "__name__", "a"])
    for _ in range(2):
        request.timeseries.add(labels_refs=[1, 77])
    split = halves.remote_write_2(request.SerializeToString())
    assert split is not None
    assert [list(Request.FromString(half).timeseries[0].labels_refs) for half in split] == [[1, 77]] * 2


@pytest.mark.parametrize("cut", [halves.logs, halves.metrics, halves.traces, halves.remote_write_1, halves.remote_write_2])
@pytest.mark.parametrize("value", [b"", b"\xff\xff", b"\x0a\x00", b"\xfa\x01\x03new"])
def test_nothing_to_cut(cut: Cut, value: bytes) -> None:
    """No record, and bytes that can't be read."""
    assert cut(value) is None


def test_unknown_fields_stay() -> None:
    """A newer protocol's fields go with both halves of what they are in."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add().body.string_value = "a"
    records.add().body.string_value = "b"
    split = halves.logs(request.SerializeToString() + b"\xfa\x01\x03new")
    assert split is not None
    assert all(b"\xfa\x01\x03new" in half for half in split)
