"""OTLP's JSON: what is taken, what it means, what is refused and how the answer names it. The rules' sources are in the codec's head."""

import base64
import json
import math
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from shared.codecs import otlp_json
from shared.errors import Refused

# Their constructors take dicts and plain integers, which the stubs don't say.
AnyValue: Any = common_pb2.AnyValue
LogRecord: Any = logs_pb2.LogRecord
Resource: Any = resource_pb2.Resource
Span: Any = trace_pb2.Span
ExponentialHistogramDataPoint: Any = metrics_pb2.ExponentialHistogramDataPoint
HistogramDataPoint: Any = metrics_pb2.HistogramDataPoint
Metric: Any = metrics_pb2.Metric
NumberDataPoint: Any = metrics_pb2.NumberDataPoint
Sum: Any = metrics_pb2.Sum

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"


def parse(message: Any, document: Any) -> Any:
    """`document`: Python, or JSON text as it is."""
    return otlp_json.parse(message, document if isinstance(document, bytes) else json.dumps(document).encode())


def each(message: Any, name: str, named: str, *values: Any) -> list[tuple[Any, Any, str]]:
    """A row for each wrong value of one field."""
    return [(message, {name: value}, named) for value in values]


def refusal(message: Any, document: Any) -> str:
    with pytest.raises(Refused) as refused:
        parse(message, document)
    assert refused.value.status == 400
    return refused.value.detail


@pytest.mark.parametrize(
    ("document", "twin"),
    [
        # ids: hex of any case and length; whether the length is right is asked later, of protobuf's bytes as well
        ({"traceId": TRACE, "spanId": SPAN}, LogRecord(trace_id=bytes.fromhex(TRACE), span_id=bytes.fromhex(SPAN))),
        ({"traceId": TRACE.upper()}, LogRecord(trace_id=bytes.fromhex(TRACE))),
        ({"traceId": "", "spanId": ""}, LogRecord()),
        ({"traceId": "abcd"}, LogRecord(trace_id=b"\xab\xcd")),
        ({"parentSpanId": SPAN, "links": [{"traceId": TRACE}]}, Span(parent_span_id=bytes.fromhex(SPAN), links=[Span.Link(trace_id=bytes.fromhex(TRACE))])),
        # 64-bit integers: strings or numbers
        ({"timeUnixNano": "18446744073709551615"}, LogRecord(time_unix_nano=2**64 - 1)),
        ({"timeUnixNano": 18446744073709551615}, LogRecord(time_unix_nano=2**64 - 1)),
        ({"timeUnixNano": 1.5e18}, LogRecord(time_unix_nano=15 * 10**17)),
        ({"intValue": "-9223372036854775808"}, AnyValue(int_value=-(2**63))),
        ({"intValue": -9223372036854775808}, AnyValue(int_value=-(2**63))),
        ({"intValue": "0"}, AnyValue(int_value=0)),
        ({"bucketCounts": ["1", 2, "3"], "explicitBounds": [1, "2.5"]}, HistogramDataPoint(bucket_counts=[1, 2, 3], explicit_bounds=[1, 2.5])),
        ({"asInt": 0}, NumberDataPoint(as_int=0)),
        # 32-bit integers likewise
        ({"flags": "7", "droppedAttributesCount": 4294967295}, LogRecord(flags=7, dropped_attributes_count=2**32 - 1)),
        ({"scale": -2, "positive": {"offset": "-3"}}, ExponentialHistogramDataPoint(scale=-2, positive={"offset": -3})),
        # enums: integers, also those that nobody knows yet; names as the Collector takes them
        ({"severityNumber": 9}, LogRecord(severity_number=9)),
        ({"severityNumber": 99}, LogRecord(severity_number=99)),
        ({"severityNumber": "SEVERITY_NUMBER_INFO"}, LogRecord(severity_number=9)),
        # doubles
        ({"doubleValue": 5}, AnyValue(double_value=5)),
        ({"doubleValue": "-1.5e3"}, AnyValue(double_value=-1500)),
        ({"doubleValue": "Infinity"}, AnyValue(double_value=math.inf)),
        ({"doubleValue": "-Infinity"}, AnyValue(double_value=-math.inf)),
        ({"doubleValue": "NaN"}, AnyValue(double_value=math.nan)),
        ({"doubleValue": -0.0}, AnyValue(double_value=-0.0)),
        ({"sum": 0, "min": None}, HistogramDataPoint(sum=0)),
        # bytes: standard and URL-safe base64, with and without padding
        ({"bytesValue": "+/8="}, AnyValue(bytes_value=b"\xfb\xff")),
        ({"bytesValue": "-_8"}, AnyValue(bytes_value=b"\xfb\xff")),
        ({"bytesValue": ""}, AnyValue(bytes_value=b"")),
        # null is absent, an empty object is there
        ({"body": None, "attributes": None, "traceId": None, "flags": None}, LogRecord()),
        ({"body": {}}, LogRecord(body=AnyValue())),
        ({"stringValue": None, "boolValue": False}, AnyValue(bool_value=False)),
        # the names
        ({"time_unix_nano": "5", "trace_id": TRACE}, LogRecord(time_unix_nano=5, trace_id=bytes.fromhex(TRACE))),
        ({"TimeUnixNano": "5", "timeunixnano": 5}, LogRecord()),
        (b'{"flags": 1, "flags": 2}', LogRecord(flags=2)),
        # what nobody knows, whatever is in it
        ({"new": {"traceId": 5, "deep": [[{"attributes": "x"}]]}, "flags": 1}, LogRecord(flags=1)),
        ({"attributes": [{"key": "a", "value": {"futureValue": 5}, "more": None}]}, Resource(attributes=[{"key": "a", "value": {}}])),
        # text
        (b'{"stringValue": "\\ud83d\\ude00\\u0000"}', AnyValue(string_value="\U0001f600\0")),
        (b' \n{"stringValue":"x"}\r\n\t', AnyValue(string_value="x")),
    ],
)
def test_json_is_the_same_bytes_as_its_twin(document: Any, twin: Any) -> None:
    assert parse(type(twin), document).SerializeToString() == twin.SerializeToString()


def test_every_kind_of_value_nests() -> None:
    document = {
        "arrayValue": {
            "values": [{"kvlistValue": {"values": [{"key": "k", "value": {"bytesValue": base64.b64encode(b"b").decode()}}]}}, {}, {"boolValue": True}]
        }
    }
    value = parse(AnyValue, document)
    assert value.array_value.values[0].kvlist_value.values[0].value.bytes_value == b"b"
    assert [item.WhichOneof("value") for item in value.array_value.values] == ["kvlist_value", None, "bool_value"]


@pytest.mark.parametrize(
    ("message", "document", "named"),
    [
        (LogRecord, {"traceId": "xyz"}, "traceId is not hex"),
        (LogRecord, {"traceId": "abc"}, "traceId is not hex"),
        (LogRecord, {"traceId": "ab cd"}, "traceId is not hex"),
        (LogRecord, {"traceId": "äöü"}, "traceId is not hex"),
        (LogRecord, {"spanId": 5}, "spanId is not hex"),
        (Span, {"links": [{"spanId": "q"}]}, "links.spanId is not hex"),
        *each(LogRecord, "timeUnixNano", "timeUnixNano is not", "", " 5", "5 ", "+5", "1_0", "0x1", "1.5", "\u0665", "\u00b2", 1.5, "9" * 5000),
        *each(LogRecord, "timeUnixNano", "", -1, "-1", 2**64, "18446744073709551616", True, [], {}, 1e300),
        *each(AnyValue, "intValue", "", 2**63, "9223372036854775808", "-9223372036854775809", False),
        (AnyValue, b'{"intValue": -9223372036854775809}', "intValue is not"),
        *each(LogRecord, "flags", "", 2**32, -1, "4294967296", True, "x"),
        *each(LogRecord, "severityNumber", "", "INFO", "", 1.5, 2**31, True, []),
        *each(AnyValue, "doubleValue", "doubleValue is not a number", "", "inf", "nan", " 1", "1_0", "1e999", ".5", True, [], "+1", "Infinity "),
        *[(AnyValue, text, "") for text in (b'{"doubleValue": NaN}', b'{"doubleValue": 1e999}', b'{"doubleValue": .5}', b'{"doubleValue": +1}')],
        *each(AnyValue, "boolValue", "boolValue is not true or false", 1, 0, "true", "", []),
        *each(AnyValue, "stringValue", "", 1, True, [], {}),
        *each(AnyValue, "bytesValue", "bytesValue is not base64", "a", "a===", "ab==cd", "a b=", "ab!=", "é", 5, [1]),
        (AnyValue, {"stringValue": "a", "intValue": 1}, "int_value and string_value"),
        (Metric, {"gauge": {}, "sum": {}}, "gauge and sum"),
        (NumberDataPoint, {"asInt": 1, "asDouble": 1.0}, "as_double and as_int"),
        (LogRecord, {"attributes": {}}, "attributes is not a list"),
        (LogRecord, {"attributes": "x"}, "attributes is not a list"),
        (LogRecord, {"attributes": [None]}, "attributes is not an object"),
        (LogRecord, {"attributes": [[]]}, "attributes is not an object"),
        (LogRecord, {"body": "text"}, "body is not an object"),
        (LogRecord, {"body": []}, "body is not an object"),
        (HistogramDataPoint, {"bucketCounts": 5}, "bucketCounts is not a list"),
        (HistogramDataPoint, {"bucketCounts": [None]}, ""),
        (HistogramDataPoint, {"explicitBounds": [None]}, "explicitBounds is not a number"),
        *[
            (LogRecord, text, "")
            for text in (b"", b" ", b"{", b"{}x", b"{'a':1}", b'{"a":1,}', b"\xef\xbb\xbf{}", b"\x00", b"{}" * 2, b"[{}]", b"null", b'"{}"', b"5")
        ],
        *[(LogRecord, b'{"severityText": "' + text + b'"}', "") for text in (b"\xff", b"\\ud800", b"\\udc00\\ud800", b"\xed\xa0\x80", b"\n", b"\\x")],
    ],
)
def test_what_is_not_otlp_json_is_refused(message: Any, document: Any, named: str) -> None:
    assert named in refusal(message, document)


def test_refusal_tells_the_path() -> None:
    document = {
        "resourceLogs": [{"scopeLogs": [{"logRecords": [{}, {"attributes": [{"key": "k", "value": {"arrayValue": {"values": [{"intValue": "x"}]}}}]}]}]}]
    }
    detail = refusal(ExportLogsServiceRequest, document)
    assert "ExportLogsServiceRequest: resourceLogs.scopeLogs.logRecords.attributes.value.arrayValue.values.intValue is not" in detail


def test_refusal_is_short_whatever_was_sent() -> None:
    assert len(refusal(LogRecord, {"severityNumber": "X" * 100_000})) < 1000


@pytest.mark.parametrize("kind", ["arrayValue", "kvlistValue"])
@pytest.mark.parametrize("start", [0, 1])
def test_nesting_is_taken_as_deep_as_the_twin_s(kind: str, start: int) -> None:
    """Exactly the depth at which protobuf's parser gives up, which is what the sinks read with."""
    taken = []
    for levels in range(1, 60):
        document: Any = {"stringValue": "x"}
        fields: Any = {"string_value": "x"}
        for _ in range(levels):
            key = {} if kind == "arrayValue" else {"key": "k"}
            document = {kind: {"values": [key | {"value": document} if key else document]}}
            fields = {kind.replace("V", "_v"): {"values": [key | {"value": fields} if key else fields]}}
        twin = AnyValue(**fields) if start else LogRecord(body=fields)
        document = document if start else {"body": document}
        try:
            type(twin).FromString(twin.SerializeToString())
        except DecodeError:
            assert "deeper" in refusal(type(twin), document)
        else:
            taken.append(levels)
            assert parse(type(twin), document) == twin
    assert 30 < len(taken) < 59


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"body":' * 100_000, b'{"new":' * 1000 + b"1" + b"}" * 1000, b'{"arrayValue":{"values":[' * 500 + b"]}}" * 500]
)
def test_depth_without_end_is_refused_or_ignored_and_raises_nothing_else(text: bytes) -> None:
    with suppress(Refused):
        assert parse(AnyValue, text) == AnyValue()


@pytest.mark.parametrize("request_type", [ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest])
def test_schema_has_nothing_that_the_codec_does_not_know(request_type: Any) -> None:
    """A later version's maps, groups or new scalar types fail here and not first at a customer's."""
    seen: set[str] = set()
    todo: list[Descriptor] = [request_type.DESCRIPTOR]
    while todo:
        descriptor: Any = todo.pop()
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        assert not descriptor.GetOptions().map_entry
        for field in descriptor.fields:
            assert field.type in {FieldDescriptor.TYPE_MESSAGE, *otlp_json._SCALARS}
            if field.type == FieldDescriptor.TYPE_BYTES:
                assert field.name in {*otlp_json._IDS, "bytes_value"}, "hex or base64?"
            if field.message_type:
                todo.append(field.message_type)
    assert parse(request_type, {}) == request_type()


def test_aggregation_temporality_is_an_integer() -> None:
    assert parse(Sum, {"aggregationTemporality": 2, "isMonotonic": True}) == Sum(aggregation_temporality=2, is_monotonic=True)
