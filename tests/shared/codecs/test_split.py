"""Batches cut to fit: nothing lost but what can't fit, nothing added, all in order, everything around a record kept."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.codecs.split import split
from shared.errors import Refused

KINDS: list[type[Message]] = [ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, WriteRequest, Request]
LEVELS = {
    ExportLogsServiceRequest: ("resource_logs", "scope_logs", "log_records"),
    ExportMetricsServiceRequest: ("resource_metrics", "scope_metrics", "metrics"),
    ExportTraceServiceRequest: ("resource_spans", "scope_spans", "spans"),
}
METRICS = ["gauge", "sum", "histogram", "exponential_histogram", "summary"]

sizes = st.integers(0, 40) | st.integers(0, 400)
"""Bytes of text in a record: most small, some larger than a part."""
tree = st.lists(st.lists(st.lists(sizes, max_size=8), max_size=4), max_size=4)


def otlp(kind: type[Message], shape: list[list[list[int]]], wide: int = 3) -> Any:
    """A batch in which every record has a number of its own; `wide` bytes of text around each."""
    request, number = kind(), 0
    resources, scopes, records = LEVELS[kind]
    for r, in_resource in enumerate(shape):
        resource = getattr(request, resources).add(schema_url=f"r{r}")
        resource.resource.attributes.add(key="r").value.string_value = "w" * wide
        for s, in_scope in enumerate(in_resource):
            scope = getattr(resource, scopes).add(schema_url=f"s{s}")
            scope.scope.name = f"{r}.{s}"
            for size in in_scope:
                number += 1
                record = getattr(scope, records).add()
                fill(record, number, size)
    return request


def fill(record: Any, number: int, size: int) -> None:
    match record.DESCRIPTOR.name:
        case "LogRecord":
            record.time_unix_nano = number
            record.body.string_value = "x" * size
        case "Span":
            record.start_time_unix_nano = number
            record.name = "x" * size
        case _:
            record.name, record.unit = f"m{number}", "s"
            for point in range(1 + size // 20):
                getattr(record, METRICS[number % 5]).data_points.add(time_unix_nano=point + 1)


def series(version: type[Message], shape: list[list[int]]) -> Any:
    """Requests whose series have so many samples, symbols shared and of their own."""
    request: Any = version()
    if version is Request:
        request.symbols.extend(["", "__name__", "zone", "z" * 20, "help"])
    for place, samples in enumerate(s for many in shape for s in many):
        name = f"name_{place}" + "n" * (samples % 30)
        one = request.timeseries.add()
        if version is Request:
            request.symbols.append(name)
            one.labels_refs.extend([1, len(request.symbols) - 1, 2, 3])
            one.metadata.help_ref = 4
        else:
            one.labels.add(name="__name__", value=name)
            one.labels.add(name="zone", value="z" * 20)
        for time in range(samples % 17):
            one.samples.add(timestamp=time + 1, value=struct.unpack("<d", bytes.fromhex("020000000000f07f"))[0])
        if samples % 3 == 0:
            one.exemplars.add(timestamp=samples + 1)
        if not one.samples:
            one.histograms.add(timestamp=1, count_int=samples)
    return request


def records(request: Any) -> Iterator[tuple[Any, ...]]:
    """Every record, with all that is around it."""
    if type(request) in LEVELS:
        resources, scopes, below = LEVELS[type(request)]
        for resource in getattr(request, resources):
            for scope in getattr(resource, scopes):
                around = (resource.schema_url, str(resource.resource), scope.schema_url, str(scope.scope))
                for record in getattr(scope, below):
                    yield from ((*around, *one) for one in leaves(record))
        return
    for one in request.timeseries:
        if isinstance(request, Request):
            symbols = request.symbols
            labels = [symbols[ref] for ref in one.labels_refs] + [symbols[one.metadata.help_ref]]
        else:
            labels = [text for label in one.labels for text in (label.name, label.value)]
        for field in ("exemplars", "samples", "histograms"):
            yield from ((*labels, field, sample.SerializeToString()) for sample in getattr(one, field))


def leaves(record: Any) -> Iterator[tuple[Any, ...]]:
    if record.DESCRIPTOR.name != "Metric":
        yield (record.SerializeToString(),)
        return
    kind = record.WhichOneof("data")
    for point in getattr(record, kind).data_points:
        yield (record.name, record.unit, kind, point.SerializeToString())


def check(request: Any, limit: int) -> None:
    value = request.SerializeToString()
    found = split(type(request), value, limit)
    assert all(len(part) <= limit for part in found.parts)
    parts = [type(request).FromString(part) for part in found.parts]
    kept, whole = [record for part in parts for record in records(part)], list(records(request))
    assert len(kept) + found.rejected == len(whole)
    left = iter(whole)
    assert all(record in left for record in kept), "not the records of the batch in their order"
    assert (found.first_index < 0) == (found.rejected == 0)
    if len(value) <= limit:
        assert found.parts[0] is value


@pytest.mark.parametrize("kind", KINDS[:3])
@given(shape=tree, wide=st.integers(0, 60), limit=st.integers(60, 900))
@settings(deadline=None, max_examples=120)
def test_otlp_parts_are_the_batch(kind: type[Message], shape: list[list[list[int]]], wide: int, limit: int) -> None:
    """In order, each within the limit, everything around a record kept, and what is in no part counted."""
    check(otlp(kind, shape, wide), limit)


@pytest.mark.parametrize("version", KINDS[3:])
@given(shape=st.lists(st.lists(sizes, max_size=8), max_size=4), limit=st.integers(200, 1500))
@settings(deadline=None, max_examples=120)
def test_remote_write_parts_are_the_batch(version: type[Message], shape: list[list[int]], limit: int) -> None:
    """Series with their labels, samples and all else."""
    check(series(version, shape), limit)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_nothing_is_rejected_that_would_fit(kind: type[Message]) -> None:
    request = otlp(kind, [[[30] * 50] * 3] * 3)
    found = split(kind, request.SerializeToString(), 600)
    assert (found.rejected, found.first_index) == (0, -1)
    # Parts are full: what they repeat around the records is the only growth.
    assert len(found.parts) < 2 * len(request.SerializeToString()) / 600 + 1


def test_borders_of_resources_are_kept_where_they_can_be() -> None:
    request = otlp(ExportLogsServiceRequest, [[[20] * 5]] * 6)
    one = len(request.resource_logs[0].SerializeToString())
    found = split(ExportLogsServiceRequest, request.SerializeToString(), 2 * one + 30)
    assert [len(ExportLogsServiceRequest.FromString(part).resource_logs) for part in found.parts] == [2, 2, 2]


@pytest.mark.parametrize("kind", [ExportLogsServiceRequest, ExportTraceServiceRequest])
def test_single_record_too_large_is_counted_and_named(kind: type[Message]) -> None:
    request = otlp(kind, [[[10, 10], [10, 2000, 10]]])
    found = split(kind, request.SerializeToString(), 1000)
    assert (found.rejected, found.first_index) == (1, 3)
    assert len([record for part in found.parts for record in records(kind.FromString(part))]) == 4


def test_what_was_cut_counts_once_in_the_place_of_the_next() -> None:
    request = otlp(ExportMetricsServiceRequest, [[[10, 4000, 10]]])
    request.resource_metrics[0].scope_metrics[0].metrics.add(name="x" * 600).gauge.data_points.add()
    found = split(ExportMetricsServiceRequest, request.SerializeToString(), 500)
    assert (found.rejected, found.first_index) == (1, 3)


def test_points_of_one_metric_are_cut_apart() -> None:
    request = otlp(ExportMetricsServiceRequest, [[[4000]]])
    found = split(ExportMetricsServiceRequest, request.SerializeToString(), 500)
    assert found.rejected == 0
    assert len(found.parts) > 2
    assert {ExportMetricsServiceRequest.FromString(part).resource_metrics[0].scope_metrics[0].metrics[0].name for part in found.parts} == {"m1"}


def test_what_is_around_too_much_is_not_repeated_over_and_over() -> None:
    """A resource of nearly a part's size would go with each few records: a batch of 64 MB would become gigabytes."""
    request = otlp(ExportLogsServiceRequest, [[[10] * 1000], [[10] * 3]], wide=8_000)
    found = split(ExportLogsServiceRequest, request.SerializeToString(), 10_000)
    assert (found.rejected, found.first_index) == (1000, 0)
    assert [len(list(records(ExportLogsServiceRequest.FromString(part)))) for part in found.parts] == [3]


def test_2_0_parts_have_the_symbols_they_need() -> None:
    """A large table would fill every part."""
    request = series(Request, [[5] * 200])
    found = split(Request, request.SerializeToString(), 2000)
    parts = [Request.FromString(part) for part in found.parts]
    assert found.rejected == 0
    assert all(part.symbols[0] == "" and len(part.symbols) < 40 for part in parts)
    assert sum(len(part) for part in found.parts) < 2 * request.ByteSize()


def test_2_0_series_of_too_much_text_is_left_out() -> None:
    request = series(Request, [[5] * 100])
    request.symbols.append("x" * 3000)
    request.timeseries[50].labels_refs.extend([2, len(request.symbols) - 1])
    found = split(Request, request.SerializeToString(), 2000)
    assert (found.rejected, found.first_index) == (5, 50)


def test_metadata_go_once() -> None:
    request = series(WriteRequest, [[7] * 30])
    for place in range(20):
        request.metadata.add(metric_family_name=f"m{place}", help="h" * 50)
    found = split(WriteRequest, request.SerializeToString(), 700)
    assert [one.metric_family_name for part in found.parts for one in WriteRequest.FromString(part).metadata] == [f"m{place}" for place in range(20)]


def test_unknown_fields_stay() -> None:
    """A newer protocol's fields go with every part of what they are in."""
    request = otlp(ExportLogsServiceRequest, [[[30] * 20]])
    found = split(ExportLogsServiceRequest, request.SerializeToString() + b"\xfa\x01\x03new", 400)
    assert len(found.parts) > 2
    assert all(b"\xfa\x01\x03new" in part for part in found.parts)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_no_batch(kind: type[Message]) -> None:
    with pytest.raises(Refused):
        split(kind, b"\xff" * 20, 10)
