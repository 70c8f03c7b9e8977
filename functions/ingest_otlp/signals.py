"""The three signals: a row each, never a copied function."""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from shared.codecs import otlp
from shared.contract import EventType, Scope, Topic


@dataclass(frozen=True, slots=True)
class Signal:
    """What differs between logs, metrics and traces."""

    scope: Scope
    shape: otlp.Shape
    response: type[Message]
    rejected: str
    """Name of the response's counter of rejected records."""
    topic: Topic
    type: EventType


SIGNALS: Final = {
    "/v1/logs": Signal(Scope.LOGS, otlp.LOGS, ExportLogsServiceResponse, "rejected_log_records", Topic.LOGS, EventType.LOGS),
    "/v1/metrics": Signal(Scope.METRICS, otlp.METRICS, ExportMetricsServiceResponse, "rejected_data_points", Topic.METRICS, EventType.METRICS),
    "/v1/traces": Signal(Scope.TRACES, otlp.TRACES, ExportTraceServiceResponse, "rejected_spans", Topic.TRACES, EventType.TRACES),
}
