"""OTLP's export requests for the three signals, nearly right, as protobuf and as JSON."""

import random
import time
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest, ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from localdev.fuzz.mutations import word

REQUESTS: dict[str, Any] = {"logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest, "traces": ExportTraceServiceRequest}
RESPONSES: dict[str, Any] = {"logs": ExportLogsServiceResponse, "metrics": ExportMetricsServiceResponse, "traces": ExportTraceServiceResponse}


def protobuf_body(source: random.Random, signal: str) -> bytes:
    """A few records, some of which aren't taken."""
    return bytes(REQUESTS[signal](**_fields(source, signal)).SerializeToString())


def _fields(source: random.Random, signal: str) -> dict[str, Any]:
    attributes = [{"key": word(source), "value": _any(source, 0)} for _ in range(source.randrange(4))]
    now = time.time_ns()
    records: list[dict[str, Any]] = []
    for _ in range(source.choice([0, 1, 1, 2, 50])):
        ids = {"trace_id": source.randbytes(source.choice([16, 16, 16, 0, 15])), "span_id": source.randbytes(source.choice([8, 8, 8, 0, 9]))}
        at = source.choice([now, now, now, 0, 1, 2**64 - 1])
        match signal:
            case "logs":
                records.append({"time_unix_nano": at, "body": _any(source, 0), "attributes": attributes, **ids})
            case "traces":
                records.append({"name": word(source), "start_time_unix_nano": at, "attributes": attributes, **ids})
            case _:
                points = [{"time_unix_nano": at, "as_double": source.choice([1.5, float("nan"), float("inf")]), "attributes": attributes}]
                data: dict[str, Any] = source.choice(
                    [{"gauge": {"data_points": points}}, {"sum": {"data_points": points, "aggregation_temporality": source.randrange(4)}}, {}]
                )
                records.append({"name": word(source), **data})
    names = {"logs": ("logs", "log_records"), "metrics": ("metrics", "metrics"), "traces": ("spans", "spans")}[signal]
    scopes = [{"scope": {"name": word(source)}, names[1]: records}]
    return {f"resource_{names[0]}": [{"resource": {"attributes": attributes}, f"scope_{names[0]}": scopes}]}


def _any(source: random.Random, depth: int) -> dict[str, Any]:
    inner = [_any(source, depth + 1) for _ in range(source.randrange(3))] if depth < 4 else []
    return source.choice(
        [
            {"string_value": word(source)},
            {"int_value": source.randrange(-(2**63), 2**63)},
            {"bool_value": True},
            {"double_value": source.random()},
            {"bytes_value": source.randbytes(5)},
            {"array_value": {"values": inner}},
            {"kvlist_value": {"values": [{"key": word(source), "value": item} for item in inner]}},
            {},
        ]
    )


def json_body(source: random.Random, signal: str) -> bytes:
    """The same in OTLP's JSON form; some values are replaced by ones of another kind."""
    return orjson.dumps(_document(source, _fields(source, signal)))


def _document(source: random.Random, node: Any) -> Any:
    if source.random() < 0.003:
        return source.choice([None, True, -1, 2**64 - 1, 1e300, 0.5, "", "x", "NaN", [], {}, [[]], {"x": {}}])
    if isinstance(node, dict):
        return {_camel(source, key): _document(source, value) for key, value in node.items()}
    if isinstance(node, list):
        return [_document(source, item) for item in node]
    if isinstance(node, bytes):
        return node.hex()
    if isinstance(node, float) and node != node:  # noqa: PLR0124 the one number that isn't itself
        return "NaN"
    return str(node) if isinstance(node, int) and not isinstance(node, bool) and source.random() < 0.5 else node


def _camel(source: random.Random, name: str) -> str:
    first, *rest = name.split("_")
    return name if source.random() < 0.01 else first + "".join(map(str.capitalize, rest))
