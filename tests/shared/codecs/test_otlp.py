"""OTLP at ingest: the same bytes go on unless something had to change."""

import json
import random
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, AGGREGATION_TEMPORALITY_DELTA

from shared.codecs import otlp
from shared.errors import Refused

NOW = 1_790_000_000 * 10**9


def logs(*times: int) -> ExportLogsServiceRequest:
    """A request with a record for each time."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    attribute = resource.resource.attributes.add(key="service.name")
    attribute.value.string_value = "checkout"
    scope = resource.scope_logs.add()
    for time in times:
        scope.log_records.add(time_unix_nano=time).body.string_value = f"at {time}"
    return request


def check(shape: otlp.Shape, request: Any) -> otlp.Checked:
    value = request.SerializeToString()
    return otlp.check(shape, otlp.parse(shape, value), value, NOW)


def test_good_bytes_go_on_unchanged() -> None:
    value = logs(NOW, NOW - 5).SerializeToString() + b"\xba\x3e\x03new"  # an unknown field, 999
    checked = otlp.check(otlp.LOGS, otlp.parse(otlp.LOGS, value), value, NOW)
    assert checked.value is value
    assert (checked.records, checked.rejected, checked.stripped) == (2, 0, 0)


def test_spread_of_metrics_is_the_first_resource_and_nothing_else_keeps_its_order() -> None:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().resource.attributes.add(key="service.name").value.string_value = "checkout"
    assert check(otlp.METRICS, request).spread == request.resource_metrics[0].resource.SerializeToString()
    assert check(otlp.METRICS, ExportMetricsServiceRequest()).spread == b""
    assert check(otlp.LOGS, logs(NOW)).spread is None


def test_log_without_any_time_gets_the_time_of_receipt() -> None:
    checked = check(otlp.LOGS, logs(0, NOW))
    first, second = otlp.parse(otlp.LOGS, checked.value).resource_logs[0].scope_logs[0].log_records  # type: ignore[attr-defined]
    assert (first.time_unix_nano, first.observed_time_unix_nano) == (0, NOW)
    assert (second.time_unix_nano, second.observed_time_unix_nano) == (NOW, 0)
    assert (checked.records, checked.rejected) == (2, 0)


@pytest.mark.parametrize("time", [NOW - otlp.OLDEST_NS - 1, NOW + otlp.NEWEST_NS + 1, 5])
def test_log_outside_the_window_is_rejected_alone(time: int) -> None:
    checked = check(otlp.LOGS, logs(NOW, time, NOW - 1))
    kept = otlp.parse(otlp.LOGS, checked.value).resource_logs[0].scope_logs[0].log_records  # type: ignore[attr-defined]
    assert [record.time_unix_nano for record in kept] == [NOW, NOW - 1]
    assert (checked.records, checked.rejected, checked.first_index) == (2, 1, 1)
    assert "time is more than" in checked.first_reason


def test_first_index_counts_over_scopes_and_resources() -> None:
    request = logs(NOW, NOW)
    request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=7)
    assert check(otlp.LOGS, request).first_index == 2


@pytest.mark.parametrize(("trace_id", "span_id"), [(b"", b"b" * 8), (b"a" * 15, b"b" * 8), (bytes(16), b"b" * 8), (b"a" * 16, b"b" * 7), (b"a" * 16, bytes(8))])
def test_span_with_malformed_id_is_rejected_alone(trace_id: bytes, span_id: bytes) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=trace_id, span_id=span_id)
    spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="good")
    checked = check(otlp.TRACES, request)
    assert (checked.records, checked.rejected, checked.first_index) == (1, 1, 0)
    assert [s.name for s in otlp.parse(otlp.TRACES, checked.value).resource_spans[0].scope_spans[0].spans] == ["good"]  # type: ignore[attr-defined]


def test_delta_metric_is_rejected_by_its_points() -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    delta = metrics.add(name="delta")
    delta.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    delta.sum.data_points.add()
    delta.sum.data_points.add()
    metrics.add(name="gauge").gauge.data_points.add()
    metrics.add(name="empty")
    checked = check(otlp.METRICS, request)
    assert (checked.records, checked.rejected) == (1, 2)
    assert "temporality" in checked.first_reason


@pytest.mark.parametrize("name", ["tenant_id", "tenant.id", "tenant-id", "tenant__id", "_tenant_id_", "tenant/id", "tenant·id"])
def test_claimed_tenant_is_removed_everywhere(name: str) -> None:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    scope = resource.scope_spans.add()
    span = scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    for place in (resource.resource, scope.scope, span, span.events.add(), span.links.add()):
        place.attributes.add(key=name).value.string_value = "globex"
        place.attributes.add(key="kept").value.string_value = "acme"
    checked = check(otlp.TRACES, request)
    assert checked.stripped == 5
    assert b"globex" not in checked.value
    assert checked.value.count(b"kept") == 5


def test_claimed_tenant_is_removed_from_points_and_exemplars() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.metadata.add(key="tenant_id").value.string_value = "globex"
    metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    point = metric.histogram.data_points.add()
    point.attributes.add(key="tenant_id").value.string_value = "globex"
    point.exemplars.add().filtered_attributes.add(key="tenant.id").value.string_value = "globex"
    checked = check(otlp.METRICS, request)
    assert checked.stripped == 3
    assert b"globex" not in checked.value


@pytest.mark.parametrize("name", ["tenantid", "my_tenant_id", "tenant_ids", "tenant.id.hash", "Tenant_id"])
def test_other_names_stay(name: str) -> None:
    assert not otlp.claims_tenant(name)


def test_body_that_mentions_the_tenant_goes_on_unchanged() -> None:
    request = logs(NOW)
    request.resource_logs[0].scope_logs[0].log_records[0].body.string_value = "tenant_id=7 logged in"
    value = request.SerializeToString()
    assert otlp.check(otlp.LOGS, otlp.parse(otlp.LOGS, value), value, NOW).value is value


@pytest.mark.parametrize("value", [b"\x00", b"\x0a\xff", b"not protobuf at all", b"\x0a\x02\x12\x01"])
def test_garbage_is_refused(value: bytes) -> None:
    with pytest.raises(Refused) as refused:
        otlp.parse(otlp.LOGS, value)
    assert refused.value.status == 400


def test_json_equals_its_protobuf_twin() -> None:
    document = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "5B8EFFF798038103D269B633813FC60C",
                                "spanId": "eee19b7ec3c1b174",
                                "parentSpanId": "eee19b7ec3c1b173",
                                "name": "pay",
                                "kind": 2,
                                "startTimeUnixNano": "1544712660000000000",
                                "endTimeUnixNano": 1544712661000000000,
                                "attributes": [{"key": "count", "value": {"intValue": "7"}}, {"key": "raw", "value": {"bytesValue": "AQI="}}],
                                "links": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}],
                                "fromTheFuture": {"traceId": "00"},
                            }
                        ]
                    }
                ],
            }
        ]
    }
    message = otlp.parse_json(otlp.TRACES, json.dumps(document).encode())
    span = message.resource_spans[0].scope_spans[0].spans[0]  # type: ignore[attr-defined]
    assert span.trace_id == bytes.fromhex("5b8efff798038103d269b633813fc60c")
    assert span.parent_span_id == bytes.fromhex("eee19b7ec3c1b173")
    assert span.links[0].span_id == bytes.fromhex("eee19b7ec3c1b174")
    assert (span.kind, span.start_time_unix_nano, span.end_time_unix_nano) == (2, 1544712660000000000, 1544712661000000000)
    assert span.attributes[1].value.bytes_value == b"\x01\x02"
    again = json_format.ParseDict(json_format.MessageToDict(message), ExportTraceServiceRequest())
    assert again == message


@pytest.mark.parametrize(
    "value",
    [b"", b"[", b"[]", b'"text"', b'{"resourceLogs": 5}', b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "xyz"}]}]}]}', b"[" * 100_000],
    ids=["empty", "cut short", "list", "text", "wrong type", "id not hex", "deep"],
)
def test_broken_json_is_refused(value: bytes) -> None:
    with pytest.raises(Refused) as refused:
        otlp.parse_json(otlp.LOGS, value)
    assert refused.value.status == 400


def test_escaped_tenant_in_json_is_found() -> None:
    value = rb'{"resourceLogs":[{"resource":{"attributes":[{"key":"tenant\u005fid","value":{"stringValue":"globex"}}]},"scopeLogs":[{"logRecords":[{}]}]}]}'
    checked = otlp.check(otlp.LOGS, otlp.parse_json(otlp.LOGS, value), None, NOW)
    assert (checked.stripped, checked.records) == (1, 1)
    assert b"globex" not in checked.value


def test_random_bytes_give_a_message_or_refused() -> None:
    source = random.Random(7)  # noqa: S311
    for _ in range(2000):
        value = source.randbytes(40)
        for shape in (otlp.LOGS, otlp.METRICS, otlp.TRACES):
            with suppress(Refused):
                otlp.check(shape, otlp.parse(shape, value), value, NOW)
            with suppress(Refused):
                otlp.parse_json(shape, value)
