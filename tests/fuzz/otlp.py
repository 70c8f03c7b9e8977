"""Any OTLP message, from the descriptors, and its JSON form, written by the specification's rules and not by the codec under test."""

import base64
import functools
import json
import math
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS: dict[str, Any] = {"logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest, "traces": ExportTraceServiceRequest}
_DEPTH = 9
_IDS = {"trace_id", "span_id", "parent_span_id"}
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    Field.TYPE_STRING: st.text(max_size=12) | st.sampled_from(["service.name", "tenant_id"]),
    Field.TYPE_BYTES: st.binary(max_size=20) | st.binary(min_size=16, max_size=16) | st.binary(min_size=8, max_size=8),
    Field.TYPE_BOOL: st.booleans(),
    Field.TYPE_DOUBLE: st.floats().map(lambda value: math.nan if math.isnan(value) else value),  # JSON has one NaN, IEEE 754 has many
    Field.TYPE_ENUM: st.integers(0, 24) | st.integers(-(2**31), 2**31 - 1),
    Field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    Field.TYPE_SINT32: st.integers(-(2**31), 2**31 - 1),
    Field.TYPE_UINT32: st.integers(0, 2**32 - 1),
    Field.TYPE_FIXED32: st.integers(0, 2**32 - 1),
    Field.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    Field.TYPE_SFIXED64: st.integers(-(2**63), 2**63 - 1),
    Field.TYPE_UINT64: st.integers(0, 2**64 - 1),
    Field.TYPE_FIXED64: st.integers(0, 2**64 - 1),
}


def messages(message: Any) -> st.SearchStrategy[Any]:
    """Messages of one class."""
    return _fields(message.DESCRIPTOR, 0).map(lambda fields: message(**fields))


@functools.cache
def _fields(descriptor: Any, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    oneofs = [oneof for oneof in descriptor.oneofs if len(oneof.fields) > 1]
    single = [field for field in descriptor.fields if not any(field in oneof.fields for oneof in oneofs)]
    parts = [st.fixed_dictionaries({}, optional={field.name: _value(field, depth) for field in single if _fits(field, depth)})]
    for oneof in oneofs:
        one = [st.fixed_dictionaries({field.name: _value(field, depth)}) for field in oneof.fields if _fits(field, depth)]
        parts.append(st.one_of(st.just({}), *one))
    return st.tuples(*parts).map(lambda found: {name: value for part in found for name, value in part.items()})


def _fits(field: Any, depth: int) -> bool:
    return depth < _DEPTH or field.type != Field.TYPE_MESSAGE


def _value(field: Any, depth: int) -> st.SearchStrategy[Any]:
    one = _fields(field.message_type, depth + 1) if field.type == Field.TYPE_MESSAGE else _SCALARS[field.type]
    return st.lists(one, max_size=2) if field.is_repeated else one


def to_json(message: Any, source: Random) -> bytes:
    """The message as OTLP's JSON. Where the rules leave a choice, `source` chooses; unknown fields and nulls lie about."""
    return json.dumps(_object(message, source), ensure_ascii=source.random() < 0.5).encode()


def _object(message: Any, source: Random) -> dict[str, Any]:
    found: list[tuple[str, Any]] = []
    for field, value in message.ListFields():
        found.append((field.json_name, [_item(field, item, source) for item in value] if field.is_repeated else _item(field, value, source)))
    if source.random() < 0.1:
        found.append(("fromTheFuture", source.choice([1, [{"traceId": "x"}], {"attributes": {"deep": []}}, None])))
    unset = [field.json_name for field in message.DESCRIPTOR.fields if field.json_name not in dict(found)]
    if unset and source.random() < 0.1:
        found.append((source.choice(unset), None))
    source.shuffle(found)
    return dict(found)


def _item(field: Any, value: Any, source: Random) -> Any:
    if field.type == Field.TYPE_MESSAGE:
        return _object(value, source)
    if field.type == Field.TYPE_BYTES:
        return _bytes(field, value, source)
    if field.type == Field.TYPE_DOUBLE:
        return _double(value, source)
    if field.cpp_type in {Field.CPPTYPE_INT64, Field.CPPTYPE_UINT64} and source.random() < 0.5:
        return str(value)
    return value


def _bytes(field: Any, value: bytes, source: Random) -> str:
    if field.name in _IDS:
        return value.hex().upper() if source.random() < 0.5 else value.hex()
    text = (base64.b64encode if source.random() < 0.5 else base64.urlsafe_b64encode)(value).decode()
    return text.rstrip("=") if source.random() < 0.5 else text


def _double(value: float, source: Random) -> float | str:
    if math.isfinite(value):
        return repr(value) if source.random() < 0.2 else value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
